//! The program as users run it: from a file to a report.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Bench, SMALL, failure, lasting, root, synth};

#[test]
fn run_writes_config_metrics_and_report() {
    let bench = Bench::new();
    let (report, metrics) = bench.train("a", &["train.eval_every=50"]);
    for key in [
        "name",
        "method",
        "model",
        "seed",
        "train_rows",
        "test_rows",
        "test_auc",
        "test_logloss",
        "test_calibration",
        "train_logloss",
        "embedding_bytes",
        "sketch_bytes",
        "budget_bytes",
        "full_bytes",
        "compression_ratio",
        "samples_per_second",
        "phase_seconds",
        "wall_seconds",
        "peak_rss_bytes",
        "hot_rows",
        "promoted",
        "demoted",
        "best_possible_auc",
    ] {
        assert!(!report[key].is_null(), "{key} is missing: {report:#}");
    }
    assert_eq!(
        (report["train_rows"].as_u64(), report["test_rows"].as_u64()),
        (Some(6000), Some(1000))
    );
    assert!(report["test_auc"].as_f64().expect("a number") > 0.55, "it learns: {report:#}");
    assert!(report["embedding_bytes"].as_u64() <= report["budget_bytes"].as_u64());
    assert!(report["hot_rows"].as_u64() > Some(5));
    let lines: Vec<Value> =
        metrics.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let is_window = |line: &&Value| line["train_logloss"].is_f64() && line["day"].is_null();
    assert_eq!(lines.iter().filter(is_window).count(), 94 / 20 + 1);
    let (at_the_end, once) = bench.train("at-the-end", &["train.eval_every=94"]);
    assert_eq!(
        once.lines().filter(|line| line.contains("test_auc")).count(),
        1,
        "the last step is evaluated once"
    );
    // One evaluation opened the rows again and skipped to the test rows, the other continued after
    // the training rows.
    assert_eq!(lasting(&at_the_end, &[]), lasting(&report, &[]));
    let best = report["best_possible_auc"].as_f64().expect("generated rows");
    assert!((0.75..0.9).contains(&best) && report["test_auc"].as_f64() < Some(best), "{best}");
    let evaluations: Vec<_> = lines.iter().filter(|line| line["test_auc"].is_f64()).collect();
    assert_eq!(evaluations.len(), 2, "at step 50 and at the end");
    assert_eq!(evaluations[1]["test_auc"], report["test_auc"]);

    let resolved = bench.trainer(&["--config", "a/config.toml", "--run-dir", "b"]);
    assert!(resolved.status.success());
    assert_eq!(
        lasting(&bench.result("b").0, &[]),
        lasting(&report, &[]),
        "the resolved configuration says it all"
    );
}

#[test]
fn evaluation_does_not_change_training() {
    let bench = Bench::new();
    let (often, _) = bench.train("a", &["train.eval_every=10"]);
    let (once, _) = bench.train("b", &[]);
    assert_eq!(lasting(&often, &[]), lasting(&once, &[]));
}

/// Whatever the number of threads.
#[test]
fn equal_runs_write_equal_files() {
    let bench = Bench::new();
    // A batch of 256 is cut into four shards, so the order of their sums matters.
    for overrides in [
        &["train.batch=256"][..],
        &["embedding.method=hash"],
        &["train.optimizer=adagrad", "train.lr=0.02", "train.batch=300"],
        &["engine=candle", "train.batch=256"],
        &["precision=bf16-emulated", "train.batch=256"],
    ] {
        let mut runs = Vec::new();
        for threads in ["1", "2", "4", "2"] {
            let threads = format!("threads={threads}");
            let run_dir =
                format!("run-{}-{}", runs.len(), overrides.join("-").replace(['=', '.'], "-"));
            let (report, metrics) = bench.train(&run_dir, &[overrides, &[&threads]].concat());
            runs.push((lasting(&report, &["threads"]), metrics));
        }
        assert!(runs.iter().all(|run| *run == runs[0]), "{overrides:?}: {runs:#?}");
    }
}

#[test]
fn seeds_differ() {
    let bench = Bench::new();
    let auc = |run: &str, set: &str| bench.train(run, &[set]).0["test_auc"].as_f64();
    let aucs = [auc("a", "seed=1"), auc("b", "seed=2"), auc("c", "data.synthetic.seed=77")];
    assert!(aucs[0] != aucs[1] && aucs[1] != aucs[2] && aucs[0] != aucs[2], "{aucs:?}");
}

