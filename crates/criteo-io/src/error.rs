//! What can go wrong between a path and a row. In one place, so that every message has the same
//! shape: location, expected, found, what to do.

pub(crate) mod bad_row;
pub(crate) mod cache_fault;
pub(crate) mod row;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use self::bad_row::{BadRowCounts, BadRowLimit, BadRowReason};
use self::cache_fault::CacheFault;
use self::row::RowError;
use crate::format::columns::check::ColumnsError;

/// Why rows could not be read.
///
/// Errors are of two kinds, which [`ReadError::is_data_error`] distinguishes: the bytes arrived and
/// do not fit the format, or they did not arrive. An underlying [`io::Error`] is the `source` and
/// not part of the message.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is nothing to read from.
    #[error("no input files were given; name at least one, or `-` for standard input")]
    NoFiles,
    /// There is no such file.
    #[error("{}: no such file; check the path", shown(file))]
    Missing {
        /// The path as given.
        file: PathBuf,
    },
    /// The path is a directory, not a file.
    #[error("{}: is a directory; give the files in it one by one, in reading order", shown(file))]
    Directory {
        /// The path as given.
        file: PathBuf,
    },
    /// The file may not be read.
    #[error("{}: permission denied; make it readable for this user", shown(file))]
    Denied {
        /// The path as given.
        file: PathBuf,
    },
    /// The file cannot be opened for another reason.
    #[error("{}: cannot be opened", shown(file))]
    Open {
        /// The path as given.
        file: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Reading failed after the file was opened.
    #[error("{}: reading failed", shown(file))]
    Read {
        /// The path as given.
        file: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Rows were to be counted in something that can be read only once.
    #[error(
        "{}: rows cannot be counted ahead in what can be read only once; save it to a file, or \
         give \
         the number of rows",
        shown(file)
    )]
    ReadOnce {
        /// The path as given.
        file: PathBuf,
    },
    /// A cache was requested of rows that have no fixed length.
    #[error(
        "rows whose fields hold several values cannot be cached; read them without a cache, or \
         drop \
         the separators from their description"
    )]
    BagsInCache,
    /// A Parquet file that is damaged, or holds values of an unsupported type.
    #[error("{}: {detail}; check that it is a Parquet file, or get it again", shown(file))]
    Parquet {
        /// The path as given.
        file: PathBuf,
        /// The error of the Parquet reader.
        detail: String,
    },
    /// A file without a single row.
    #[error("{}: is empty; remove it from the list, or get it again", shown(file))]
    Empty {
        /// The path as given.
        file: PathBuf,
    },
    /// The name promises a compression that the content does not have.
    #[error(
        "{}: named .{extension} but not {compression}; rename it, or download it again",
        shown(file)
    )]
    Misnamed {
        /// The path as given.
        file: PathBuf,
        /// The extension of the name.
        extension: String,
        /// The compression that the extension means.
        compression: Compression,
    },
    /// Compressed data end in the middle.
    #[error("{}: the {compression} data end too early; download the file again", shown(file))]
    Truncated {
        /// The path as given.
        file: PathBuf,
        /// How the file is compressed.
        compression: Compression,
    },
    /// Compressed data are damaged.
    #[error(
        "{}: the {compression} data are damaged ({detail}); test it with `{compression} -t`, or \
         download it again",
        shown(file)
    )]
    Corrupt {
        /// The path as given.
        file: PathBuf,
        /// How the file is compressed.
        compression: Compression,
        /// The error of the decompressor.
        detail: String,
    },
    /// Something else follows the compressed data.
    #[error(
        "{}: after the {compression} data come bytes that are not {compression}; download the file \
         again",
        shown(file)
    )]
    TrailingGarbage {
        /// The path as given.
        file: PathBuf,
        /// How the file is compressed.
        compression: Compression,
    },
    /// The file starts with a UTF-8 byte order mark.
    #[error(
        "{}:1:1: expected a label, got a UTF-8 byte order mark; remove it with `tail -c +4`",
        shown(file)
    )]
    ByteOrderMark {
        /// The path as given.
        file: PathBuf,
    },
    /// A line is longer than any row can be.
    #[error(
        "{}:{line}:1: expected a row, got a line of over {limit} bytes; check that the file is \
         tab-separated text, or {SKIP}",
        shown(file)
    )]
    LineTooLong {
        /// The path as given.
        file: PathBuf,
        /// The line in this file, from 1.
        line: u64,
        /// The longest line allowed, in bytes.
        limit: usize,
    },
    /// A row of a described table is longer than any can be.
    #[error(
        "{}:{line}:1: expected a row, got one of over {limit} bytes; check that every quote is \
         closed, or set quoting to false",
        shown(file)
    )]
    RowTooLong {
        /// The path as given.
        file: PathBuf,
        /// The line in this file where it starts, from 1.
        line: u64,
        /// The longest row allowed, in bytes.
        limit: usize,
    },
    /// Quotes of a described table do not pair, so that a field includes other lines.
    #[error("{}:{line}:{column}: {fault}; or set quoting to false", shown(file))]
    Quotes {
        /// The path as given.
        file: PathBuf,
        /// The line in this file where the field starts, from 1.
        line: u64,
        /// The byte in the line, from 1.
        column: usize,
        /// What is wrong with them.
        fault: &'static str,
    },
    /// A file has other columns than its description.
    #[error("{}:{line}:1: {error}", shown(file))]
    Columns {
        /// The path as given.
        file: PathBuf,
        /// The line of its header or first row.
        line: u64,
        /// What does not fit.
        error: ColumnsError,
    },
    /// A line is not a row.
    #[error("{}:{line}:{error}; mend or drop line {line}, or {SKIP}", shown(file))]
    Row {
        /// The path as given.
        file: PathBuf,
        /// The line in this file, from 1.
        line: u64,
        /// What is wrong in it.
        error: RowError,
    },
    /// A row was malformed when it was cached.
    #[error("{}: row {row} was malformed when it was cached ({reason})", shown(file))]
    CachedRow {
        /// The cache.
        file: PathBuf,
        /// The row in the files that were cached, from 1.
        row: u64,
        /// What was wrong with it.
        reason: BadRowReason,
    },
    /// Malformed rows are left out, but there are more than allowed.
    #[error(
        "{} of {n_rows} rows are malformed ({counts}), more than {limit} allows; the first is \
         {first}; check that data.format is right, or raise data.{}",
        counts.total(),
        limit.key()
    )]
    TooManyBadRows {
        /// Rows so far, these included.
        n_rows: u64,
        /// The malformed rows, by reason.
        counts: Box<BadRowCounts>,
        /// The limit that was exceeded.
        limit: BadRowLimit,
        /// Where the first of them is, and what is wrong with it.
        first: String,
    },
    /// A stream was to be resumed after rows that are absent or differ.
    #[error(
        "the rows before row {} are not those that the run was trained on{}; give it the input \
         that \
         it had, or start a new run in another --run-dir",
        n_rows + 1,
        end_hint(*n_rows, *n_read)
    )]
    Changed {
        /// Rows that had been read before.
        n_rows: u64,
        /// Rows that there are now, at most as many.
        n_read: u64,
    },
    /// A cache was valid when it was opened and is no longer.
    #[error(
        "{}: the cache changed while it was read ({fault}); run again to rebuild it",
        shown(file)
    )]
    Cache {
        /// The cache.
        file: PathBuf,
        /// What is wrong with it.
        fault: CacheFault,
    },
}

