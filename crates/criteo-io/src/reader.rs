//! From several files to one stream of rows.

use std::ops::Range;
use std::path::PathBuf;

use crate::ahead::Ahead;
use crate::input::Input;
use crate::lines::{LINE_LIMIT, Lines};
use crate::open;
use crate::parse::parse_line;
use crate::{Format, ReadError, Record, RecordSource, Schema};

/// The rows of several files, in order, as one stream.
///
/// Files are read one after another; plain, gzip and zstd mix freely, and `-` is standard input. A
/// thread of its own decompresses ahead, and opens the next file while the end of the one before it
/// is still read; what it finds wrong is said in its turn. What can be read only once, a pipe say, is
/// opened in its turn too. Rows are lines: a line feed ends them, with or without a
/// carriage return before it, and the last one needs none.
///
/// Memory is fixed at construction, whatever the input: a buffer of 256 KiB for lines, which are
/// parsed where they lie, and of a compressed file 512 KiB that are decompressed ahead, and the
/// decompressor's own. Reading a row allocates nothing.
///
/// After [`ReadError::Row`] the next call goes on with the line after the bad one, so that a caller
/// may count bad rows and go on. After any other error the stream is over.
pub struct Reader {
    files: Files,
    schema: Schema,
}

impl Reader {
    /// Opens `paths` as one stream of rows in `format`.
    ///
    /// # Errors
    /// If there are no paths, or one of them is missing, a directory, empty, not readable, or
    /// named `.gz` or `.zst` without being that. Pipes and `-` are looked at in their turn only.
    pub fn open(paths: Vec<PathBuf>, format: Format) -> Result<Self, ReadError> {
        Ok(Self { files: Files::new(paths)?, schema: format.schema() })
    }

    /// Reads in pieces of `n_bytes`, at least one, in place of 256 KiB. What is read stays the
    /// same; tests use it to put every byte at a boundary once. To be called before reading.
    #[must_use]
    pub fn with_buffer_bytes(mut self, n_bytes: usize) -> Self {
        self.files.lines = Lines::new(n_bytes);
        self
    }

    /// The columns.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }
}

impl RecordSource for Reader {
    fn read_record(&mut self, record: &mut Record) -> Result<bool, ReadError> {
        let Self { files, schema } = self;
        let Some(range) = files.next_line()? else { return Ok(false) };
        parse_line(files.lines.line(range), schema, record).map(|()| true).map_err(|error| ReadError::Row {
            file: files.file(),
            line: files.line,
            error,
        })
    }

    /// A row is a line here: a malformed one is passed over as any other.
    fn skip_records(&mut self, n_rows: u64) -> Result<u64, ReadError> {
        self.files.skip_lines(n_rows)
    }
}

/// The number of rows in `paths`, read in order as [`Reader`] reads them; stops at `limit`.
///
/// Counts lines and parses none. It costs a pass over the files: decompression and little else.
///
/// # Errors
/// If a file can't be read or decompressed, or is something that can be read only once.
pub fn count_rows(paths: &[PathBuf], limit: Option<u64>) -> Result<u64, ReadError> {
    for path in paths {
        if open::is_read_once(path)? {
            return Err(ReadError::ReadOnce { file: path.clone() });
        }
    }
    Files::new(paths.to_vec())?.skip_lines(limit.unwrap_or(u64::MAX))
}

/// The lines of several files, and the position in them.
struct Files {
    paths: Vec<PathBuf>,
    /// Files opened so far; the one in use is the last of them.
    n_opened: usize,
    input: Option<Input>,
    /// The file after the one that ended, as far as it was opened ahead.
    ahead: Option<Ahead>,
    lines: Lines,
    /// The line last passed in the file in use, from 1.
    line: u64,
}

impl Files {
    fn new(paths: Vec<PathBuf>) -> Result<Self, ReadError> {
        if paths.is_empty() {
            return Err(ReadError::NoFiles);
        }
        paths.iter().try_for_each(|path| open::check(path))?;
        let lines = Lines::new(Lines::DEFAULT_BYTES);
        Ok(Self { paths, n_opened: 0, input: None, ahead: None, lines, line: 0 })
    }

    /// The file in use.
    fn file(&self) -> PathBuf {
        self.paths[self.n_opened - 1].clone()
    }

    /// The next line, over files if need be; `None` after the last one, and after an error.
    fn next_line(&mut self) -> Result<Option<Range<usize>>, ReadError> {
        let line = self.try_next_line();
        self.end_on_error(line)
    }

    /// Passes over up to `n_lines` lines; returns how many there were.
    fn skip_lines(&mut self, n_lines: u64) -> Result<u64, ReadError> {
        let n_skipped = self.try_skip_lines(n_lines);
        self.end_on_error(n_skipped)
    }

    fn end_on_error<T>(&mut self, result: Result<T, ReadError>) -> Result<T, ReadError> {
        if result.is_err() {
            (self.input, self.ahead) = (None, None);
            self.n_opened = self.paths.len();
        }
        result
    }

