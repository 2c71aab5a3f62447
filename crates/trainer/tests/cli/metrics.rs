//! Metrics of a run: `metrics.jsonl`, and the event file, decoded here.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::support::{Bench, QUOTA_CODED, failure};

/// Values by tag, each with its step, in the order of the file.
type Scalars = BTreeMap<String, Vec<(u64, f32)>>;

fn lines(metrics: &str) -> Vec<Value> {
    metrics.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// CRC-32C bit by bit, masked.
fn masked_crc(data: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (if crc & 1 == 1 { 0x82f6_3b78 } else { 0 });
        }
    }
    let crc = !crc;
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The data of each record; lengths and checksums must fit.
fn records(mut file: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while !file.is_empty() {
        let number =
            |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
        let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
        assert_eq!(number(8), masked_crc(&file[..8]), "the checksum of a length");
        let data = &file[12..12 + length];
        assert_eq!(number(12 + length), masked_crc(data), "the checksum of {length} bytes");
        records.push(data);
        file = &file[16 + length..];
    }
    records
}

/// A field of a message in protobuf's encoding.
#[derive(Debug, PartialEq)]
enum Field<'a> {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Four([u8; 4]),
}

fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let last = message.iter().position(|byte| byte & 0x80 == 0).expect("it ends");
        let value = message[..=last]
            .iter()
            .rev()
            .fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
        *message = &message[last + 1..];
        value
    }
    fn take<'a>(message: &mut &'a [u8], n_bytes: usize) -> &'a [u8] {
        let (taken, rest) = message.split_at(n_bytes);
        *message = rest;
        taken
    }
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut message)),
            1 => Field::Eight(take(&mut message, 8).try_into().expect("eight bytes")),
            2 => {
                let length = varint(&mut message) as usize;
                Field::Bytes(take(&mut message, length))
            }
            5 => Field::Four(take(&mut message, 4).try_into().expect("four bytes")),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

