//! Command-line arguments that select a configuration.

use std::path::PathBuf;

use crate::config::{Config, ConfigError};

/// A configuration and its overrides.
#[derive(Clone, Debug, clap::Args)]
pub struct Experiment {
    /// The experiment, a TOML file; see configs/
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Overrides a key, such as `--set embedding.method=hash`; may be repeated
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    overrides: Vec<String>,
}

impl Experiment {
    /// Loads and checks the configuration.
    ///
    /// # Errors
    /// Those of [`Config::load`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.config, &self.overrides)
    }

    /// The configuration, of which only the section on data has been checked.
    ///
    /// # Errors
    /// Those of [`Config::load_data`].
    pub fn load_data(&self) -> Result<Config, ConfigError> {
        Config::load_data(&self.config, &self.overrides)
    }
}
