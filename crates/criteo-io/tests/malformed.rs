//! Every fault of an input with its exact message; plain and compressed, and at every boundary of
//! the buffer.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use criteo_io::{
    BadRowCounts, BadRowFilter, BadRowReason, BadRows, FilteredRow, Format, ReadError, Reader,
    Record, RecordSource, SkipLimits, count_rows,
};

/// Leaves out every malformed row.
const SKIP: BadRows = BadRows::Skip(SkipLimits { max_rows: u64::MAX, max_fraction: 1.0 });

/// A good row with a value in every field: `0`, I1 = 1 to I13 = 13, C1 = 00000001 to C26 =
/// 0000001a.
fn columns() -> Vec<Vec<u8>> {
    let integers = (1..=13).map(|i| i.to_string().into_bytes());
    let tokens = (1..=26).map(|i| format!("{i:08x}").into_bytes());
    [b"0".to_vec()].into_iter().chain(integers).chain(tokens).collect()
}

/// The good row with one column replaced, and where that column starts.
fn with_column(column_idx: usize, text: &[u8]) -> (Vec<u8>, usize) {
    let mut columns = columns();
    columns[column_idx] = text.to_vec();
    let start = columns[..column_idx].iter().map(|it| it.len() + 1).sum::<usize>() + 1;
    (columns.join(&b'\t'), start)
}

/// A file of two good rows, then `line`, then another good one.
fn third_line(line: &[u8]) -> Vec<u8> {
    let good = columns().join(&b'\t');
    [&good, &good, line, &good].map(|it| [it, &b"\n"[..]].concat()).concat()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A temporary directory for files of any content.
struct TestDir(tempfile::TempDir);

impl TestDir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// The message, with FILE in place of the path.
    fn message(&self, path: &Path, error: &ReadError) -> String {
        assert!(path.starts_with(self.0.path()));
        error.to_string().replace(path.to_str().unwrap(), "FILE")
    }

    /// Reads to the first error: the rows before it, and the message.
    fn outcome(&self, path: &Path, n_bytes: Option<usize>) -> (u64, String) {
        let (n_rows, _, message) = self.outcome_with(BadRows::Error, path, n_bytes);
        (n_rows, message)
    }

    /// Reads to the first error that `policy` does not allow: the rows before it, the malformed
    /// rows by reason, and the message.
    fn outcome_with(
        &self,
        policy: BadRows,
        path: &Path,
        n_bytes: Option<usize>,
    ) -> (u64, BadRowCounts, String) {
        let (n_rows, counts, error) = read_with(policy, path, n_bytes);
        (
            n_rows,
            counts,
            error.map_or_else(|| "no error".to_owned(), |error| self.message(path, &error)),
        )
    }
}

fn open(path: &Path, n_bytes: Option<usize>) -> Result<Reader, ReadError> {
    let reader = Reader::open(vec![path.to_owned()], Format::CriteoKaggle)?;
    Ok(match n_bytes {
        Some(n_bytes) => reader.with_buffer_bytes(n_bytes),
        None => reader,
    })
}

fn read_with(
    policy: BadRows,
    path: &Path,
    n_bytes: Option<usize>,
) -> (u64, BadRowCounts, Option<ReadError>) {
    let mut reader = match open(path, n_bytes) {
        Ok(reader) => reader,
        Err(error) => return (0, BadRowCounts::default(), Some(error)),
    };
    let (mut record, mut filter, mut n_rows) = (Record::default(), BadRowFilter::new(policy), 0);
    loop {
        match filter.read(&mut reader, &mut record) {
            Ok(FilteredRow::Row) => n_rows += 1,
            Ok(FilteredRow::Bad(_)) => {}
            Ok(FilteredRow::End) => return (n_rows, filter.counts(), filter.finish().err()),
            Err(error) => return (n_rows, filter.counts(), Some(error)),
        }
    }
}

fn first_error(path: &Path, n_bytes: Option<usize>) -> (u64, Option<ReadError>) {
    let (n_rows, _, error) = read_with(BadRows::Error, path, n_bytes);
    (n_rows, error)
}

/// The message of a malformed row, with its advice.
fn advised(what: &str, line: usize) -> String {
    format!(
        "FILE:{line}:{what}; mend or drop line {line}, or set data.bad_rows = \"skip\" to count \
         and skip such rows"
    )
}