impl ReadError {
    /// Whether the content is malformed (as opposed to [`ReadError::is_io_error`]).
    #[must_use]
    pub fn is_data_error(&self) -> bool {
        match self {
            Self::Empty { .. }
            | Self::Parquet { .. }
            | Self::Misnamed { .. }
            | Self::Truncated { .. }
            | Self::Corrupt { .. }
            | Self::TrailingGarbage { .. }
            | Self::ByteOrderMark { .. }
            | Self::LineTooLong { .. }
            | Self::RowTooLong { .. }
            | Self::Quotes { .. }
            | Self::Columns { .. }
            | Self::Row { .. }
            | Self::CachedRow { .. }
            | Self::TooManyBadRows { .. }
            | Self::Changed { .. }
            | Self::Cache { .. } => true,
            Self::NoFiles
            | Self::Missing { .. }
            | Self::Directory { .. }
            | Self::Denied { .. }
            | Self::Open { .. }
            | Self::Read { .. }
            | Self::ReadOnce { .. }
            | Self::BagsInCache => false,
        }
    }

    /// Whether there was no content to judge: the input cannot be opened, read, or read twice.
    #[must_use]
    pub fn is_io_error(&self) -> bool {
        !self.is_data_error()
    }

    /// Why a row is malformed, if the error concerns that row alone and the next one can be read.
    /// `None` for any other error, which ends the stream.
    #[must_use]
    pub fn bad_row(&self) -> Option<BadRowReason> {
        match self {
            Self::Row { error, .. } => Some(error.fault.reason()),
            Self::LineTooLong { .. } => Some(BadRowReason::LineTooLong),
            Self::CachedRow { reason, .. } => Some(*reason),
            _ => None,
        }
    }

