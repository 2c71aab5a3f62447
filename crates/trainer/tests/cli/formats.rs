//! Other data sets: by name, or described in the configuration alone.

use std::fmt::Write as _;
use std::fs;

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
    let args = ["synth", "--rows", "6000", "--seed", "5", "--rows-per-day", "1000", "--format", format, "--out", out];
    let output = bench.trainer(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn avazu_is_split_by_day_and_kdd12_by_lot() {
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
        writeln!(text, "{row},\"Town {city}, \"\"upper\"\" part\",{price},{genres},{rating}").expect("a string");
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
fn a_table_that_only_the_configuration_describes_trains() {
    let bench = Bench::new();
    fs::write(bench.path("films.csv"), films(4000)).expect("written");
    let text = config(FILMS, "bottom = [16, 8]\n");
    let report = run(&bench, "films", &text);
    assert_eq!(report["train_rows"], 3428);
    // The city decides in nine rows of ten.
    assert!(report["test_auc"].as_f64() > Some(0.8), "{report:#}");
    // The same through a pipe of another compression: the rows are what counts.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, films(4000).as_bytes()).expect("memory");
    fs::write(bench.path("films.gz"), gzip.finish().expect("memory")).expect("written");
    let again = run(&bench, "again", &text.replace("films.csv", "films.gz"));
    assert_eq!(lasting(&again, &[]), lasting(&report, &[]));
}

#[test]
fn descriptions_that_cant_be_right_say_so() {
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
