//! Rows without a label: the same records as with a label, except for the label.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::{Path, PathBuf};

use criteo_io::{
    Categorical, Column, Columns, Dialect, Format, Kind, Label, Numeric, Reader, Record,
    RecordSource, RowWriter, Synth, SynthConfig,
};

const CONFIG: SynthConfig = SynthConfig { seed: 3, rows_per_day: 20 };

fn text(format: Format) -> String {
    let (mut synth, mut record, mut text) =
        (Synth::new(CONFIG, 0..70), Record::default(), Vec::new());
    let mut writer = RowWriter::new(format, CONFIG, 0);
    writer.write_header(&mut text);
    while synth.read_record(&mut record).unwrap() {
        writer.write(&record, &mut text);
    }
    String::from_utf8(text).unwrap()
}

/// The same text without one of its columns.
fn without_column(text: &str, delimiter: char, column_idx: usize) -> String {
    let cut = |line: &str| {
        let mut fields: Vec<_> = line.split(delimiter).collect();
        fields.remove(column_idx);
        fields.join(&delimiter.to_string()) + "\n"
    };
    text.lines().map(cut).collect()
}

fn write(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("rows");
    fs::write(&path, text).unwrap();
    path
}

fn read(path: &Path, dialect: Dialect) -> Vec<Record> {
    let mut reader = Reader::open(vec![path.to_owned()], dialect).unwrap();
    let (mut record, mut all) = (Record::default(), Vec::new());
    while reader.read_record(&mut record).unwrap() {
        all.push(record.clone());
    }
    all
}

fn message(path: &Path, dialect: Dialect) -> String {
    let mut reader = Reader::open(vec![path.to_owned()], dialect).unwrap();
    let mut record = Record::default();
    loop {
        match reader.read_record(&mut record) {
            Ok(is_there) => assert!(is_there, "no error"),
            Err(error) => return error.to_string().replace(path.to_str().unwrap(), "FILE"),
        }
    }
}

#[test]
fn every_format_reads_without_its_label() {
    let directory = tempfile::tempdir().unwrap();
    for format in Format::ALL {
        let (delimiter, label) = if format == Format::Avazu { (',', 1) } else { ('\t', 0) };
        let text = text(format);
        let mut expected = read(&write(directory.path(), &text), format.into());
        assert!(expected.iter().any(|record| record.clicked), "{format}");
        for record in &mut expected {
            record.clicked = false;
        }
        let path = write(directory.path(), &without_column(&text, delimiter, label));
        let dialect = Dialect::from(format).without_label();
        assert!(!dialect.has_label());
        assert_eq!(read(&path, dialect.clone()), expected, "{format}");
        assert_eq!(dialect.count_rows(&[path], None).unwrap(), 70);
    }
}

/// Columns by number, with the label between them: `a, label, b`, with and without names.
#[test]
fn columns_after_the_label_are_renumbered() {
    let directory = tempfile::tempdir().unwrap();
    let by_number = Columns {
        header: false,
        numeric: vec![Numeric::new(1)],
        categorical: vec![Categorical::new(3, Kind::String)],
        ignore: vec![Column::Number(4)],
        ..Columns::csv(Label::binary(2))
    };
    let names = ["a", "y", "b", "c"].map(str::to_owned).to_vec();
    let by_name = Columns {
        names: names.clone(),
        numeric: vec![Numeric::new("a")],
        categorical: vec![Categorical::new("b", Kind::String)],
        ignore: vec![Column::from("c")],
        ..Columns { header: false, ..Columns::csv(Label::binary("y")) }
    };
    let mixed = Columns { names, label: Label::binary("y"), ..by_number.clone() };
    let rows = "1,1,x,7\n2,0,y,8\n";
    for columns in [by_number, by_name, mixed] {
        let dialect = Dialect::delimited(columns).unwrap();
        let mut expected = read(&write(directory.path(), rows), dialect.clone());
        for record in &mut expected {
            record.clicked = false;
        }
        let path = write(directory.path(), &without_column(rows, ',', 1));
        assert_eq!(read(&path, dialect.clone().without_label()), expected);
        assert_eq!(
            read(&path, dialect.without_label().without_label()),
            expected,
            "once is enough"
        );
    }
}

#[test]
fn header_may_still_have_the_label() {
    let directory = tempfile::tempdir().unwrap();
    let text = text(Format::Avazu);
    let mut expected = read(&write(directory.path(), &text), Format::Avazu.into());
    for record in &mut expected {
        record.clicked = false;
    }
    let path = write(directory.path(), &text.replace(",1,1410", ",maybe,1410"));
    assert_eq!(read(&path, Dialect::from(Format::Avazu).without_label()), expected);
}

#[test]
fn wrong_number_of_columns_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let row = |n_columns: usize| "\t".repeat(n_columns - 1) + "\n";
    let kaggle = || Dialect::from(Format::CriteoKaggle).without_label();
    let way_out =
        "; mend or drop line 1, or set data.bad_rows = \"skip\" to count and skip such rows";
    let expected = "expected 39 tab-separated columns, got";
    for (n_columns, what) in [
        (
            40,
            format!(
                "FILE:1:40: {expected} 40 (40 columns look like a file with labels, which are not \
                 expected here)"
            ),
        ),
        (41, format!("FILE:1:40: {expected} 41")),
        (38, format!("FILE:1:38: {expected} 38")),
    ] {
        let path = write(directory.path(), &row(n_columns));
        assert_eq!(message(&path, kaggle()), format!("{what}{way_out}"));
    }
    let labelled = "FILE:1:39: expected 40 tab-separated columns, got 39 (39 columns look like a \
                    file without labels, which \
                    cannot be used here)";
    let path = write(directory.path(), &row(39));
    assert_eq!(message(&path, Format::CriteoKaggle.into()), format!("{labelled}{way_out}"));
    assert_eq!(read(&path, kaggle()).len(), 1);

    let path = write(directory.path(), &text(Format::Kdd12));
    let kdd12 = Dialect::from(Format::Kdd12).without_label();
    let got = message(&path, kdd12);
    assert!(got.contains("expected 11 columns, got 12; mend"), "{got}");
    let path = write(directory.path(), &without_column(&text(Format::Avazu), ',', 1));
    let got = message(&path, Format::Avazu.into());
    assert!(got.contains("FILE:1:1: there is no column `click`; the columns are"), "{got}");
}