/// The reason that belongs to a message.
fn reason(what: &str) -> BadRowReason {
    let n_columns = || {
        what.split(" columns, got ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok())
    };
    match what {
        _ if what.contains("empty line") => BadRowReason::EmptyLine,
        _ if what.contains("field label") => BadRowReason::Label,
        _ if what.contains("64 bits") => BadRowReason::IntegerOverflow,
        _ if what.contains("field I") => BadRowReason::Integer,
        _ if what.contains("field C") => BadRowReason::Token,
        _ if n_columns().unwrap() < 40 => BadRowReason::TooFewColumns,
        _ => BadRowReason::TooManyColumns,
    }
}

/// A line, and its message as the third line of a file.
type Case = (Vec<u8>, String);

const BAD_INTEGERS: &[(&[u8], &str)] = &[
    (b"0x1f", "`0x1f`"),
    (b"1e3", "`1e3`"),
    (b"+1", "`+1`"),
    (b"-", "`-`"),
    (b"--1", "`--1`"),
    (b"1-", "`1-`"),
    (b"1.0", "`1.0`"),
    (b" 1", "` 1`"),
    (b"1 ", "`1 `"),
    (b"NULL", "`NULL`"),
    (b"nan", "`nan`"),
    (b"1,000", "`1,000`"),
    (b"/", "`/`"),
    (b":", "`:`"),
    (b"\0", r"`\x00`"),
    (b"1\0", r"`1\x00`"),
    (b"\r", r"`\r`"),
    (b"\"1\"", r#"`\"1\"`"#),
    (b"\xff", r"`\xff`"),
    (b"\xc2\xb9", r"`\xc2\xb9`"),
    (b"1234567x", "`1234567x`"),
    (b"123456789012345678901234567890123x", "`12345678901234567890123456789012...`"),
];

const OVERFLOWS: &[&str] = &[
    "9223372036854775808",
    "-9223372036854775809",
    "99999999999999999999",
    "18446744073709551616",
];

const BAD_TOKENS: &[(&[u8], &str)] = &[
    (b"0", "`0`"),
    (b"0000001", "`0000001`"),
    (b"000000001", "`000000001`"),
    (b"0x00001f", "`0x00001f`"),
    (b"0000001g", "`0000001g`"),
    (b"G0000001", "`G0000001`"),
    (b"0000 001", "`0000 001`"),
    (b"+0000001", "`+0000001`"),
    (b"-0000001", "`-0000001`"),
    (b"`0000001", "``0000001`"),
    (b"@0000001", "`@0000001`"),
    (b"/0000001", "`/0000001`"),
    (b":0000001", "`:0000001`"),
    (b"0000001\0", r"`0000001\x00`"),
    (b"\xff0000001", r"`\xff0000001`"),
    (b"0000\r001", r"`0000\r001`"),
    (b"\x10\x11\x12\x13\x14\x15\x16\x17", r"`\x10\x11\x12\x13\x14\x15\x16\x17`"),
    (b"deadbeefdeadbeefdeadbeefdeadbeefdeadbeef", "`deadbeefdeadbeefdeadbeefdeadbeef...`"),
];

const BAD_LABELS: &[(&[u8], &str)] = &[
    (b"", "nothing"),
    (b"2", "`2`"),
    (b"-1", "`-1`"),
    (b"01", "`01`"),
    (b"0.0", "`0.0`"),
    (b"label", "`label`"),
    (b" 1", "` 1`"),
    (b"\0", r"`\x00`"),
    (b"\xef\xbb\xbf1", r"`\xef\xbb\xbf1`"),
];

/// Every bad text in every field where it is not valid.
fn field_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (text, got) in BAD_LABELS {
        let (line, _) = with_column(0, text);
        cases.push((line, format!("1: field label: expected 0 or 1, got {got}")));
    }
    for field in 1..=13 {
        for (text, got) in BAD_INTEGERS {
            let (line, start) = with_column(field, text);
            let what = format!("field I{field}: expected an integer or nothing, got {got}");
            cases.push((line, format!("{start}: {what}")));
        }
        for text in OVERFLOWS {
            let (line, start) = with_column(field, text.as_bytes());
            let what =
                format!("field I{field}: expected an integer of at most 64 bits, got `{text}`");
            cases.push((line, format!("{start}: {what}")));
        }
    }
    for field in 1..=26 {
        for (text, got) in BAD_TOKENS {
            let (line, start) = with_column(13 + field, text);
            let what = format!("field C{field}: expected eight hex digits or nothing, got {got}");
            cases.push((line, format!("{start}: {what}")));
        }
    }
    cases
}

/// Lines that are not rows at all.
fn line_cases() -> Vec<Case> {
    let good = columns();
    let joined = |columns: &[Vec<u8>]| columns.join(&b'\t');
    let row = joined(&good);
    let (end, past) = (row.len() + 1, row.len() + 2);
    let no_label = joined(&good[1..]);
    let few = "expected 40 tab-separated columns, got";
    let unlabelled = "39 (39 columns look like a file without labels, which cannot be used here)";
    let mut cases: Vec<(Vec<u8>, String)> = vec![
        (b"".to_vec(), "1: expected a row, got an empty line".into()),
        (b"\r".to_vec(), "1: expected a row, got an empty line".into()),
        (b"0".to_vec(), format!("2: {few} 1")),
        (b"\0".to_vec(), format!("2: {few} 1")),
        (b"\t".to_vec(), format!("2: {few} 2")),
        (b"0,1,2,3".to_vec(), format!("8: {few} 1")),
        (b"0 1 2 3".to_vec(), format!("8: {few} 1")),
        (b"<html>\r".to_vec(), format!("7: {few} 1")),
        (joined(&good[..39]), format!("{}: {few} {unlabelled}", end - 9)),
        (no_label.clone(), format!("{}: {few} {unlabelled}", no_label.len() + 1)),
        (joined(&good[..38]), format!("{}: {few} 38", end - 18)),
        ([&row, &b"\t"[..]].concat(), format!("{past}: {few} 41")),
        ([&row, &b"\t\t"[..]].concat(), format!("{past}: {few} 42")),
        ([&row, &b"\t\r"[..]].concat(), format!("{past}: {few} 41")),
        ([&row, &b"\t"[..], &row].concat(), format!("{past}: {few} 80")),
    ];
    // A carriage return ends a line once.
    let twice = [&row, &b"\r\r"[..]].concat();
    let last = end - 8;
    let got = r"`0000001a\r`";
    cases.push((
        twice,
        format!("{last}: field C26: expected eight hex digits or nothing, got {got}"),
    ));
    cases
}

#[test]
fn every_bad_line_has_an_exact_message() {
    let dir = TestDir::new();
    let cases = [line_cases(), field_cases()].concat();
    assert!(cases.len() > 800, "{} cases", cases.len());
    for (line, what) in cases {
        let content = third_line(&line);
        let expected = (2, advised(&what, 3));
        let compressed = [("a.gz", gzip(&content)), ("a.zst", zstd(&content))];
        for (name, content) in [("a", content)].into_iter().chain(compressed) {
            let path = dir.write(name, &content);
            assert_eq!(dir.outcome(&path, None), expected, "{}", line.escape_ascii());
            let (n_good, counts, message) = dir.outcome_with(SKIP, &path, None);
            assert_eq!(
                (n_good, counts.total(), message.as_str()),
                (3, 1, "no error"),
                "{}",
                line.escape_ascii()
            );
            assert_eq!(counts.count(reason(&what)), 1, "{what}");
            assert_eq!(count_rows(&[path], None).unwrap(), 4, "{}", line.escape_ascii());
        }
    }
}

/// The outcome of each row in order, with the messages of malformed ones.
fn events(dir: &TestDir, path: &Path, n_bytes: usize) -> Vec<String> {
    let (mut reader, mut record, mut events) =
        (open(path, Some(n_bytes)).unwrap(), Record::default(), Vec::new());
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => events.push("good".to_owned()),
            Ok(false) => return events,
            Err(error) => events.push(dir.message(path, &error)),
        }
    }
}

