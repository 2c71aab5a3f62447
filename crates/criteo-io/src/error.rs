//! What can go wrong between a path and a row. One place, so that every message has the same
//! shape: where, what was expected, what was there, what to do.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::{CacheFault, ColumnsError};

/// Why rows could not be read.
///
/// Errors are of two kinds, told apart by [`ReadError::is_data_error`]: the bytes arrived and are
/// not what the format says, or they did not arrive. Where an [`io::Error`] is underneath, it is
/// the `source` and not part of the message.
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
    /// A directory stands where a file should.
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
    /// The file can't be opened for another reason.
    #[error("{}: can't be opened", shown(file))]
    Open {
        /// The path as given.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Reading failed after the file was opened.
    #[error("{}: reading failed", shown(file))]
    Read {
        /// The path as given.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Rows were to be counted in something that can be read only once.
    #[error(
        "{}: rows can't be counted ahead in what can be read only once; save it to a file, or give the number of rows",
        shown(file)
    )]
    ReadOnce {
        /// The path as given.
        file: PathBuf,
    },
    /// A cache was wanted of rows that have no fixed length.
    #[error(
        "rows whose fields hold several values can't be cached; read them without a cache, or drop the separators from \
         their description"
    )]
    BagsInCache,
    /// A Parquet file that is damaged, or holds what can't be taken.
    #[error("{}: {detail}; check that it is a Parquet file, or get it again", shown(file))]
    Parquet {
        /// The path as given.
        file: PathBuf,
        /// What the reader said.
        detail: String,
    },
    /// A file without a single row.
    #[error("{}: is empty; remove it from the list, or get it again", shown(file))]
    Empty {
        /// The path as given.
        file: PathBuf,
    },
    /// The name promises a compression that the content does not have.
    #[error("{}: named .{extension} but not {compression}; rename it, or download it again", shown(file))]
    Misnamed {
        /// The path as given.
        file: PathBuf,
        /// The extension of the name.
        extension: String,
        /// What the extension stands for.
        compression: Compression,
    },
    /// Compressed data stop in the middle.
    #[error("{}: the {compression} data end too early; download the file again", shown(file))]
    Truncated {
        /// The path as given.
        file: PathBuf,
        /// How the file is compressed.
        compression: Compression,
    },
    /// Compressed data are damaged.
    #[error(
        "{}: the {compression} data are damaged ({detail}); test it with `{compression} -t`, or download it again",
        shown(file)
    )]
    Corrupt {
        /// The path as given.
        file: PathBuf,
        /// How the file is compressed.
        compression: Compression,
        /// What the decompressor said.
        detail: String,
    },
    /// Something else follows the compressed data.
    #[error(
        "{}: after the {compression} data come bytes that are not {compression}; download the file again",
        shown(file)
    )]
    TrailingGarbage {
        /// The path as given.
        file: PathBuf,
        /// How the file is compressed.
        compression: Compression,
    },
    /// The file starts with a UTF-8 byte order mark.
    #[error("{}:1:1: expected a label, got a UTF-8 byte order mark; remove it with `tail -c +4`", shown(file))]
    ByteOrderMark {
        /// The path as given.
        file: PathBuf,
    },
    /// A line is longer than any row can be.
    #[error(
        "{}:{line}:1: expected a row, got a line of over {limit} bytes; check that the file is tab-separated text",
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
        "{}:{line}:1: expected a row, got one of over {limit} bytes; check that every quote is closed, or set quoting \
         to false",
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
    #[error("{}:{line}:{error}; mend or drop line {line}", shown(file))]
    Row {
        /// The path as given.
        file: PathBuf,
        /// The line in this file, from 1.
        line: u64,
        /// What is wrong in it.
        error: RowError,
    },
    /// A cache was right when it was opened and is no longer.
    #[error("{}: the cache changed while it was read ({fault}); run again, and it is built anew", shown(file))]
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
            | Self::Columns { .. }
            | Self::Row { .. }
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

    /// Whether there was nothing to judge: the input can't be opened, read, or read twice.
    #[must_use]
    pub fn is_io_error(&self) -> bool {
        !self.is_data_error()
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

    /// The error for a file that could be opened but not read on, [`StreamFault`]s unpacked.
    pub(crate) fn reading(file: &Path, source: io::Error) -> Self {
        let file = file.to_owned();
        let fault = source.get_ref().and_then(|inner| inner.downcast_ref::<StreamFault>());
        match fault.cloned() {
            Some(StreamFault::Truncated(compression)) => Self::Truncated { file, compression },
            Some(StreamFault::Corrupt(compression, detail)) => Self::Corrupt { file, compression, detail },
            Some(StreamFault::TrailingGarbage(compression)) => Self::TrailingGarbage { file, compression },
            None => Self::Read { file, source },
        }
    }
}

