//! Any file of a described table, read through a buffer of any size: the reader gives the rows that
//! the `csv` crate and the standard library's numbers give, and refuses the others.
#![no_main]

use std::cell::RefCell;
use std::path::PathBuf;

use criteo_io::{
    Categorical, Columns, Day, Dialect, Kind, Label, Numeric, ReadError, Reader, Record,
    RecordSource, RowFault, Transform, hash_text,
};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 4] = ["day", "y", "n", "c"];

thread_local! {
    /// The file that every input is written to, in memory where the system has a place there.
    static PATH: PathBuf = {
        let shared = PathBuf::from("/dev/shm");
        let directory = if shared.is_dir() { shared } else { std::env::temp_dir() };
        directory.join(format!("described_rows-{}", std::process::id()))
    };
    static DIALECTS: RefCell<Vec<Dialect>> = RefCell::new((0..64).map(|shape| Dialect::delimited(columns(shape)).expect("right")).collect());
}

fuzz_target!(|input: &[u8]| {
    let [shape, buffer_bytes, text @ ..] = input else { return };
    let is_packed = |magic: &[u8]| text.starts_with(&magic[..magic.len().min(text.len())]);
    // Empty files are refused, compressed ones unpacked, and a mark of the byte order is nothing of
    // a row.
    if text.is_empty()
        || is_packed(b"\x1f\x8b")
        || is_packed(b"\x28\xb5\x2f\xfd")
        || is_packed(b"\xef\xbb\xbf")
    {
        return;
    }
    let shape = shape % 64;
    let dialect = DIALECTS.with_borrow(|dialects| dialects[usize::from(shape)].clone());
    let path = PATH.with(Clone::clone);
    std::fs::write(&path, text).expect("room for a file");
    let reader = Reader::open(vec![path], dialect.clone());
    let mut reader =
        reader.expect("a file with a byte").with_buffer_bytes(1 + usize::from(*buffer_bytes));
    let columns = columns(shape);
    let mut twin = Twin { columns: &columns, day: None };
    let mut record = Record::default();
    for row in by_csv(text, &columns) {
        let got = reader.read_record(&mut record);
        // What RFC 4180 does not know the `csv` crate reads on; quotes that are right are a test of
        // their own.
        let is_quoted = columns.quoting && text.contains(&b'"');
        match &got {
            Err(ReadError::Quotes { .. }) if is_quoted => break,
            Err(ReadError::Row { error, .. }) if is_quoted && error.fault == RowFault::Quote => {
                continue;
            }
            _ => {}
        }
        match twin.record(&row) {
            Some(expected) => {
                assert!(
                    got.as_ref().is_ok_and(|found| *found),
                    "{got:?}, expected {expected:?} of {row:?}"
                );
                assert_eq!(record, expected, "{row:?}");
            }
            None => assert!(got.is_err(), "{record:?} of {row:?}"),
        }
    }
    let end = reader.read_record(&mut record);
    assert!(matches!(end, Ok(false)), "{end:?} after the last row");
});

fn columns(shape: u8) -> Columns {
    let is = |bit: u8| shape >> bit & 1 == 1;
    let kind = [Kind::String, Kind::Hex, Kind::Integer][usize::from(shape) % 3];
    let separator = is(3).then_some('|');
    let label = if is(4) { Label::at_least("y", 1.0) } else { Label::binary("y") };
    Columns {
        delimiter: if is(0) { ',' } else { '\t' },
        header: false,
        names: NAMES.map(str::to_owned).to_vec(),
        quoting: is(1),
        numeric: vec![Numeric {
            transform: if is(2) { Transform::None } else { Transform::Log1p },
            ..Numeric::new("n")
        }],
        categorical: vec![Categorical { separator, ..Categorical::new("c", kind) }],
        day: is(5).then(|| Day { column: "day".into(), first: Some(3), drop_last: 1 }),
        ..Columns::csv(label)
    }
}

fn by_csv(text: &[u8], columns: &Columns) -> Vec<Vec<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(columns.delimiter as u8)
        .quoting(columns.quoting)
        .has_headers(false)
        .flexible(true)
        .from_reader(text);
    let rows = reader.byte_records().map(|row| row.expect("no way to fail in memory"));
    rows.map(|row| row.iter().map(<[u8]>::to_vec).collect()).collect()
}

/// The obvious program. `None` for a malformed row.
struct Twin<'a> {
    columns: &'a Columns,
    day: Option<(u32, Vec<u8>)>,
}

impl Twin<'_> {
    fn record(&mut self, row: &[Vec<u8>]) -> Option<Record> {
        let [day, label, number, category] = row else { return None };
        let mut record = Record::default();
        if self.columns.day.is_some() {
            let start = &day[..day.len().min(3)];
            let key = start.get(..start.len().checked_sub(1)?).filter(|key| !key.is_empty())?;
            let number = match &self.day {
                None => 0,
                Some((number, last)) => number + u32::from(last != key),
            };
            record.day = Some(number);
            self.day = Some((number, key.to_vec()));
        }
        record.clicked = match self.columns.label.at_least {
            Some(least) => real(label)? >= least,
            None => ["0", "1"].iter().position(|text| text.as_bytes() == label)? == 1,
        };
        let transform = self.columns.numeric[0].transform;
        record.dense.push(if number.is_empty() { 0.0 } else { dense(real(number)?, transform)? });
        let field = &self.columns.categorical[0];
        let separator = field.separator;
        let parts =
            category.split(|&byte| separator.is_some_and(|separator| byte == separator as u8));
        let present = parts.filter(|part| !part.is_empty());
        record.tokens =
            present.map(|part| token(field.kind, part).map(Some)).collect::<Option<_>>()?;
        if record.tokens.is_empty() {
            record.tokens.push(None);
        }
        if separator.is_some() {
            record.bag_ends.push(record.tokens.len() as u32);
        }
        Some(record)
    }
}

fn real(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok().filter(|number: &f64| number.is_finite())
}

fn dense(x: f64, transform: Transform) -> Option<f32> {
    let value = match transform {
        Transform::None => x as f32,
        Transform::Log1p if x > 0.0 => (x + 1.0).ln() as f32,
        Transform::Log1p => 0.0,
    };
    Some(value).filter(|value| value.is_finite())
}

fn token(kind: Kind, text: &[u8]) -> Option<u32> {
    if kind == Kind::String {
        return Some(hash_text(text));
    }
    let plain = std::str::from_utf8(text).ok()?;
    if kind == Kind::Hex {
        return u32::from_str_radix(plain, 16)
            .ok()
            .filter(|_| plain.len() == 8 && !plain.starts_with('+'));
    }
    let digits = plain.strip_prefix('-').unwrap_or(plain);
    let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_integer.then(|| plain.parse().unwrap_or_else(|_| hash_text(text)))
}