/// All cases, many to a file, with a good row before each.
#[test]
fn bad_line_messages_do_not_depend_on_the_buffer() {
    let dir = TestDir::new();
    let good = columns().join(&b'\t');
    for cases in [line_cases(), field_cases()].concat().chunks(60) {
        let content: Vec<u8> = cases
            .iter()
            .flat_map(|(line, _)| [&good, line].map(|it| [it, &b"\n"[..]].concat()))
            .flatten()
            .collect();
        let messages = cases
            .iter()
            .enumerate()
            .flat_map(|(idx, (_, what))| ["good".to_owned(), advised(what, 2 * idx + 2)]);
        let expected: Vec<_> = messages.collect();
        let paths = [dir.write("a", &content), dir.write("a.gz", &gzip(&content))];
        for n_bytes in 1..=300 {
            for path in &paths {
                assert_eq!(events(&dir, path, n_bytes), expected, "buffer of {n_bytes}");
            }
        }
        for path in &paths {
            let (n_good, counts, message) = dir.outcome_with(SKIP, path, Some(123));
            assert_eq!((n_good, message.as_str()), (cases.len() as u64, "no error"));
            for one in BadRowReason::ALL {
                let n_expected = cases.iter().filter(|(_, what)| reason(what) == one).count();
                assert_eq!(counts.count(one), n_expected as u64, "{one}");
            }
        }
    }
}

