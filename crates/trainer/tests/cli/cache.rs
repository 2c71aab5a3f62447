//! `data.cache`: the same digits, and no harm whatever happens to the cache.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use crate::support::{Bench, SMALL, failure, lasting, run_args, synth};

/// `files.toml`, which is `small.toml` on the file `rows.tsv`; and that file.
fn files_bench() -> Bench {
    let bench = Bench::new();
    let text = SMALL.replace(
        "synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }",
        "path = \"rows.tsv\"",
    );
    fs::write(bench.path("files.toml"), text).expect("written");
    synth(&bench, 7000, "rows.tsv");
    bench
}

/// Trains `files.toml` with overrides; returns the results and the messages.
fn train(bench: &Bench, run: &str, overrides: &[&str]) -> ((Value, String), String) {
    ended(bench, run, &bench.trainer(&run_args("files.toml", run, overrides)))
}

fn ended(bench: &Bench, run: &str, output: &Output) -> ((Value, String), String) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let (report, metrics) = bench.result(run);
    ((lasting(&report, &[]), metrics), said)
}

/// The one cache in `directory`.
fn cache_in(bench: &Bench, directory: &str) -> PathBuf {
    let entries = fs::read_dir(bench.path(directory)).expect("a directory");
    let paths = entries.map(|entry| entry.expect("readable").path());
    let mut caches: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "rows")).collect();
    assert_eq!(caches.len(), 1, "{caches:?}");
    caches.remove(0)
}

#[test]
fn cached_run_is_bit_identical() {
    let bench = files_bench();
    synth(&bench, 7000, "rows.tsv.gz");
    let text = fs::read_to_string(bench.path("rows.tsv")).expect("written");
    let at = text.match_indices('\n').nth(5999).expect("a line").0 + 1;
    fs::write(bench.path("part-1"), &text[..at]).expect("written");
    fs::write(bench.path("part-2"), &text[at..]).expect("written");
    for (number, overrides) in [
        &["data.path=rows.tsv"][..],
        &["data.path=rows.tsv.gz", "train.epochs=2", "train.eval_every=60"],
        &["data.path=[\"part-1\", \"part-2\"]", "data.rows=3500", "data.format=criteo-terabyte"],
        &["data.path=part-1", "data.test_path=part-2", "train.eval_every=60"],
        &["data.path=rows.tsv", "engine=candle", "train.batch=300"],
    ]
    .into_iter()
    .enumerate()
    {
        let (expected, said) = train(&bench, &format!("{number}-plain"), overrides);
        assert!(!said.contains("cache"), "{said}");
        let dir = format!("data.cache_dir=caches-{number}");
        let cached = [overrides, &["data.cache=true", &dir]].concat();
        let (built, said) = train(&bench, &format!("{number}-built"), &cached);
        assert_eq!(built, expected, "{overrides:?}, built");
        assert!(said.contains("caching the rows in") && said.contains(" B ("), "{said}");
        let (used, said) = train(&bench, &format!("{number}-used"), &cached);
        assert_eq!(used, expected, "{overrides:?}, used");
        assert!(said.contains("rows cached in") && !said.contains("caching the rows"), "{said}");
        assert!(!said.contains("counting rows"), "the cache knows how many there are: {said}");
    }
}

