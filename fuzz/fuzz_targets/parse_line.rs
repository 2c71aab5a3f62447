//! Any line: the fast parser takes what the obvious one takes, and gives the same record.
#![no_main]

#[allow(dead_code)]
#[path = "../../crates/criteo-io/src/parse/twin.rs"]
mod twin;

use criteo_io::{Format, Record, RowError, Schema, parse_line};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&shape, line)) = input.split_first() else { return };
    let schema = match shape {
        // Few columns, so that whole rows are found by chance.
        0..64 => Schema {
            n_integers: usize::from(shape % 4),
            n_fields: usize::from(shape / 4 % 4),
            features: Vec::new(),
        },
        _ => Format::CriteoKaggle.schema(),
    };
    let mut record =
        Record { true_logit: Some(1.0), day: Some(3), dense: vec![0.5], ..Record::default() };
    match (parse_line(line, &schema, &mut record), twin::twin(line, &schema)) {
        (Ok(()), Some(expected)) => assert_eq!(record, expected),
        (Err(RowError { column, fault }), None) => {
            assert!(
                (1..=line.len() + 1).contains(&column),
                "column {column} of {} bytes: {fault}",
                line.len()
            );
            assert!(fault.to_string().len() < 1000, "{fault}");
        }
        (got, expected) => panic!("{got:?}, expected {expected:?}"),
    }
});
