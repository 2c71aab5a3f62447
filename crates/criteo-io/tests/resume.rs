//! A stream resumed where another one stopped: the same batches, or a refusal.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use criteo_io::{
    Batch, CachePlan, Categorical, Columns, Day, Dialect, Format, Kind, Label, Numeric, Part,
    PartRows, Prefetch, PrefetchConfig, ReadError, Reader, Record, RecordSource, RowWriter, Split,
    StreamPosition, Synth, SynthConfig,
};

const N_ROWS: u64 = 53;
const BATCH: usize = 7;
const RANDOM: Split = Split::Random { seed: 5, fraction: 0.7 };
const DAYS: Split = Split::Position { n_train: 40 };

const SYNTH: SynthConfig = SynthConfig { seed: 3, rows_per_day: 10 };

fn synth(rows: std::ops::Range<u64>) -> Synth {
    Synth::new(SYNTH, rows)
}

/// Generated rows in the Kaggle dialect.
fn kaggle(rows: std::ops::Range<u64>) -> Vec<u8> {
    let mut synth = synth(rows);
    let (mut record, mut text) = (Record::default(), Vec::new());
    while synth.read_record(&mut record).unwrap() {
        criteo_io::write_record(&record, &mut text);
    }
    text
}

/// Generated rows as a table with a number, a bag and a day.
fn table(rows: std::ops::Range<u64>) -> Vec<u8> {
    let mut synth = synth(rows);
    let (mut record, mut text) = (Record::default(), b"day,y,number,text,bag\n".to_vec());
    while synth.read_record(&mut record).unwrap() {
        let Record { clicked, integers, tokens, day, .. } = &record;
        let number = integers.iter().flatten().next().unwrap_or(&0);
        let bag: Vec<_> =
            tokens.iter().take(4).flatten().map(|token| format!("{token:x}")).collect();
        let (day, text_field) =
            (day.unwrap(), tokens[4].map_or_else(String::new, |token| token.to_string()));
        writeln!(text, "{day},{},{number},\"{text_field}\",{}", u8::from(*clicked), bag.join("|"))
            .unwrap();
    }
    text
}

fn described() -> Dialect {
    let bag = Categorical { separator: Some('|'), ..Categorical::new("bag", Kind::String) };
    let columns = Columns {
        numeric: vec![Numeric::new("number")],
        categorical: vec![Categorical::new("text", Kind::String), bag],
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

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 1).unwrap()
}

/// Rows of one kind, which can be opened repeatedly.
struct Stream {
    name: &'static str,
    open: Box<dyn Fn() -> Box<dyn RecordSource>>,
}

fn file(directory: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    path
}

fn reading(name: &'static str, paths: Vec<PathBuf>, dialect: impl Into<Dialect>) -> Stream {
    let dialect = dialect.into();
    Stream {
        name,
        open: Box::new(move || Box::new(Reader::open(paths.clone(), dialect.clone()).unwrap())),
    }
}

fn part(name: &'static str, whole: Stream, split: Split) -> Stream {
    Stream {
        name,
        open: Box::new(move || Box::new(PartRows::new((whole.open)(), split, Part::Train))),
    }
}