    fn try_next_line(&mut self) -> Result<Option<Range<usize>>, ReadError> {
        loop {
            let Some(input) = &mut self.input else {
                if self.open_next()? {
                    continue;
                }
                return Ok(None);
            };
            let line = self.lines.next(input);
            let Some(range) = line.map_err(|error| ReadError::reading(&self.file(), error))? else {
                self.end_file();
                continue;
            };
            self.line += 1;
            if range.len() > LINE_LIMIT {
                let (file, line) = (self.file(), self.line);
                return Err(ReadError::LineTooLong { file, line, limit: LINE_LIMIT });
            }
            return Ok(Some(range));
        }
    }

    fn try_skip_lines(&mut self, n_lines: u64) -> Result<u64, ReadError> {
        let mut n_left = n_lines;
        while n_left > 0 {
            let Some(input) = &mut self.input else {
                if self.open_next()? {
                    continue;
                }
                break;
            };
            let skipped = self.lines.skip(input, n_left);
            let n_skipped = skipped.map_err(|error| ReadError::reading(&self.file(), error))?;
            self.line += n_skipped;
            n_left -= n_skipped;
            if n_left > 0 {
                self.end_file();
            }
        }
        Ok(n_lines - n_left)
    }

    fn end_file(&mut self) {
        self.ahead = self.input.take().and_then(Input::into_next);
    }

    /// Opens the next file, if there is one, and looks at its first bytes.
    fn open_next(&mut self) -> Result<bool, ReadError> {
        const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
        let Some(path) = self.paths.get(self.n_opened) else { return Ok(false) };
        self.n_opened += 1;
        self.line = 0;
        let following = self.paths.get(self.n_opened).map(PathBuf::as_path);
        let mut input = Input::open(path, self.ahead.take(), following)?;
        self.lines.restart();
        let head = self.lines.peek(&mut input, BYTE_ORDER_MARK.len());
        let head = head.map_err(|error| ReadError::reading(path, error))?;
        if head.is_empty() {
            return Err(ReadError::Empty { file: path.clone() });
        }
        if head == BYTE_ORDER_MARK {
            return Err(ReadError::ByteOrderMark { file: path.clone() });
        }
        self.input = Some(input);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::fs;
    use std::path::Path;

    /// A row that can be told from others by its first integer.
    fn row(number: usize) -> String {
        format!("{}\t{number}{}", number % 2, "\t".repeat(38))
    }

    /// Files of `sizes` rows, numbered through.
    fn write_files(directory: &Path, sizes: &[usize], end: &str, last_end: bool) -> Vec<PathBuf> {
        let mut n_rows = 0;
        let mut write = |(file_idx, &size): (usize, &usize)| {
            let rows: Vec<String> = (n_rows..n_rows + size).map(row).collect();
            n_rows += size;
            let path = directory.join(format!("day_{file_idx}"));
            fs::write(&path, rows.join(end) + if last_end { end } else { "" }).unwrap();
            path
        };
        sizes.iter().enumerate().map(&mut write).collect()
    }

    fn numbers(reader: &mut Reader) -> Vec<i64> {
        let mut record = Record::default();
        let mut found = Vec::new();
        while reader.read_record(&mut record).unwrap() {
            found.push(record.integers[0].unwrap());
        }
        assert!(!reader.read_record(&mut record).unwrap());
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn counting_skipping_and_reading_agree(
            sizes in vec(1_usize..9, 1..4),
            carriage_return in any::<bool>(),
            last_end in any::<bool>(),
            n_skipped in 0_u64..30,
            n_bytes in 1_usize..600,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let end = if carriage_return { "\r\n" } else { "\n" };
            let paths = write_files(directory.path(), &sizes, end, last_end);
            let total = sizes.iter().sum::<usize>() as u64;
            prop_assert_eq!(count_rows(&paths, None).unwrap(), total);
            prop_assert_eq!(count_rows(&paths, Some(n_skipped)).unwrap(), total.min(n_skipped));

            let reader = Reader::open(paths, Format::CriteoKaggle).unwrap();
            let mut reader = reader.with_buffer_bytes(n_bytes);
            let first = reader.skip_records(n_skipped).unwrap();
            prop_assert_eq!(first, total.min(n_skipped));
            let expected: Vec<_> = (first as i64..total as i64).collect();
            prop_assert_eq!(numbers(&mut reader), expected);
            prop_assert_eq!(reader.skip_records(1).unwrap(), 0);
        }
    }

    #[test]
    fn every_buffer_size_reads_the_same_rows() {
        let directory = tempfile::tempdir().unwrap();
        let paths = write_files(directory.path(), &[7, 1, 5], "\n", false);
        for n_bytes in 1..=300 {
            let reader = Reader::open(paths.clone(), Format::CriteoTerabyte).unwrap();
            let mut reader = reader.with_buffer_bytes(n_bytes);
            assert!(numbers(&mut reader).into_iter().eq(0..13));
        }
    }

    #[test]
    fn reading_goes_on_after_a_bad_row_with_lines_counted_per_file() {
        let directory = tempfile::tempdir().unwrap();
        let paths = [directory.path().join("a"), directory.path().join("b")];
        fs::write(&paths[0], format!("{}\n{}\n", row(0), row(1))).unwrap();
        fs::write(&paths[1], format!("{}\nx{}\n{}\n", row(2), row(3), row(4))).unwrap();
        let mut reader = Reader::open(paths.to_vec(), Format::CriteoKaggle).unwrap();
        let mut record = Record::default();
        assert_eq!(reader.skip_records(3).unwrap(), 3);
        let error = reader.read_record(&mut record).unwrap_err();
        assert!(matches!(error, ReadError::Row { ref file, line: 2, .. } if *file == paths[1]));
        assert_eq!(numbers(&mut reader), [4]);
    }

    #[test]
    fn a_stream_is_over_after_an_error_of_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let paths = [directory.path().join("a"), directory.path().join("b")];
        fs::write(&paths[0], "\u{feff}").unwrap();
        fs::write(&paths[1], row(0)).unwrap();
        let mut reader = Reader::open(paths.to_vec(), Format::CriteoKaggle).unwrap();
        assert!(matches!(reader.skip_records(1), Err(ReadError::ByteOrderMark { .. })));
        assert_eq!(numbers(&mut reader), Vec::<i64>::new());
    }