#[test]
fn error_names_line_and_column() {
    let dir = TestDir::new();
    let (line, _) = with_column(5, b"0x1f");
    let path = dir.write("day_0", &[&line[..], b"\n"].concat());
    let error = first_error(&path, None).1.unwrap();
    assert_eq!(
        dir.message(&path, &error),
        advised("11: field I5: expected an integer or nothing, got `0x1f`", 1)
    );
    assert!(error.is_data_error() && !error.is_io_error());
}

#[test]
fn unusual_valid_rows_do_not_depend_on_the_buffer() {
    let dir = TestDir::new();
    let row = columns().join(&b'\t');
    let (upper, _) = with_column(39, b"DEADBEEF");
    let (negative, _) = with_column(2, b"-0012");
    let (extreme, _) = with_column(13, b"-9223372036854775808");
    let (open_end, _) = with_column(39, b"");
    let empty = [&b"1"[..], &[b'\t'; 39]].concat();
    let rows: [&[u8]; 6] = [&row, &upper, &negative, &extreme, &empty, &open_end];
    for end in [&b"\n"[..], b"\r\n"] {
        let unended = rows.join(end);
        let ended = [&unended, end].concat();
        let only_return = [&unended, &b"\r"[..]].concat();
        for content in [unended, ended, only_return] {
            let paths = [dir.write("a", &content), dir.write("a.gz", &gzip(&content))];
            for path in &paths {
                assert_eq!(count_rows(std::slice::from_ref(path), None).unwrap(), 6);
                for n_bytes in 1..=300 {
                    assert_eq!(dir.outcome(path, Some(n_bytes)), (6, "no error".to_owned()));
                }
            }
        }
    }
}

#[test]
fn line_over_64_kib_is_refused() {
    let dir = TestDir::new();
    let row = columns().join(&b'\t');
    let expected = "FILE:2:1: expected a row, got a line of over 65536 bytes; \
                    check that the file is tab-separated text, or set data.bad_rows = \"skip\" to \
                    count and skip \
                    such rows";
    for n_bytes in [65_537, 65_538, 262_143, 262_144, 262_145, 1_000_000] {
        let long = vec![b'x'; n_bytes];
        for end in [&b""[..], b"\n", b"\r\n"] {
            let content = [&row, &b"\n"[..], &long, end].concat();
            for (name, content) in [("a", &content), ("a.gz", &gzip(&content))] {
                let path = dir.write(name, content);
                for n_bytes in [None, Some(1), Some(300), Some(65_536), Some(65_537)] {
                    assert_eq!(dir.outcome(&path, n_bytes), (1, expected.to_owned()));
                    let (n_good, counts, message) = dir.outcome_with(SKIP, &path, n_bytes);
                    assert_eq!((n_good, counts.total(), message.as_str()), (1, 1, "no error"));
                }
            }
            let path = dir.write("b", &[&content[..], b"\n", &row].concat());
            for n_bytes in [None, Some(1), Some(300), Some(65_537)] {
                let (n_good, counts, message) = dir.outcome_with(SKIP, &path, n_bytes);
                let n_empty = u64::from(!end.is_empty());
                assert_eq!((n_good, message.as_str()), (2, "no error"));
                assert_eq!(
                    (
                        counts.count(BadRowReason::LineTooLong),
                        counts.count(BadRowReason::EmptyLine)
                    ),
                    (1, n_empty)
                );
            }
        }
    }
    let limit = [&row, &b"\n"[..], &vec![b'x'; 65_536][..]].concat();
    let message = dir.outcome(&dir.write("a", &limit), None).1;
    assert_eq!(message, advised("65537: expected 40 tab-separated columns, got 1", 2));
}

