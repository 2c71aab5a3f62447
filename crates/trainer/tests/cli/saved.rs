//! The content of a checkpoint besides the model, and runs whose directory has lost files.

use std::fs;
use std::path::Path;

use serde_json::Value;
use trainer::checkpoint::{Checkpoint, Disk, Store};

use crate::manifest::manifest_json;
use crate::resume::checkpoints;
use crate::support::{Bench, SMALL, failure, lasting, run_args, synth};

fn loaded(run: &Path) -> (Store<Disk>, Checkpoint) {
    let store = Store::open(Disk, &run.join("checkpoints")).expect("a store");
    let newest = store.load_newest().expect("readable").checkpoint.expect("a checkpoint");
    (store, newest)
}

fn state_of(checkpoint: &Path) -> Value {
    manifest_json(&fs::read(checkpoint.join("MANIFEST")).expect("written"))["state"].take()
}

fn resume(bench: &Bench, run: &str, overrides: &[&str]) -> std::process::Output {
    bench.trainer(&[&run_args("small.toml", run, overrides)[..], &["--resume"]].concat())
}

/// The time that earlier processes trained goes into the speed, so every checkpoint has it, also
/// between evaluations.
#[test]
fn checkpoints_hold_the_training_time() {
    let bench = Bench::new();
    bench.train("run", &["checkpoint.every=20", "checkpoint.keep=100"]);
    let steps = checkpoints(&bench.path("run"));
    let times: Vec<f64> = steps
        .iter()
        .map(|step| state_of(step)["seconds"]["training"].as_f64().expect("a number"))
        .collect();
    assert!(times.len() > 3 && times[0] > 0.0 && times.is_sorted(), "{times:?}");
}