    fn compress(path: &Path) {
        let text = fs::read(path).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(fs::File::create(path).unwrap(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &text).unwrap();
        encoder.finish().unwrap();
    }

    #[test]
    fn an_error_of_the_next_file_waits_for_its_turn() {
        let directory = tempfile::tempdir().unwrap();
        let paths = write_files(directory.path(), &[3, 2, 1], "\n", true);
        for is_compressed in [false, true] {
            if is_compressed {
                compress(&paths[0]);
            }
            let mut reader = Reader::open(paths.clone(), Format::CriteoKaggle).unwrap();
            // Gone after the check: that shows while the first file is read.
            fs::rename(&paths[1], directory.path().join("away")).unwrap();
            let mut record = Record::default();
            for number in 0..3 {
                assert!(reader.read_record(&mut record).unwrap());
                assert_eq!(record.integers[0], Some(number));
            }
            let error = reader.read_record(&mut record).unwrap_err();
            assert!(matches!(error, ReadError::Missing { ref file } if *file == paths[1]));
            assert!(!reader.read_record(&mut record).unwrap());
            fs::rename(directory.path().join("away"), &paths[1]).unwrap();
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_opened_ahead_waits_for_its_turn() {
        let directory = tempfile::tempdir().unwrap();
        let mut paths = write_files(directory.path(), &[3, 1], "\n", true);
        paths[1].set_extension("gz");
        fs::rename(directory.path().join("day_1"), &paths[1]).unwrap();
        for path in &paths {
            compress(path);
        }
        let mut reader = Reader::open(paths.clone(), Format::CriteoKaggle).unwrap();
        fs::write(&paths[1], "<html>").unwrap();
        let mut record = Record::default();
        for _ in 0..3 {
            assert!(reader.read_record(&mut record).unwrap());
        }
        let error = reader.read_record(&mut record).unwrap_err();
        assert!(matches!(error, ReadError::Misnamed { ref file, .. } if *file == paths[1]));
        assert!(!reader.read_record(&mut record).unwrap());
    }

    #[test]
    fn plain_and_compressed_files_mix() {
        let directory = tempfile::tempdir().unwrap();
        let paths = write_files(directory.path(), &[400, 1, 30, 2], "\n", true);
        for idx in [0, 1, 3] {
            compress(&paths[idx]);
        }
        let mut reader = Reader::open(paths.clone(), Format::CriteoKaggle).unwrap();
        assert!(numbers(&mut reader).into_iter().eq(0..433));
        let mut reader = Reader::open(paths, Format::CriteoKaggle).unwrap().with_buffer_bytes(300);
        assert_eq!(reader.skip_records(399).unwrap(), 399);
        assert!(numbers(&mut reader).into_iter().eq(399..433));
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_reads_as_a_file_but_is_not_counted() {
        use std::process::Command;
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let counted = count_rows(std::slice::from_ref(&pipe), None);
        assert!(matches!(counted, Err(ReadError::ReadOnce { .. })));

        let mut reader = Reader::open(vec![pipe.clone()], Format::CriteoKaggle).unwrap();
        let writer = std::thread::spawn(move || {
            let mut encoder = flate2::write::GzEncoder::new(
                fs::OpenOptions::new().write(true).open(pipe).unwrap(),
                flate2::Compression::fast(),
            );
            for number in 0..5000 {
                std::io::Write::write_all(&mut encoder, (row(number) + "\n").as_bytes()).unwrap();
            }
            encoder.finish().unwrap();
        });
        assert!(numbers(&mut reader).into_iter().eq(0..5000));
        writer.join().unwrap();
    }
}
