//! Malformed rows left out: which rows remain, what is counted, and when the limit is exceeded.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use criteo_io::{
    BadRowReason, BadRows, Batch, Cache, CacheError, CacheFault, CachePlan, Categorical, Columns,
    Day, Dialect, Format, Kind, Label, Numeric, Part, PartRows, PassEnd, Prefetch, PrefetchConfig,
    ReadError, Reader, Record, RecordSource, SkipLimits, Split, StreamPosition, Synth, SynthConfig,
    count_days, write_record,
};

const N_ROWS: u64 = 60;
/// Malformed rows by their number: at both ends, and consecutive ones.
const BAD: [u64; 8] = [0, 6, 7, 20, 21, 22, 47, 59];
const KAGGLE: Format = Format::CriteoKaggle;

fn skip(max_rows: u64, max_fraction: f64) -> BadRows {
    BadRows::Skip(SkipLimits { max_rows, max_fraction })
}

fn anything() -> BadRows {
    skip(u64::MAX, 0.5)
}

/// Generated rows, those that `bad` numbers malformed in one way or another.
fn kaggle(rows: std::ops::Range<u64>, bad: &[u64]) -> Vec<u8> {
    let mut synth = Synth::new(SynthConfig { seed: 3, rows_per_day: 10 }, rows.clone());
    let (mut record, mut text) = (Record::default(), Vec::new());
    for row in rows {
        assert!(synth.read_record(&mut record).unwrap());
        if bad.contains(&row) {
            match row % 4 {
                0 => text.extend_from_slice(b"no row\n"),
                1 => text.extend_from_slice(b"\n"),
                2 => text.extend_from_slice(&[&vec![b'x'; 70_000][..], b"\n"].concat()),
                _ => {
                    text.push(b'2');
                    let start = text.len();
                    write_record(&record, &mut text);
                    // The label that is there already.
                    text.remove(start);
                }
            }
        } else {
            write_record(&record, &mut text);
        }
    }
    text
}

/// A table of ten rows a day, malformed in its columns, its label, its number or its day.
fn table(rows: std::ops::Range<u64>, bad: &[u64]) -> Vec<u8> {
    let row = |row: u64| match (bad.contains(&row), row % 4) {
        (false, _) => format!("{},{},{row},a|{row}\n", row / 10, row % 2),
        (true, 0) => format!("{},0\n", row / 10),
        (true, 1) => format!("{},x,1,a\n", row / 10),
        (true, 2) => format!("{},0,one,a\n", row / 10),
        (true, _) => ",0,1,a\n".to_owned(),
    };
    ("day,y,number,bag\n".to_owned() + &rows.map(row).collect::<String>()).into_bytes()
}