/// What is wrong in one line, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{column}: {fault}")]
pub struct RowError {
    /// The byte in the line where the field starts, from 1.
    pub column: usize,
    /// What is wrong there.
    pub fault: RowFault,
}

/// The ways in which a line is not a row. Fields count from 0; messages name them from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// There is nothing in the line.
    #[error("expected a row, got an empty line")]
    EmptyLine,
    /// Columns are missing.
    #[error("expected {expected} tab-separated columns, got {got}{}", few_columns_hint(*expected, *got))]
    TooFewColumns {
        /// Columns of the format.
        expected: usize,
        /// Columns of the line.
        got: usize,
    },
    /// There are columns that the format does not have.
    #[error("expected {expected} tab-separated columns, got {got}")]
    TooManyColumns {
        /// Columns of the format.
        expected: usize,
        /// Columns of the line.
        got: usize,
    },
    /// The label is neither 0 nor 1.
    #[error("field label: expected 0 or 1, got {got}")]
    Label {
        /// What stands there.
        got: Excerpt,
    },
    /// An integer field holds something else.
    #[error("field I{}: expected an integer or nothing, got {got}", field + 1)]
    Integer {
        /// The integer field.
        field: usize,
        /// What stands there.
        got: Excerpt,
    },
    /// An integer does not fit.
    #[error("field I{}: expected an integer of at most 64 bits, got {got}", field + 1)]
    IntegerOverflow {
        /// The integer field.
        field: usize,
        /// What stands there.
        got: Excerpt,
    },
    /// A categorical field holds something else than a token.
    #[error("field C{}: expected eight hex digits or nothing, got {got}", field + 1)]
    Token {
        /// The categorical field.
        field: usize,
        /// What stands there.
        got: Excerpt,
    },
    /// A row of a described table has another number of columns.
    #[error("expected {expected} columns, got {got}")]
    Columns {
        /// Columns of the header, or of the first row.
        expected: usize,
        /// Columns of the row.
        got: usize,
    },
    /// A field of a described table is not what the description says.
    #[error("field {name}: expected {expected}, got {got}")]
    Field {
        /// Its name, or its number.
        name: String,
        /// What could stand there.
        expected: &'static str,
        /// What stands there.
        got: Excerpt,
    },
}

/// The beginning of a field as it can be shown: at most 32 bytes, whatever is not printable
/// ASCII escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    const MAX_BYTES: usize = 32;

    /// The excerpt of `field`.
    #[must_use]
    pub fn new(field: &[u8]) -> Self {
        match field.get(..Self::MAX_BYTES) {
            Some(head) if field.len() > head.len() => Self(format!("{}...", head.escape_ascii())),
            _ => Self(field.escape_ascii().to_string()),
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("nothing") } else { write!(f, "`{}`", self.0) }
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

/// What a decompressor finds wrong; travels inside an [`io::Error`] up to where the path is known.
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

fn few_columns_hint(expected: usize, got: usize) -> String {
    if got + 1 == expected {
        format!(" ({got} columns look like a file without labels, which can't be used here)")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_short_and_printable() {
        assert_eq!(Excerpt::new(b"0x1f").to_string(), "`0x1f`");
        assert_eq!(Excerpt::new(b"").to_string(), "nothing");
        assert_eq!(Excerpt::new(b"\0\xff\r").to_string(), r"`\x00\xff\r`");
        assert_eq!(Excerpt::new(&[b'7'; 32]).to_string(), format!("`{}`", "7".repeat(32)));
        assert_eq!(Excerpt::new(&[b'7'; 33]).to_string(), format!("`{}...`", "7".repeat(32)));
    }

    #[test]
    fn faults_of_a_decompressor_are_data_errors_and_the_rest_is_not() {
        let fault = StreamFault::Truncated(Compression::Gzip);
        assert!(ReadError::reading(Path::new("a"), fault.into()).is_data_error());
        let broken = ReadError::reading(Path::new("a"), io::ErrorKind::BrokenPipe.into());
        assert!(broken.is_io_error());
        assert_eq!(broken.to_string(), "a: reading failed");
        let denied = ReadError::opening(Path::new("a"), io::ErrorKind::PermissionDenied.into());
        assert_eq!(denied.to_string(), "a: permission denied; make it readable for this user");
    }
}
