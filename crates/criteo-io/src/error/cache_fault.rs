//! Why a cache cannot be used. None of these has to stop a run: the input files still hold the
//! rows.

use std::io;

/// Why the file of a cache is not usable. Rebuilding the cache resolves every one of them.
#[derive(Debug, thiserror::Error)]
pub enum CacheFault {
    /// There is no such file.
    #[error("it is not there")]
    Absent,
    /// The file cannot be opened or read.
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
    /// The file is not a cache.
    #[error("it is not a cache of rows")]
    NotACache,
    /// Another version of this library wrote it.
    #[error("it is of version {found}, and this program reads version {expected}")]
    Version {
        /// The version of the file.
        found: u32,
        /// The one that is known here.
        expected: u32,
    },
    /// The header differs from what was written.
    #[error("its header is damaged")]
    DamagedHeader,
    /// The file is too short or too long.
    #[error("it has {found} bytes and should have {expected}")]
    Length {
        /// Bytes of the file.
        found: u64,
        /// Bytes according to its header.
        expected: u64,
    },
    /// Some rows differ from what was written.
    #[error("rows {first} to {last} are damaged")]
    DamagedRows {
        /// The first row of the damaged block, from 0.
        first: u64,
        /// The last.
        last: u64,
    },
    /// The cache was built from other files, or in another format.
    #[error("it was made from other files, or in another format")]
    Foreign,
    /// The cache was built with another description of the columns.
    #[error("it was made by another description of the columns")]
    Described,
    /// The cache leaves out malformed rows, perhaps more than are allowed now.
    #[error("it was made with other limits of malformed rows")]
    BadRows,
    /// An input has changed since the cache was built.
    #[error("{file} has changed since it was made")]
    Stale {
        /// The resolved path of the input.
        file: String,
    },
    /// The cache holds the first rows only, and more are requested.
    #[error("it holds the first {n_rows} rows only")]
    TooFewRows {
        /// Rows that it holds.
        n_rows: u64,
    },
}