/// All rows in every kind of file and in other sources.
fn kinds(directory: &Path) -> Vec<Stream> {
    let text = kaggle(0..N_ROWS);
    let plain = file(directory, "plain", &text);
    let first = file(directory, "day_0", &kaggle(0..20));
    let second = file(directory, "day_1.gz", &gzip(&kaggle(20..21)));
    let third = file(directory, "day_2.zst", &zstd(&kaggle(21..N_ROWS)));
    let table_path = file(directory, "table", &table(0..N_ROWS));
    let open_plain = || reading("plain", vec![plain.clone()], Format::CriteoKaggle);
    let open_table = |name| reading(name, vec![table_path.clone()], described());
    let cache = CachePlan::new(vec![plain.clone()], Format::CriteoKaggle, None, None).unwrap();
    let cache = cache.build(&mut |_| {}).unwrap();
    let open_cache = || {
        let cache = cache.clone();
        Stream { name: "cache", open: Box::new(move || Box::new(cache.rows())) }
    };
    let open_synth = || Stream { name: "synth", open: Box::new(|| Box::new(synth(0..N_ROWS))) };
    vec![
        open_plain(),
        reading("gzip", vec![file(directory, "a.gz", &gzip(&text))], Format::CriteoKaggle),
        reading("zstd", vec![file(directory, "a.zst", &zstd(&text))], Format::CriteoKaggle),
        reading(
            "files that are no days",
            vec![first.clone(), second.clone(), third.clone()],
            Format::CriteoKaggle,
        ),
        open_cache(),
        reading("files that are days", vec![first, second, third], Format::CriteoTerabyte),
        open_table("table"),
        reading("gzip table", vec![file(directory, "t.gz", &gzip(&table(0..N_ROWS)))], described()),
        open_synth(),
        part("part of plain", open_plain(), RANDOM),
        part("part of table", open_table("table"), RANDOM),
        part("part of cache", open_cache(), RANDOM),
        part("part of synth", open_synth(), RANDOM),
        part("first days of table", open_table("table"), DAYS),
    ]
}

fn config(max_rows: Option<u64>, from: StreamPosition) -> PrefetchConfig {
    PrefetchConfig { max_rows, from, ..PrefetchConfig::new(BATCH, 2) }
}

/// All batches, or the error that came.
fn batches(source: Box<dyn RecordSource>, config: PrefetchConfig) -> Result<Vec<Batch>, ReadError> {
    let (mut prefetch, mut all) = (Prefetch::spawn(source, config), Vec::new());
    while let Some(batch) = prefetch.next_batch()? {
        all.push(batch);
    }
    Ok(all)
}

fn end(source: Box<dyn RecordSource>, config: PrefetchConfig) -> StreamPosition {
    batches(source, config).unwrap().last().unwrap().end
}

#[test]
fn resume_at_any_batch_delivers_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    for Stream { name, open } in kinds(directory.path()) {
        for max_rows in [None, Some(0), Some(20), Some(21), Some(35), Some(1000)] {
            let whole = batches(open(), config(max_rows, StreamPosition::default())).unwrap();
            let ends: Vec<_> = whole.iter().map(|batch| batch.end).collect();
            let n_rows: u64 = whole.iter().map(|batch| batch.len() as u64).sum();
            assert_eq!(ends.last().map_or(0, |end| end.n_rows), n_rows, "{name}");
            for (n_done, &from) in ends.iter().enumerate() {
                let rest = batches(open(), config(max_rows, from)).unwrap();
                assert_eq!(
                    rest,
                    whole[n_done + 1..],
                    "{name}, after {} rows of {max_rows:?}",
                    from.n_rows
                );
            }
        }
    }
}

#[test]
fn source_comes_back_at_the_same_row() {
    let directory = tempfile::tempdir().unwrap();
    for Stream { name, open } in kinds(directory.path()) {
        let from = batches(open(), config(Some(14), StreamPosition::default())).unwrap()[0].end;
        let finish = |from| {
            let mut prefetch = Prefetch::spawn(open(), config(Some(14), from));
            while prefetch.next_batch().unwrap().is_some() {}
            batches(prefetch.finish().unwrap(), config(None, StreamPosition::default())).unwrap()
        };
        assert_eq!(finish(from), finish(StreamPosition::default()), "{name}");
    }
}

#[test]
fn digest_does_not_depend_on_the_container() {
    let directory = tempfile::tempdir().unwrap();
    let kinds = kinds(directory.path());
    let whole: Vec<_> = kinds
        .iter()
        .map(|kind| end((kind.open)(), config(None, StreamPosition::default())))
        .collect();
    // Plain, gzip, zstd, several files, cache; then the kinds with days.
    assert!(whole[..5].iter().all(|position| *position == whole[0]), "{whole:?}");
    assert_ne!(whole[5], whole[0]);
    assert_eq!(whole[6], whole[7]);
    assert_eq!(whole[9], whole[11], "a part of plain and of cache");
    for Stream { name, open } in &kinds {
        let expected = end(open(), config(None, StreamPosition::default()));
        for batch_size in [1, 2, 13, 1000] {
            let got = end(open(), PrefetchConfig::new(batch_size, 2));
            assert_eq!(got, expected, "{name}, batches of {batch_size}");
        }
    }
}

