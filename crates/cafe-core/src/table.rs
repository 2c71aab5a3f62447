//! Tables of rows: how values are stored and stepped, and which row belongs to which feature.

pub(crate) mod claimed;
pub(crate) mod cold;
pub(crate) mod own_rows;
pub(crate) mod rows;
pub(crate) mod signed_table;
