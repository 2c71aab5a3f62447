//! What a trained model is used for: eval, predict, export, inspect.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::skip::skip;
use crate::support::{Bench, QUOTA_CODED, SMALL, failure, root, synth};

/// A bench with the rows that `small.toml` trains on as text, and a run on them.
fn trained(overrides: &[&str]) -> Bench {
    let bench = Bench::new();
    synth(&bench, 7000, "rows.tsv");
    let text = fs::read_to_string(bench.path("rows.tsv")).expect("written");
    let at = text.match_indices('\n').nth(5999).expect("a line").0 + 1;
    fs::write(bench.path("test.tsv"), &text[at..]).expect("written");
    let mut config: toml::Table = SMALL.parse().expect("TOML");
    let data = config["data"].as_table_mut().expect("a table");
    data.remove("synthetic");
    data.insert("path".to_owned(), "rows.tsv".into());
    fs::write(bench.path("small.toml"), config.to_string()).expect("written");
    bench.train("run", overrides);
    bench
}

fn json(bench: &Bench, args: &[&str]) -> Value {
    serde_json::from_str(&bench.stdout(&[args, &["--json"]].concat())).expect("JSON")
}

fn predictions(bench: &Bench, args: &[&str]) -> Vec<f64> {
    let text = bench.stdout(&[&["predict", "--run", "run", "--out", "-"], args].concat());
    text.lines().map(|line| line.parse().expect("a number")).collect()
}

const FIGURES: [&str; 6] = [
    "test_rows",
    "test_positives",
    "test_auc",
    "test_logloss",
    "test_normalised_entropy",
    "test_calibration",
];

#[test]
fn eval_repeats_the_report() {
    let bench = trained(&[]);
    let (report, _) = bench.result("run");
    let own = json(&bench, &["eval", "--run", "run"]);
    let files = json(&bench, &["eval", "--run", "run", "--data", "test.tsv", "--checkpoint", "94"]);
    for figure in FIGURES {
        assert_eq!(own[figure], report[figure], "{figure}");
        assert_eq!(files[figure], report[figure], "{figure}");
    }
    assert_eq!(own["step"], 94);
    let table = bench.stdout(&["eval", "--run", "run"]);
    assert!(table.contains("1,000, of which ") && table.contains("\nAUC "), "{table}");

    // Rows that the model was trained on, and rows that are gone.
    let all = json(&bench, &["eval", "--run", "run", "--data", "rows.tsv", "test.tsv"]);
    assert_eq!(all["test_rows"], 8000);
    fs::remove_file(bench.path("rows.tsv")).expect("it is there");
    assert_eq!(bench.trainer(&["eval", "--run", "run"]).status.code(), Some(66));
}

#[test]
fn device_can_be_chosen() {
    let bench = trained(&["engine=candle"]);
    let of = |device: &[&str]| json(&bench, &[&["eval", "--run", "run"], device].concat());
    assert_eq!(of(&["--device", "cpu"]), of(&[]), "it is there already");
    assert_eq!(bench.trainer(&["eval", "--run", "run", "--device", "gpu"]).status.code(), Some(2));
    if !cfg!(feature = "cuda") {
        let (code, message) =
            failure(&bench.trainer(&["eval", "--run", "run", "--device", "cuda:0"]));
        assert_eq!(code, 78);
        assert!(message.contains("rebuild with `--features cuda`, or use `cpu`"), "{message}");
    }
}

#[test]
fn eval_regenerates_rows() {
    let bench = Bench::new();
    let (report, _) = bench.train("run", &["train.eval_every=40"]);
    let own = json(&bench, &["eval", "--run", "run"]);
    for figure in FIGURES.iter().chain(&["best_possible_auc"]) {
        assert_eq!(own[figure], report[figure], "{figure}");
    }
    let best = json(&bench, &["eval", "--run", "run", "--checkpoint", "best"]);
    assert!(best["test_auc"].as_f64() >= own["test_auc"].as_f64(), "{best} {own}");
}

