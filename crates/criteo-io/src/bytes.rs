//! From a path to bytes: opened, decompressed, one file after another. Knows nothing of rows.

pub(crate) mod decompress;
pub(crate) mod files;
pub(crate) mod input;
pub(crate) mod open;
pub(crate) mod refill;
pub(crate) mod stamp;
