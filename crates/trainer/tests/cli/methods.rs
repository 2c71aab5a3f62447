//! Every method, model, optimizer and precision trains through the program, within its budget, or
//! reports why it cannot.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::support::{Bench, failure, lasting, models};

/// Method and a ratio that it reaches on Criteo Kaggle's features with rows of 8 values.
pub(crate) const METHODS: [(&str, f64); 10] = [
    ("full", 1.0),
    ("hash", 2000.0),
    ("qr", 500.0),
    ("mde", 6.0),
    ("ada", 3.5),
    ("offline", 2000.0),
    ("unified", 2000.0),
    ("cafe", 2000.0),
    ("cafe_plus", 2000.0),
    ("coded", 2000.0),
];

/// The list of these tests, the table of the README and the program know the same methods.
#[test]
fn every_method_is_tested_and_documented() {
    let known: BTreeSet<_> = trainer::config::methods::METHODS.iter().map(|it| it.name).collect();
    let tested: BTreeSet<_> = METHODS.iter().map(|(name, _)| *name).collect();
    assert_eq!(tested, known);
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).expect("README.md");
    for name in known {
        assert!(readme.contains(&format!("| `{name}` |")), "README.md has no line on `{name}`");
    }
}

fn train(bench: &Bench, run: &str, overrides: &[String]) -> Value {
    let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
    bench.train(run, &overrides).0
}

fn number(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap_or_else(|| panic!("{key} in {report:#}"))
}

#[test]
fn every_method_learns_within_its_budget() {
    let bench = Bench::new();
    for (method, ratio) in METHODS {
        let overrides =
            [format!("embedding.method={method}"), format!("embedding.compression={ratio}")];
        let report = train(&bench, method, &overrides);
        assert_eq!(report["method"], method);
        let (spent, budget) = (number(&report, "embedding_bytes"), number(&report, "budget_bytes"));
        assert!(spent <= budget, "{method}: {spent} of {budget}");
        // Chance is 0.5; so few rows teach little more.
        assert!(number(&report, "test_auc") > 0.53, "{method}: {report:#}");
    }
}

