//! An interrupted run resumes bit-identically: same weights, same sketch, same metrics.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::manifest::manifest_json;
use crate::support::{Bench, SMALL, failure, lasting, models, run_args, synth};

/// The results that must not depend on interruptions.
#[derive(PartialEq)]
pub(crate) struct Outcome {
    report: Value,
    metrics: String,
    step: String,
    /// All arrays of the last checkpoint.
    arrays: Vec<u8>,
    /// The state of the last checkpoint, without times.
    state: Value,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hash = crc32c::crc32c(&self.arrays);
        write!(
            f,
            "{}: arrays {hash:08x}, {:#}\n{:#}\n{}",
            self.step, self.report, self.state, self.metrics
        )
    }
}

/// The checkpoints of a run, oldest first.
pub(crate) fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let mut steps: Vec<_> = fs::read_dir(run.join("checkpoints"))
        .map(|entries| entries.map(|entry| entry.expect("an entry").path()).collect())
        .unwrap_or_default();
    steps.retain(|path: &PathBuf| path.extension().is_none());
    steps.sort();
    steps
}

pub(crate) fn outcome(bench: &Bench, run: &str) -> Outcome {
    let (report, metrics) = bench.result(run);
    let last = checkpoints(&bench.path(run)).pop().expect("a checkpoint");
    let manifest = fs::read(last.join("MANIFEST")).expect("written");
    let mut state = manifest_json(&manifest)["state"].take();
    for key in ["seconds", "config", "logs", "inputs"] {
        assert!(state.as_object_mut().expect("an object").remove(key).is_some(), "{key} is there");
    }
    Outcome {
        report: lasting(&report, &["name", "threads"]),
        metrics,
        step: last.file_name().expect("a name").to_string_lossy().into_owned(),
        arrays: fs::read(last.join("state.safetensors")).expect("written"),
        state,
    }
}

/// Trains once without interruption and with many checkpoints, then resumes from each of `picks` of
/// these; all results must be equal.
pub(crate) fn resumes_alike(
    bench: &Bench,
    config: &str,
    name: &str,
    overrides: &[String],
    picks: &[usize],
) {
    let overrides =
        [overrides, &["checkpoint.every=17".to_owned(), "checkpoint.keep=100".to_owned()]].concat();
    let output = bench.trainer(&run_args(config, name, &overrides));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let expected = outcome(bench, name);
    let steps = checkpoints(&bench.path(name));
    assert!(steps.len() > 3, "{name}: {steps:?}");
    for &pick in picks {
        let resumed = format!("{name}-{pick}");
        cut(&bench.path(name), &bench.path(&resumed), &steps[pick]);
        let output =
            bench.trainer(&[&run_args(config, &resumed, &overrides)[..], &["--resume"]].concat());
        assert!(output.status.success(), "{resumed}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(
            outcome(bench, &resumed) == expected,
            "{resumed}: {:?}\n{expected:?}",
            outcome(bench, &resumed)
        );
    }
}

/// Copies a run's directory as if its process had ended some time after a checkpoint.
fn cut(run: &Path, to: &Path, checkpoint: &Path) {
    let kept = to.join("checkpoints").join(checkpoint.file_name().expect("a name"));
    fs::create_dir_all(&kept).expect("made");
    for name in ["config.toml", "metrics.jsonl"] {
        fs::copy(run.join(name), to.join(name)).expect("copied");
    }
    for entry in fs::read_dir(checkpoint).expect("there") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, kept.join(path.file_name().expect("a name"))).expect("copied");
    }
}

