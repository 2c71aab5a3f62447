//! Tables of rows: how values are stored and stepped, and which row belongs to which feature.

pub(crate) mod claimed;
pub(crate) mod cold;
pub(crate) mod free_rows;
pub(crate) mod own_rows;
pub(crate) mod rows;
pub(crate) mod signed_table;
pub(crate) mod sizing;

pub use claimed::OwnRowSizes;
pub use cold::{FieldKind, FieldRows};
pub use rows::{Accumulator, RowFormat, RowOptimizer, RowPrecision};
pub use signed_table::{Hashes, Signs, UnifiedSettings};
pub use sizing::Sizing;
