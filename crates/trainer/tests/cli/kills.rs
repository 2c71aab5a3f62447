//! Processes killed at any moment, checkpoints damaged now and then, any number of threads, any
//! compression of the rows: the results are bit-identical.
//!
//! `KILLS` in the environment is the number of kills; `just soak` sets it to 1,000.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::resume::{checkpoints, outcome};
use crate::support::{Bench, synth};

/// Small enough that a run takes a moment, and saving at every step a good part of that.
const CONFIG: &str = r#"
name = "killed"
seed = 3
threads = 2
[data]
path = "rows.tsv.gz"
[model]
dim = 4
bottom = [8, 4]
top = [8, 1]
[embedding]
compression = 8000
[embedding.cafe]
threshold = 5.0
[train]
batch = 64
epochs = 2
log_every = 7
eval_every = 16
[checkpoint]
every = 1
keep = 3
"#;

/// Three files with the same rows.
const FILES: [&str; 3] = ["rows.tsv.gz", "rows.tsv", "rows.tsv.zst"];

#[test]
#[allow(clippy::too_many_lines, reason = "one scenario from start to end")]
fn resume_after_kill_is_bit_identical() {
    let n_kills: u32 =
        std::env::var("KILLS").ok().map_or(20, |text| text.parse().expect("KILLS is a number"));
    let bench = Bench::new();
    for name in FILES {
        synth(&bench, 1500, name);
    }
    fs::write(bench.path("killed.toml"), CONFIG).expect("written");
    let started = Instant::now();
    let output = bench.trainer(&["--config", "killed.toml", "--run-dir", "straight"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (expected, mut duration) = (outcome(&bench, "straight"), started.elapsed());
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let (mut killed, mut damaged, mut fallbacks, mut finished) = (0, 0, 0, 0);
    while killed < n_kills {
        let run = format!("run-{finished}");
        let path = format!("data.path={}", FILES[finished as usize % FILES.len()]);
        let (mut is_damaged, killed_before) = (false, killed);
        loop {
            let threads = format!("threads={}", [1, 2, 4][random.random_range(0..3)]);
            let args = [
                "--config",
                "killed.toml",
                "--run-dir",
                &run,
                "--set",
                &path,
                "--set",
                &threads,
                "--resume=auto",
            ];
            let mut child = bench
                .command(&args)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("starts");
            // Sometimes longer than a complete run takes, so that runs finish.
            let patience = duration.mul_f64(random.random_range(0.0..1.2));
            let (since, mut status) = (Instant::now(), None);
            while status.is_none() && (killed == n_kills || since.elapsed() < patience) {
                std::thread::sleep(Duration::from_micros(500));
                status = child.try_wait().expect("a child of ours");
            }
            if status.is_none() {
                child.kill().expect("a child of ours");
            }
            let output = child.wait_with_output().expect("it ended");
            let log = String::from_utf8_lossy(&output.stderr);
            let fell_back = log.contains("is passed over");
            assert!(!fell_back || is_damaged, "a checkpoint is damaged by itself: {log}");
            fallbacks += u32::from(fell_back);
            if status.is_some() {
                assert!(output.status.success(), "after {killed} kills: {log}");
                // The machine is faster at one time than at another, and moments are to be all over
                // a run.
                if killed == killed_before {
                    duration = since.elapsed();
                }
                break;
            }
            killed += 1;
            if killed.is_multiple_of(7) {
                is_damaged = damage_newest(&bench, &run, &mut random);
                damaged += u32::from(is_damaged);
            }
        }
        let end = outcome(&bench, &run);
        assert!(
            end == expected,
            "after {killed} kills {run} came to {end:?}\nin place of {expected:?}"
        );
        fs::remove_dir_all(bench.path(&run)).expect("removed");
        finished += 1;
    }
    println!(
        "kills: {killed}, checkpoints damaged: {damaged}, fallbacks seen: {fallbacks}, runs finished: {finished}, differences: 0"
    );
}

/// Flips a bit of the newest checkpoint, if there is another one to fall back to.
fn damage_newest(bench: &Bench, run: &str, random: &mut ChaCha8Rng) -> bool {
    let all = checkpoints(&bench.path(run));
    let [.., _, newest] = &all[..] else { return false };
    let file = newest.join(["MANIFEST", "state.safetensors"][random.random_range(0..2)]);
    let mut bytes = fs::read(&file).expect("a whole checkpoint");
    let at = random.random_range(0..bytes.len());
    bytes[at] ^= 1 << random.random_range(0..8);
    fs::write(file, bytes).expect("written");
    true
}