/// The same rows from files, pipes and compressed files give the same report to the last digit, and
/// so do the generated rows that were never written as text.
#[test]
fn every_input_form_gives_the_same_report() {
    let bench = Bench::new();
    for name in ["rows.tsv", "rows.tsv.gz", "rows.tsv.zst"] {
        synth(&bench, 7000, name);
    }
    let text = fs::read_to_string(bench.path("rows.tsv")).expect("written");
    let at = text.match_indices('\n').nth(2499).expect("a line").0 + 1;
    fs::write(bench.path("part-1"), &text[..at]).expect("written");
    fs::write(bench.path("part-2"), text[at..].trim_end()).expect("written");

    let table: toml::Table = SMALL.parse().expect("TOML");
    let mut from_files = table.clone();
    from_files["data"].as_table_mut().expect("a table").remove("synthetic");
    fs::write(bench.path("files.toml"), from_files.to_string()).expect("written");
    let train = |run: &str, path: &str, more: &[&str]| {
        let set = format!("data.path={path}");
        let mut command =
            bench.command(&["--config", "files.toml", "--run-dir", run, "--set", &set]);
        let mut child = command
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut stdin = child.stdin.take().expect("piped");
        if path == "-" {
            stdin.write_all(text.as_bytes()).expect("the program reads on");
        }
        drop(stdin);
        let output = child.wait_with_output().expect("ends");
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        let (report, metrics) = bench.result(run);
        (lasting(&report, &["data", "best_possible_auc"]), metrics)
    };
    let (report, metrics) = bench.train("generated", &[]);
    // Criteo's files have no marks between days.
    let metrics: String =
        metrics.split_inclusive('\n').filter(|line| !line.contains("\"day\"")).collect();
    let expected = (lasting(&report, &["data", "best_possible_auc"]), metrics);
    assert_eq!(train("plain", "rows.tsv", &[]), expected);
    assert_eq!(train("gzip", "rows.tsv.gz", &[]), expected);
    assert_eq!(train("zstd", "rows.tsv.zst", &[]), expected);
    assert_eq!(train("parts", "[\"part-1\", \"part-2\"]", &[]), expected);
    assert_eq!(train("stdin", "-", &["--set", "data.rows=7000"]), expected);
    #[cfg(unix)]
    {
        let made = std::process::Command::new("mkfifo")
            .arg(bench.path("pipe"))
            .status()
            .expect("mkfifo runs");
        assert!(made.success());
        let (pipe, gzip) =
            (bench.path("pipe"), fs::read(bench.path("rows.tsv.gz")).expect("written"));
        let writer =
            std::thread::spawn(move || fs::write(pipe, gzip).expect("the program reads on"));
        assert_eq!(train("fifo", "pipe", &["--set", "data.rows=7000"]), expected);
        writer.join().expect("it wrote");
    }

    let head = text.match_indices('\n').nth(5999).expect("a line").0 + 1;
    fs::write(bench.path("train"), &text[..head]).expect("written");
    fs::write(bench.path("test"), &text[head..]).expect("written");
    assert_eq!(train("test-path", "train", &["--set", "data.test_path=test"]), expected);
}

#[test]
fn every_setting_trains_within_its_budget() {
    let bench = Bench::new();
    let settings: [&[&str]; 9] = [
        &["engine=candle"],
        &["precision=bf16-emulated"],
        &["embedding.method=full", "embedding.compression=1"],
        &["embedding.method=hash"],
        &["embedding.method=hash", "embedding.budget=300 KB"],
        &["embedding.cafe.multi_level=true"],
        &["embedding.cafe.victim=last-slot"],
        &["embedding.cafe.victim=lightest", "embedding.cafe.importance=frequency"],
        &["train.optimizer=adagrad", "train.lr=0.02", "train.epochs=2"],
    ];
    for (number, overrides) in settings.iter().enumerate() {
        let (report, _) = bench.train(&format!("run-{number}"), overrides);
        assert!(report["test_auc"].as_f64().expect("a number") > 0.54, "{overrides:?}: {report:#}");
        assert!(
            report["embedding_bytes"].as_u64() <= report["budget_bytes"].as_u64(),
            "{overrides:?}"
        );
        if overrides.contains(&"embedding.budget=300 KB") {
            assert_eq!(report["budget_bytes"].as_u64(), Some(300_000));
        }
        let rows = if overrides.contains(&"train.epochs=2") { 12_000 } else { 6000 };
        assert_eq!(report["train_rows"].as_u64(), Some(rows));
    }
}