fn set(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn every_method_resumes_bit_identically() {
    let bench = Bench::new();
    // Few features, so that the statistics of `ada` and the rows of `mde` are not the most of what
    // is written.
    let features = format!("embedding.features={:?}", [1000; 26]);
    for (method, _) in crate::methods::METHODS {
        let ratio = if ["full", "mde"].contains(&method) { 1.0 } else { 3.5 };
        let overrides = [
            format!("embedding.method={method}"),
            format!("embedding.compression={ratio}"),
            features.clone(),
            "train.batch=96".to_owned(),
        ];
        resumes_alike(&bench, "small.toml", method, &overrides, &[1]);
    }
    for precision in ["f16", "bf16", "i8"] {
        let overrides =
            set(&["embedding.method=cafe", &format!("embedding.precision={precision}")]);
        resumes_alike(&bench, "small.toml", precision, &overrides, &[2]);
    }
}

#[test]
fn every_model_and_optimizer_resumes_bit_identically() {
    let bench = Bench::new();
    for (kind, mut overrides) in models() {
        overrides.push("train.optimizer=adam".to_owned());
        resumes_alike(&bench, "small.toml", kind, &overrides, &[3]);
    }
    for (name, overrides) in [
        ("candle", &["engine=candle"][..]),
        ("candle-adam", &["engine=candle", "train.optimizer=adam", "train.lr=0.01"]),
        ("bf16", &["precision=bf16-emulated"]),
        ("adagrad", &["train.optimizer=adagrad", "train.lr=0.02"]),
        (
            "frequencies",
            &[
                "embedding.method=coded",
                "embedding.frequency_inputs=true",
                "train.optimizer=adagrad",
            ],
        ),
        ("elementwise", &["train.embedding_optimizer=adagrad", "embedding.precision=i8"]),
        (
            "schedule",
            &[
                "train.schedule.warmup_steps=30",
                "train.schedule.decay_start=40",
                "train.schedule.decay_steps=90",
            ],
        ),
    ] {
        resumes_alike(&bench, "small.toml", name, &set(overrides), &[2]);
    }
}

/// Epochs, evaluations during training, and windows and days that extend over a checkpoint.
#[test]
fn every_checkpoint_resumes_bit_identically() {
    let bench = Bench::new();
    let overrides =
        set(&["train.epochs=2", "train.eval_every=50", "train.log_every=23", "threads=3"]);
    resumes_alike(&bench, "small.toml", "a", &overrides, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn every_row_source_resumes_at_its_position() {
    let bench = Bench::new();
    for name in ["rows.tsv", "rows.tsv.gz", "rows.tsv.zst"] {
        synth(&bench, 7000, name);
    }
    let text = fs::read_to_string(bench.path("rows.tsv")).expect("written");
    let at = text.match_indices('\n').nth(2499).expect("a line").0 + 1;
    fs::write(bench.path("part-1"), &text[..at]).expect("written");
    fs::write(bench.path("part-2"), &text[at..]).expect("written");
    let mut ends = BTreeMap::new();
    for (name, path, more) in [
        ("tsv", "\"rows.tsv\"", ""),
        ("gz", "\"rows.tsv.gz\"", ""),
        ("zst", "\"rows.tsv.zst\"", ""),
        ("cache", "\"rows.tsv\"", "cache = true"),
        ("random", "\"rows.tsv\"", "split = \"random\""),
        ("files", "[\"part-1\", \"part-2\"]", ""),
    ] {
        let rows = format!("path = {path}\n{more}");
        let small =
            SMALL.replace("synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }", &rows);
        let config = format!("{name}.toml");
        fs::write(bench.path(&config), small.replace("batch = 64", "batch = 32")).expect("written");
        resumes_alike(&bench, &config, name, &[], &[1, 3]);
        ends.insert(name, outcome(&bench, name).arrays);
    }
    assert!(
        ["gz", "zst", "cache"].iter().all(|name| ends[name] == ends["tsv"]),
        "the way to the rows shows"
    );
}

/// Malformed rows that are left out before, at and after a checkpoint are counted once.
#[test]
fn skipped_rows_are_counted_once() {
    let bench = Bench::new();
    synth(&bench, 3000, "rows.tsv");
    let text = fs::read_to_string(bench.path("rows.tsv")).expect("written");
    let rows = text.lines().enumerate().map(|(n, row)| match n % 500 {
        7 => "x".to_owned() + row + "\n",
        300 => "\n".to_owned(),
        _ => row.to_owned() + "\n",
    });
    fs::write(bench.path("rows.tsv"), rows.collect::<String>()).expect("written");
    let rows = "path = \"rows.tsv\"\nbad_rows = \"skip\"";
    let small = SMALL.replace("synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }", rows);
    fs::write(bench.path("files.toml"), small.replace("batch = 64", "batch = 16"))
        .expect("written");
    resumes_alike(&bench, "files.toml", "a", &[], &[0, 1, 3, 5]);
    let report = bench.result("a").0;
    assert_eq!(report["train_rows"], 2571 - 11);
    assert_eq!(
        report["bad_rows"].to_string(),
        r#"{"test":{"empty_line":1},"train":{"empty_line":5,"label":6}}"#
    );
    assert_eq!(report["test_rows"], 429 - 1);
}

/// A malformed row stops the run, not what it has learned.
#[test]
fn resume_can_start_skipping_rows() {
    let bench = Bench::new();
    synth(&bench, 3000, "rows.tsv");
    let text = fs::read_to_string(bench.path("rows.tsv")).expect("written");
    let rows = text
        .lines()
        .enumerate()
        .map(|(n, row)| (if n == 1500 { "x" } else { "" }).to_owned() + row + "\n");
    fs::write(bench.path("rows.tsv"), rows.collect::<String>()).expect("written");
    let small = SMALL.replace(
        "synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }",
        "path = \"rows.tsv\"",
    );
    fs::write(bench.path("files.toml"), small).expect("written");
    let skip = set(&["data.bad_rows=skip"]);
    assert!(bench.trainer(&run_args("files.toml", "straight", &skip)).status.success());
    let output = bench.trainer(&run_args("files.toml", "a", &[] as &[&str]));
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{log}");
    assert!(log.contains("the state after step 23 is saved; --resume continues"), "{log}");
    let output = bench.trainer(&[&run_args("files.toml", "a", &skip)[..], &["--resume"]].concat());
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && log.contains("resuming after step 23"), "{log}");
    assert_eq!(outcome(&bench, "a"), outcome(&bench, "straight"));
}

/// A full disk costs only the checkpoints that do not fit, and a run that ended without one can be
/// resumed.
#[cfg(unix)]
#[test]
fn full_disk_stops_a_run_without_loss() {
    let bench = Bench::new();
    let overrides = set(&["checkpoint.every=20", "checkpoint.keep=100"]);
    assert!(bench.trainer(&run_args("small.toml", "a", &overrides)).status.success());
    cut(&bench.path("a"), &bench.path("b"), &checkpoints(&bench.path("a"))[1]);
    let go_on =
        bench.command(&[&run_args("small.toml", "b", &overrides)[..], &["--resume"]].concat());
    let mut shell = std::process::Command::new("sh");
    // Without the trap the signal would end the program where a full disk is an ordinary error.
    shell
        .args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$@\"", "sh"])
        .arg(go_on.get_program())
        .args(go_on.get_args());
    let output =
        shell.current_dir(bench.dir.path()).env("RUST_LOG", "info").output().expect("a shell");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(74), "{log}");
    assert!(
        log.contains("step 60: no checkpoint: ")
            && log.contains("make room or repair the disk, then resume"),
        "{log}"
    );
    assert_eq!(checkpoints(&bench.path("b")).len(), 1, "{log}");
    assert!(
        bench
            .trainer(&[&run_args("small.toml", "b", &overrides)[..], &["--resume"]].concat())
            .status
            .success()
    );
    assert_eq!(outcome(&bench, "b"), outcome(&bench, "a"));
}

