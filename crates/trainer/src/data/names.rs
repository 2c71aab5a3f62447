//! What columns are called in messages and tables.

use criteo_io::{Column, Dialect};

/// Names of the numeric columns, in their order: the description's, or `I1`, `I2`, ...
#[must_use]
pub fn numeric(dialect: &Dialect) -> Vec<String> {
    match dialect.columns() {
        Some(columns) => columns.numeric.iter().map(|it| name(&it.column)).collect(),
        None => (1..=dialect.schema().n_integers).map(|number| format!("I{number}")).collect(),
    }
}

/// Names of the fields, in their order: the description's, or `C1`, `C2`, ...
#[must_use]
pub fn fields(dialect: &Dialect) -> Vec<String> {
    match dialect.columns() {
        Some(columns) => columns.categorical.iter().map(|it| name(&it.column)).collect(),
        None => (1..=dialect.schema().n_fields).map(|number| format!("C{number}")).collect(),
    }
}

fn name(column: &Column) -> String {
    match column {
        Column::Name(name) => name.escape_debug().to_string(),
        Column::Number(number) => format!("number {number}"),
    }
}