/// With a `test_path` the number of training rows is not known: the last step of an epoch may be
/// saved before it is known to be the last.
#[test]
fn end_of_epoch_is_saved() {
    let bench = Bench::new();
    synth(&bench, 3000, "train.tsv");
    synth(&bench, 500, "test.tsv");
    let data = "path = \"train.tsv\"\ntest_path = \"test.tsv\"";
    let small = SMALL.replace("synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }", data);
    fs::write(bench.path("small.toml"), small.replace("batch = 64", "batch = 100"))
        .expect("written");
    let (report, _) = bench.train("run", &["checkpoint.every=10"]);
    let last = checkpoints(&bench.path("run")).pop().expect("a checkpoint");
    let state = state_of(&last);
    assert_eq!((&state["standing"]["step"], &state["epochs_done"]), (&30.into(), &1.into()));
    let output = resume(&bench, "run", &["checkpoint.every=10"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("the run is finished"));
    assert_eq!(bench.result("run").0, report, "not even a time has changed");
}

#[test]
fn report_outlives_its_checkpoints() {
    let bench = Bench::new();
    let (report, metrics) = bench.train("run", &[]);
    fs::remove_dir_all(bench.path("run/checkpoints")).expect("it is there");
    let (code, message) = failure(&resume(&bench, "run", &["train.lr=0.5"]));
    assert!(
        code == 1 && message.contains("run: holds a finished run of another configuration"),
        "{code}: {message}"
    );
    assert_eq!(failure(&resume(&bench, "run", &["train.epochs=2"])).0, 1);
    assert!(resume(&bench, "run", &["threads=1"]).status.success());
    assert_eq!(bench.result("run"), (report, metrics));
    // As asked for; and until there is a report nothing goes.
    bench.train("figures", &["checkpoint.keep_at_end=false", "checkpoint.every=20"]);
    assert!(!bench.path("figures/checkpoints").exists());
    assert!(resume(&bench, "figures", &[]).status.success());
    let (code, message) = failure(&bench.trainer(&["eval", "--run", "figures"]));
    assert!(code == 66 && message.contains("figures: holds no checkpoint"), "{code}: {message}");
}

/// An invalid configuration in a checkpoint is an error, not a panic, an endless loop or a lack of
/// memory.
#[test]
fn config_in_a_checkpoint_is_checked() {
    let bench = Bench::new();
    bench.train("run", &["embedding.method=hash"]);
    let (store, sound) = loaded(&bench.path("run"));
    let config = sound.state["config"].as_str().expect("text").to_owned();
    let mut n_edits = 0;
    for (from, to) in [
        ("compression = 2000.0\n", ""),
        ("dim = 8\n", "dim = 0\n"),
        ("dim = 8\n", "dim = 4611686018427387904\n"),
        ("batch = 64\n", "batch = 4611686018427387904\n"),
        ("top = [16, 1]", "top = [9000000000000, 1]"),
        ("top = [\n    16,\n    1,\n]", "top = [9000000000000, 1]"),
    ] {
        let edited = config.replace(from, to);
        if edited == config {
            continue;
        }
        n_edits += 1;
        let mut state = sound.state.clone();
        state["config"] = edited.into();
        let damaged = Checkpoint { step: sound.step, state, tensors: sound.tensors.clone() };
        store.save(&damaged).expect("written");
        for command in ["eval", "inspect"] {
            let (code, message) = failure(&bench.trainer(&[command, "--run", "run"]));
            assert_eq!(code, 65, "{command}, {to}: {message}");
            assert!(message.contains("the checkpoint's configuration can't be read"), "{message}");
        }
    }
    assert_eq!(n_edits, 5, "all but one of the two forms of a list");
    // Threads of a larger machine are no error.
    let mut state = sound.state.clone();
    state["config"] = config.replace("threads = 2", "threads = 1000").into();
    store
        .save(&Checkpoint { step: sound.step, state, tensors: sound.tensors.clone() })
        .expect("written");
    assert!(bench.trainer(&["eval", "--run", "run"]).status.success());
}

#[test]
fn event_file_survives_a_process_without_it() {
    let bench = Bench::new();
    bench.train("run", &["train.tensorboard=true"]);
    let file = || {
        let mut entries = fs::read_dir(bench.path("run/tensorboard")).expect("it is there");
        fs::read(entries.next().expect("a file").expect("an entry").path()).expect("readable")
    };
    let saved = state_of(&checkpoints(&bench.path("run")).pop().expect("a checkpoint"));
    let n_saved = saved["logs"]["events"].as_u64().expect("a length") as usize;
    let first = file();
    assert!(n_saved > 100 && first.len() >= n_saved);
    assert!(resume(&bench, "run", &["train.epochs=2"]).status.success());
    assert!(resume(&bench, "run", &["train.epochs=3", "train.tensorboard=true"]).status.success());
    let third = file();
    assert!(third.len() > first.len() && third[..n_saved] == first[..n_saved]);
}

#[test]
fn best_model_was_saved() {
    let bench = Bench::new();
    // A rate that ruins what was learned: the first evaluation is the best.
    let overrides = ["train.eval_every=20", "train.lr=1.5", "checkpoint.every=0"];
    bench.train("unsaved", &overrides);
    let (last, best) =
        (["eval", "--run", "unsaved"], ["eval", "--run", "unsaved", "--checkpoint", "best"]);
    let output = bench.trainer(&best);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, bench.trainer(&last).stdout);
    bench.train("saved", &overrides[..2]);
    assert!(bench.trainer(&["eval", "--run", "saved", "--checkpoint", "best"]).status.success());
}

