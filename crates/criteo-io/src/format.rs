//! The description of what files hold: the data sets by name, the columns of any table, and how a
//! value is encoded. Opens no file, and knows no error but its own.

pub(crate) mod columns;
pub(crate) mod dialect;
pub(crate) mod encode;
pub(crate) mod presets;
pub(crate) mod schema;