#[test]
fn damaged_compression_is_an_error() {
    let dir = TestDir::new();
    let content = third_line(&columns().join(&b'\t')).repeat(8);
    let (gz, zst) = (gzip(&content), zstd(&content));
    let cut = |whole: &[u8], n_bytes: usize| whole[..whole.len() - n_bytes].to_vec();
    let flipped = |whole: &[u8], from_end: usize| {
        let mut bytes = whole.to_vec();
        bytes[whole.len() - from_end] ^= 0x40;
        bytes
    };
    let early =
        |kind: &str| format!("FILE: the {kind} data end too early; download the file again");
    let damaged = |kind: &str, detail: &str| {
        let advice = format!("test it with `{kind} -t`, or download it again");
        format!("FILE: the {kind} data are damaged ({detail}); {advice}")
    };
    let checksum = "corrupt gzip stream does not have a matching checksum";
    let trailing =
        "FILE: after the gzip data come bytes that are not gzip; download the file again";
    let wrong_method = [&[0x1f, 0x8b, 7][..], &gz[3..]].concat();
    let cases = [
        (cut(&gz, 1), early("gzip")),
        (cut(&gz, 8), early("gzip")),
        (cut(&gz, gz.len() / 2), early("gzip")),
        (cut(&gz, gz.len() - 5), early("gzip")),
        ([&gz[..], &gz[..gz.len() / 2]].concat(), early("gzip")),
        ([&gz[..], &gz[..1]].concat(), early("gzip")),
        (flipped(&gz, 1), damaged("gzip", checksum)),
        (flipped(&gz, 8), damaged("gzip", checksum)),
        (wrong_method, damaged("gzip", "invalid gzip header")),
        ([&gz[..], b"garbage"].concat(), trailing.to_owned()),
        ([&gz[..], &[0]].concat(), trailing.to_owned()),
        ([&gz[..], &[0; 512]].concat(), trailing.to_owned()),
        (cut(&zst, 1), early("zstd")),
        (cut(&zst, zst.len() / 2), early("zstd")),
        (flipped(&zst, 1), damaged("zstd", "Restored data doesn't match checksum")),
        ([&zst[..], b"garbage"].concat(), damaged("zstd", "Unknown frame descriptor")),
    ];
    for (content, expected) in cases {
        let path = dir.write("a", &content);
        for n_bytes in [None].into_iter().chain((1..=300).map(Some)) {
            assert_eq!(dir.outcome(&path, n_bytes).1, expected);
            assert_eq!(dir.outcome_with(SKIP, &path, n_bytes).2, expected, "not an error of a row");
        }
        let error = count_rows(std::slice::from_ref(&path), None).unwrap_err();
        assert_eq!(dir.message(&path, &error), expected);
        assert!(error.is_data_error());
    }
}

#[test]
fn misnamed_and_empty_files_are_refused_at_once() {
    let dir = TestDir::new();
    let row = [columns().join(&b'\t'), b"\n".to_vec()].concat();
    let misnamed = |extension: &str, kind: &str| {
        format!("FILE: named .{extension} but not {kind}; rename it, or download it again")
    };
    let empty = "FILE: is empty; remove it from the list, or get it again".to_owned();
    let mark =
        "FILE:1:1: expected a label, got a UTF-8 byte order mark; remove it with `tail -c +4`";
    let marked = [&b"\xef\xbb\xbf"[..], &row].concat();
    let cases = [
        ("a.gz", row.clone(), misnamed("gz", "gzip")),
        ("a.GZ", row.clone(), misnamed("GZ", "gzip")),
        ("a.gzip", b"<html>".to_vec(), misnamed("gzip", "gzip")),
        ("b.gz", zstd(&row), misnamed("gz", "gzip")),
        ("c.gz", vec![0x1f], misnamed("gz", "gzip")),
        ("a.zst", row.clone(), misnamed("zst", "zstd")),
        ("b.zst", gzip(&row), misnamed("zst", "zstd")),
        ("a", vec![], empty.clone()),
        ("d.gz", vec![], empty.clone()),
        ("e.gz", gzip(b""), empty.clone()),
        ("e.zst", zstd(b""), empty),
        ("b", marked.clone(), mark.to_owned()),
        ("f.gz", gzip(&marked), mark.to_owned()),
        ("c", b"\xef\xbb\xbf".to_vec(), mark.to_owned()),
    ];
    for (name, content, expected) in cases {
        let path = dir.write(name, &content);
        for n_bytes in [None].into_iter().chain((1..=300).map(Some)) {
            assert_eq!(dir.outcome(&path, n_bytes), (0, expected.clone()), "{name}");
            assert_eq!(
                dir.outcome_with(SKIP, &path, n_bytes).2,
                expected,
                "{name}: not an error of a row"
            );
        }
        let error = count_rows(std::slice::from_ref(&path), None).unwrap_err();
        assert_eq!(dir.message(&path, &error), expected);
        assert!(error.is_data_error());
    }
}