#[test]
fn finished_run_continues_with_more_epochs() {
    let bench = Bench::new();
    let run = |dir: &str, epochs: &str, more: &[&str]| {
        let output = bench.trainer(
            &[&["--config", "small.toml", "--run-dir", dir, "--set", epochs], more].concat(),
        );
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    run("straight", "train.epochs=2", &[]);
    run("parts", "train.epochs=1", &[]);
    let log = run("parts", "train.epochs=2", &["--resume", "--set", "threads=1"]);
    for line in ["resuming with another train.epochs: was 1, is 2", "threads: was 2, is 1"] {
        assert!(log.contains(line), "no {line} in {log}");
    }
    assert_eq!(outcome(&bench, "parts"), outcome(&bench, "straight"));
    // A run with nothing left to do prints its results.
    let before = fs::read(bench.path("parts/report.json")).expect("written");
    let log = run("parts", "train.epochs=2", &["--resume=auto"]);
    assert!(log.contains("the run is finished"), "{log}");
    assert_eq!(fs::read(bench.path("parts/report.json")).expect("written"), before);
}

#[test]
fn changed_settings_are_named_on_resume() {
    let bench = Bench::new();
    synth(&bench, 3000, "rows.tsv");
    let small = SMALL.replace(
        "synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }",
        "path = \"rows.tsv\"",
    );
    fs::write(bench.path("files.toml"), small).expect("written");
    let set = set(&["checkpoint.every=9", "checkpoint.keep=100"]);
    assert!(bench.trainer(&run_args("files.toml", "a", &set)).status.success());
    let steps = checkpoints(&bench.path("a"));
    let resume = |run: &str, more: &[&str]| {
        if !bench.path(run).exists() {
            cut(&bench.path("a"), &bench.path(run), &steps[1]);
        }
        bench.trainer(&[&run_args("files.toml", run, &set)[..], &["--resume"], more].concat())
    };
    let (code, message) = failure(&resume("b", &["--set", "train.lr=0.2", "--set", "seed=9"]));
    assert_eq!(code, 78, "{message}");
    assert_eq!(
        message,
        "error: the run was started with another configuration:\n  seed: was 3, is 9\n  train.embedding_lr: was 0.1, is 0.2\n  \
         train.lr: was 0.1, is 0.2\n\
         give it back, or start a new run with another --run-dir"
    );
    // Rows that were trained on already, then some that were not, then the number of bytes.
    let text = fs::read_to_string(bench.path("rows.tsv")).expect("written");
    let flip = |at: usize| {
        let mut bytes = text.clone().into_bytes();
        let at = at + bytes[at..].iter().position(|&byte| byte == b'\n').expect("a line end") + 1;
        bytes[at] ^= 1;
        fs::write(bench.path("rows.tsv"), bytes).expect("written");
    };
    flip(300);
    let (code, message) = failure(&resume("b", &[]));
    assert_eq!(code, 65);
    assert!(
        message
            .starts_with("error: rows.tsv: its content is not what it was when the run started; "),
        "{message}"
    );
    // Beyond the ends of the file, where only reading it tells.
    flip(100_000);
    let (code, message) = failure(&resume("b", &[]));
    assert_eq!(code, 65, "{message}");
    assert!(message.contains("not those that the run was trained on"), "{message}");
    fs::write(bench.path("rows.tsv"), &text[..text.len() / 2]).expect("written");
    let (code, message) = failure(&resume("b", &[]));
    assert_eq!(code, 65);
    assert!(message.contains(" when the run started; give the original files back"), "{message}");
    // Nothing was lost: with the original file the run resumes.
    fs::write(bench.path("rows.tsv"), &text).expect("written");
    fs::rename(bench.path("rows.tsv"), bench.path("moved.tsv")).expect("renamed");
    let output = resume("b", &["--set", "data.path=moved.tsv"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(outcome(&bench, "b").arrays, outcome(&bench, "a").arrays);
    // A run that is finished is no answer for other files, and its own may be gone.
    let (code, message) =
        failure(&resume("b", &["--set", "data.path=[\"moved.tsv\", \"moved.tsv\"]"]));
    assert_eq!(code, 65, "{message}");
    assert!(message.contains("started with 1 files, now there are 2"), "{message}");
    assert_eq!(failure(&resume("b", &["--set", "data.path=absent.tsv"])).0, 66);
    fs::remove_file(bench.path("moved.tsv")).expect("it is there");
    assert!(
        resume("b", &["--set", "data.path=moved.tsv"]).status.success()
            && resume("a", &[]).status.success()
    );
    fs::write(bench.path("rows.tsv"), &text[text.len() / 2..]).expect("written");
    assert_eq!(failure(&resume("a", &[])).0, 65);
}

#[test]
fn run_is_never_overwritten_or_confused() {
    let bench = Bench::new();
    let overrides = set(&["checkpoint.every=20", "checkpoint.keep=100"]);
    let start = |run: &str, more: &[&str]| {
        bench.trainer(&[&run_args("small.toml", run, &overrides)[..], more].concat())
    };
    let (code, message) = failure(&start("absent", &["--resume"]));
    assert_eq!((code, bench.path("absent").exists()), (66, false), "{message}");
    assert!(message.contains("absent: holds no run to resume"), "{message}");
    assert_eq!(failure(&bench.trainer(&["--config", "small.toml", "--resume"])).0, 2);
    assert!(start("a", &["--resume=auto"]).status.success(), "it starts where there is nothing");
    let (code, message) = failure(&start("a", &[]));
    assert!(code == 1 && message.contains("a: holds a finished run"), "{message}");
    cut(&bench.path("a"), &bench.path("b"), &checkpoints(&bench.path("a"))[0]);
    let (code, message) = failure(&start("b", &[]));
    assert!(code == 1 && message.contains("b: holds an unfinished run; add --resume"), "{message}");
    assert!(start("b", &["--resume=auto"]).status.success());
    assert_eq!(outcome(&bench, "b"), outcome(&bench, "a"));
    // A process that ended before its first checkpoint left a directory without a checkpoint.
    fs::create_dir(bench.path("c")).expect("made");
    fs::copy(bench.path("a/config.toml"), bench.path("c/config.toml")).expect("copied");
    fs::write(bench.path("c/metrics.jsonl"), "{\"step\":1}\n").expect("written");
    assert!(start("c", &["--resume"]).status.success());
    assert_eq!(outcome(&bench, "c"), outcome(&bench, "a"));
}

/// A damaged checkpoint is passed over, and without a good one nothing starts.
#[test]
fn damaged_checkpoints_are_passed_over() {
    let bench = Bench::new();
    let overrides = set(&["checkpoint.every=20", "checkpoint.keep=100"]);
    assert!(bench.trainer(&run_args("small.toml", "a", &overrides)).status.success());
    let expected = outcome(&bench, "a");
    fs::remove_file(bench.path("a/report.json")).expect("there");
    let steps = checkpoints(&bench.path("a"));
    let damage = |path: &Path| {
        let file = path.join("state.safetensors");
        let mut bytes = fs::read(&file).expect("there");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(file, bytes).expect("written");
    };
    steps[2..].iter().for_each(|path| damage(path));
    let output =
        bench.trainer(&[&run_args("small.toml", "a", &overrides)[..], &["--resume"]].concat());
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success()
            && log.contains("is passed over")
            && log.contains("resuming after step 40"),
        "{log}"
    );
    assert_eq!(outcome(&bench, "a"), expected);
    fs::remove_file(bench.path("a/report.json")).expect("there");
    for path in checkpoints(&bench.path("a")) {
        damage(&path);
    }
    let (code, message) = failure(
        &bench.trainer(&[&run_args("small.toml", "a", &overrides)[..], &["--resume"]].concat()),
    );
    assert_eq!(code, 65, "{message}");
}

/// A signal saves and ends the run; meanwhile a second process is refused.
#[cfg(unix)]
#[test]
fn signal_saves_and_ends_the_run() {
    use std::process::{Child, Command};
    let bench = Bench::new();
    assert!(
        Command::new("mkfifo").arg(bench.path("pipe")).status().expect("mkfifo runs").success()
    );
    synth(&bench, 2000, "rows.tsv");
    let small = SMALL.replace(
        "synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }",
        "path = \"pipe\"\nrows = 2000",
    );
    fs::write(bench.path("pipe.toml"), &small).expect("written");
    fs::write(bench.path("file.toml"), small.replace("\"pipe\"", "\"rows.tsv\"")).expect("written");
    assert!(
        bench
            .trainer(&run_args("file.toml", "straight", &set(&["train.log_every=1"])))
            .status
            .success()
    );
    // A process that ignores SIGHUP, as under `nohup`, has children that do.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    let hears_hangup = ignored
        .and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .is_some_and(|mask| mask & 1 == 0);
    let hangup = hears_hangup.then_some(("HUP", 129));
    for (signal, code) in [("INT", 130), ("TERM", 143)].into_iter().chain(hangup) {
        let run = format!("run-{signal}");
        let start = |config: &str, more: &[&str]| {
            bench.command(
                &[&run_args(config, &run, &set(&["train.log_every=1"]))[..], more].concat(),
            )
        };
        let mut child: Child =
            start("pipe.toml", &[]).stderr(Stdio::piped()).spawn().expect("starts");
        // Some rows, and then silence: the program waits for more.
        let rows = fs::read_to_string(bench.path("rows.tsv")).expect("written");
        let mut pipe = fs::OpenOptions::new().write(true).open(bench.path("pipe")).expect("opened");
        std::io::Write::write_all(&mut pipe, &rows.as_bytes()[..rows.len() / 2]).expect("written");
        let metrics = bench.path(&run).join("metrics.jsonl");
        let n_steps = || fs::read_to_string(&metrics).map_or(0, |text| text.lines().count());
        while n_steps() < 5 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let (busy, message) = failure(&start("file.toml", &["--resume"]).output().expect("starts"));
        assert!(
            busy == 75 && message.contains("another trainer is writing to it"),
            "{busy}: {message}"
        );
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args([&format!("-{signal}"), &pid])
                .status()
                .expect("kill runs")
                .success()
        );
        assert_eq!(child.wait().expect("it ends").code(), Some(code));
        drop(pipe);
        let mut log = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().expect("piped"), &mut log)
            .expect("text");
        assert!(
            log.contains("stopped by a signal after step") && log.contains("--resume` resumes"),
            "{log}"
        );
        // Resume with the same rows from a file.
        let output = start("file.toml", &["--resume"]).output().expect("starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let same = outcome(&bench, &run).arrays == outcome(&bench, "straight").arrays;
        assert!(same, "SIG{signal}: other weights");
    }
}
