//! From several files to one stream of rows, and the counts of rows and days in files.

mod line_rows;
#[cfg(feature = "parquet")]
mod parquet_rows;
mod table_plan;
mod table_rows;

use std::path::PathBuf;

use self::line_rows::LineRows;
#[cfg(feature = "parquet")]
use self::parquet_rows::ParquetRows;
use self::table_rows::TableRows;
use crate::bytes::open;
use crate::error::ReadError;
use crate::format::dialect::Dialect;
use crate::format::schema::{Format, Schema};
use crate::parse::{parse_line, parse_unlabelled_line};
use crate::record::split::add_row;
use crate::record::{Record, RecordSource};

/// The rows of several files, in order, as one stream.
///
/// Files are read one after another; plain, gzip and zstd mix freely, and `-` is standard input. A
/// separate thread decompresses ahead, and opens the next file while the end of the previous one is
/// still read; its errors are returned when that file is due. An input that can be read only once,
/// such as a pipe, is opened when it is due.
///
/// In Criteo's formats rows are lines: a line feed ends them, with or without a carriage return
/// before it, and the last one needs none. In described tables rows are the records of the `csv`
/// crate, so that a quoted field may contain line feeds; empty lines between them are not rows. If
/// there is a header, each file has its own, perhaps in another order.
///
/// Memory does not depend on the input: a buffer of 256 KiB for rows, which are parsed in place (a
/// described row passes through another buffer of 64 KiB), and for a compressed file 512 KiB of
/// bytes decompressed ahead, and the memory of the decompressor. Reading a row allocates nothing.
///
/// After a malformed row ([`ReadError::bad_row`]) the next call reads the row after it, so that a
/// caller may count malformed rows and continue ([`BadRowFilter`](crate::BadRowFilter)). After any
/// other error the stream has ended.
pub struct Reader {
    dialect: Dialect,
    rows: Rows,
}

enum Rows {
    Lines(Box<LineRows>),
    Table(Box<TableRows>),
    #[cfg(feature = "parquet")]
    Parquet(Box<ParquetRows>),
}

impl Reader {
    /// Opens `paths` as one stream of rows in `dialect`: a [`Format`], or a [`Dialect`] with
    /// columns described.
    ///
    /// # Errors
    /// If there are no paths, or a file is missing, a directory, empty, not readable, or named
    /// `.gz` or `.zst` without being that. Pipes and `-` are opened when they are due.
    pub fn open(paths: Vec<PathBuf>, dialect: impl Into<Dialect>) -> Result<Self, ReadError> {
        let dialect = dialect.into();
        let rows = match dialect.columns() {
            #[cfg(feature = "parquet")]
            Some(columns) if dialect.is_parquet() => {
                Rows::Parquet(Box::new(ParquetRows::new(paths, columns, dialect.missing_number())?))
            }
            None => Rows::Lines(Box::new(LineRows::new(paths)?)),
            Some(columns) => {
                Rows::Table(Box::new(TableRows::new(paths, columns, dialect.missing_number())?))
            }
        };
        Ok(Self { dialect, rows })
    }

    /// Reads in pieces of `n_bytes`, at least one, in place of 256 KiB. The rows are the same;
    /// tests use it to put every byte at a boundary once. To be called before reading.
    #[must_use]
    pub fn with_buffer_bytes(mut self, n_bytes: usize) -> Self {
        match &mut self.rows {
            Rows::Lines(rows) => rows.set_buffer_bytes(n_bytes),
            Rows::Table(rows) => rows.set_buffer_bytes(n_bytes),
            #[cfg(feature = "parquet")]
            Rows::Parquet(_) => {}
        }
        self
    }

    /// The columns that are features.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        self.dialect.schema()
    }

    /// The day of the row that was passed last, if a column tells it.
    fn day(&self) -> Option<u32> {
        match &self.rows {
            Rows::Lines(_) => None,
            Rows::Table(rows) => rows.day(),
            #[cfg(feature = "parquet")]
            Rows::Parquet(rows) => rows.day(),
        }
    }

    /// The dialect of the files.
    #[must_use]
    pub fn dialect(&self) -> &Dialect {
        &self.dialect
    }
}

