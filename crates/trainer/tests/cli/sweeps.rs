//! Sweeps: which runs they start, resuming after interruptions and kills, and comparisons of their
//! runs.

use std::collections::BTreeMap;
use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::page::lasting as lasting_page;
use crate::support::{Bench, SMALL, failure, lasting, synth};

const SWEEP: &str = r#"
question = "Which?"
base = "small.toml"
out = "sweep"
[[study]]
name = "full"
axes = [{ keys = ["seed", "data.synthetic.seed"], values = [1, 2] }, { cases = [{ name = "all", set = { embedding.method = "full", embedding.compression = 1 } }] }]
[[study]]
name = "m"
axes = [
    { keys = ["seed", "data.synthetic.seed"], values = [1, 2] },
    { key = "embedding.method", values = ["hash", "cafe", "mde"] },
]
"#;

fn bench() -> Bench {
    let bench = Bench::new();
    fs::write(bench.path("sweep.toml"), SWEEP).expect("written");
    bench
}

fn sweep(bench: &Bench, args: &[&str]) -> String {
    let output = bench.trainer(&[&["sweep", "sweep.toml"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The lasting part of each report, and the metrics, by the names of the directories.
fn results(bench: &Bench) -> BTreeMap<String, (String, String)> {
    let entries = fs::read_dir(bench.path("sweep")).expect("a directory");
    let names =
        entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned());
    let dirs = names.filter(|name| bench.path("sweep").join(name).join("report.json").exists());
    dirs.map(|name| {
        let (report, metrics) = bench.result(&format!("sweep/{name}"));
        (name, (lasting(&report, &[]).to_string(), metrics))
    })
    .collect()
}

fn record(bench: &Bench) -> Value {
    serde_json::from_str(&fs::read_to_string(bench.path("sweep/sweep.json")).expect("written"))
        .expect("JSON")
}

#[test]
fn sweep_runs_missing_and_lists_not_applicable() {
    let bench = bench();
    assert!(
        sweep(&bench, &["--dry-run"]).contains("8 runs: 0 finished, 2 not applicable, 6 pending")
    );
    assert!(!bench.path("sweep").exists(), "a dry run writes nothing");

    let text = sweep(&bench, &["--jobs", "2"]);
    assert!(
        text.contains("At 1/2,000 of its bytes, ")
            && text.contains("settings: cafe, threshold 20.0"),
        "{text}"
    );
    assert!(text.contains("n/a: mixed dimensions needs CR <= 7.9"), "{text}");
    let first = results(&bench);
    let names: Vec<_> = first.keys().map(String::as_str).collect();
    assert_eq!(names, ["full-1-all", "full-2-all", "m-1-cafe", "m-1-hash", "m-2-cafe", "m-2-hash"]);
    let record = record(&bench);
    assert_eq!(
        (&record["question"], record["runs"].as_array().map(Vec::len)),
        (&"Which?".into(), Some(8))
    );
    assert_eq!(record["runs"][2]["fate"], "done");

    // Nothing is left to do; then one run is lost, and a new value joins.
    assert!(sweep(&bench, &[]).contains("6 finished, 2 not applicable, 0 pending"));
    fs::remove_dir_all(bench.path("sweep/m-2-hash")).expect("it is there");
    fs::write(bench.path("sweep.toml"), SWEEP.replace("\"hash\", ", "\"hash\", \"unified\", "))
        .expect("written");
    assert!(sweep(&bench, &[]).contains("10 runs: 5 finished, 2 not applicable, 3 pending"));
    let again = results(&bench);
    assert_eq!(again.len(), 8);
    assert!(
        first.iter().all(|(name, result)| again[name] == *result),
        "a run is the same whenever it is made"
    );
}

#[test]
fn sweep_identifies_runs_by_settings() {
    let bench = bench();
    sweep(&bench, &[]);
    // Another study of the same settings finds them; other settings of the same name get another
    // directory.
    fs::write(bench.path("sweep.toml"), SWEEP.replace("\"m\"", "\"other\"")).expect("written");
    assert!(sweep(&bench, &[]).contains("6 finished, 2 not applicable, 0 pending"));
    fs::write(bench.path("sweep.toml"), SWEEP).expect("written");
    let text = sweep(&bench, &["--set", "train.batch=32"]);
    assert!(text.contains("0 finished, 2 not applicable, 6 pending"), "{text}");
    let names: Vec<_> = results(&bench).into_keys().collect();
    assert!(names.len() == 12 && names.contains(&"m-1-hash-2".to_owned()), "{names:?}");

    // What is only logged otherwise makes other runs, but a seed counts once.
    assert!(
        sweep(&bench, &["--set", "train.eval_every=50"])
            .contains("0 finished, 2 not applicable, 6 pending")
    );
    // Runs of different protocols are not put into one table.
    let output = bench.trainer(&["compare", "sweep"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.matches("method ").count(), 2, "{text}");
    assert!(text.contains(" 2\n") && !text.contains(" 4\n"), "{text}");
    assert!(text.contains("dlrm, batch 64\n") || text.contains("dlrm, batch 32\n"), "{text}");
}

#[test]
fn failed_run_does_not_stop_a_sweep() {
    let bench = bench();
    fs::create_dir_all(bench.path("sweep")).expect("made");
    // A file where a run wants a directory of its own.
    fs::create_dir_all(bench.path("sweep/m-1-cafe/checkpoints")).expect("made");
    fs::write(bench.path("sweep/m-1-cafe/metrics.jsonl.lock"), "").expect("written");
    fs::create_dir_all(bench.path("sweep/m-1-cafe/report.json.partial")).expect("made");
    // And one that cannot even be started.
    fs::write(bench.path("sweep/m-2-hash"), "").expect("written");
    let output = bench.trainer(&["sweep", "sweep.toml"]);
    let (code, message) = failure(&output);
    assert_eq!(code, 1, "{message}");
    assert!(message.starts_with("error: 2 of 8 runs failed, the others are in sweep"), "{message}");
    assert_eq!(results(&bench).len(), 4);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("At 1/2,000 of ") && text.contains("\nwritten to sweep\n"), "{text}");
    let page = bench.trainer(&["report", "sweep", "--out", "-"]).stdout;
    let page = String::from_utf8_lossy(&page);
    assert!(page.contains("4 runs finished, 2 failed, 2 not applicable."), "{page:.4000}");
    for name in ["m-1-cafe", "m-2-hash"] {
        assert_eq!(page.matches(&format!("<td>{name}</td>")).count(), 1, "{name} is listed once");
    }
    fs::remove_file(bench.path("sweep/m-2-hash")).expect("it is there");
    let runs = record(&bench)["runs"].as_array().cloned().expect("a list");
    let failed: Vec<_> = runs.iter().filter(|run| run["fate"].get("failed").is_some()).collect();
    assert_eq!(
        (failed.len(), &failed[0]["name"], &failed[1]["name"]),
        (2, &"m-1-cafe".into(), &"m-2-hash".into())
    );
    assert!(
        failed[1]["fate"]["failed"]
            .as_str()
            .is_some_and(|why| why.contains("sweep/m-2-hash: cannot be written"))
    );
    let why = failed[0]["fate"]["failed"].as_str().expect("text");
    assert!(why.contains("report.json: cannot be written"), "{why}");

    // Once the cause is gone the same command tries again.
    fs::remove_dir(bench.path("sweep/m-1-cafe/report.json.partial")).expect("it is there");
    assert!(sweep(&bench, &[]).contains("4 finished, 2 not applicable, 2 pending"));
    assert_eq!(results(&bench).len(), 6);
}

/// A directory whose configuration cannot be read is left as it is.
#[test]
fn damaged_run_does_not_stop_a_sweep() {
    let bench = bench();
    fs::create_dir_all(bench.path("sweep/m-1-hash")).expect("made");
    fs::write(bench.path("sweep/m-1-hash/config.toml"), "x =\n").expect("written");
    fs::write(bench.path("sweep/m-1-hash/metrics.jsonl"), "").expect("written");
    let said = sweep(&bench, &["--dry-run"]);
    assert!(
        said.contains("m-1-hash/config.toml") && said.contains("the directory is left as it is"),
        "{said}"
    );
    assert!(said.contains("8 runs: 0 finished, 2 not applicable, 6 pending"), "{said}");
}

/// The preset `cafe` may have other settings in another version; finished runs with other settings
/// are reported.
#[test]
fn changed_preset_is_reported() {
    let bench = bench();
    assert!(!sweep(&bench, &[]).contains("meant other settings"));
    let path = bench.path("sweep/m-1-cafe/report.json");
    let mut report: Value =
        serde_json::from_str(&fs::read_to_string(&path).expect("written")).expect("JSON");
    assert_eq!(
        (&report["row_precision"], &report["cafe"]["threshold"]),
        (&"f32".into(), &20.0.into())
    );
    assert_eq!(report["cafe"]["rule"], "threshold");
    assert!(bench.result("sweep/m-1-hash").0.get("cafe").is_none());
    report["cafe"]["slots"] = 7.into();
    fs::write(&path, report.to_string()).expect("written");
    let text = sweep(&bench, &[]);
    assert!(text.contains("sweep/m-1-cafe: cafe meant other settings when it was run"), "{text}");
    assert!(text.contains("6 finished, 2 not applicable, 0 pending"), "{text}");
}

#[test]
fn sweep_into_a_run_is_refused() {
    let bench = bench();
    bench.train("one", &["data.synthetic.rows=700"]);
    let (_, message) = failure(&bench.trainer(&["sweep", "sweep.toml", "--out", "one"]));
    assert_eq!(message, "error: one: holds a run, not runs; give another --out");
}

/// All problems of all runs are reported before one starts.
#[test]
fn sweep_reports_all_problems_first() {
    let bench = bench();
    let refused = |text: &str| {
        fs::write(bench.path("sweep.toml"), text).expect("written");
        failure(&bench.trainer(&["sweep", "sweep.toml"]))
    };
    let (code, message) = refused(&SWEEP.replace("\"mde\"", "\"mdee\""));
    assert_eq!(code, 78);
    assert!(
        message.starts_with(
            "error: m-1-mdee: --set embedding.method=\"mdee\": embedding.method: expected one of"
        ),
        "{message}"
    );
    assert!(message.contains("\nm-2-mdee: "), "{message}");
    let (code, message) = refused("base = \"small.toml\"\nstudie = 1\n");
    assert_eq!((code, &message[..28]), (78, "error: sweep.toml:2: unknown"), "{message}");
    let (code, message) = refused(&SWEEP.replace("small.toml", "none.toml"));
    assert_eq!(code, 78);
    assert!(message.starts_with("error: none.toml: can't read the configuration"), "{message}");
    assert!(!bench.path("sweep").exists());
    assert_eq!(
        failure(&bench.trainer(&["compare", "."])),
        (
            1,
            "error: .: no runs there; a run's directory has a config.toml and a metrics.jsonl"
                .to_owned()
        )
    );
}

/// Starts a sweep, and waits for a moment that differs from call to call.
fn start_for(bench: &Bench, args: &[&str], time: Duration) -> Child {
    let child =
        bench.command(&[&["sweep", "sweep.toml"], args].concat()).spawn().expect("it starts");
    std::thread::sleep(time);
    child
}

#[test]
fn killed_sweep_resumes_to_the_same_results() {
    let whole = bench();
    let since = Instant::now();
    sweep(&whole, &["--jobs", "2"]);
    let whole_time = since.elapsed();

    let killed = bench();
    for moment in [0.1, 0.3, 0.6] {
        let mut child = start_for(&killed, &["--jobs", "2"], whole_time.mul_f64(moment));
        // Its runs are left alone; the next sweep waits for them.
        child.kill().expect("it is there, or has ended");
        child.wait().expect("its end");
    }
    sweep(&killed, &["--jobs", "2"]);
    assert_eq!(results(&killed), results(&whole));
    let page = |bench: &Bench| {
        let output = bench.trainer(&["report", "sweep", "--out", "-"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        lasting_page(&String::from_utf8_lossy(&output.stdout))
    };
    assert_eq!(page(&killed), page(&whole));
}

#[cfg(unix)]
#[test]
fn interrupted_sweep_saves_its_runs() {
    let bench = bench();
    let long = ["--set", "train.epochs=200", "--set", "checkpoint.every=0"];
    let mut child = start_for(&bench, &long, Duration::ZERO);
    // Wait until the first run has written metrics.
    let is_training = || {
        fs::metadata(bench.path("sweep/full-1-all/metrics.jsonl")).is_ok_and(|file| file.len() > 0)
    };
    let since = Instant::now();
    let args = ["sweep", "sweep.toml"];
    while !is_training() {
        assert!(since.elapsed() < Duration::from_secs(120), "{args:?} starts no run");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(
        std::process::Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success()
    );
    assert_eq!(child.wait().expect("its end").code(), Some(143));
    let log = fs::read_to_string(bench.path("sweep/full-1-all/log.txt")).expect("a log");
    assert!(log.contains("stopped by a signal"), "{log}");
    let fates: Vec<_> = record(&bench)["runs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|run| run["fate"].clone())
        .collect();
    assert!(
        fates.iter().all(|fate| fate == "waiting"
            || fate.get("not-applicable").is_some()
            || fate == "done"),
        "{fates:?}"
    );
}

#[test]
fn sweep_builds_one_shared_cache() {
    let bench = bench();
    synth(&bench, 7000, "rows.tsv");
    let mut config: toml::Table = SMALL.parse().expect("TOML");
    let data = config["data"].as_table_mut().expect("a table");
    data.remove("synthetic");
    data.insert("path".to_owned(), "rows.tsv".into());
    fs::write(bench.path("small.toml"), config.to_string()).expect("written");
    fs::write(
        bench.path("sweep.toml"),
        SWEEP.replace("[\"seed\", \"data.synthetic.seed\"]", "[\"seed\"]"),
    )
    .expect("written");
    let said = sweep(&bench, &["--jobs", "2"]);
    assert_eq!(said.matches("caching the rows in").count(), 1, "{said}");
    let names = fs::read_dir(&bench.dir)
        .expect("a directory")
        .map(|entry| entry.expect("readable").file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().ends_with(".rows")).count(), 1);
    let runs = results(&bench);
    assert_eq!(runs.len(), 6);
    for name in runs.keys() {
        let log =
            fs::read_to_string(bench.path("sweep").join(name).join("log.txt")).expect("a log");
        assert!(log.contains("using the 7,000 rows cached in"), "{name}: {log}");
    }
    // A sweep that sets `data.cache = false` goes without.
    fs::remove_dir_all(bench.path("sweep")).expect("it is there");
    assert!(!sweep(&bench, &["--set", "data.cache=false"]).contains("cach"));
    assert_eq!(results(&bench), runs, "it makes no difference");
}

#[test]
fn resume_ignores_settings_of_other_methods() {
    let bench = Bench::new();
    let hash = ["--config", "small.toml", "--run-dir", "run", "--set", "embedding.method=hash"];
    let output = |more: &[&str]| bench.trainer(&[&hash, more].concat());
    assert!(output(&[]).status.success());
    let other = output(&["--resume", "--set", "embedding.cafe.threshold=30"]);
    assert!(other.status.success(), "{}", String::from_utf8_lossy(&other.stderr));
    assert_eq!(
        output(&["--resume", "--set", "embedding.compression=1000"]).status.code(),
        Some(78)
    );
}
