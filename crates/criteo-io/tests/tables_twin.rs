//! Any description and any table: what is read is what the obvious program reads, the `csv` crate
//! with the standard library's numbers.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::{HashMap, HashSet};

use criteo_io::{
    Categorical, Columns, Day, Dialect, Kind, Label, Numeric, Reader, Record, RecordSource,
    Transform, hash_text,
};
use proptest::collection::vec;
use proptest::prelude::*;

const NAMES: [&str; 6] = ["a", "b c", "d,\"e\"", "f", "g", "h"];

fn columns() -> impl Strategy<Value = Columns> {
    let kind = prop_oneof![Just(Kind::String), Just(Kind::Hex), Just(Kind::Integer)];
    let transform = prop_oneof![Just(Transform::Log1p), Just(Transform::None)];
    let category = (1_usize..5, kind, prop::option::of(Just('|')));
    let number = (1_usize..5, transform);
    let label = prop_oneof![
        Just(Label::binary("h")),
        Just(Label::at_least("h", 1.0)),
        Just(Label { positive: vec!["1".to_owned(), "x".to_owned()], ..Label::binary("h") }),
    ];
    let shape = (prop_oneof![Just(','), Just('\t'), Just(';')], any::<bool>(), any::<bool>());
    (shape, vec(category, 1..4), vec(number, 0..3), label).prop_map(
        |(shape, categories, numbers, label)| {
            let ((delimiter, header, has_day), mut used) = (shape, HashSet::new());
            let categorical = categories.into_iter().filter(|(idx, ..)| used.insert(*idx));
            let categorical = categorical.map(|(idx, kind, separator)| Categorical {
                separator,
                missing: vec!["-".to_owned()],
                ..Categorical::new(NAMES[idx], kind)
            });
            let categorical: Vec<_> = categorical.collect();
            let mut used = HashSet::new();
            let numeric = numbers.into_iter().filter(|(idx, _)| used.insert(*idx));
            let numeric =
                numeric.map(|(idx, transform)| Numeric { transform, ..Numeric::new(NAMES[idx]) });
            Columns {
                delimiter,
                header,
                names: if header { Vec::new() } else { NAMES.map(str::to_owned).to_vec() },
                numeric: numeric.collect(),
                categorical,
                day: has_day.then(|| Day { column: NAMES[0].into(), first: Some(3), drop_last: 1 }),
                ..Columns::csv(label)
            }
        },
    )
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(String::new()),
        3 => (-3_i64..30).prop_map(|n| n.to_string()),
        2 => any::<i64>().prop_map(|n| n.to_string()),
        2 => any::<f64>().prop_map(|x| x.to_string()),
        2 => any::<u32>().prop_map(|token| format!("{token:08x}")),
        1 => Just("-".to_owned()),
        1 => "[a-c|\",;\t\r\n]{0,6}",
        1 => "[0-9]{1,2}(\\|[0-9]{0,2}){0,3}",
    ]
}

/// A row most of whose fields are valid, so that some rows are.
fn row() -> impl Strategy<Value = Vec<String>> {
    let label = prop_oneof![8 => "[01]", 1 => field()];
    let day = prop_oneof![8 => "[12][0-9]{2}", 1 => field()];
    let middle = prop_oneof![Just(String::new()), "[0-9]{8}", "[0-9]{8}", field()];
    (day, vec(middle, 4), label)
        .prop_map(|(day, middle, label)| [vec![day], middle, vec![label]].concat())
}

fn text_of(rows: &[Vec<String>], columns: &Columns, order: &[usize], end: &str) -> Vec<u8> {
    let mut builder = csv::WriterBuilder::new();
    builder.delimiter(columns.delimiter as u8);
    if end == "\r\n" {
        builder.terminator(csv::Terminator::CRLF);
    }
    let mut writer = builder.from_writer(Vec::new());
    let header = NAMES.map(str::to_owned).to_vec();
    for row in columns.header.then_some(&header).into_iter().chain(rows) {
        writer.write_record(order.iter().map(|&idx| &row[idx])).unwrap();
    }
    writer.into_inner().unwrap()
}

/// The obvious program. `None` for a malformed row.
struct Twin<'a> {
    columns: &'a Columns,
    day: Option<(u32, String)>,
}

