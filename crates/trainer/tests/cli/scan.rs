//! `trainer scan` against what is known of the data otherwise.

use std::collections::HashSet;
use std::fs;

use serde_json::{Value, json};

use crate::support::{Bench, failure, synth};

/// What `scan` finds.
fn scan(bench: &Bench, args: &[&str]) -> Value {
    let output = bench.trainer(&[&["scan", "--json"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Without what differs from run to run.
fn lasting(mut found: Value) -> Value {
    found.as_object_mut().expect("an object").remove("seconds");
    found
}

/// Rows of a file of the small experiment.
const FILE: &str = "data.path=rows.tsv";

#[test]
fn scan_counts_generated_rows() {
    let bench = Bench::new();
    synth(&bench, 2500, "rows.tsv");
    let text = fs::read_to_string(bench.path("rows.tsv")).expect("written");
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let found = scan(&bench, &["--config", "small.toml", "--set", FILE]);
    assert_eq!(found["rows"], 2500);
    assert_eq!(found["positives"], rows.iter().filter(|row| row[0] == "1").count());
    let share =
        |column: usize| rows.iter().filter(|row| row[column].is_empty()).count() as f64 / 2500.0;
    for integer in 0..13 {
        let numbers = rows
            .iter()
            .filter_map(|row| row[1 + integer].parse::<i64>().ok())
            .map(|number| number as f64);
        let column = &found["numeric"][integer];
        assert_eq!(column["missing_share"], share(1 + integer), "I{}", integer + 1);
        assert_eq!(column["min"].as_f64(), numbers.clone().reduce(f64::min));
        assert_eq!(column["max"].as_f64(), numbers.reduce(f64::max));
    }
    for field in 0..26 {
        let values: HashSet<_> = rows.iter().map(|row| row[14 + field]).collect();
        assert_eq!(found["features"][field], values.len(), "the missing value is one of them");
        assert_eq!(found["fields"][field]["missing_share"], share(14 + field));
    }
    // Generated without a file, the same rows have days.
    let generated = scan(&bench, &["--config", "small.toml", "--set", "data.synthetic.rows=2500"]);
    assert_eq!(generated["parts"][0]["days"], json!([1000, 1000, 500]));
    for key in ["rows", "positives", "numeric", "fields", "features"] {
        assert_eq!(generated[key], found[key], "{key}");
    }
}

#[test]
fn scan_reads_an_existing_cache() {
    let bench = Bench::new();
    synth(&bench, 1200, "rows.tsv");
    let file = lasting(scan(&bench, &["--config", "small.toml", "--set", FILE]));
    let args = ["--config", "small.toml", "--set", FILE, "--set", "data.cache=true"];
    assert_eq!(lasting(scan(&bench, &args)), file);
    let n_files = || fs::read_dir(bench.dir.path()).expect("a directory").count();
    assert_eq!(n_files(), 2, "a scan builds no cache");
    assert!(bench.trainer(&[&args[..], &["--run-dir", "run"]].concat()).status.success());
    assert_eq!(n_files(), 4);
    assert_eq!(lasting(scan(&bench, &args)), file);
}

/// A described table with unknown numbers of features and no budget.
const TABLE: &str = r#"
[data]
path = "a.csv"
test_path = "b.csv"
format = "delimited"
[data.columns]
label = { column = "stars", at_least = 4 }
numeric = ["age", { column = "price", transform = "none" }]
categorical = ["city", { column = "genres", separator = "|" }]
missing = ["", "NA"]
day = { column = "time", first = 10 }
"#;

fn table() -> Bench {
    let bench = Bench::new();
    let a = "stars,age,price,city,genres,time\n5,30,-1.5,\"Aa, b\",x|y,2020-01-01 1\n1,NA,2,,x|x|NA,2020-01-01 2\n\
             4,7,,Cc,NA,2020-01-02 1\n";
    let b = "stars,age,price,city,genres,time\n3,100,NA,Cc,z|y,2020-01-03 1\n";
    fs::write(bench.path("a.csv"), a).expect("written");
    fs::write(bench.path("b.csv"), b).expect("written");
    fs::write(bench.path("table.toml"), TABLE).expect("written");
    bench
}

#[test]
fn scan_needs_no_features_or_budget() {
    let bench = table();
    let found = lasting(scan(&bench, &["--config", "table.toml", "--exact", "100"]));
    let expected = json!({
        "format": "delimited", "rows": 4, "positives": 2, "positive_share": 0.5,
        "parts": [
            {"key": "data.path", "rows": 3, "positives": 2, "days": [2, 1]},
            {"key": "data.test_path", "rows": 1, "positives": 0, "days": [1]},
        ],
        "numeric": [
            {"name": "age", "missing_share": 0.25, "min": 7.0, "max": 100.0},
            {"name": "price", "missing_share": 0.5, "min": -1.5, "max": 2.0},
        ],
        "fields": [
            {"name": "city", "missing_share": 0.25, "values_per_row": 0.75, "features": 3, "is_exact": true},
            {"name": "genres", "missing_share": 0.25, "values_per_row": 1.5, "features": 4, "is_exact": true},
        ],
        "features": [3, 4], "max_exact": 100, "standard_error": 1.04 / 256.0,
    });
    assert_eq!(found, expected);
    let text = bench.trainer(&["scan", "--config", "table.toml"]);
    let text = String::from_utf8_lossy(&text.stdout);
    assert!(text.ends_with("\n[embedding]\nfeatures = [3, 4]\n"), "{text}");
    assert!(text.contains("positives       2 (50.000 %)"), "{text}");
}

#[test]
fn unknown_features_refer_to_scan() {
    let bench = table();
    for command in [&[][..], &["plan"]] {
        let args =
            ["--config", "table.toml", "--set", "embedding.compression=2", "--set", "model.dim=4"];
        let (code, message) = failure(&bench.trainer(&[command, &args[..]].concat()));
        assert_eq!(code, 78);
        assert!(
            message.contains("embedding.features: missing")
                && message.contains("`trainer scan --config FILE`")
        );
    }
    let args = ["plan", "--config", "table.toml", "--set", "embedding.compression=2"];
    let known = ["--set", "embedding.features=[3, 4]", "--set", "embedding.method=hash"];
    let output = bench.trainer(&[&args[..], &known].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn scan_estimates_beyond_the_limit() {
    let bench = Bench::new();
    let args = ["--config", "small.toml"];
    let exact = scan(&bench, &args);
    let rough = scan(&bench, &[&args[..], &["--exact", "5000"]].concat());
    let mut n_estimated = 0;
    for (field, of_exact) in rough["fields"]
        .as_array()
        .expect("fields")
        .iter()
        .zip(exact["fields"].as_array().expect("fields"))
    {
        let [got, truth] =
            [field, of_exact].map(|field| field["features"].as_f64().expect("a number"));
        assert_eq!(of_exact["is_exact"], true);
        let is_exact = field["is_exact"].as_bool().expect("a flag");
        n_estimated += u32::from(!is_exact);
        let allowed = if is_exact { 0.0 } else { 1.0 + 4.0 * truth * 1.04 / 256.0 };
        assert!((got - truth).abs() <= allowed, "{got} against {truth}");
    }
    assert!((1..26).contains(&n_estimated), "{n_estimated}");
    // 25 MB of program and 26 estimates leave room for 2,000 values.
    let memory = 25_000_000 + 26 * 65_536 + 2_000 * 20;
    let bound = scan(&bench, &[&args[..], &["--set", &format!("max_memory={memory}")]].concat());
    assert_eq!(bound["max_exact"], 2000);
    let text = bench.trainer(&["scan", "--config", "small.toml", "--exact", "5000"]);
    let text = String::from_utf8_lossy(&text.stdout);
    assert!(text.contains("  estimated\n") && text.contains("standard error 0.41 %"), "{text}");
}

#[test]
fn scan_shares_limits_and_exit_codes() {
    let bench = Bench::new();
    let rows =
        |args: &[&str]| scan(&bench, &[&["--config", "small.toml"], args].concat())["rows"].clone();
    assert_eq!(rows(&["--rows", "1234"]), 1234);
    assert_eq!(rows(&["--set", "data.rows=99", "--rows", "1234"]), 99);
    let fails = |args: &[&str]| {
        failure(&bench.trainer(&[&["scan", "--config", "small.toml"], args].concat()))
    };
    assert_eq!(fails(&["--set", "data.format=tsv"]).0, 78);
    let (code, message) = fails(&["--set", "data.path=absent.tsv"]);
    assert_eq!(code, 66);
    assert!(
        message.contains("absent.tsv: no such file") && message.contains("data/README.md"),
        "{message}"
    );
    fs::write(bench.path("bad.tsv"), "2\t\n").expect("written");
    let (code, message) = fails(&["--set", "data.path=bad.tsv"]);
    assert_eq!(code, 65);
    assert!(message.starts_with("error: bad.tsv:1:"), "{message}");
    assert_eq!(bench.trainer(&["scan"]).status.code(), Some(2));
}

#[test]
fn scan_reads_a_pipe() {
    let bench = Bench::new();
    synth(&bench, 300, "rows.tsv");
    let mut command =
        bench.command(&["scan", "--json", "--config", "small.toml", "--set", "data.path=-"]);
    let output = command
        .stdin(fs::File::open(bench.path("rows.tsv")).expect("written"))
        .output()
        .expect("starts");
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(lasting(found), lasting(scan(&bench, &["--config", "small.toml", "--set", FILE])));
}