impl RecordSource for Reader {
    fn read_record(&mut self, record: &mut Record) -> Result<bool, ReadError> {
        let Self { dialect, rows } = self;
        let rows = match rows {
            Rows::Lines(rows) => rows,
            Rows::Table(rows) => return rows.read_record(record),
            #[cfg(feature = "parquet")]
            Rows::Parquet(rows) => return rows.read_record(record),
        };
        let parse = if dialect.has_label() { parse_line } else { parse_unlabelled_line };
        let read = match rows.next_line() {
            Ok(None) => return Ok(false),
            Ok(Some(line)) => parse(rows.line(line), dialect.schema(), record).map_err(|error| {
                ReadError::Row { file: rows.files().file(), line: rows.line_number(), error }
            }),
            Err(error) => Err(error),
        };
        if dialect.file_is_day(rows.files().n_files()) {
            record.day = Some(rows.files().file_idx() as u32);
        }
        read.map(|()| true)
    }

    /// A malformed row is skipped like any other.
    fn skip_records(&mut self, n_rows: u64) -> Result<u64, ReadError> {
        match &mut self.rows {
            Rows::Lines(rows) => rows.skip_lines(n_rows),
            Rows::Table(rows) => rows.skip_rows(n_rows),
            #[cfg(feature = "parquet")]
            Rows::Parquet(rows) => rows.skip_rows(n_rows),
        }
    }
}

/// The number of rows in `paths`, at most `limit`, for formats whose rows are lines:
/// [`Dialect::count_rows`] of Criteo's formats.
///
/// # Errors
/// If a file cannot be read or decompressed, or can be read only once.
pub fn count_rows(paths: &[PathBuf], limit: Option<u64>) -> Result<u64, ReadError> {
    Dialect::from(Format::CriteoKaggle).count_rows(paths, limit)
}

impl Dialect {
    /// The number of rows in `paths`, read in order as [`Reader`] reads them; stops at `limit`.
    ///
    /// Finds the ends of rows and parses none. The cost is a pass over the files: decompression and
    /// little else for the lines of Criteo's formats, a scan of every byte for quotes otherwise.
    ///
    /// # Errors
    /// If a file cannot be read or decompressed, can be read only once, or lacks a column.
    pub fn count_rows(&self, paths: &[PathBuf], limit: Option<u64>) -> Result<u64, ReadError> {
        refuse_read_once(paths)?;
        Reader::open(paths.to_vec(), self.clone())?.skip_records(limit.unwrap_or(u64::MAX))
    }

    /// The number of rows of each day in `paths`, in the first `limit` rows. Empty if the data have
    /// no days. Costs as much as counting all rows.
    ///
    /// # Errors
    /// If a file cannot be read or decompressed, can be read only once, or lacks a column.
    pub fn count_days(&self, paths: &[PathBuf], limit: Option<u64>) -> Result<Vec<u64>, ReadError> {
        let mut n_left = limit.unwrap_or(u64::MAX);
        let mut days = Vec::new();
        if self.file_is_day(paths.len()) {
            for path in paths {
                let n_rows = self.count_rows(std::slice::from_ref(path), Some(n_left))?;
                n_left -= n_rows;
                days.push(n_rows);
            }
        } else if self.has_days(paths.len()) {
            refuse_read_once(paths)?;
            let mut reader = Reader::open(paths.to_vec(), self.clone())?;
            while n_left > 0 && reader.skip_records(1)? == 1 {
                n_left -= 1;
                // A row without a valid day counts for the day before it.
                add_row(&mut days, reader.day().unwrap_or(0));
            }
        }
        while days.last() == Some(&0) {
            days.pop();
        }
        Ok(days)
    }
}

fn refuse_read_once(paths: &[PathBuf]) -> Result<(), ReadError> {
    for path in paths {
        if open::is_read_once(path)? {
            return Err(ReadError::ReadOnce { file: path.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::fs;
    use std::path::Path;

    /// A row with its number as the first integer.
    fn row(number: usize) -> String {
        format!("{}\t{number}{}", number % 2, "\t".repeat(38))
    }

    /// Files of `sizes` rows, numbered over all files.
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
    fn reading_continues_after_a_bad_row() {
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
    fn error_of_a_file_ends_the_stream() {
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
        let mut encoder = flate2::write::GzEncoder::new(
            fs::File::create(path).unwrap(),
            flate2::Compression::fast(),
        );
        std::io::Write::write_all(&mut encoder, &text).unwrap();
        encoder.finish().unwrap();
    }

    #[test]
    fn missing_next_file_is_reported_when_due() {
        let directory = tempfile::tempdir().unwrap();
        let paths = write_files(directory.path(), &[3, 2, 1], "\n", true);
        for is_compressed in [false, true] {
            if is_compressed {
                compress(&paths[0]);
            }
            let mut reader = Reader::open(paths.clone(), Format::CriteoKaggle).unwrap();
            // Removed after the check: that is noticed while the first file is read.
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
    fn error_of_a_file_opened_ahead_is_reported_when_due() {
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
    fn pipe_is_read_but_not_counted() {
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
