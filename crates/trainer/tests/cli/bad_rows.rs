//! `data.bad_rows`: which rows are skipped, reported and refused.

use std::fs;

use crate::support::{Bench, SMALL, failure, lasting, run_args, synth};

/// Rows that are made malformed: three that train, and one that tests.
const BAD: [(usize, &str); 4] = [(0, "no row"), (700, ""), (701, "2\t"), (1999, "no row")];

/// `bad.toml` on the file `bad.tsv`, which is `rows.tsv` of 2,000 rows with some of them malformed.
fn bad_bench() -> Bench {
    let bench = Bench::new();
    let text = SMALL.replace(
        "synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }",
        "path = \"bad.tsv\"",
    );
    fs::write(bench.path("bad.toml"), text).expect("written");
    synth(&bench, 2000, "rows.tsv");
    let good = fs::read_to_string(bench.path("rows.tsv")).expect("written");
    let mut lines: Vec<_> = good.lines().collect();
    for (row, text) in BAD {
        lines[row] = text;
    }
    fs::write(bench.path("bad.tsv"), lines.join("\n") + "\n").expect("written");
    bench
}

#[test]
fn run_skips_and_reports_malformed_rows() {
    let bench = bad_bench();
    let train = |run: &str, overrides: &[&str]| {
        let output = bench.trainer(&run_args(
            "bad.toml",
            run,
            &[&["data.bad_rows=skip"], overrides].concat(),
        ));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let (report, metrics) = bench.result(run);
        assert_eq!(
            (report["train_rows"].as_u64(), report["test_rows"].as_u64()),
            (Some(1711), Some(285)),
            "{run}"
        );
        assert!(
            said.contains("training: left out 3 of 1714 rows, which are malformed (empty_line 1, too_few_columns 2)")
        );
        assert!(
            said.contains("test: left out 1 of 286 rows, which are malformed (too_few_columns 1)"),
            "{said}"
        );
        (lasting(&report, &[]), metrics)
    };
    let expected = train("plain", &[]);
    assert_eq!(train("evaluating", &["train.eval_every=10"]).0["test_auc"], expected.0["test_auc"]);
    assert_eq!(train("built", &["data.cache=true"]), expected);
    assert_eq!(train("used", &["data.cache=true"]), expected);
    let (code, message) =
        failure(&bench.trainer(&run_args("bad.toml", "strict", &["data.cache=true"])));
    assert_eq!((code, message.contains("bad.tsv:1:7: expected 40")), (65, true), "{message}");
}

#[test]
fn scan_skips_malformed_rows() {
    let bench = bad_bench();
    let scan = ["scan", "--config", "bad.toml", "--json", "--set", "data.bad_rows=skip"];
    let output = bench.trainer(&scan);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("data.path: left out 4 of 2000 rows, which are malformed"), "{said}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(found.to_string().contains("1996"), "{found}");
    assert_eq!(failure(&bench.trainer(&scan[..4])).0, 65);
}

#[test]
fn bad_row_limits_are_checked() {
    let bench = bad_bench();
    let first = "the first is bad.tsv:1:7: expected 40 tab-separated columns, got 1; check that data.format is right, or \
                 raise data.";
    for (overrides, code, parts) in [
        (
            &["data.bad_rows=skip", "data.max_bad_rows=1"][..],
            65,
            &[
                "2 of 701 rows are malformed (empty_line 1, too_few_columns 1), more than data.max_bad_rows = 1 allows",
                first,
            ][..],
        ),
        (
            &["data.bad_rows=skip", "data.max_bad_fraction=0.001"],
            65,
            &["more than data.max_bad_fraction = 0.001 allows", first],
        ),
        (
            &["data.max_bad_rows=1", "data.max_bad_fraction=0.1"],
            78,
            &[
                "data.max_bad_rows: expected with bad_rows = \"skip\" only; remove it",
                "data.max_bad_fraction: expected with bad_rows = \"skip\" only; remove it",
            ],
        ),
        (
            &["data.bad_rows=skip", "data.max_bad_fraction=1.0"],
            78,
            &["data.max_bad_fraction: expected a number from 0 to below 1, got 1"],
        ),
        (
            &["data.bad_rows=ignore"],
            78,
            &["data.bad_rows: expected one of `error`, `skip`, got `ignore`"],
        ),
    ] {
        // A run that stops at a row leaves what it has learned.
        let _ = fs::remove_dir_all(bench.path("failed"));
        let (got, message) = failure(&bench.trainer(&run_args("bad.toml", "failed", overrides)));
        assert_eq!(got, code, "{message}");
        for part in parts {
            assert!(message.contains(part), "no {part} in {message}");
        }
    }
}