fn described(separator: Option<char>) -> Dialect {
    let columns = Columns {
        numeric: vec![Numeric::new("number")],
        categorical: vec![Categorical { separator, ..Categorical::new("bag", Kind::String) }],
        day: Some(Day { column: "day".into(), first: None, drop_last: 0 }),
        ..Columns::csv(Label::binary("y"))
    };
    Dialect::delimited(columns).unwrap()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn file(directory: &Path, name: &str, content: &[u8]) -> PathBuf {
    fs::write(directory.join(name), content).unwrap();
    directory.join(name)
}

fn reader(paths: &[PathBuf], dialect: impl Into<Dialect>) -> Box<dyn RecordSource> {
    Box::new(Reader::open(paths.to_vec(), dialect).unwrap())
}

fn cache(
    paths: &[PathBuf],
    dialect: impl Into<Dialect>,
    bad_rows: BadRows,
) -> Result<Cache, CacheError> {
    plan(paths, dialect, bad_rows).build(&mut |_| {})
}

fn plan(paths: &[PathBuf], dialect: impl Into<Dialect>, bad_rows: BadRows) -> CachePlan {
    CachePlan::new(paths.to_vec(), dialect, None, None).unwrap().with_bad_rows(bad_rows)
}

fn config(bad_rows: BadRows) -> PrefetchConfig {
    PrefetchConfig { bad_rows, ..PrefetchConfig::new(7, 2) }
}

/// All batches, and how the stream ended.
fn pass(
    source: Box<dyn RecordSource>,
    config: PrefetchConfig,
) -> Result<(Vec<Batch>, PassEnd), ReadError> {
    let (mut prefetch, mut all) = (Prefetch::spawn(source, config), Vec::new());
    while let Some(batch) = prefetch.next_batch()? {
        all.push(batch);
    }
    Ok((all, prefetch.pass()))
}

fn message(source: Box<dyn RecordSource>, bad_rows: BadRows) -> String {
    pass(source, config(bad_rows)).unwrap_err().to_string()
}

/// Opens a stream from its first row.
type Opener = Box<dyn Fn() -> Box<dyn RecordSource>>;

/// Streams of the same 60 rows, eight of them malformed.
fn streams(directory: &Path) -> Vec<(&'static str, Opener)> {
    let text = kaggle(0..N_ROWS, &BAD);
    let plain = vec![file(directory, "plain", &text)];
    let gz = vec![file(directory, "a.gz", &gzip(&text))];
    let first = file(directory, "day_0", &kaggle(0..21, &BAD));
    let files = vec![first, file(directory, "day_1.gz", &gzip(&kaggle(21..N_ROWS, &BAD)))];
    let days = files.clone();
    let rows = vec![file(directory, "table", &table(0..N_ROWS, &BAD))];
    let cached = cache(&plain, KAGGLE, anything()).unwrap();
    let random = Split::Random { seed: 5, fraction: 0.7 };
    let (cached_part, plain_part) = (cached.clone(), plain.clone());
    vec![
        ("plain", Box::new(move || reader(&plain, KAGGLE))),
        ("gzip", Box::new(move || reader(&gz, KAGGLE))),
        ("files", Box::new(move || reader(&files, KAGGLE))),
        ("cache", Box::new(move || Box::new(cached.rows()))),
        ("days", Box::new(move || reader(&days, Format::CriteoTerabyte))),
        ("table", Box::new(move || reader(&rows, described(Some('|'))))),
        (
            "part",
            Box::new(move || {
                Box::new(PartRows::new(reader(&plain_part, KAGGLE), random, Part::Train))
            }),
        ),
        (
            "cached part",
            Box::new(move || {
                Box::new(PartRows::new(Box::new(cached_part.rows()), random, Part::Train))
            }),
        ),
    ]
}

#[test]
fn malformed_rows_are_left_out_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let clean = kaggle(0..N_ROWS, &[]);
    let lines: Vec<&[u8]> = clean.split_inclusive(|&byte| byte == b'\n').collect();
    let good = (0..N_ROWS)
        .filter(|row| !BAD.contains(row))
        .flat_map(|row| lines[row as usize])
        .copied()
        .collect::<Vec<_>>();
    let good = file(directory.path(), "good", &good);
    let (expected, _) = pass(reader(&[good], KAGGLE), config(BadRows::Error)).unwrap();
    let without_end = |batches: &[Batch]| -> Vec<Batch> {
        batches
            .iter()
            .map(|batch| Batch { end: StreamPosition::default(), ..batch.clone() })
            .collect()
    };
    let streams = streams(directory.path());
    let mut ends = Vec::new();
    for (name, open) in &streams[..4] {
        let (batches, end) = pass(open(), config(anything())).unwrap();
        assert_eq!(without_end(&batches), without_end(&expected), "{name}");
        assert_eq!((end.end.n_rows, end.n_good()), (60, 52), "{name}");
        ends.push(end);
    }
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    let counts = ends[0].bad_rows;
    let found: Vec<_> = counts.iter().map(|(reason, n_rows)| (reason.name(), n_rows)).collect();
    assert_eq!(
        found,
        [("empty_line", 1), ("too_few_columns", 2), ("line_too_long", 2), ("label", 3)]
    );
    assert_eq!(counts.to_string(), "empty_line 1, too_few_columns 2, line_too_long 2, label 3");
    let (_, end) = pass(streams[5].1(), config(anything())).unwrap();
    assert_eq!(end.bad_rows.to_string(), "too_few_columns 2, label 1, number 2, day 3");
}

#[test]
fn resume_counts_malformed_rows_from_the_start() {
    let directory = tempfile::tempdir().unwrap();
    for (name, open) in streams(directory.path()) {
        for max_rows in [None, Some(7), Some(21), Some(23), Some(48)] {
            let config = |from| PrefetchConfig { max_rows, from, ..config(anything()) };
            let (whole, end) = pass(open(), config(StreamPosition::default())).unwrap();
            for n_done in 0..whole.len() {
                let (rest, same_end) = pass(open(), config(whole[n_done].end)).unwrap();
                assert_eq!(rest, whole[n_done + 1..], "{name}, {max_rows:?}, {n_done}");
                assert_eq!(same_end, end, "{name}, {max_rows:?}, {n_done}");
            }
            let (none, same_end) = pass(open(), config(end.end)).unwrap();
            assert_eq!((none.len(), same_end), (0, end), "{name}");
            assert!(max_rows.is_none_or(|max_rows| end.end.n_rows <= max_rows));
        }
        // A row that is malformed now and was not before is noticed, and conversely.
        let (whole, _) = pass(open(), config(anything())).unwrap();
        let end = whole[2].end;
        let from = StreamPosition { n_rows: end.n_rows - 1, ..end };
        let error = pass(open(), PrefetchConfig { from, ..config(anything()) }).unwrap_err();
        assert!(matches!(error, ReadError::Changed { .. }), "{name}");
    }
}