#[test]
fn finished_run_is_not_overwritten() {
    let bench = Bench::new();
    bench.train("a", &["data.rows=700"]);
    let again = bench.trainer(&["--config", "small.toml", "--run-dir", "a"]);
    let (code, message) = crate::support::failure(&again);
    assert_eq!(code, 1);
    assert_eq!(
        message,
        "error: a: holds a finished run; give another --run-dir, remove it, or continue it with \
         --resume and more train.epochs"
    );
    for expected in ["small", "small-2"] {
        let output = bench.trainer(&["--config", "small.toml", "--set", "data.rows=700"]);
        assert!(output.status.success());
        assert!(bench.path("runs").join(expected).join("report.json").exists());
    }
}

#[test]
fn plan_prints_the_official_sizes() {
    let bench = Bench::new();
    for (ratio, expected) in [
        (10, ["964,645 rows", "1,688,128 rows", "206 rows", "46,302,960 B", "216,093,616 B"]),
        (100, ["135,050 rows", "101,296 rows", "50 rows", "6,482,400 B", "21,611,744 B"]),
        (1000, ["15,434 rows", "6,772 rows", "0 rows", "740,832 B", "2,162,016 B"]),
        (10_000, ["1,736 rows", "359 rows", "0 rows", "83,328 B", "217,408 B"]),
    ] {
        let config = root().join(format!("configs/kaggle_{ratio}x.toml"));
        let output = bench.trainer(&["plan", "--config", config.to_str().expect("UTF-8")]);
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        for number in expected.iter().chain(&["2,160,804,928 B", "475,985 parameters"]) {
            assert!(text.contains(number), "CR {ratio}: no {number} in\n{text}");
        }
    }
}

/// The files of a directory of the repository.
fn files(dir: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(dir)).expect("it is there");
    entries.map(|entry| entry.expect("readable").path()).filter(|path| path.is_file()).collect()
}