/// Resuming holds the model twice, as training with its checkpoints does.
#[test]
fn resume_takes_no_more_memory_than_starting() {
    let bench = Bench::new();
    let args = "--config small.toml --run-dir run --set embedding.method=hash --set embedding.budget=60000000";
    let train = |more: &[&str]| {
        let mut command = bench.command(&[&args.split(' ').collect::<Vec<_>>(), more].concat());
        // What is given back goes back at once, so that the peak is what was held.
        let output = command.env("MIMALLOC_PURGE_DELAY", "0").output().expect("starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        bench.result("run").0
    };
    let (first, second) = (train(&[]), train(&["--resume", "--set", "train.epochs=2"]));
    let peak = |report: &Value| report["peak_rss_bytes"].as_f64();
    if let (Some(before), Some(after)) = (peak(&first), peak(&second)) {
        assert!(after < before + 30e6, "{before} B, and {after} B when it went on");
    }
    assert_ne!(lasting(&first, &[]), lasting(&second, &[]));
}

/// Day after day, each in a run of its own, is one run over all days.
#[test]
#[allow(clippy::too_many_lines, reason = "one scenario from start to end")]
fn train_init_equals_one_run_over_both() {
    let bench = Bench::new();
    synth(&bench, 3200, "both.tsv");
    synth(&bench, 500, "test.tsv");
    let text = fs::read_to_string(bench.path("both.tsv")).expect("written");
    let cut = text.match_indices('\n').nth(1599).expect("a line").0 + 1;
    fs::write(bench.path("monday.tsv"), &text[..cut]).expect("written");
    fs::write(bench.path("tuesday.tsv"), &text[cut..]).expect("written");
    let data = "path = \"both.tsv\"\ntest_path = \"test.tsv\"";
    let small = SMALL.replace("synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }", data);
    fs::write(bench.path("small.toml"), small).expect("written");
    for (name, more) in [
        ("cafe", &["embedding.method=cafe"][..]),
        ("coded", &["embedding.method=coded", "train.optimizer=adam", "train.lr=0.003"]),
        (
            "offline",
            &["embedding.method=offline", "embedding.offline.rows=1600", "train.optimizer=adagrad"],
        ),
        (
            "dcn",
            &[
                "model.kind=dcn",
                "model.bottom=[]",
                "model.top=[]",
                "model.deep=[16]",
                "train.lr=0.01",
                "train.schedule.warmup_steps=0",
            ],
        ),
    ] {
        let train = |run: &str, overrides: &[&str]| {
            bench.train(
                &format!("{name}-{run}"),
                &[more, &["checkpoint.every=10"], overrides].concat(),
            )
        };
        let (both, _) = train("both", &[]);
        train("monday", &["data.path=monday.tsv"]);
        let init = format!("train.init={name}-monday");
        let (tuesday, _) = train("tuesday", &["data.path=tuesday.tsv", &init]);
        assert_eq!(tuesday["train_rows"], 1600);
        for key in ["test_auc", "test_logloss", "hot_rows"] {
            assert_eq!(tuesday[key], both[key], "{name}: {key}");
        }
        // It resumes like any other run, even if the run that it started from is gone.
        let sets = [more, &["checkpoint.every=10", "data.path=tuesday.tsv", &init]].concat();
        fs::remove_file(bench.path(&format!("{name}-tuesday/report.json"))).expect("it is there");
        let last =
            checkpoints(&bench.path(&format!("{name}-tuesday"))).pop().expect("a checkpoint");
        fs::remove_dir_all(last).expect("it is there");
        fs::remove_dir_all(bench.path(&format!("{name}-monday"))).expect("it is there");
        assert!(resume(&bench, &format!("{name}-tuesday"), &sets).status.success());
        let (again, _) = bench.result(&format!("{name}-tuesday"));
        assert_eq!(lasting(&again, &[]), lasting(&tuesday, &[]), "{name}");
    }
    // Another model is refused, and so is none.
    let init = |overrides: &[&str]| {
        let sets = overrides.iter().flat_map(|one| ["--set", one]);
        failure(
            &bench.trainer(&["--config", "small.toml"].into_iter().chain(sets).collect::<Vec<_>>()),
        )
    };
    let (code, message) = init(&["train.init=cafe-both", "seed=9", "embedding.compression=1000"]);
    assert_eq!(code, 78, "{message}");
    assert_eq!(
        message,
        "error: train.init: cafe-both was trained as another model:\n  embedding.compression: was 2000.0, is 1000.0\n  \
         seed: was 3, is 9\nrestore these settings, or leave train.init out to start from new weights"
    );
    let (code, message) = init(&["train.init=nowhere"]);
    assert!(
        code == 66 && message.contains("train.init: nowhere: holds no checkpoints"),
        "{code}: {message}"
    );
}