#[test]
fn predictions_have_the_auc_of_eval() {
    let bench = trained(&[]);
    let scores = predictions(&bench, &["--data", "test.tsv"]);
    let rows = fs::read_to_string(bench.path("test.tsv")).expect("written");
    let (clicked, passed): (Vec<_>, Vec<_>) =
        scores.iter().zip(rows.lines()).partition(|(_, row)| row.starts_with('1'));
    let mut won = 0.0;
    for (p, _) in &clicked {
        won += passed
            .iter()
            .map(|(n, _)| {
                if p > n {
                    1.0
                } else if p == n {
                    0.5
                } else {
                    0.0
                }
            })
            .sum::<f64>();
    }
    let auc = won / (clicked.len() * passed.len()) as f64;
    let found = json(&bench, &["eval", "--run", "run", "--data", "test.tsv"]);
    assert!((auc - found["test_auc"].as_f64().expect("a number")).abs() < 1e-12, "{auc} {found}");
    let calibration = scores.iter().sum::<f64>() / clicked.len() as f64;
    assert!((calibration - found["test_calibration"].as_f64().expect("a number")).abs() < 1e-12);

    let logits = predictions(&bench, &["--data", "test.tsv", "--logits"]);
    for (&logit, &score) in logits.iter().zip(&scores) {
        // The text of a logit is read back as the same `f32`.
        let logit = f64::from(logit as f32);
        assert!((1.0 / (1.0 + (-logit).exp()) - score).abs() < 1e-15, "{logit} {score}");
    }
}

/// Through every door, with any number of threads, and into a file or a pipe.
#[test]
fn equal_rows_get_equal_predictions() {
    let bench = trained(&[]);
    for name in ["rows.tsv.gz", "rows.tsv.zst"] {
        synth(&bench, 7000, name);
    }
    let to_file = |name: &str, out: &str| {
        let said = bench.stdout(&["predict", "--run", "run", "--data", name, "--out", out]);
        assert_eq!(said, format!("7,000 rows scored by small, step 94, to {out}\n"));
        fs::read(bench.path(out)).expect("written")
    };
    let expected = to_file("rows.tsv", "plain");
    assert_eq!(expected.split(|&byte| byte == b'\n').count(), 7001);
    assert_eq!(to_file("rows.tsv.gz", "gz"), expected);
    assert_eq!(to_file("rows.tsv.zst", "zst"), expected);
    let mut command = bench.command(&["predict", "--run", "run", "--data", "-", "--out", "-"]);
    let piped = command
        .stdin(File::open(bench.path("rows.tsv.gz")).expect("written"))
        .output()
        .expect("it starts");
    assert_eq!(piped.stdout, expected);
    assert!(fs::read_dir(bench.dir.path()).expect("readable").all(|entry| {
        !entry.expect("readable").file_name().to_string_lossy().ends_with(".partial")
    }));

    for threads in ["threads=1", "threads=4"] {
        bench.train(threads, &[threads]);
        let args = ["predict", "--run", threads, "--data", "rows.tsv", "--out", "-"];
        assert_eq!(bench.stdout(&args).into_bytes(), expected, "{threads}");
    }
}