/// A twentieth of the bytes counts features for the network: of any method, engine and model, and
/// of data without numbers.
#[test]
fn frequencies_are_inputs_within_the_budget() {
    let bench = Bench::new();
    let counts = |run: &str, overrides: &[String]| {
        let overrides = [overrides, &["embedding.frequency_inputs=true".to_owned()]].concat();
        let report = train(&bench, run, &overrides);
        assert_eq!(report["training"]["frequency_inputs"], true, "{run}");
        assert!(number(&report, "test_auc") > 0.53, "{run}: {report:#}");
        let spent = number(&report, "embedding_bytes");
        assert!(run == "full" || spent <= number(&report, "budget_bytes"), "{run}: {spent}");
        report
    };
    for (method, ratio) in METHODS {
        let ratio = if method == "full" { ratio } else { 0.9 * ratio };
        let overrides =
            [format!("embedding.method={method}"), format!("embedding.compression={ratio}")];
        let report = counts(method, &overrides);
        let without = train(&bench, &format!("{method}-without"), &overrides);
        assert!(
            number(&report, "sketch_bytes") > number(&without, "sketch_bytes") * 0.9,
            "{method}: {report:#}"
        );
        assert_ne!(report["test_auc"], without["test_auc"], "{method}");
    }
    for (kind, overrides) in models() {
        counts(kind, &overrides);
    }
    let report = counts("candle", &["engine=candle".to_owned()]);
    assert_eq!(report["engine"], "candle");
    let text = format!(
        "[data]\npath = \"absent\"\nformat = \"avazu\"\n[embedding]\ncompression = 10\nfeatures = {:?}\n",
        [5000; 22]
    );
    std::fs::write(bench.path("avazu.toml"), text).expect("written");
    let avazu = |set: &str| {
        let sets = ["--set", "embedding.frequency_inputs=true", "--set", set];
        bench.trainer(&[&["plan", "--config", "avazu.toml"][..], &sets].concat())
    };
    for constant in ["true", "false"] {
        let output = avazu(&format!("model.constant_input={constant}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("buckets of 4 slots"),
            "{output:?}"
        );
    }
}

#[test]
fn unreachable_ratio_reports_the_highest() {
    let bench = Bench::new();
    let with_frequencies =
        ["coded", "cafe"].map(|method| (method, "embedding.frequency_inputs=true"));
    for (method, more) in
        METHODS.map(|(method, _)| (method, "threads=1")).into_iter().chain(with_frequencies)
    {
        let set = format!("embedding.method={method}");
        let plan = |ratio: &str| {
            let ratio = format!("embedding.compression={ratio}");
            bench.trainer(&[
                "plan",
                "--config",
                "small.toml",
                "--set",
                &set,
                "--set",
                &ratio,
                "--set",
                more,
            ])
        };
        let (code, message) = failure(&plan("5000000"));
        assert_eq!(code, 78, "{message}");
        let said = message.split("needs CR <= ").nth(1).and_then(|rest| rest.split(',').next());
        assert!(message.contains("n/a: ") && said.is_some(), "{method}: {message}");
        // The reported ratio works, and a higher one does not.
        let limit: f64 = said.unwrap_or_default().parse().expect("a number");
        assert!(plan(&limit.to_string()).status.success(), "{method} at {limit}");
        assert_eq!(failure(&plan(&(limit + 0.2).to_string())).0, 78, "{method} over {limit}");
    }
    // So it is where a vocabulary is small, and sizes change with the ratio.
    let methods = ["cafe", "coded"].into_iter();
    for (method, features) in
        methods.flat_map(|it| ["[150, 150, 150]", "[400, 300, 200]"].map(|features| (it, features)))
    {
        let text = format!(
            "[data]\npath = \"absent.csv\"\nformat = \"delimited\"\n[data.columns]\nlabel = {{ column = \"y\" }}\n\
             categorical = [\"a\", \"b\", \"c\"]\n[embedding]\nmethod = \"{method}\"\nfeatures = {features}\n"
        );
        std::fs::write(bench.path("few.toml"), text).expect("written");
        let plan = |ratio: f64| {
            bench.trainer(&[
                "plan",
                "--config",
                "few.toml",
                "--set",
                &format!("embedding.compression={ratio}"),
            ])
        };
        let message = failure(&plan(7000.0)).1;
        let said = message.split("needs CR <= ").nth(1).and_then(|rest| rest.split(',').next());
        let limit: f64 =
            said.and_then(|said| said.parse().ok()).unwrap_or_else(|| panic!("{message}"));
        assert!(plan(limit).status.success(), "{method}, {features} at {limit}");
    }
    // Rows of half the bytes fit in half.
    let args = ["embedding.method=full", "embedding.precision=f16", "embedding.compression=2"];
    let report = train(&bench, "half", &args.map(str::to_owned));
    assert!(number(&report, "embedding_bytes") <= number(&report, "budget_bytes"));
}

#[test]
fn unused_settings_are_reported() {
    let bench = Bench::new();
    for (overrides, told) in [
        (
            &["embedding.method=hash", "embedding.cafe.slots=8"][..],
            "[embedding.cafe] does nothing with method",
        ),
        (&["embedding.cafe.hysteresis=2.0"], "hysteresis does nothing without rule = \"quota\""),
        (
            &["embedding.unified.hashes=1"],
            "[embedding.unified] does nothing with method = \"cafe\" without cafe.cold",
        ),
        (
            &["embedding.coded.own_rows=false"],
            "[embedding.coded] does nothing with method = \"cafe\"",
        ),
        // And what does something is not.
        (&["embedding.cafe.rule=quota", "embedding.cafe.hysteresis=2.0"], ""),
        (&["embedding.cafe.cold=unified", "embedding.unified.hashes=1"], ""),
    ] {
        let sets = overrides.iter().flat_map(|one| ["--set", one]);
        let output = bench.trainer(
            &["plan", "--config", "small.toml"].into_iter().chain(sets).collect::<Vec<_>>(),
        );
        assert!(
            output.status.success(),
            "{overrides:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(told.is_empty(), !said.contains("does nothing"), "{overrides:?}: {said}");
        assert!(said.contains(told), "{overrides:?}: {said}");
    }
}

#[test]
fn every_model_learns() {
    let bench = Bench::new();
    for (kind, overrides) in models() {
        let report = train(&bench, kind, &overrides);
        assert_eq!(report["model"], kind);
        assert!(number(&report, "test_auc") > 0.53, "{kind}: {report:#}");
    }
}

#[test]
fn layer_sizes_of_another_model_are_refused() {
    let bench = Bench::new();
    let args = ["--config", "small.toml", "--set", "model.kind=dcn", "--set", "model.cross_rank=4"];
    let (code, message) = failure(&bench.trainer(&args));
    assert_eq!(code, 78);
    for part in [
        "model.bottom: expected none, as only dlrm has it, not dcn",
        "model.top: ",
        "model.cross_rank: expected none, as only dcnv2",
    ] {
        assert!(message.contains(part), "no {part} in {message}");
    }
}

#[test]
fn every_optimizer_and_precision_learns() {
    let bench = Bench::new();
    let settings = [
        ("adam", "train.optimizer=adam", "train.lr=0.003", "train.embedding_optimizer=adam"),
        ("adagrad", "train.optimizer=adagrad", "train.lr=0.03", "embedding.precision=bf16"),
        (
            "elementwise",
            "train.embedding_optimizer=adagrad",
            "train.embedding_lr=0.03",
            "embedding.precision=f16",
        ),
        (
            "narrow",
            "train.schedule.warmup_steps=20",
            "train.embedding_lr=0.2",
            "embedding.precision=i8",
        ),
    ];
    let plain = train(&bench, "plain", &[]);
    for (run, optimizer, rate, precision) in settings {
        let report = train(&bench, run, &[optimizer, rate, precision].map(str::to_owned));
        assert!(number(&report, "test_auc") > 0.53, "{run}: {report:#}");
        assert!(number(&report, "embedding_bytes") <= number(&report, "budget_bytes"), "{run}");
        assert_ne!(
            report["train_logloss"], plain["train_logloss"],
            "{run}: the settings did nothing"
        );
    }
    // Adam keeps two moments for each of a row's 8 values, and a count: 68 bytes for 32.
    let adam = bench.result("adam").0;
    let state = number(&adam, "embedding_total_bytes") - number(&plain, "embedding_total_bytes");
    let rows = number(&plain, "embedding_bytes") - number(&plain, "sketch_bytes");
    assert_eq!(state, rows / 32.0 * 68.0);
}

#[test]
fn thread_count_does_not_change_results() {
    let bench = Bench::new();
    for (method, ratio) in METHODS {
        let mut reports = [1, 2, 4].map(|threads| {
            let overrides = [
                format!("embedding.method={method}"),
                format!("embedding.compression={ratio}"),
                format!("threads={threads}"),
                "data.synthetic.rows=3000".to_owned(),
                "train.batch=400".to_owned(),
            ];
            lasting(&train(&bench, &format!("{method}-{threads}"), &overrides), &["threads"])
        });
        reports[1..].sort_by_key(ToString::to_string);
        assert!(reports.iter().all(|report| *report == reports[0]), "{method}: {reports:#?}");
    }
}

#[test]
fn run_that_exceeds_memory_is_refused() {
    let bench = Bench::new();
    let set = [
        "--set",
        "embedding.method=full",
        "--set",
        "embedding.compression=1",
        "--set",
        "max_memory=30 MB",
    ];
    for command in [&["plan", "--config", "small.toml"][..], &["--config", "small.toml"]] {
        let output = bench.trainer(&[command, &set].concat());
        let (code, message) = failure(&output);
        assert_eq!(code, 78, "{message}");
        assert!(
            message.contains("the run would hold about")
                && message.contains("30.0 MB) is max_memory"),
            "{message}"
        );
        let says_plan = String::from_utf8_lossy(&output.stdout).contains("expected peak");
        assert_eq!(says_plan, command[0] == "plan");
    }
}