impl Twin<'_> {
    fn record(&mut self, row: &[String]) -> Option<Record> {
        let by_name: HashMap<&str, &str> =
            NAMES.into_iter().zip(row.iter().map(String::as_str)).collect();
        let text = |column: &criteo_io::Column| by_name[column.to_string().trim_matches('`')];
        let mut record = Record::default();
        if let Some(day) = &self.columns.day {
            let text = text(&day.column);
            let start = text.as_bytes().get(..3).unwrap_or(text.as_bytes());
            let key = start.get(..start.len().checked_sub(1)?).filter(|key| !key.is_empty())?;
            let key = String::from_utf8_lossy(key).into_owned();
            let number = match &self.day {
                None => 0,
                Some((number, last)) => number + u32::from(*last != key),
            };
            record.day = Some(number);
            self.day = Some((number, key));
        }
        let label = &self.columns.label;
        record.clicked = match (text(&label.column), label.at_least, label.positive.is_empty()) {
            ("", ..) => return None,
            (text, _, false) => label.positive.iter().any(|positive| positive == text),
            (text, Some(least), _) => text.parse::<f64>().ok().filter(|x| x.is_finite())? >= least,
            ("0", ..) => false,
            ("1", ..) => true,
            _ => return None,
        };
        for column in &self.columns.numeric {
            record.dense.push(match text(&column.column) {
                "" => 0.0,
                text => {
                    let x = text.parse::<f64>().ok().filter(|x| x.is_finite())?;
                    let log = if x > 0.0 { (x + 1.0).ln() as f32 } else { 0.0 };
                    let value = if column.transform == Transform::None { x as f32 } else { log };
                    Some(value).filter(|value| value.is_finite())?
                }
            });
        }
        for column in &self.columns.categorical {
            let text = text(&column.column);
            let parts: Vec<&str> =
                if column.separator.is_some() { text.split('|').collect() } else { vec![text] };
            let present: Vec<&str> =
                parts.into_iter().filter(|part| !part.is_empty() && *part != "-").collect();
            let tokens = present
                .iter()
                .map(|part| token(column.kind, part))
                .collect::<Option<Vec<u32>>>()?;
            record.tokens.extend(tokens.iter().map(|&token| Some(token)));
            if tokens.is_empty() {
                record.tokens.push(None);
            }
            if self.columns.has_bags() {
                record.bag_ends.push(record.tokens.len() as u32);
            }
        }
        Some(record)
    }
}

fn token(kind: Kind, text: &str) -> Option<u32> {
    let has_plus = text.starts_with('+');
    match kind {
        Kind::String => Some(hash_text(text.as_bytes())),
        Kind::Hex => u32::from_str_radix(text, 16).ok().filter(|_| text.len() == 8 && !has_plus),
        Kind::Integer => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let is_integer = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit());
            is_integer.then(|| text.parse().unwrap_or_else(|_| hash_text(text.as_bytes())))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn tables_agree_with_the_twin(
        columns in columns(),
        rows in vec(row(), 1..12),
        order in Just((0..NAMES.len()).collect::<Vec<_>>()).prop_shuffle(),
        crlf in any::<bool>(),
        n_bytes in 1_usize..200,
        n_skipped in 0_usize..12,
    ) {
        prop_assume!(columns.check().is_ok());
        let order = if columns.header { order } else { (0..NAMES.len()).collect() };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rows");
        let end = if crlf { "\r\n" } else { "\n" };
        std::fs::write(&path, text_of(&rows, &columns, &order, end)).unwrap();
        let dialect = Dialect::delimited(columns.clone()).unwrap();
        let paths = vec![path];
        prop_assert_eq!(dialect.count_rows(&paths, None).unwrap(), rows.len() as u64);

        let mut twin = Twin { columns: &columns, day: None };
        let expected: Vec<_> = rows.iter().map(|row| twin.record(row)).collect();
        let mut reader = Reader::open(paths, dialect).unwrap().with_buffer_bytes(n_bytes);
        let n_skipped = n_skipped.min(rows.len());
        prop_assert_eq!(reader.skip_records(n_skipped as u64).unwrap(), n_skipped as u64);
        let mut record = Record::default();
        for expected in &expected[n_skipped..] {
            let found = reader.read_record(&mut record);
            match expected {
                Some(expected) => {
                    prop_assert!(found.unwrap());
                    prop_assert_eq!(&record, expected);
                }
                None => prop_assert!(found.is_err(), "{:?} should be refused", record),
            }
        }
        prop_assert!(!reader.read_record(&mut record).unwrap());
    }
}