#[test]
fn closed_reader_of_predictions_is_not_an_error() {
    let bench = trained(&[]);
    let mut command =
        bench.command(&["predict", "--run", "run", "--data", "rows.tsv", "rows.tsv", "--out", "-"]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn malformed_row_leaves_no_predictions() {
    let bench = trained(&[]);
    fs::write(
        bench.path("bad.tsv"),
        fs::read_to_string(bench.path("test.tsv")).expect("written") + "0\tx\n",
    )
    .expect("written");
    fs::write(bench.path("scores"), "those of yesterday").expect("written");
    let args = ["predict", "--run", "run", "--data", "bad.tsv", "--out", "scores"];
    let (code, message) = failure(&bench.trainer(&args));
    assert_eq!(code, 65);
    assert!(message.contains("bad.tsv:1001"), "{message}");
    assert_eq!(fs::read_to_string(bench.path("scores")).expect("there"), "those of yesterday");
}

#[test]
fn inspect_agrees_with_the_report() {
    for (method, overrides) in [
        ("cafe", &[][..]),
        ("cafe_plus", &["embedding.method=cafe_plus"]),
        ("quota-coded", &QUOTA_CODED),
        ("coded", &["embedding.method=coded"]),
        ("offline", &["embedding.method=offline"]),
        ("ada", &["embedding.method=ada", "embedding.compression=3", "data.rows=1400"]),
        ("hash", &["embedding.method=hash"]),
    ] {
        let bench = Bench::new();
        let (report, _) = bench.train("run", overrides);
        let found = json(&bench, &["inspect", "--run", "run", "--top", "3"]);
        let name = if method == "quota-coded" { "cafe" } else { method };
        assert_eq!(
            (&found["method"], &found["rows_trained"]),
            (&Value::from(name), &report["train_rows"])
        );
        for figure in ["dense_parameters", "sketch_bytes", "embedding_total_bytes"] {
            assert_eq!(found[figure], report[figure], "{method}: {figure}");
        }
        let text = bench.stdout(&["inspect", "--run", "run"]);
        if ["hash", "coded"].contains(&method) {
            assert!(found["tiers"].is_null() && text.contains("the method has no tiers"), "{text}");
            continue;
        }
        let tiers = &found["tiers"];
        for figure in ["hot_rows", "promoted", "demoted"] {
            assert_eq!(tiers[figure], report[figure], "{method}: {figure}");
        }
        let fields = tiers["fields"].as_array().expect("a list");
        let sum: u64 =
            fields.iter().map(|field| field["hot_rows"].as_u64().expect("a number")).sum();
        assert_eq!((Some(sum), fields.len()), (report["hot_rows"].as_u64(), 26), "{method}");
        let top: Vec<_> =
            fields.iter().flat_map(|field| field["top"].as_array().expect("a list")).collect();
        assert_eq!(top.is_empty(), method == "ada", "{method}: {top:?}");
        if method == "cafe" {
            assert_eq!(tiers["threshold"], 20.0);
            assert!(top.iter().all(|feature| feature["score"].as_f64() >= Some(0.0)), "{top:?}");
            let token = top.iter().find_map(|feature| feature["token"].as_str()).expect("a token");
            assert!(text.contains(token), "no {token} in {text}");
        }
    }
}

#[test]
fn missing_models_are_reported() {
    let bench = trained(&[]);
    let of = |args: &[&str]| failure(&bench.trainer(args));
    assert_eq!(
        of(&["eval", "--run", "nowhere"]),
        (66, "error: nowhere: holds no checkpoints; give the directory of a run".to_owned())
    );
    assert_eq!(
        of(&["inspect", "--run", "run", "--checkpoint", "7"]),
        (66, "error: run: holds no checkpoint of step 7, but of [94]".to_owned())
    );
    let (code, message) = of(&["eval", "--run", "run", "--checkpoint", "newest"]);
    assert!(code == 2 && message.contains("expected last, best or a step"), "{message}");
    let (code, message) = of(&["predict", "--run", "run", "--data", "gone.tsv", "--out", "scores"]);
    assert!(
        code == 66 && message.contains("gone.tsv") && !bench.path("scores").exists(),
        "{message}"
    );

    fs::create_dir(bench.path("there")).expect("made");
    let (code, message) = of(&["export", "--run", "run", "--out", "there"]);
    assert_eq!((code, &*message), (1, "error: there: exists already; give a new directory"));
    let (code, message) =
        of(&["export", "--run", "run", "--out", "export", "--max-bytes", "10 KB"]);
    assert!(
        code == 1 && message.starts_with("error: --max-bytes: the first 2048 rows have "),
        "{message}"
    );
    assert!(!bench.path("export").exists());

    for entry in fs::read_dir(bench.path("run/checkpoints")).expect("it is there") {
        for file in fs::read_dir(entry.expect("readable").path()).expect("a directory") {
            fs::write(file.expect("readable").path(), "damaged").expect("written");
        }
    }
    assert!(matches!(bench.trainer(&["eval", "--run", "run"]).status.code(), Some(65 | 66)));
}

/// The exported file is read with the safetensors crate.
#[test]
fn export_has_every_feature_and_the_network() {
    let bench = trained(&[]);
    let said = bench.stdout(&["export", "--run", "run", "--out", "export"]);
    assert!(said.contains(" features of 7,000 rows") && said.ends_with(" in export\n"), "{said}");
    let bytes = fs::read(bench.path("export/model.safetensors")).expect("written");
    let manifest = fs::read_to_string(bench.path("export/manifest.json")).expect("written");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("the crate reads it");
    let features = tensors.tensor("features").expect("there");
    let ids: Vec<u64> = features
        .data()
        .chunks_exact(8)
        .map(|id| u64::from_le_bytes(id.try_into().expect("8 bytes")))
        .collect();
    let mut expected: Vec<u64> = fs::read_to_string(bench.path("rows.tsv"))
        .expect("written")
        .lines()
        .flat_map(|row| {
            row.split('\t')
                .skip(14)
                .enumerate()
                .map(|(field, token)| id(field, token))
                .collect::<Vec<_>>()
        })
        .collect();
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(ids, expected);
    assert_eq!(tensors.tensor("rows").expect("there").shape(), [ids.len(), 8]);
    assert_eq!(tensors.tensor("network.top.1.bias").expect("there").shape(), [1]);
    assert_eq!(manifest["n_features"], ids.len());
    assert_eq!(manifest["files"][0]["n_bytes"], bytes.len());
    let mut crc = flate2::Crc::new();
    crc.update(&bytes);
    assert_eq!(manifest["files"][0]["crc32"], crc.sum());
}

fn id(field: usize, token: &str) -> u64 {
    let token =
        if token.is_empty() { 1 << 32 } else { u64::from_str_radix(token, 16).expect("hex") };
    ((field as u64) << 33) | token
}

/// Every model and every representation of rows, scored with `NumPy` in place of this program.
#[test]
fn numpy_scores_an_export_like_predict() {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_numpy =
        Command::new(&python).args(["-c", "import numpy"]).stderr(Stdio::null()).status();
    if !has_numpy.is_ok_and(|status| status.success()) {
        return skip(&format!("{python} has no NumPy; set PYTHON to one that has"));
    }
    let deep = ["model.bottom=[]", "model.top=[]", "model.deep=[16, 8]", "train.lr=0.01"];
    let kinds: [&[&str]; 7] = [
        &["model.kind=wdl"],
        &["model.kind=dcn"],
        &["model.kind=dcnv2"],
        &["model.kind=dcnv2", "model.cross_rank=4"],
        &["model.kind=deepfm"],
        &["model.kind=wdl", "embedding.method=coded", "train.optimizer=adagrad"],
        &["model.kind=deepfm", "embedding.frequency_inputs=true"],
    ];
    let kinds = kinds.map(|kind| [kind, &deep].concat());
    for overrides in kinds.iter().chain(&[vec![]]) {
        let bench = trained(overrides);
        bench.stdout(&["export", "--run", "run", "--out", "export"]);
        let (scores, _) = score(&python, &bench, "rows.tsv");
        let expected = predictions(&bench, &["--data", "rows.tsv"]);
        assert_eq!(scores.len(), expected.len(), "{overrides:?}");
        let difference =
            scores.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // Cross layers multiply their inputs by each other, up to the fourth power: what `f32`
        // rounds off grows with them.
        let has_crosses = overrides.iter().any(|set| set.starts_with("model.kind=dcn"));
        let most = if has_crosses { 1e-5 } else { 1e-6 };
        assert!(difference <= most, "{overrides:?}: {difference:e}");
        let spread = expected
            .iter()
            .fold((1.0, 0.0), |(low, high), &p| (f64::min(low, p), f64::max(high, p)));
        assert!(spread.1 - spread.0 > 0.05, "{overrides:?}: all scores are alike, {spread:?}");
    }

    // Rows with features that the export lacks are not scored.
    let bench = trained(&[]);
    bench.stdout(&["export", "--run", "run", "--out", "export", "--data", "test.tsv"]);
    let (scores, message) = score(&python, &bench, "rows.tsv");
    let expected = predictions(&bench, &["--data", "rows.tsv"]);
    assert!(scores.iter().zip(&expected).all(|(a, b)| a.is_nan() || (a - b).abs() <= 1e-6));
    let n_skipped = scores.iter().filter(|score| score.is_nan()).count();
    assert!(
        n_skipped > 0 && message.starts_with(&format!("{n_skipped} rows not scored: ")),
        "{message}"
    );
    assert!(scores[6000..].iter().all(|score| !score.is_nan()));
}

/// Bags, text tokens and a split by day; and rows as they are to be scored, without a label.
#[test]
fn other_formats_and_unlabelled_rows_are_scored() {
    for (format, label, frequencies) in
        [("criteo-kaggle", 0, false), ("avazu", 1, false), ("avazu", 1, true)]
    {
        let bench = Bench::new();
        let args = [
            "synth",
            "--rows",
            "3000",
            "--rows-per-day",
            "500",
            "--format",
            format,
            "--out",
            "rows",
        ];
        bench.stdout(&args);
        let mut config: toml::Table = SMALL.parse().expect("TOML");
        let data = format!("path = \"rows\"\nformat = \"{format}\"").parse().expect("TOML");
        config.insert("data".to_owned(), toml::Value::Table(data));
        let embedding = config["embedding"].as_table_mut().expect("a table");
        embedding.insert("compression".to_owned(), 200.into());
        embedding.insert("frequency_inputs".to_owned(), frequencies.into());
        if format == "avazu" {
            config["model"].as_table_mut().expect("a table").remove("bottom");
        }
        fs::write(bench.path("small.toml"), config.to_string()).expect("written");
        let (report, _) = bench.train("run", &[]);
        let own = json(&bench, &["eval", "--run", "run"]);
        for figure in FIGURES {
            assert_eq!(own[figure], report[figure], "{format}: {figure}");
        }
        let text = fs::read_to_string(bench.path("rows")).expect("written");
        let delimiter = if format == "avazu" { ',' } else { '\t' };
        let without = text.lines().map(|line| {
            let mut columns: Vec<_> = line.split(delimiter).collect();
            columns.remove(label);
            columns.join(&delimiter.to_string()) + "\n"
        });
        fs::write(bench.path("unlabelled"), without.collect::<String>()).expect("written");
        let scores = predictions(&bench, &["--data", "rows"]);
        assert_eq!(scores.len(), 3000, "{format}");
        assert_eq!(
            predictions(&bench, &["--data", "unlabelled", "--no-label"]),
            scores,
            "{format}"
        );
        assert_eq!(
            bench.trainer(&["eval", "--run", "run", "--data", "unlabelled"]).status.code(),
            Some(65),
            "{format}"
        );
        bench.stdout(&["export", "--run", "run", "--out", "export"]);
        bench.stdout(&[
            "export",
            "--run",
            "run",
            "--out",
            "other",
            "--data",
            "unlabelled",
            "--no-label",
        ]);
        let read =
            |dir: &str| fs::read(bench.path(dir).join("model.safetensors")).expect("written");
        assert!(read("export") == read("other"), "{format}: the same features");
    }
}

/// The scores that the script prints, and its messages.
fn score(python: &str, bench: &Bench, rows: &str) -> (Vec<f64>, String) {
    let script: &Path = &root().join("scripts/score_export.py");
    let mut command = Command::new(python);
    let output = command
        .arg(script)
        .args(["export", rows])
        .current_dir(bench.dir.path())
        .output()
        .expect("it starts");
    let scores = String::from_utf8(output.stdout).expect("UTF-8");
    let scores = scores.lines().map(|line| line.parse().expect("a number")).collect();
    (scores, String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn missing_label_does_not_change_predictions() {
    let bench = trained(&[]);
    let rows = fs::read_to_string(bench.path("test.tsv")).expect("written");
    let bare: String = rows
        .lines()
        .map(|row| row.split_once('\t').expect("columns").1.to_owned() + "\n")
        .collect();
    fs::write(bench.path("bare.tsv"), bare).expect("written");
    let expected = predictions(&bench, &["--data", "test.tsv"]);
    assert_eq!(predictions(&bench, &["--data", "bare.tsv", "--no-label"]), expected);
    let args = ["predict", "--run", "run", "--out", "-", "--data"];
    let (code, message) = failure(&bench.trainer(&[&args[..], &["bare.tsv"]].concat()));
    assert_eq!(code, 65);
    assert!(message.contains("bare.tsv:1:"), "{message}");
    assert_eq!(
        bench.trainer(&[&args[..], &["test.tsv", "--no-label"]].concat()).status.code(),
        Some(65)
    );
}
