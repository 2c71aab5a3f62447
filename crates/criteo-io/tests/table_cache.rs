//! The cache of described tables, and of days.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::PathBuf;

use criteo_io::{
    CacheFault, CachePlan, Categorical, Columns, Dialect, Format, Kind, Label, Numeric, ReadError,
    Reader, Record, RecordSource, Transform,
};

fn columns() -> Columns {
    toml::from_str(
        r#"
        label = { column = "y", at_least = 3 }
        numeric = ["a", { column = "b", transform = "none" }]
        categorical = ["c", { column = "a", kind = "integer" }]
        day = { column = "day" }
        "#,
    )
    .unwrap()
}

fn table(n_rows: usize) -> String {
    let row = |n: usize| {
        format!("{},{},{},\"text, {}\",{}\n", n % 5, n * n, n as f64 / 7.0, n % 100, n / 300)
    };
    let gap = |n: usize| format!("{},,,,{}\n", n % 5, n / 300);
    let rows = (0..n_rows).map(|n| if n % 10 == 3 { gap(n) } else { row(n) });
    "y,a,b,c,day\n".to_owned() + &rows.collect::<String>()
}

fn dialect(columns: Columns) -> Dialect {
    Dialect::delimited(columns).unwrap()
}

fn records(source: &mut dyn RecordSource) -> Vec<Record> {
    let (mut record, mut all) = (Record::default(), Vec::new());
    while source.read_record(&mut record).unwrap() {
        all.push(record.clone());
    }
    all
}

fn cached(paths: &[PathBuf], dialect: impl Into<Dialect>) -> Vec<Record> {
    let plan = CachePlan::new(paths.to_vec(), dialect, None, None).unwrap();
    plan.build(&mut |_| {}).unwrap();
    records(&mut plan.open().unwrap().rows())
}

#[test]
fn cached_rows_are_the_parsed_rows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.csv");
    fs::write(&path, table(2500)).unwrap();
    let paths = [path];
    let parsed = records(&mut Reader::open(paths.to_vec(), dialect(columns())).unwrap());
    assert_eq!(parsed.len(), 2500);
    assert_eq!(parsed.last().unwrap().day, Some(8));
    assert_eq!(cached(&paths, dialect(columns())), parsed);
}

#[test]
fn cache_is_stale_for_another_description_but_not_other_sizes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.csv");
    fs::write(&path, table(10)).unwrap();
    let plan = |columns: Columns| {
        CachePlan::new(vec![path.clone()], dialect(columns), None, None).unwrap()
    };
    plan(columns()).build(&mut |_| {}).unwrap();
    plan(Columns { features: vec![100, 100], ..columns() }).open().unwrap();
    let mut others = [columns(), columns(), columns(), columns(), columns()];
    others[0].numeric[0].transform = Transform::None;
    others[1].categorical[0].kind = Kind::Integer;
    others[2].label.at_least = Some(2.0);
    others[3].numeric.push(Numeric::new("day"));
    others[4].day = None;
    for other in others {
        let fault = plan(other).open().unwrap_err();
        assert!(matches!(fault, CacheFault::Described));
        assert_eq!(fault.to_string(), "it was made by another description of the columns");
    }
    let tokens_alone =
        Columns { categorical: vec![Categorical::new("c", Kind::String)], ..columns() };
    assert_eq!(plan(tokens_alone.clone()).file(), plan(columns()).file());
    plan(tokens_alone).build(&mut |_| {}).unwrap();
    assert!(matches!(plan(columns()).open(), Err(CacheFault::Described)));
}

#[test]
fn bags_are_refused() {
    let mut bags = columns();
    bags.categorical[0].separator = Some('|');
    let error = CachePlan::new(vec!["rows.csv".into()], dialect(bags), None, None).unwrap_err();
    assert!(matches!(error, ReadError::BagsInCache));
    let expected = "rows whose fields hold several values cannot be cached; read them without a \
                    cache, or drop the \
                    separators from their description";
    assert_eq!(error.to_string(), expected);
    let plain = Columns::csv(Label::binary("y"));
    assert!(!plain.has_bags());
}

#[test]
fn days_of_files_are_cached() {
    let directory = tempfile::tempdir().unwrap();
    let paths = ["day_0", "day_1"].map(|name| directory.path().join(name));
    for (path, n_rows) in paths.iter().zip([3, 2]) {
        fs::write(path, format!("1{}\n", "\t".repeat(39)).repeat(n_rows)).unwrap();
    }
    let days = |records: &[Record]| records.iter().map(|record| record.day).collect::<Vec<_>>();
    let parsed = records(&mut Reader::open(paths.to_vec(), Format::CriteoTerabyteThird).unwrap());
    assert_eq!(days(&parsed), [Some(0), Some(0), Some(0), Some(1), Some(1)]);
    assert_eq!(cached(&paths, Format::CriteoTerabyteThird), parsed);
    assert_eq!(days(&cached(&paths[..1], Format::CriteoTerabyte)), [None; 3]);
    assert_eq!(days(&cached(&paths, Format::CriteoKaggle)), [None; 5]);
}