    /// The message of a malformed row without advice: location and fault.
    pub(crate) fn location_and_fault(&self) -> String {
        match self {
            Self::Row { file, line, error } => format!("{}:{line}:{error}", shown(file)),
            Self::LineTooLong { file, line, limit } => {
                let file = shown(file);
                format!("{file}:{line}:1: expected a row, got a line of over {limit} bytes")
            }
            _ => self.to_string(),
        }
    }

    /// The error for a file that could not be opened.
    pub(crate) fn opening(file: &Path, source: io::Error) -> Self {
        let file = file.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { file },
            io::ErrorKind::PermissionDenied => Self::Denied { file },
            io::ErrorKind::IsADirectory => Self::Directory { file },
            _ => Self::Open { file, source },
        }
    }

    /// The error for a file that was opened and could not be read further; a [`StreamFault`] is
    /// unpacked.
    pub(crate) fn reading(file: &Path, source: io::Error) -> Self {
        let file = file.to_owned();
        let fault = source.get_ref().and_then(|inner| inner.downcast_ref::<StreamFault>());
        match fault.cloned() {
            Some(StreamFault::Truncated(compression)) => Self::Truncated { file, compression },
            Some(StreamFault::Corrupt(compression, detail)) => {
                Self::Corrupt { file, compression, detail }
            }
            Some(StreamFault::TrailingGarbage(compression)) => {
                Self::TrailingGarbage { file, compression }
            }
            None => Self::Read { file, source },
        }
    }
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip, RFC 1952; any number of members.
    Gzip,
    /// Zstandard, RFC 8878; any number of frames.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Damage found by a decompressor. Carried inside an [`io::Error`] to where the path is known.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StreamFault {
    #[error("{0} data end too early")]
    Truncated(Compression),
    #[error("damaged {0} data: {1}")]
    Corrupt(Compression, String),
    #[error("bytes after the {0} data")]
    TrailingGarbage(Compression),
}

impl From<StreamFault> for io::Error {
    fn from(fault: StreamFault) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

fn shown(file: &Path) -> Cow<'_, str> {
    if file == Path::new("-") { "standard input".into() } else { file.to_string_lossy() }
}

/// The advice for a malformed row.
const SKIP: &str = "set data.bad_rows = \"skip\" to count and skip such rows";

fn end_hint(n_rows: u64, n_read: u64) -> String {
    if n_read < n_rows { format!(" (the input ends after {n_read})") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decompressor_faults_are_data_errors() {
        let fault = StreamFault::Truncated(Compression::Gzip);
        assert!(ReadError::reading(Path::new("a"), fault.into()).is_data_error());
        let broken = ReadError::reading(Path::new("a"), io::ErrorKind::BrokenPipe.into());
        assert!(broken.is_io_error());
        assert_eq!(broken.to_string(), "a: reading failed");
        let denied = ReadError::opening(Path::new("a"), io::ErrorKind::PermissionDenied.into());
        assert_eq!(denied.to_string(), "a: permission denied; make it readable for this user");
    }
}
