//! Any line: the fast parser takes what the obvious one takes, and gives the same record.
#![no_main]

use criteo_io::{Format, Record, RowError, Schema, parse_line};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&shape, line)) = input.split_first() else { return };
    let schema = match shape {
        // Few columns, so that whole rows are found by chance.
        0..64 => {
            Schema { n_integers: usize::from(shape % 4), n_fields: usize::from(shape / 4 % 4), features: Vec::new() }
        }
        _ => Format::CriteoKaggle.schema(),
    };
    let mut record = Record { true_logit: Some(1.0), day: Some(3), dense: vec![0.5], ..Record::default() };
    match (parse_line(line, &schema, &mut record), plain(line, &schema)) {
        (Ok(()), Some(expected)) => assert_eq!(record, expected),
        (Err(RowError { column, fault }), None) => {
            assert!((1..=line.len() + 1).contains(&column), "column {column} of {} bytes: {fault}", line.len());
            assert!(fault.to_string().len() < 1000, "{fault}");
        }
        (got, expected) => panic!("{got:?}, expected {expected:?}"),
    }
});

/// The obvious parser; `None` for what is no row.
fn plain(line: &[u8], schema: &Schema) -> Option<Record> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let columns: Vec<&str> = std::str::from_utf8(line).ok()?.split('\t').collect();
    if line.is_empty() || columns.len() != 1 + schema.n_integers + schema.n_fields {
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