#[test]
fn malformed_row_does_not_change_the_split() {
    let directory = tempfile::tempdir().unwrap();
    let paths = [("bad", &BAD[..]), ("clean", &[])]
        .map(|(name, bad)| file(directory.path(), name, &kaggle(0..N_ROWS, bad)));
    for split in [Split::Position { n_train: 22 }, Split::Random { seed: 5, fraction: 0.7 }] {
        for part in [Part::Train, Part::Test] {
            let labels_and_ids = |path: &PathBuf| {
                let rows = PartRows::new(reader(std::slice::from_ref(path), KAGGLE), split, part);
                let config = PrefetchConfig { batch_size: 1, ..config(skip(9, 0.9)) };
                let (batches, end) = pass(Box::new(rows), config).unwrap();
                (
                    batches.into_iter().map(|batch| (batch.labels, batch.ids)).collect::<Vec<_>>(),
                    end,
                )
            };
            let ((got, end), (all, _)) = (labels_and_ids(&paths[0]), labels_and_ids(&paths[1]));
            let ours: Vec<u64> =
                (0..N_ROWS).filter(|&row| split.part_of_row(row) == part).collect();
            assert_eq!(all.len(), ours.len());
            let expected: Vec<_> = ours
                .iter()
                .zip(all)
                .filter(|(row, _)| !BAD.contains(row))
                .map(|(_, batch)| batch)
                .collect();
            assert_eq!(got, expected, "{split:?} {part:?}");
            assert_eq!(
                end.bad_rows.total(),
                ours.iter().filter(|row| BAD.contains(row)).count() as u64
            );
        }
    }
}

#[test]
fn limit_message_names_first_row_and_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "rows", &kaggle(0..N_ROWS, &BAD));
    let limit_message = |bad_rows| {
        message(reader(std::slice::from_ref(&path), KAGGLE), bad_rows)
            .replace(path.to_str().unwrap(), "FILE")
    };
    let first = "the first is FILE:1:7: expected 40 tab-separated columns, got 1; check that \
                 data.format is right, or raise";
    assert_eq!(
        limit_message(skip(3, 0.9)),
        format!(
            "4 of 21 rows are malformed (too_few_columns 2, line_too_long 1, label 1), more than \
             data.max_bad_rows = 3 \
             allows; {first} data.max_bad_rows"
        )
    );
    assert_eq!(
        limit_message(skip(100, 0.01)),
        format!(
            "8 of 60 rows are malformed (empty_line 1, too_few_columns 2, line_too_long 2, label \
             3), more than \
             data.max_bad_fraction = 0.01 allows; {first} data.max_bad_fraction"
        ),
        "checked at the end of the pass"
    );
    for allowed in [skip(8, 0.5), skip(u64::MAX, 8.0 / 60.0)] {
        assert_eq!(
            pass(reader(std::slice::from_ref(&path), KAGGLE), config(allowed)).unwrap().1.n_good(),
            52
        );
    }
    let error = pass(reader(&[path], KAGGLE), config(skip(0, 0.5))).unwrap_err();
    assert!(
        error.is_data_error() && error.to_string().starts_with("1 of 1 rows are malformed"),
        "{error}"
    );
}

