//! The obvious parser that the fast one is compared with: in tests here, and in the fuzz target,
//! which includes this file.

use crate::{Record, Schema};

/// The obvious parser: text, split, the standard library's number parsers.
pub(crate) fn twin(line: &[u8], schema: &Schema) -> Option<Record> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let columns: Vec<&str> = std::str::from_utf8(line).ok()?.split('\t').collect();
    from_columns(&columns, schema)
}

pub(crate) fn from_columns(columns: &[&str], schema: &Schema) -> Option<Record> {
    if columns.len() != schema.n_columns() {
        return None;
    }
    let (integers, tokens) = columns[1..].split_at(schema.n_integers);
    let integer = |text: &&str| match *text {
        "" => Some(None),
        _ if text.starts_with('+') => None,
        _ => text.parse().ok().map(Some),
    };
    let token = |text: &&str| match *text {
        "" => Some(None),
        _ if text.len() != 8 || text.starts_with('+') => None,
        _ => u32::from_str_radix(text, 16).ok().map(Some),
    };
    Some(Record {
        clicked: ["0", "1"].iter().position(|label| *label == columns[0])? == 1,
        integers: integers.iter().map(integer).collect::<Option<_>>()?,
        tokens: tokens.iter().map(token).collect::<Option<_>>()?,
        ..Record::default()
    })
}
