//! How the rows of `[data]` are written, and which features they have.

use criteo_io::{Dialect, DialectError, Schema};

use crate::config::Config;

/// How the rows are written.
///
/// # Errors
/// If the format is unknown, or the description of its columns is wrong.
pub fn dialect(config: &Config) -> Result<Dialect, DialectError> {
    Dialect::new(&config.data.format, config.data.columns.clone())
}

/// Features of each field: the configuration's, or those of the format.
///
/// # Errors
/// As [`dialect`].
pub fn schema(config: &Config) -> Result<Schema, DialectError> {
    let mut schema = dialect(config)?.schema().clone();
    if let Some(features) = &config.embedding.features {
        schema.features.clone_from(features);
    }
    Ok(schema)
}