#[test]
fn share_is_checked_from_row_1000_on() {
    let directory = tempfile::tempdir().unwrap();
    let many = |n_bad: u64, n_rows: u64| {
        let bad: Vec<u64> = (0..n_bad).map(|row| row * 4).collect();
        file(directory.path(), "many", &table(0..n_rows, &bad))
    };
    let pass = |path| pass(reader(&[path], described(None)), config(skip(u64::MAX, 0.01)));
    for (n_bad, n_rows, expected) in
        [(10, 1000, None), (11, 3000, Some(1000)), (11, 1100, Some(1000)), (11, 999, Some(999))]
    {
        let got = match pass(many(n_bad, n_rows)) {
            Ok(_) => None,
            Err(ReadError::TooManyBadRows { n_rows, .. }) => Some(n_rows),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(got, expected, "{n_bad} of {n_rows}");
    }
    // All of them among the first rows: not before row 1,000.
    let mut prefetch =
        Prefetch::spawn(reader(&[many(11, 2000)], described(None)), config(skip(u64::MAX, 0.01)));
    let mut n_good = 0;
    let error = loop {
        match prefetch.next_batch() {
            Ok(batch) => n_good += batch.unwrap().len(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ReadError::TooManyBadRows { n_rows: 1000, .. }));
    // 988 rows are good, and whole batches of seven of them are delivered.
    assert_eq!(n_good, 987);
    assert_eq!(prefetch.pass().bad_rows.count(BadRowReason::TooFewColumns), 11);
}

#[test]
fn other_errors_are_not_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let good = kaggle(0..20, &[]);
    let cut = gzip(&good);
    let open_quote = [table(0..3, &[]), b"\"".to_vec(), vec![b'x'; 70_000]].concat();
    for (content, dialect, part) in [
        (cut[..cut.len() - 9].to_vec(), Dialect::from(KAGGLE), "the gzip data end too early"),
        ([b"\xef\xbb\xbf", &good[..]].concat(), KAGGLE.into(), "got a UTF-8 byte order mark"),
        (open_quote, described(None), "expected a row, got one of over 65536 bytes"),
        (b"y,number,bag\n1,1,a\n".to_vec(), described(None), "there is no column `day`"),
    ] {
        let path = file(directory.path(), "file", &content);
        let text = message(reader(&[path], dialect), anything());
        assert!(text.contains(part), "no {part} in {text}");
    }
}

#[test]
fn counts_include_malformed_rows() {
    let directory = tempfile::tempdir().unwrap();
    let path = [file(directory.path(), "rows", &kaggle(0..N_ROWS, &BAD))];
    assert_eq!(Dialect::from(KAGGLE).count_rows(&path, None).unwrap(), 60);
    let files = [(0, 0..21), (1, 21..22), (2, 22..60)]
        .map(|(n, rows)| file(directory.path(), &format!("day_{n}"), &kaggle(rows, &BAD)));
    let terabyte = || Dialect::from(Format::CriteoTerabyte);
    assert_eq!(terabyte().count_days(&files, None).unwrap(), [21, 1, 38]);
    let cached = cache(&files, terabyte(), anything()).unwrap();
    assert_eq!(count_days(&mut cached.rows(), None).unwrap(), [21, 1, 38]);
    assert_eq!(count_days(&mut *reader(&files, terabyte()), Some(30)).unwrap(), [21, 1, 8]);
    // Row 20 lacks columns and row 47 its day: both count for the day before.
    let path = [file(directory.path(), "table", &table(0..N_ROWS, &BAD))];
    let days = [10, 11, 9, 10, 10, 10];
    assert_eq!(described(None).count_days(&path, None).unwrap(), days);
    let cached = cache(&path, described(None), anything()).unwrap();
    assert_eq!(count_days(&mut cached.rows(), None).unwrap(), days);
}

#[test]
fn cache_requires_limits_that_allow_its_malformed_rows() {
    let directory = tempfile::tempdir().unwrap();
    let path = [file(directory.path(), "rows", &kaggle(0..N_ROWS, &BAD))];
    let refused = cache(&path, KAGGLE, BadRows::Error).unwrap_err();
    assert!(matches!(refused, CacheError::Input(ReadError::Row { line: 1, .. })), "{refused}");
    let refused = cache(&path, KAGGLE, skip(7, 0.9)).unwrap_err();
    assert!(matches!(refused, CacheError::Input(ReadError::TooManyBadRows { .. })), "{refused}");
    let refused = cache(&path, KAGGLE, skip(9, 0.1)).unwrap_err();
    assert!(
        matches!(refused, CacheError::Input(ReadError::TooManyBadRows { n_rows: 60, .. })),
        "{refused}"
    );
    let built = cache(&path, KAGGLE, skip(10, 0.5)).unwrap();
    assert_eq!((built.n_rows(), built.rows().jumps()), (60, false), "they are to be counted");
    for (policy, serves) in [
        (skip(10, 0.5), true),
        (skip(11, 0.6), true),
        (skip(9, 0.5), false),
        (skip(10, 0.4), false),
        (BadRows::Error, false),
    ] {
        let opened = plan(&path, KAGGLE, policy).open();
        assert_eq!(opened.is_ok(), serves, "{policy:?}");
        assert!(serves || matches!(opened, Err(CacheFault::BadRows)));
    }
    // In the first rows of the cache the share of malformed ones may exceed the limit.
    let few = PrefetchConfig { max_rows: Some(1), ..config(skip(10, 0.5)) };
    let text = pass(Box::new(built.rows()), few).unwrap_err().to_string();
    let expected = "row 1 was malformed when it was cached (too_few_columns); check that \
                    data.format is right, or raise \
                    data.max_bad_fraction";
    assert!(text.starts_with("1 of 1 rows are malformed") && text.ends_with(expected), "{text}");

    let clean = [file(directory.path(), "clean", &kaggle(0..N_ROWS, &[]))];
    for built_with in [BadRows::Error, skip(0, 0.0)] {
        assert!(cache(&clean, KAGGLE, built_with).unwrap().rows().jumps());
        for policy in [BadRows::Error, skip(0, 0.0), anything()] {
            plan(&clean, KAGGLE, policy).open().unwrap();
        }
    }
}
