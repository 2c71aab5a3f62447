//! The same rows as CSV and as Parquet are the same records.
#![cfg(feature = "parquet")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use criteo_io::{Columns, Dialect, ReadError, Reader, Record, RecordSource};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

const SCHEMA: &str = "message rows {
    REQUIRED INT32 click;
    OPTIONAL INT64 age;
    REQUIRED DOUBLE unused;
    OPTIONAL DOUBLE price;
    OPTIONAL BYTE_ARRAY city (STRING);
    OPTIONAL INT64 item;
    REQUIRED BYTE_ARRAY time (STRING);
}";

const N_ROWS: i64 = 1000;
const GROUP: i64 = 300;

fn columns(day: bool) -> Columns {
    let day = if day { "day = { column = \"time\", first = 2 }" } else { "" };
    let text = format!(
        r#"
        label = {{ column = "click" }}
        numeric = ["age", {{ column = "price", transform = "none" }}]
        categorical = ["city", {{ column = "item", kind = "integer" }}]
        {day}
        "#
    );
    toml::from_str(&text).unwrap()
}

fn age(row: i64) -> Option<i64> {
    (row % 3 > 0).then_some(row - 5)
}
fn price(row: i64) -> Option<f64> {
    (row % 5 > 0).then_some(row as f64 / 7.0 - 20.0)
}
fn city(row: i64) -> Option<String> {
    (row % 7 > 0).then(|| format!("town, \"{}\"", row % 11))
}
fn item(row: i64) -> Option<i64> {
    (row % 4 > 0).then_some((row - 500) * 40_000_000)
}
fn time(row: i64) -> String {
    format!("{:02} h", row / 150)
}

fn write_csv(path: &Path) {
    let show = |value: Option<String>| value.unwrap_or_default();
    let mut text = String::from("click,age,unused,price,city,item,time\n");
    for row in 0..N_ROWS {
        let city = city(row).map(|city| format!("\"{}\"", city.replace('"', "\"\"")));
        let [age, price] =
            [age(row).map(|it| it.to_string()), price(row).map(|it| it.to_string())].map(show);
        let [city, item] = [city, item(row).map(|it| it.to_string())].map(show);
        writeln!(text, "{},{age},0.5,{price},{city},{item},{}", row % 2, time(row)).unwrap();
    }
    fs::write(path, text).unwrap();
}

fn write_parquet(path: &Path) {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let mut writer =
        SerializedFileWriter::new(File::create(path).unwrap(), schema, Arc::default()).unwrap();
    for start in (0..N_ROWS).step_by(GROUP as usize) {
        let rows: Vec<i64> = (start..N_ROWS.min(start + GROUP)).collect();
        let mut group = writer.next_row_group().unwrap();
        macro_rules! column {
            ($kind:ty, $value:expr, $is_optional:expr) => {
                let all: Vec<Option<_>> = rows.iter().copied().map($value).collect();
                let levels: Vec<i16> = all.iter().map(|value| i16::from(value.is_some())).collect();
                let values: Vec<_> = all.into_iter().flatten().collect();
                let mut column = group.next_column().unwrap().unwrap();
                let levels = $is_optional.then_some(&levels[..]);
                column.typed::<$kind>().write_batch(&values, levels, None).unwrap();
                column.close().unwrap();
            };
        }
        column!(Int32Type, |row| Some((row % 2) as i32), false);
        column!(Int64Type, age, true);
        column!(DoubleType, |_| Some(0.5), false);
        column!(DoubleType, price, true);
        column!(ByteArrayType, |row| city(row).map(|city| ByteArray::from(city.as_str())), true);
        column!(Int64Type, item, true);
        column!(ByteArrayType, |row| Some(ByteArray::from(time(row).as_str())), false);
        group.close().unwrap();
    }
    writer.close().unwrap();
}

fn files() -> (tempfile::TempDir, [PathBuf; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["rows.csv", "rows.parquet"].map(|name| directory.path().join(name));
    write_csv(&paths[0]);
    write_parquet(&paths[1]);
    (directory, paths)
}

fn dialects(day: bool) -> [Dialect; 2] {
    ["delimited", "parquet"].map(|name| Dialect::new(name, Some(columns(day))).unwrap())
}

fn records(path: &Path, dialect: Dialect, n_skipped: u64) -> Vec<Record> {
    // Twice the file: the second time begins where the first ended.
    let mut reader = Reader::open(vec![path.to_owned(); 2], dialect).unwrap();
    assert_eq!(reader.skip_records(n_skipped).unwrap(), n_skipped);
    let (mut record, mut all) = (Record::default(), Vec::new());
    while reader.read_record(&mut record).unwrap() {
        all.push(record.clone());
    }
    all
}

#[test]
fn parquet_records_equal_csv_records() {
    let (_directory, [csv, parquet]) = files();
    for day in [false, true] {
        let [as_text, as_parquet] = dialects(day);
        for n_skipped in [0, 1, 299, 300, 301, 1000, 1750] {
            let expected = records(&csv, as_text.clone(), n_skipped);
            assert_eq!(expected.len() as u64, 2 * N_ROWS as u64 - n_skipped);
            assert_eq!(
                records(&parquet, as_parquet.clone(), n_skipped),
                expected,
                "{n_skipped} skipped"
            );
        }
        let list = [parquet.clone()];
        assert_eq!(as_parquet.count_rows(&list, None).unwrap(), 1000);
        assert_eq!(as_parquet.count_rows(&list, Some(450)).unwrap(), 450);
        assert_eq!(
            as_parquet.count_days(&list, None).unwrap(),
            as_text.count_days(std::slice::from_ref(&csv), None).unwrap()
        );
    }
}

#[test]
fn invalid_parquet_files_are_refused() {
    let (_directory, [csv, parquet]) = files();
    let mut record = Record::default();
    let [_, dialect] = dialects(false);
    let mut reader = Reader::open(vec![csv], dialect).unwrap();
    let error = reader.read_record(&mut record).unwrap_err();
    assert!(matches!(&error, ReadError::Parquet { .. }) && error.is_data_error(), "{error}");
    assert!(!reader.read_record(&mut record).unwrap(), "after an error the stream is over");
    let mut other = columns(false);
    other.label.column = "clicks".into();
    let dialect = Dialect::new("parquet", Some(other)).unwrap();
    let unlabelled = records(&parquet, dialect.clone().without_label(), 0);
    let mut expected = records(&parquet, dialects(false)[1].clone(), 0);
    for record in &mut expected {
        record.clicked = false;
    }
    assert_eq!(unlabelled, expected);
    let error = Reader::open(vec![parquet], dialect)
        .unwrap()
        .read_record(&mut record)
        .unwrap_err()
        .to_string();
    assert!(error.contains("there is no column `clicks`"), "{error}");
    let text = Columns { delimiter: ';', ..columns(false) };
    let error = Dialect::new("parquet", Some(text)).unwrap_err().to_string();
    assert_eq!(error, "delimiter: files of format `parquet` are no text; remove it");
}
