//! What a file is said to hold: the data sets by name, the columns of any table, and what becomes of
//! a value. Opens no file, and knows no error but its own.

pub(crate) mod columns;
pub(crate) mod dialect;
pub(crate) mod encode;
pub(crate) mod presets;
pub(crate) mod schema;