/// The scalars of the event file of a run.
fn scalars(bench: &Bench, run: &str) -> Scalars {
    let files: Vec<_> = fs::read_dir(bench.path(run).join("tensorboard"))
        .expect("a directory")
        .map(|entry| entry.expect("readable").path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(
        files[0].file_name().expect("a name").to_string_lossy().starts_with("events.out.tfevents.")
    );
    let file = fs::read(&files[0]).expect("readable");
    let mut scalars = Scalars::new();
    for (number, event) in records(&file).into_iter().enumerate() {
        let (mut step, mut summaries, mut seconds) = (0, Vec::new(), None);
        for field in fields(event) {
            match field {
                (1, Field::Eight(time)) => seconds = Some(f64::from_le_bytes(time)),
                (2, Field::Varint(value)) => step = value,
                (3, Field::Bytes(version)) => {
                    assert_eq!((number, version), (0, &b"brain.Event:2"[..]));
                }
                (5, Field::Bytes(summary)) => summaries.push(summary),
                other => panic!("{other:?}"),
            }
        }
        assert!(seconds > Some(1.7e9), "{seconds:?} is a time of this century");
        assert_eq!(
            summaries.len(),
            usize::from(number > 0),
            "one summary an event after the version"
        );
        for (_, value) in summaries.into_iter().flat_map(fields) {
            let Field::Bytes(value) = value else { panic!("{value:?}") };
            let value = fields(value);
            let [(1, Field::Bytes(tag)), (2, Field::Four(number))] = &value[..] else {
                panic!("{value:?}")
            };
            let tag = String::from_utf8(tag.to_vec()).expect("UTF-8");
            scalars.entry(tag).or_default().push((step, f32::from_le_bytes(*number)));
        }
    }
    scalars
}

#[test]
fn day_lines_add_up_to_all_rows() {
    let bench = Bench::new();
    // 6000 rows train: days of 1000, and of 900 with one that the split cuts; batches of 64 meet
    // neither end.
    for (run, rows_per_day, batch, epochs) in
        [("a", 1000, 64, 1), ("b", 900, 64, 2), ("c", 40, 100, 1)]
    {
        let set = [
            format!("data.synthetic.rows_per_day={rows_per_day}"),
            format!("train.batch={batch}"),
            format!("train.epochs={epochs}"),
        ];
        let (report, metrics) = bench.train(run, &set.each_ref().map(String::as_str));
        let lines = lines(&metrics);
        let days: Vec<_> = lines.iter().filter(|line| line["day"].is_u64()).collect();
        let number = |line: &Value, key: &str| line[key].as_u64().expect("a number");
        let n_days = 6000_u64.div_ceil(rows_per_day);
        let expected: Vec<_> = (0..epochs).flat_map(|_| 0..n_days).collect();
        assert_eq!(days.iter().map(|day| number(day, "day")).collect::<Vec<_>>(), expected);
        let mut rows = 0;
        for day in &days {
            rows += number(day, "day_rows");
            let rows_of_epoch = (rows - 1) % 6000 + 1;
            let full_steps = (rows - rows_of_epoch) / 6000 * 6000_u64.div_ceil(batch);
            assert_eq!(number(day, "rows"), rows);
            assert_eq!(number(day, "step"), full_steps + rows_of_epoch.div_ceil(batch), "{day}");
        }
        assert_eq!(Some(rows), report["train_rows"].as_u64());

        // Windows and days are two ways to cut the same samples, but for the summation's order.
        let total = |lines: &[(u64, &Value)], key: &str| {
            lines
                .iter()
                .map(|(n_rows, line)| *n_rows as f64 * line[key].as_f64().expect("a number"))
                .sum::<f64>()
        };
        let mut before = 0;
        let windows: Vec<_> = lines
            .iter()
            .filter(|line| line["day"].is_null() && line["train_logloss"].is_f64())
            .map(|line| {
                (number(line, "rows") - std::mem::replace(&mut before, number(line, "rows")), line)
            })
            .collect();
        let days: Vec<_> = days.iter().map(|day| (number(day, "day_rows"), *day)).collect();
        let (of_windows, of_days) =
            (total(&windows, "train_logloss"), total(&days, "train_logloss"));
        assert!((of_windows - of_days).abs() < 1e-6 * of_days, "{of_windows}, {of_days}");
        if rows_per_day >= 900 {
            assert!(
                days.iter().all(|(_, day)| day["train_auc"].is_f64()
                    && day["train_normalised_entropy"].is_f64())
            );
            let last = days.last().expect("a day").1;
            assert!(last["train_auc"].as_f64() > Some(0.55), "it learns: {last}");
            assert!(
                (0.5..2.0).contains(&last["train_calibration"].as_f64().expect("clicks")),
                "{last}"
            );
        }
        assert_eq!(days.last().map(|(_, day)| &day["promoted"]), Some(&report["promoted"]));
    }
}

#[test]
fn event_files_agree_with_metrics() {
    let bench = Bench::new();
    let (report, metrics) = bench.train("a", &["train.tensorboard=true", "train.eval_every=50"]);
    let scalars = scalars(&bench, "a");
    let lines = lines(&metrics);
    let number = |line: &Value, key: &str| line[key].as_f64().map(|value| value as f32);
    let of = |tag: &str, key: &str, is_day: bool| {
        let points: Vec<_> = lines
            .iter()
            .filter(|line| line["day"].is_u64() == is_day)
            .filter_map(|line| Some((line["step"].as_u64()?, number(line, key)?)))
            .collect();
        assert!(points.len() > 1, "{key}: {points:?}");
        assert_eq!(scalars.get(tag), Some(&points), "{tag}");
    };
    for metric in ["logloss", "auc", "normalised_entropy", "calibration"] {
        of(&format!("train/{metric}"), &format!("train_{metric}"), false);
        of(&format!("day/{metric}"), &format!("train_{metric}"), true);
        of(&format!("test/{metric}"), &format!("test_{metric}"), false);
    }
    for count in ["hot_rows", "promoted", "demoted"] {
        of(&format!("embedding/{count}"), count, false);
        of(&format!("day/{count}"), count, true);
    }
    of("embedding/hot_share", "hot_share", false);
    let speeds = &scalars["samples_per_second"];
    assert_eq!(speeds.iter().map(|point| point.0).collect::<Vec<_>>(), [20, 40, 60, 80, 94]);
    assert!(speeds.iter().all(|point| point.1 > 0.0), "{speeds:?}");
    assert_eq!(scalars.len(), 3 * 4 + 2 * 3 + 1 + 1, "{:?}", scalars.keys());
    assert_eq!(scalars["test/auc"].last().map(|point| point.1), number(&report, "test_auc"));

    // The same results without an event file, and no directory for one.
    let (_, without) = bench.train("b", &["train.eval_every=50"]);
    assert_eq!(without, metrics);
    assert!(!bench.path("b").join("tensorboard").exists());
}

#[test]
fn metrics_have_the_hot_share() {
    let bench = Bench::new();
    let (_, metrics) = bench.train("a", &[]);
    let lines = lines(&metrics);
    let (with, without): (Vec<_>, Vec<_>) =
        lines.iter().partition(|line| line.get("hot_share").is_some());
    let step = |line: &&Value| line["step"].as_u64().expect("a number");
    assert_eq!(
        with.iter().map(step).collect::<Vec<_>>(),
        [20, 40, 60, 80],
        "the windows that are full"
    );
    assert!(
        without.iter().any(|line| line["day"].is_u64()),
        "days have none, nor has the rest of a window: {metrics}"
    );
    assert!(
        without.iter().any(|line| step(line) == 94
            && line["train_logloss"].is_f64()
            && line["day"].is_null())
    );
    let shares: Vec<_> =
        with.iter().map(|line| line["hot_share"].as_f64().expect("a number")).collect();
    assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
    assert!(shares[0] < shares[3], "it grows: {shares:?}");

    // Before the first step no feature is hot.
    let (_, metrics) = bench.train("at-once", &["train.log_every=1", "data.rows=300"]);
    let first: Value = serde_json::from_str(metrics.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["hot_share"].as_f64(), Some(0.0), "{first}");

    let (report, metrics) = bench.train("hash", &["embedding.method=hash"]);
    assert!(!metrics.contains("hot_share") && report.get("tiers").is_none(), "{metrics}");
}

/// With a learning rate close to 0, log, report, `eval` and page warn that the model has not
/// learned. A model that has learned gives no warnings.
#[test]
fn unlearned_model_gives_warnings() {
    let bench = Bench::new();
    let codes = |found: &Value| -> Vec<String> {
        let warnings = found["warnings"].as_array().expect("a list");
        warnings.iter().map(|it| it["code"].as_str().expect("a code").to_owned()).collect()
    };
    let set =
        ["train.lr=1e-9", "train.embedding_lr=1e-9"].into_iter().flat_map(|set| ["--set", set]);
    let output = bench.trainer(
        &["--config", "small.toml", "--run-dir", "runs/none"]
            .into_iter()
            .chain(set)
            .collect::<Vec<_>>(),
    );
    let (log, table) =
        (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{log}");
    assert!(
        log.contains("worse-than-constant: the test log-loss of ")
            && log.contains("both rates left out"),
        "{log}"
    );
    assert!(table.contains("warnings") && table.contains("worse-than-constant"), "{table}");
    let (report, _) = bench.result("runs/none");
    assert!(codes(&report).contains(&"worse-than-constant".to_owned()), "{report:#}");
    assert_eq!(report["training"]["lr"], 1e-9_f32);
    let found = bench.trainer(&["eval", "--run", "runs/none", "--json"]);
    let found: Value = serde_json::from_slice(&found.stdout).expect("JSON");
    assert_eq!(codes(&found), codes(&report));
    let page = bench.trainer(&["report", "runs", "--out", "-"]).stdout;
    let page = String::from_utf8_lossy(&page);
    assert!(
        page.contains("1 of them with warnings") && page.contains("finished, warnings: "),
        "{page:.2000}"
    );

    let overrides = ["embedding.method=coded", "train.optimizer=adagrad"];
    let (report, _) = bench.train("runs/learned", &overrides);
    assert_eq!(codes(&report), Vec::<String>::new(), "{report:#}");
}

#[test]
fn report_lists_hot_rows() {
    let bench = Bench::new();
    for (method, overrides) in [
        ("cafe", &[][..]),
        ("quota-coded", &QUOTA_CODED),
        ("cafe_plus", &["embedding.method=cafe_plus"]),
        ("offline", &["embedding.method=offline"]),
    ] {
        let (report, _) = bench.train(method, overrides);
        let tiers = &report["tiers"];
        let numbers = |key: &str| -> Vec<u64> {
            tiers[key]
                .as_array()
                .expect("a list")
                .iter()
                .map(|number| number.as_u64().expect("a number"))
                .collect()
        };
        let number = |key: &str| tiers[key].as_u64().expect("a number");
        let by_field = numbers("hot_rows_by_field");
        assert_eq!(
            (by_field.len(), Some(by_field.iter().sum())),
            (26, report["hot_rows"].as_u64()),
            "{report}"
        );
        let names = tiers["field_names"].as_array().expect("a list");
        assert_eq!((names.len(), names[25].as_str()), (26, Some("C26")));
        assert!(report["hot_rows"].as_u64() <= Some(number("max_hot_rows")), "{tiers}");
        let pairs: Vec<(i32, u64)> =
            serde_json::from_value(tiers["score_counts"].clone()).expect("pairs");
        assert!(pairs.windows(2).all(|pair| pair[0].0 < pair[1].0), "{tiers}");
        let n_scores: u64 = pairs.iter().map(|pair| pair.1).sum();
        assert!(
            n_scores <= number("slots_in_use") && number("slots_in_use") <= number("slots"),
            "{tiers}"
        );
        let has_scores = method != "offline";
        assert_eq!(
            (n_scores > 0, tiers["thresholds"].as_array().is_some_and(|it| !it.is_empty())),
            (has_scores, has_scores)
        );
    }
}

#[test]
fn window_of_one_label_has_no_auc() {
    let bench = Bench::new();
    let (_, metrics) = bench.train(
        "a",
        &["data.rows=70", "train.batch=1", "train.log_every=1", "train.tensorboard=true"],
    );
    let lines = lines(&metrics);
    let windows: Vec<_> = lines
        .iter()
        .filter(|line| line["day"].is_null() && line["train_logloss"].is_f64())
        .collect();
    assert_eq!(windows.len(), 60);
    assert!(
        windows
            .iter()
            .all(|line| line["train_auc"].is_null() && line["train_normalised_entropy"].is_null())
    );
    let clicks = windows.iter().filter(|line| line["train_calibration"].is_f64()).count();
    assert!(clicks > 0 && clicks < 60, "{clicks} of 60 were clicked");
    let scalars = scalars(&bench, "a");
    assert!(!scalars.contains_key("train/auc"), "{:?}", scalars.keys());
    assert_eq!((scalars["train/logloss"].len(), scalars["train/calibration"].len()), (60, clicks));
}

#[test]
fn unwritable_event_file_stops_the_run() {
    let bench = Bench::new();
    fs::create_dir(bench.path("a")).expect("made");
    fs::write(bench.path("a/tensorboard"), "in the way").expect("written");
    let output = bench.trainer(&[
        "--config",
        "small.toml",
        "--run-dir",
        "a",
        "--set",
        "train.tensorboard=true",
    ]);
    let (code, message) = failure(&output);
    assert_eq!(code, 74);
    assert!(message.starts_with("error: a/tensorboard: cannot be created: "), "{message}");
}

#[test]
fn plan_counts_window_scores() {
    let bench = Bench::new();
    let peak = |log_every: &str| -> u64 {
        let set = format!("train.log_every={log_every}");
        let output = bench.trainer(&["plan", "--config", "small.toml", "--set", &set]);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let line = text.lines().find(|line| line.starts_with("expected peak")).expect("a line");
        assert!(
            line.contains(
                ", and 4 B per test row and per row of the longest day, if rows have days"
            ),
            "{line}"
        );
        let number =
            line.split("about ").nth(1).and_then(|text| text.split(" B").next()).expect("a number");
        number.replace(',', "").parse().expect("a number")
    };
    // 10 steps of 64 rows at 4 bytes, and as much again in the copy that a checkpoint is written
    // from; no window is longer than the 7000 rows that there are.
    assert_eq!(peak("10") - peak("1"), 2 * 4 * 64 * 9);
    assert_eq!(peak("9000000000000000000") - peak("1"), 2 * 4 * (7000 - 64));
}
