//! Other data sets: by name, or described in the configuration alone.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::support::{Bench, SMALL, failure, lasting};

/// `small.toml` without dense inputs, on other data.
fn config(data: &str, model: &str) -> String {
    let synthetic = "synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }";
    SMALL
        .replace(synthetic, data)
        .replace("bottom = [16, 8]\n", model)
        .replace("compression = 2000", "budget = 100_000")
}

fn run(bench: &Bench, name: &str, text: &str) -> serde_json::Value {
    fs::write(bench.path(&format!("{name}.toml")), text).expect("written");
    let output = bench.trainer(&["--config", &format!("{name}.toml"), "--run-dir", name]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    bench.result(name).0
}

fn synth(bench: &Bench, format: &str, out: &str) {
    let args = [
        "synth",
        "--rows",
        "6000",
        "--seed",
        "5",
        "--rows-per-day",
        "1000",
        "--format",
        format,
        "--out",
        out,
    ];
    let output = bench.trainer(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn avazu_splits_by_day_kdd12_randomly() {
    let bench = Bench::new();
    synth(&bench, "avazu", "avazu.gz");
    let report = run(&bench, "avazu", &config("path = \"avazu.gz\"\nformat = \"avazu\"", ""));
    assert_eq!((&report["train_rows"], &report["test_rows"]), (&5000.into(), &1000.into()));
    assert!(report["test_auc"].as_f64() > Some(0.5), "{report:#}");
    assert!(bench.result("avazu").1.lines().filter(|line| line.contains("\"day\"")).count() == 5);

    synth(&bench, "kdd12", "training.txt");
    let report = run(&bench, "kdd12", &config("path = \"training.txt\"\nformat = \"kdd12\"", ""));
    let n_train = report["train_rows"].as_u64().expect("a number");
    assert!((5250..5550).contains(&n_train), "{n_train}");
    assert_eq!(report["test_rows"], 6000 - n_train);
    // A second draw trains on other rows.
    let other = config("path = \"training.txt\"\nformat = \"kdd12\"\nsplit_seed = 9", "");
    assert_ne!(run(&bench, "other", &other)["train_rows"], n_train);
}

/// Quoted cities with commas, prices with decimals, several genres a row.
fn films(n_rows: u32) -> String {
    let mut text = String::from("id,city,price,genres,rating\n");
    for row in 0..n_rows {
        let (city, price) = (row * 7 % 11, f64::from(row * 13 % 97) / 4.0);
        let genres = if row % 5 == 0 { "drama|\u{e9}pop\u{e9}e" } else { "" };
        let rating = if (city < 4) == (row % 10 != 0) { 5 } else { 2 };
        writeln!(text, "{row},\"Town {city}, \"\"upper\"\" part\",{price},{genres},{rating}")
            .expect("a string");
    }
    text
}

const FILMS: &str = r#"path = "films.csv"
format = "delimited"
[data.columns]
label = { column = "rating", at_least = 4 }
numeric = [{ column = "price", transform = "none" }]
categorical = ["city", { column = "genres", separator = "|" }]
features = [20, 10]
"#;

#[test]
fn described_table_trains() {
    let bench = Bench::new();
    fs::write(bench.path("films.csv"), films(4000)).expect("written");
    let text = config(FILMS, "bottom = [16, 8]\n");
    let report = run(&bench, "films", &text);
    assert_eq!(report["train_rows"], 3428);
    // The city decides in nine rows of ten.
    assert!(report["test_auc"].as_f64() > Some(0.8), "{report:#}");
    // A field with bags has the mean of its values' frequencies.
    let counted = text.replace("[embedding]", "[embedding]\nfrequency_inputs = true");
    assert!(run(&bench, "counted", &counted)["test_auc"].as_f64() > Some(0.8));
    // The same rows through a pipe with another compression.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, films(4000).as_bytes()).expect("memory");
    fs::write(bench.path("films.gz"), gzip.finish().expect("memory")).expect("written");
    let again = run(&bench, "again", &text.replace("films.csv", "films.gz"));
    assert_eq!(lasting(&again, &[]), lasting(&report, &[]));
}

/// What a sale is: a quoted name with a comma, a price, an item of 64 bits, and whether it was a
/// good one.
fn sale(row: i64) -> (String, f64, i64, i64) {
    let (town, price) = (row * 7 % 11, (row * 13 % 97) as f64 / 4.0);
    (
        format!("Town {town}, \"upper\" part"),
        price,
        row * row % 50 * 40_000_000_000,
        i64::from((town < 4) == (row % 10 != 0)),
    )
}

fn write_column<T: DataType>(group: &mut SerializedRowGroupWriter<'_, File>, values: &[T::T]) {
    let mut column = group.next_column().expect("written").expect("a column");
    column.typed::<T>().write_batch(values, None, None).expect("written");
    column.close().expect("written");
}

fn write_sales(n_rows: i64, csv: &Path, parquet: &Path) {
    let mut text = String::from("town,price,item,good\n");
    for (town, price, item, good) in (0..n_rows).map(sale) {
        writeln!(text, "\"{}\",{price},{item},{good}", town.replace('"', "\"\""))
            .expect("a string");
    }
    fs::write(csv, text).expect("written");
    let schema = "message sales {
        REQUIRED BYTE_ARRAY town (STRING); REQUIRED DOUBLE price; REQUIRED INT64 item; REQUIRED INT64 good;
    }";
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let mut writer =
        SerializedFileWriter::new(File::create(parquet).expect("made"), schema, Arc::default())
            .expect("made");
    for start in (0..n_rows).step_by(900) {
        let sales: Vec<_> = (start..n_rows.min(start + 900)).map(sale).collect();
        let mut group = writer.next_row_group().expect("a group");
        let towns: Vec<ByteArray> = sales.iter().map(|(town, ..)| town.as_str().into()).collect();
        write_column::<ByteArrayType>(&mut group, &towns);
        write_column::<DoubleType>(
            &mut group,
            &sales.iter().map(|sale| sale.1).collect::<Vec<_>>(),
        );
        write_column::<Int64Type>(&mut group, &sales.iter().map(|sale| sale.2).collect::<Vec<_>>());
        write_column::<Int64Type>(&mut group, &sales.iter().map(|sale| sale.3).collect::<Vec<_>>());
        group.close().expect("written");
    }
    writer.close().expect("written");
}

const SALES: &str = r#"path = "sales.csv"
format = "delimited"
[data.columns]
label = { column = "good" }
numeric = [{ column = "price", transform = "none" }]
categorical = ["town", { column = "item", kind = "integer" }]
features = [11, 50]
"#;

#[test]
fn rows_in_parquet_give_the_report_of_csv() {
    let bench = Bench::new();
    write_sales(4000, &bench.path("sales.csv"), &bench.path("sales.parquet"));
    let text = config(SALES, "bottom = [16, 8]\n");
    let report = run(&bench, "csv", &text);
    assert!(report["test_auc"].as_f64() > Some(0.8), "{report:#}");
    let text = text.replace("sales.csv", "sales.parquet").replace("\"delimited\"", "\"parquet\"");
    let other = run(&bench, "parquet", &text);
    assert_eq!((&report["data"], &other["data"]), (&"delimited".into(), &"parquet".into()));
    assert_eq!(lasting(&other, &["data"]), lasting(&report, &["data"]));
    assert_eq!(bench.result("parquet").1, bench.result("csv").1);
}

#[test]
fn terabyte_splits_by_day() {
    let bench = Bench::new();
    let args = ["synth", "--rows", "1000", "--format", "criteo-terabyte", "--out"];
    for (seed, day) in [("1", "day_0"), ("2", "day_1"), ("3", "day_2")] {
        let output = bench.trainer(&[&args[..], &[day, "--seed", seed]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let days = "path = [\"day_0\", \"day_1\", \"day_2\"]\nformat = \"criteo-terabyte\"";
    let report = run(&bench, "days", &config(days, "bottom = [16, 8]\n"));
    assert_eq!((&report["train_rows"], &report["test_rows"]), (&2000.into(), &1000.into()));
    let one = days.replace(", \"day_1\", \"day_2\"", "");
    let report = run(&bench, "one", &config(&one, "bottom = [16, 8]\n"));
    assert_eq!((&report["train_rows"], &report["test_rows"]), (&857.into(), &143.into()));
}

#[test]
fn invalid_descriptions_are_refused() {
    let bench = Bench::new();
    fs::write(bench.path("films.csv"), films(100)).expect("written");
    let cases = [
        (FILMS.replace("\"city\"", "\"town\""), 65, "town"),
        (
            FILMS.replace("format = \"delimited\"", "format = \"avazu\""),
            78,
            "data.columns: format `avazu` has columns of its own",
        ),
        (
            "path = \"films.csv\"\nformat = \"delimited\"".to_owned(),
            78,
            "data.columns: missing: format `delimited` needs",
        ),
        (
            FILMS.replace("format = \"delimited\"", "format = \"delimited\"\nsplit = \"last-day\""),
            78,
            "don't say their day",
        ),
    ];
    for (data, expected, part) in cases {
        fs::write(bench.path("a.toml"), config(&data, "bottom = [16, 8]\n")).expect("written");
        let (code, message) = failure(&bench.trainer(&["--config", "a.toml"]));
        assert_eq!(code, expected, "{message}");
        assert!(message.contains(part), "no {part} in {message}");
    }
}