/// The bytes of a pipe give the same errors as those of a file.
#[cfg(unix)]
#[test]
fn pipe_has_the_errors_of_a_file() {
    let dir = TestDir::new();
    let content = third_line(b"");
    let cut = gzip(&content)[..30].to_vec();
    for (idx, (content, expected)) in [
        (gzip(&content), (2, advised("1: expected a row, got an empty line", 3))),
        (content, (2, advised("1: expected a row, got an empty line", 3))),
        (cut, (0, "FILE: the gzip data end too early; download the file again".to_owned())),
        (Vec::new(), (0, "FILE: is empty; remove it from the list, or get it again".to_owned())),
    ]
    .into_iter()
    .enumerate()
    {
        // A separate pipe for each: a reader that stopped early may hold its end for a while, and
        // the next writer would connect to it.
        let pipe = dir.path(&format!("pipe-{idx}"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            // The reader stops early, so that the rest may fail to be written.
            move || drop(fs::OpenOptions::new().write(true).open(pipe).unwrap().write_all(&content))
        });
        assert_eq!(dir.outcome(&pipe, None), expected);
        writer.join().unwrap();
    }
}

#[test]
fn unopenable_path_is_refused_before_reading() {
    let dir = TestDir::new();
    let row = [columns().join(&b'\t'), b"\n".to_vec()].concat();
    let good = dir.write("good", &row);
    fs::create_dir(dir.path("days")).unwrap();
    let directory = "FILE: is a directory; give the files in it one by one, in reading order";
    let cases = [
        ("missing", "FILE: no such file; check the path"),
        ("missing/too", "FILE: no such file; check the path"),
        ("days", directory),
    ];
    for (name, expected) in cases {
        let path = dir.path(name);
        let paths = vec![good.clone(), path.clone()];
        let error = Reader::open(paths.clone(), Format::CriteoKaggle).err().unwrap();
        assert_eq!(dir.message(&path, &error), expected);
        assert!(error.is_io_error());
        let error = count_rows(&paths, None).unwrap_err();
        assert_eq!(dir.message(&path, &error), expected);
    }
    let through_a_file = dir.path("good/too");
    let error = Reader::open(vec![through_a_file.clone()], Format::CriteoKaggle).err().unwrap();
    assert_eq!(dir.message(&through_a_file, &error), "FILE: cannot be opened");
}

#[test]
fn stdin_is_not_counted_and_no_files_is_an_error() {
    let error = count_rows(&["-".into()], Some(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "standard input: rows cannot be counted ahead in what can be read only once; \
         save it to a file, or give the number of rows"
    );
    assert!(error.is_io_error());
    let error = Reader::open(vec![], Format::CriteoKaggle).err().unwrap();
    assert_eq!(
        error.to_string(),
        "no input files were given; name at least one, or `-` for standard input"
    );
}

/// Permissions do not stop root: then the test runs once more as another user.
#[cfg(unix)]
#[test]
fn unreadable_file_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TestDir::new();
    let path = dir.write("secret", b"0");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_ok() {
        return rerun_without_privileges("unreadable_file_is_refused");
    }
    let error = Reader::open(vec![path.clone()], Format::CriteoKaggle).err().unwrap();
    let expected = "FILE: permission denied; make it readable for this user";
    assert_eq!(dir.message(&path, &error), expected);
}

/// Runs one test of this program as a user without privileges.
#[cfg(unix)]
fn rerun_without_privileges(test: &str) {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    // `nobody` on the common systems; any user that owns no files will do.
    const USER: u32 = 65_534;
    const IS_RERUN: &str = "CRITEO_IO_RERUN_WITHOUT_PRIVILEGES";
    assert!(std::env::var_os(IS_RERUN).is_none(), "user {USER} may read everything, too");
    // The program may be in a directory that only root can enter.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = std::process::Command::new(&program);
    command.args(["--exact", test]).env(IS_RERUN, "1").current_dir("/").uid(USER).gid(USER);
    let output = loop {
        match command.output() {
            // A process that another test starts holds the copy open for a moment.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
            output => break output.unwrap(),
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