#[test]
fn damaged_or_stale_cache_is_rebuilt() {
    let bench = files_bench();
    let cached = ["data.cache=true"];
    let (expected, said) = train(&bench, "built", &cached);
    assert!(said.contains("caching the rows in rows.tsv."), "beside the file: {said}");
    let cache = cache_in(&bench, ".");
    let good = fs::read(&cache).expect("a cache");
    let replace = |bytes: &[u8]| {
        fs::remove_file(&cache).expect("it is there");
        fs::write(&cache, bytes).expect("written");
    };
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 4;
    for (number, (bytes, reason)) in [
        (&flipped[..], "rows 3072 to 4095 are damaged"),
        (&good[..900_000], "bytes and should have"),
        (b"", "damaged"),
    ]
    .into_iter()
    .enumerate()
    {
        replace(bytes);
        let (got, said) = train(&bench, &format!("mended-{number}"), &cached);
        assert!(
            said.contains("WARN") && said.contains(reason) && said.contains("rebuilding it"),
            "{said}"
        );
        assert_eq!(got, expected, "{reason}");
        assert_eq!(fs::read(&cache).expect("a cache"), good, "{reason}");
    }
    synth(&bench, 3500, "rows.tsv");
    let (fewer, said) = train(&bench, "changed", &cached);
    assert!(said.contains("rows.tsv has changed since it was made; rebuilding it"), "{said}");
    assert_eq!(fewer, train(&bench, "changed-plain", &[]).0);
    synth(&bench, 3501, "rows.tsv");
    let short = train(&bench, "short", &["data.cache=true", "data.rows=1400"]).0;
    assert_eq!(short, train(&bench, "short-plain", &["data.rows=1400"]).0);
    let (_, said) = train(&bench, "longer", &cached);
    assert!(said.contains("it holds the first 1400 rows only; rebuilding it"), "{said}");
    assert_eq!(train(&bench, "short-again", &["data.cache=true", "data.rows=1400"]).0, short);
}

/// A limit on the size of files simulates the full disk; the small files of a run are below it.
#[cfg(unix)]
#[test]
fn full_disk_costs_only_the_cache() {
    let bench = files_bench();
    let (expected, _) = train(&bench, "plain", &[]);
    let program = bench.command(&run_args(
        "files.toml",
        "full",
        &["data.cache=true", "data.cache_dir=caches"],
    ));
    let mut shell = std::process::Command::new("sh");
    // Without the trap the signal would end the program where a full disk is an ordinary error.
    shell.args(["-c", "trap '' XFSZ; ulimit -f 1800; exec \"$@\"", "sh"]);
    shell
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(bench.dir.path())
        .env("RUST_LOG", "info");
    let (got, said) = ended(&bench, "full", &shell.output().expect("a shell"));
    assert_eq!(got, expected);
    assert!(
        said.contains("writing failed: ") && said.contains("continuing without a cache"),
        "{said}"
    );
    assert_eq!(
        fs::read_dir(bench.path("caches")).expect("made").count(),
        0,
        "nothing is left of it"
    );
}

#[test]
fn uncacheable_data_are_refused() {
    let bench = files_bench();
    for (overrides, code, part) in [
        (
            &["data.cache_dir=rows.tsv/caches"][..],
            74,
            "data.cache_dir: set it to a directory that can be written to, or data.cache to false: rows.tsv/caches: no \
             file can be made here: ",
        ),
        (
            &["data.path=-", "data.rows=70"],
            78,
            "data.cache: what comes through a pipe is not cached",
        ),
        (&["data.test_path=-"], 78, "data.cache: what comes through a pipe is not cached"),
        (&["data.path=absent"], 66, "absent: no such file"),
        (&["data.cache_dir="], 78, "data.cache_dir: expected a directory, got nothing"),
        (
            &["data.synthetic.rows=70", "data.cache=true"],
            78,
            "data.cache: expected none beside data.synthetic; remove it: only files are cached",
        ),
    ] {
        let (got, message) = failure(&bench.trainer(&run_args(
            "files.toml",
            "failed",
            &[&["data.cache=true"], overrides].concat(),
        )));
        assert_eq!(got, code, "{message}");
        assert!(message.contains(part), "no {part} in {message}");
        assert!(!bench.path("failed/report.json").exists());
    }
    fs::write(bench.path("bad.tsv"), "1\t2\n").expect("written");
    let (code, message) = failure(&bench.trainer(&run_args(
        "files.toml",
        "failed",
        &["data.cache=true", "data.path=bad.tsv"],
    )));
    assert_eq!((code, message.contains("bad.tsv:1:")), (65, true), "{message}");
}
