//! Whoever read our output has gone: no command panics, whichever of its outputs it was.

use std::fs;
use std::io::{PipeWriter, pipe};
use std::process::Stdio;

use crate::support::{Bench, synth};

const COMMANDS: [&str; 12] = [
    "--help",
    "--version",
    "--config small.toml --run-dir run",
    "--config absent.toml",
    "--config small.toml --set train.bacth=3",
    "plan --config small.toml",
    "scan --config small.toml",
    "scan --config small.toml --json",
    "synth --rows 20000 --seed 1 --out -",
    "sketch --skew 1.5 --slots 4 --buckets 9 --share 0.1 --features 100 --observations 100 --seeds 1",
    "sketch --sweep --features 100 --observations 100 --seeds 1",
    "bench --config small.toml --rows 2000 --seconds 0.05",
];

/// The writing end of a pipe without a reader.
fn closed() -> PipeWriter {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    writer
}

#[test]
fn closed_stdout_does_not_panic() {
    let bench = Bench::new();
    for line in COMMANDS {
        let args: Vec<_> = line.split(' ').collect();
        let output = bench
            .command(&args)
            .stdout(closed())
            .stderr(Stdio::piped())
            .output()
            .expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            !stderr.contains("internal error") && !stderr.contains("panicked"),
            "{line}: {stderr}"
        );
        // What is wrong with the arguments stays wrong.
        let expected = if line.contains("absent") || line.contains("bacth") { 78 } else { 0 };
        assert_eq!(output.status.code(), Some(expected), "{line}: {stderr}");
        let _ = fs::remove_dir_all(bench.path("run"));
    }
}

#[test]
fn closed_stdout_and_stderr_do_not_panic() {
    let bench = Bench::new();
    for line in COMMANDS {
        let args: Vec<_> = line.split(' ').collect();
        let status =
            bench.command(&args).stdout(closed()).stderr(closed()).status().expect("it starts");
        let expected = if line.contains("absent") || line.contains("bacth") { 78 } else { 0 };
        assert_eq!(status.code(), Some(expected), "{line}");
        let _ = fs::remove_dir_all(bench.path("run"));
    }
}

/// A run finishes and writes its report even if its messages are not read.
#[test]
fn run_finishes_with_closed_output() {
    let bench = Bench::new();
    let args = ["--config", "small.toml", "--run-dir", "run"];
    let status =
        bench.command(&args).stdout(closed()).stderr(closed()).status().expect("it starts");
    assert_eq!(status.code(), Some(0));
    assert!(bench.path("run/report.json").exists());
}

#[test]
fn empty_arguments_are_refused() {
    let bench = Bench::new();
    synth(&bench, 10, "rows.tsv");
    for line in [
        "",
        "--run-dir run",
        "--set a=b",
        "plan",
        "scan",
        "bench",
        "sketch",
        "synth",
        "--config",
        "--",
        "x",
    ] {
        let args: Vec<_> = line.split(' ').filter(|arg| !arg.is_empty()).collect();
        let output = bench.trainer(&args);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