#[test]
fn repository_configs_can_be_planned() {
    let bench = Bench::new();
    let configs = files("configs");
    assert!(configs.len() >= 6);
    for path in configs {
        for method in ["coded", "cafe", "cafe_plus", "hash", "offline", "unified", "full"] {
            let set = format!("embedding.method={method}");
            let config = path.to_str().expect("UTF-8");
            // The full table of Terabyte does not fit everywhere.
            let args = ["plan", "--config", config, "--set", &set, "--set", "max_memory=1000 GB"];
            let whole =
                if method == "full" { &["--set", "embedding.compression=1"][..] } else { &[] };
            let output = bench.trainer(&[&args, whole].concat());
            assert!(
                output.status.success(),
                "{}: {}",
                path.display(),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn repository_sweeps_can_be_planned() {
    let bench = Bench::new();
    let sweeps = files("configs/sweeps");
    assert!(sweeps.len() >= 6);
    for path in sweeps {
        let output = bench.trainer(&["sweep", path.to_str().expect("UTF-8"), "--dry-run"]);
        assert!(
            output.status.success(),
            "{}: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(" runs: 0 finished, "),
            "{}",
            path.display()
        );
    }
}

#[test]
fn bench_times_training_and_prediction() {
    let bench = Bench::new();
    let output = bench.trainer(&[
        "bench",
        "--config",
        "small.toml",
        "--json",
        "--rows",
        "2000",
        "--seconds",
        "0.05",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let measured: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for key in ["train_samples_per_second", "predict_samples_per_second"] {
        assert!(measured[key].as_f64() > Some(0.0), "{key}: {measured:#}");
    }
    assert_eq!(measured["rows"].as_u64().map(|rows| rows % 64), Some(0), "whole batches");
    let too_few = bench.trainer(&["bench", "--config", "small.toml", "--rows", "20"]);
    assert!(failure(&too_few).1.contains("too few rows for a batch of 64: give more --rows"));
    assert_eq!(
        failure(&bench.trainer(&["bench", "--config", "small.toml", "--seconds", "-1"])).0,
        2
    );
    assert!(!bench.path("runs").exists());
}

#[test]
fn sketch_compares_bound_and_experiment() {
    let bench = Bench::new();
    let args = ["sketch", "--skew", "1.5", "--slots", "4", "--buckets", "200", "--share", "0.001"];
    let output = bench.trainer(
        &[&args[..], &["--features", "10000", "--observations", "50000", "--seeds", "2"]].concat(),
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let number = |label: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(label)).expect("a line");
        line[label.len()..].split_whitespace().next().expect("a word").parse().expect("a number")
    };
    assert!(number("held, measured") >= number("  for Zipf"), "{text}");
    assert!(number("  for Zipf") > 0.5, "{text}");
}

#[test]
fn sketch_sweep_writes_json() {
    let bench = Bench::new();
    let args =
        ["sketch", "--sweep", "--features", "30000", "--observations", "100000", "--seeds", "2"];
    let output = bench.trainer(&[&args[..], &["--out", "sweep.json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "written  sweep.json\n");
    let found: Value =
        serde_json::from_slice(&fs::read(bench.path("sweep.json")).expect("written"))
            .expect("JSON");
    let settings = json!({"format": 1, "skew": 1.1, "features": 30_000, "observations": 100_000, "seeds": [0, 1]});
    for (key, value) in settings.as_object().expect("an object") {
        assert_eq!(&found[key], value, "{key}");
    }
    let entries = |list: &str, keys: &str| -> Vec<Value> {
        let entries = found[list].as_array().expect("a list").clone();
        for entry in &entries {
            let mut found: Vec<_> =
                entry.as_object().expect("an object").keys().map(String::as_str).collect();
            found.sort_unstable();
            assert_eq!(found.join(" "), keys, "{list}");
            let recall = entry.get("recall").map(|recall| recall.as_f64().expect("a number"));
            assert!(recall.is_none_or(|recall| (0.0..=1.0).contains(&recall)), "{entry}");
        }
        entries
    };
    let recall = entries("recall", "bound bytes recall seed slots top");
    assert_eq!((recall.len(), found.as_object().map(serde_json::Map::len)), (2 * 4 * 6, Some(8)));
    assert!(
        recall.iter().any(|entry| entry["bound"].is_null())
            && recall.iter().any(|entry| entry["bound"].is_f64())
    );
    let of_size = |slots: &Value, bytes: u64| {
        let entry =
            recall.iter().find(|entry| &entry["slots"] == slots && entry["bytes"] == json!(bytes));
        entry.expect("such a size")["recall"].as_f64()
    };
    assert!(
        recall
            .iter()
            .all(|entry| of_size(&entry["slots"], 384 << 10) >= of_size(&entry["slots"], 12 << 10))
    );
    assert_eq!(
        entries("drift", "bytes decay observations recall seed slots top").len(),
        2 * 4 * 2 * 32
    );
    let speed = entries("speed", "bytes estimate_per_second observe_per_second slots");
    assert_eq!(speed.len(), 4 * 6);
    assert!(
        speed.iter().all(|entry| entry["observe_per_second"].as_f64() > Some(0.0)),
        "{speed:?}"
    );

    let text = String::from_utf8(bench.trainer(&args).stdout).expect("UTF-8");
    assert!(
        text.starts_with("Zipf(1.1) over 30,000 features, 100,000 observations, 2 streams\n"),
        "{text}"
    );
    assert!(text.contains("384 kB") && !text.contains('{'), "{text}");
}

#[test]
fn closed_pipe_is_not_an_error() {
    let bench = Bench::new();
    let mut command = bench.command(&["synth", "--rows", "1000000", "--out", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
        (Some(0), "")
    );
}

#[test]
fn synth_compresses_by_extension() {
    let bench = Bench::new();
    for name in ["a.tsv", "a.tsv.gz", "a.tsv.zst"] {
        synth(&bench, 500, name);
    }
    let plain = fs::read(bench.path("a.tsv")).expect("written");
    assert_eq!(plain.split(|&b| b == b'\n').count() - 1, 500);
    let stdout = bench
        .trainer(&["synth", "--rows", "500", "--seed", "5", "--rows-per-day", "1000", "--out", "-"])
        .stdout;
    assert_eq!(stdout, plain);
    let open = |name: &str| fs::File::open(bench.path(name)).expect("written");
    let gzip =
        std::io::read_to_string(flate2::read::GzDecoder::new(open("a.tsv.gz"))).expect("gzip");
    assert_eq!(gzip.as_bytes(), plain);
    assert_eq!(zstd::decode_all(open("a.tsv.zst")).expect("zstd"), plain);
}