#[test]
fn resume_after_other_or_fewer_rows_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for Stream { name, open } in kinds(directory.path()) {
        let ends: Vec<_> = batches(open(), config(None, StreamPosition::default()))
            .unwrap()
            .iter()
            .map(|batch| batch.end)
            .collect();
        let jumps = open().jumps();
        let (at, n_all) = (ends[1], ends.last().unwrap().n_rows);
        let refused = |from| batches(open(), config(None, from));
        let other = StreamPosition { digest: at.digest ^ 1, ..at };
        match refused(other) {
            Ok(_) => assert!(jumps, "{name}"),
            Err(error) => {
                assert!(!jumps && error.is_data_error(), "{name}: {error}");
                let expected = "the rows before row 15 are not those that the run was trained on; \
                                give it the input \
                                that it had, or start a new run in another --run-dir";
                assert_eq!(error.to_string(), expected);
            }
        }
        let error = refused(StreamPosition { n_rows: n_all + 2, digest: 0 }).unwrap_err();
        let expected = format!(
            "the rows before row {} are not those that the run was trained on (the input ends \
             after {n_all}); give it \
             the input that it had, or start a new run in another --run-dir",
            n_all + 3
        );
        assert_eq!(error.to_string(), expected, "{name}");
        let cut = batches(open(), config(Some(10), at)).unwrap_err();
        assert!(matches!(cut, ReadError::Changed { n_rows: 14, n_read: 10 }), "{name}: {cut}");
    }
}

#[test]
fn resume_notices_a_changed_row() {
    let directory = tempfile::tempdir().unwrap();
    let text = kaggle(0..N_ROWS);
    let open = |text: &[u8]| {
        let path = file(directory.path(), "changed.gz", &gzip(text));
        Box::new(Reader::open(vec![path], Format::CriteoKaggle).unwrap())
    };
    let from = batches(open(&text), config(None, StreamPosition::default())).unwrap()[2].end;
    let starts: Vec<usize> = std::iter::once(0)
        .chain(text.iter().enumerate().filter(|it| *it.1 == b'\n').map(|it| it.0 + 1))
        .collect();
    for (row, &start) in starts[..N_ROWS as usize].iter().enumerate() {
        let mut changed = text.clone();
        // The label.
        changed[start] ^= 1;
        let got = batches(open(&changed), config(None, from));
        assert_eq!(got.is_err(), row < 21, "row {row}");
        assert!(got.map_or_else(
            |error| matches!(error, ReadError::Changed { n_rows: 21, n_read: 21 }),
            |_| true
        ));
    }
    let error = batches(open(&text[starts[1]..]), config(None, from)).unwrap_err();
    assert!(matches!(error, ReadError::Changed { .. }), "a row less, {error}");
}

/// The formats that the writer knows beside Kaggle's.
#[test]
fn every_format_resumes() {
    let directory = tempfile::tempdir().unwrap();
    for format in Format::ALL {
        let (mut synth, mut record, mut text) = (synth(0..N_ROWS), Record::default(), Vec::new());
        let mut writer = RowWriter::new(format, SYNTH, 0);
        writer.write_header(&mut text);
        while synth.read_record(&mut record).unwrap() {
            writer.write(&record, &mut text);
        }
        let path = file(directory.path(), format.name(), &text);
        let open = || Box::new(Reader::open(vec![path.clone()], format).unwrap());
        let whole = batches(open(), config(None, StreamPosition::default())).unwrap();
        for n_done in 0..whole.len() {
            let rest = batches(open(), config(None, whole[n_done].end)).unwrap();
            assert_eq!(rest, whole[n_done + 1..], "{format}");
        }
    }
}
