//! Shared by the end-to-end tests: a small experiment, and the program run on it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A tiny network on generated rows: a run takes a second even in a debug build.
pub(crate) const SMALL: &str = r#"
name = "small"
seed = 3
threads = 2
[data]
synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }
[model]
dim = 8
bottom = [16, 8]
top = [16, 1]
[embedding]
method = "cafe"
compression = 2000
[embedding.cafe]
threshold = 20.0
[train]
optimizer = "sgd"
batch = 64
log_every = 20
"#;

/// A directory with a configuration in it.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("small.toml"), SMALL).expect("written");
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program in this directory, without standard input.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .env("RUST_LOG", "info");
        command
    }

    pub(crate) fn trainer(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the program starts")
    }

    /// Standard output of a command that must succeed.
    pub(crate) fn stdout(&self, args: &[&str]) -> String {
        let output = self.trainer(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Trains `small.toml` with overrides; returns the report and the metrics file.
    pub(crate) fn train(&self, run_dir: &str, overrides: &[&str]) -> (Value, String) {
        let output = self.trainer(&run_args("small.toml", run_dir, overrides));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self.result(run_dir)
    }

    /// The report and the metrics file of a finished run.
    pub(crate) fn result(&self, run_dir: &str) -> (Value, String) {
        let read = |name: &str| {
            std::fs::read_to_string(self.path(run_dir).join(name)).expect("it is there")
        };
        (serde_json::from_str(&read("report.json")).expect("JSON"), read("metrics.jsonl"))
    }
}

/// The arguments that train `config` with overrides.
pub(crate) fn run_args<'a>(
    config: &'a str,
    run_dir: &'a str,
    overrides: &'a [impl AsRef<str>],
) -> Vec<&'a str> {
    let sets = overrides.iter().flat_map(|text| ["--set", text.as_ref()]);
    ["--config", config, "--run-dir", run_dir].into_iter().chain(sets).collect()
}

/// The overrides of `small.toml` for each model: layer sizes in place of those of DLRM, and a
/// learning rate that suits all.
pub(crate) fn models() -> impl Iterator<Item = (&'static str, Vec<String>)> {
    trainer::config::models::MODELS.iter().map(|entry| {
        let mut overrides = vec![format!("model.kind={}", entry.name), "train.lr=0.01".to_owned()];
        if entry.keys.contains(&"deep") {
            overrides.extend(
                ["model.bottom=[]", "model.top=[]", "model.deep=[16, 16]"].map(str::to_owned),
            );
        }
        (entry.name, overrides)
    })
}

/// CAFE with all that its options have beside the published settings: a quota, randomised eviction,
/// a coded shared table.
pub(crate) const QUOTA_CODED: [&str; 7] = [
    "embedding.method=cafe",
    "embedding.precision=i8",
    "embedding.cafe.cold=coded",
    "embedding.cafe.shared_share=0.9",
    "embedding.cafe.rule=quota",
    "embedding.cafe.slots=8",
    "embedding.cafe.victim=by-chance",
];

/// Writes generated rows with `trainer synth`.
pub(crate) fn synth(bench: &Bench, rows: u64, name: &str) {
    let rows = rows.to_string();
    let output = bench.trainer(&[
        "synth",
        "--rows",
        &rows,
        "--seed",
        "5",
        "--rows-per-day",
        "1000",
        "--out",
        name,
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The reproducible part of a report: without times and memory, which differ between equal runs.
pub(crate) fn lasting(report: &Value, also_without: &[&str]) -> Value {
    let mut report = report.clone();
    let fields = report.as_object_mut().expect("an object");
    let times = [
        "samples_per_second",
        "phase_seconds",
        "wall_seconds",
        "evaluation_seconds",
        "peak_rss_bytes",
    ];
    for key in times.iter().chain(also_without) {
        fields.remove(*key);
    }
    report
}

/// The exit code and the message of a command that must fail.
pub(crate) fn failure(output: &Output) -> (i32, String) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let message = stderr
        .lines()
        .skip_while(|line| !line.starts_with("error: "))
        .collect::<Vec<_>>()
        .join("\n");
    (output.status.code().expect("an exit code"), message)
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
