//! Exit codes and messages of failures.

use std::fs;

use crate::support::{Bench, SMALL, failure, root, run_args, synth};

fn fails(bench: &Bench, overrides: &[&str]) -> (i32, String) {
    let failed = failure(&bench.trainer(&run_args("small.toml", "failed", overrides)));
    assert!(!bench.path("failed/report.json").exists(), "a failed run looks finished");
    failed
}

/// `small.toml` reading `path`.
fn fails_on(bench: &Bench, path: &str) -> (i32, String) {
    let text = crate::support::SMALL.replace(
        "synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }",
        &format!("path = {path:?}"),
    );
    fs::write(bench.path("files.toml"), text).expect("written");
    failure(&bench.trainer(&["--config", "files.toml", "--run-dir", "failed"]))
}

#[test]
fn missing_data_file_is_reported_with_advice() {
    let bench = Bench::new();
    let config = root().join("configs/kaggle_10000x.toml");
    let (code, message) = failure(&bench.trainer(&["--config", config.to_str().expect("UTF-8")]));
    assert_eq!(code, 66);
    for part in [
        "data/train.txt: no such file",
        "data/README.md",
        "scripts/get_kaggle.sh",
        "--config configs/quickstart.toml",
    ] {
        assert!(message.contains(part), "no {part} in {message}");
    }
    assert!(
        root().join("data/README.md").exists() && root().join("scripts/get_kaggle.sh").exists()
    );
}

#[test]
fn malformed_row_is_reported_with_place() {
    let bench = Bench::new();
    synth(&bench, 2000, "rows.tsv");
    let good = fs::read_to_string(bench.path("rows.tsv")).expect("written");
    let mut lines: Vec<_> = good.lines().map(str::to_owned).collect();
    let mut columns: Vec<_> = lines[1499].split('\t').map(str::to_owned).collect();
    columns[5] = "0x1f".into();
    let column = columns[..5].iter().map(|c| c.len() + 1).sum::<usize>() + 1;
    lines[1499] = columns.join("\t");
    fs::write(bench.path("bad.tsv"), lines.join("\n")).expect("written");
    let (code, message) = fails_on(&bench, "bad.tsv");
    assert_eq!(code, 65);
    let expected = format!(
        "error: bad.tsv:1500:{column}: field I5: expected an integer or nothing, got `0x1f`; mend or drop line 1500, or \
         set data.bad_rows = \"skip\" to count and skip such rows"
    );
    assert_eq!(message, expected);
}

#[test]
fn unreadable_inputs_have_exit_codes() {
    let bench = Bench::new();
    synth(&bench, 3000, "rows.tsv.gz");
    let gzip = fs::read(bench.path("rows.tsv.gz")).expect("written");
    fs::write(bench.path("cut.gz"), &gzip[..gzip.len() / 2]).expect("written");
    fs::write(bench.path("empty.tsv"), "").expect("written");
    fs::write(bench.path("plain.gz"), "1\t2\n").expect("written");
    fs::create_dir(bench.path("dir")).expect("made");
    for (path, code, part) in [
        ("cut.gz", 65, "cut.gz: the gzip data end too early"),
        ("empty.tsv", 65, "empty.tsv: is empty"),
        ("plain.gz", 65, "plain.gz: named .gz but not gzip"),
        ("dir", 66, "dir: is a directory"),
        ("absent.tsv", 66, "absent.tsv: no such file"),
    ] {
        let (got, message) = fails_on(&bench, path);
        assert_eq!(got, code, "{message}");
        assert!(message.contains(part), "no {part} in {message}");
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn invalid_configurations_exit_with_78() {
    let bench = Bench::new();
    for (overrides, part) in [
        (
            &["train.bacth=3"][..],
            "--set train.bacth=3: train.bacth: unknown key; did you mean `batch`?",
        ),
        (&["embedding.compression=0.1"], "embedding.compression: expected at least 1, got 0.1"),
        (
            &["embedding.budget=800"],
            "a budget of 800 bytes is too small: a row for each field and one hot row needs at least ",
        ),
        (&["model.bottom=[16, 4]"], "model.bottom: expected sizes of at least 1, the last 8"),
        (&["device=tpu"], "device: "),
        (&["engine=torch"], "engine: "),
        (
            &["precision=f16"],
            "precision: expected one of `f32`, `bf16`, `bf16-emulated`, got `f16`; did you mean `bf16`?",
        ),
        (
            &["precision=bf16", "engine=candle"],
            "precision: expected `f32` with engine = \"candle\", got `bf16`",
        ),
        (&["engine=native", "device=cuda:0"], "engine: expected `candle` on a GPU, got `native`"),
        (&["name=../elsewhere"], "name: expected a name without `/`"),
        (&["name="], "name: expected a name"),
        (
            &["data.format=criteo-terabyte"],
            "data.format: expected none beside data.synthetic; remove it: generated rows are shaped like criteo-kaggle",
        ),
        (
            &["train.batch=4611686018427387904"],
            "train.batch: expected at most 16777216, got 4611686018427387904",
        ),
        (
            &["model.dim=4611686018427387904"],
            "model.dim: expected at most 65536, got 4611686018427387904",
        ),
        (
            &["model.top=[4611686018427387904, 1]"],
            "model.top: expected sizes of at most 1048576, got ",
        ),
        (&["data.synthetic.rows=18446744073709551615"], "data.synthetic.rows: "),
        (
            &["data.synthetic.rows=2000000000", "data.synthetic.rows_per_day=1"],
            "expected at most 1000000 days of rows",
        ),
        (
            &["embedding.features=[5000000000]"],
            "embedding.features: expected at most 4294967296 a field, got 5000000000",
        ),
        (
            &["embedding.cafe.medium_share=0.5"],
            "embedding.cafe.multi_level: expected true with medium_share",
        ),
        (&["embedding.method=hash2"], "embedding.method: `hash2` is gone: use `hash` or `unified`"),
        (
            &["embedding.cafe.hot=residual"],
            "embedding.cafe.hot: was removed: measured gain in docs/figures.md; leave it out",
        ),
        (
            &["embedding.cafe.write_back=0.5"],
            "embedding.cafe.write_back: was removed: measured gain in docs/figures.md; leave it out",
        ),
        (
            &["embedding.cafe.cold=unified", "embedding.cafe.multi_level=true"],
            "embedding.cafe.multi_level: expected false with this embedding.cafe.cold, got true",
        ),
        (
            &["embedding.method=cafe_best"],
            "embedding.method: `cafe_best` is gone: at equal bytes `coded`, the default, ",
        ),
        (
            &["embedding.accumulator=u8"],
            "embedding.accumulator: expected none, as rows are stepped by sgd; remove it",
        ),
        (
            &["model.constant_input=true"],
            "model.constant_input: expected none, as the data have numeric columns",
        ),
        (
            &["embedding.count_optimizer=true", "embedding.cafe.sizing=paper"],
            "embedding.cafe.sizing: expected `within` with count_optimizer, got `paper`",
        ),
    ] {
        let (code, message) = fails(&bench, overrides);
        assert_eq!(code, 78, "{message}");
        assert!(message.contains(part), "no {part} in {message}");
    }
    fs::write(bench.path("broken.toml"), "name = \"x\"\nseed = \n").expect("written");
    let (code, message) = failure(&bench.trainer(&["--config", "broken.toml"]));
    assert_eq!(code, 78);
    assert!(message.starts_with("error: broken.toml:2: "), "{message}");
    assert_eq!(failure(&bench.trainer(&["--config", "absent.toml"])).0, 78);
    for arguments in [
        "--no-such-flag",
        "synth --rows 5 --rows-per-day 0 --out a",
        "sketch --skew -1 --slots 4 --buckets 9 --share 0.1",
        "sketch --skew 1.1 --slots 4 --buckets 9",
        "sketch --sweep --slots 4",
        "sketch --skew 1.1 --slots 4 --buckets 9 --share 0.1 --out a.json",
    ] {
        let arguments: Vec<_> = arguments.split(' ').collect();
        assert_eq!(bench.trainer(&arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn cuda_needs_the_feature() {
    let (code, message) = fails(&Bench::new(), &["device=cuda:0"]);
    assert_eq!(code, 78);
    assert!(message.contains("rebuild with `--features cuda`"), "{message}");
}

/// From gradients whose squares overflow to logits that do.
#[test]
fn diverged_run_stops_with_the_step() {
    let bench = Bench::new();
    for lr in ["1e5", "1e6", "1e7", "1e8", "1e12", "1e20"] {
        let (code, message) = fails(&bench, &[&format!("train.lr={lr}")]);
        assert_eq!(code, 70, "{lr}: {message}");
        assert!(
            message.starts_with("error: step ") && message.contains("training rows "),
            "{lr}: {message}"
        );
        assert!(
            message.contains("; nothing was saved before it; a new run with train.lr below "),
            "{lr}: {message}"
        );
    }
}

#[test]
fn short_stream_is_an_error() {
    let bench = Bench::new();
    synth(&bench, 300, "rows.tsv");
    let text = crate::support::SMALL.replace(
        "synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }",
        "path = \"-\"\nrows = 700",
    );
    fs::write(bench.path("files.toml"), text).expect("written");
    let mut command = bench.command(&["--config", "files.toml", "--run-dir", "failed"]);
    let output = command
        .stdin(fs::File::open(bench.path("rows.tsv")).expect("written"))
        .output()
        .expect("starts");
    let (code, message) = failure(&output);
    assert_eq!(code, 65);
    assert!(message.contains("ended after 300 rows, but data.rows promises 700"), "{message}");
}

#[test]
fn too_few_rows_to_split_are_refused() {
    let (code, message) = fails(&Bench::new(), &["data.rows=1"]);
    assert_eq!(code, 65);
    assert_eq!(
        message,
        "error: data.train_fraction: 1 rows are too few to split at 0.8571: 0 would train and 1 would test"
    );
}

#[cfg(unix)]
#[test]
fn pipe_is_not_read_twice() {
    let bench = Bench::new();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(bench.path("pipe"))
            .status()
            .expect("mkfifo runs")
            .success()
    );
    for path in ["-", "pipe"] {
        let text = crate::support::SMALL.replace(
            "synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }",
            &format!("path = {path:?}"),
        );
        fs::write(bench.path("pipe.toml"), text).expect("written");
        for (overrides, part) in [
            (
                &[][..],
                "data.path: rows that come through a pipe can't be counted ahead; set data.rows",
            ),
            (
                &["data.rows=10", "train.epochs=2"],
                "train.epochs: what comes through a pipe can be read once only",
            ),
            (
                &["data.rows=10", "train.eval_every=2"],
                "train.eval_every: the test rows of a pipe come after",
            ),
        ] {
            let mut args = vec!["--config", "pipe.toml", "--run-dir", "failed"];
            args.extend(overrides.iter().flat_map(|text| ["--set", *text]));
            let (code, message) = failure(&bench.trainer(&args));
            assert_eq!(code, 78, "{path}: {message}");
            assert!(message.contains(part), "{path}: no {part} in {message}");
        }
    }
}

#[test]
fn bench_refuses_a_pipe() {
    let bench = Bench::new();
    let small = SMALL.replace(
        "synthetic = { rows = 7000, seed = 5, rows_per_day = 1000 }",
        "path = \"-\"\nrows = 100",
    );
    fs::write(bench.path("pipe.toml"), small).expect("written");
    let (code, message) = failure(&bench.trainer(&["bench", "--config", "pipe.toml"]));
    assert!(
        code == 78 && message.contains("data.path: the rows are read more than once"),
        "{code}: {message}"
    );
    let (code, message) =
        failure(&bench.trainer(&["bench", "--config", "small.toml", "--set", "max_memory=1000"]));
    assert!(code == 78 && message.contains("the run would hold about"), "{code}: {message}");
}
