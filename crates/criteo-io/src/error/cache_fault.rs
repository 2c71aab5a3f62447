//! Why a cache can't be used. None of these has to stop a run: the rows are still where they came
//! from.

use std::io;

/// Why the file where a cache should be is of no use. Each is mended by building it anew.
#[derive(Debug, thiserror::Error)]
pub enum CacheFault {
    /// There is no such file.
    #[error("it is not there")]
    Absent,
    /// It can't be opened or read.
    #[error("it can't be read: {0}")]
    Unreadable(io::Error),
    /// It is something else.
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
    /// Its header is not as it was written.
    #[error("its header is damaged")]
    DamagedHeader,
    /// It ends too early, or goes on too long.
    #[error("it has {found} bytes and should have {expected}")]
    Length {
        /// Bytes of the file.
        found: u64,
        /// Bytes that its header promises.
        expected: u64,
    },
    /// Some of its rows are not as they were written.
    #[error("rows {first} to {last} are damaged")]
    DamagedRows {
        /// The first row of the damaged block, from 0.
        first: u64,
        /// The last.
        last: u64,
    },
    /// It was made from other files, or of another format.
    #[error("it was made from other files, or in another format")]
    Foreign,
    /// The columns of its files were described in another way.
    #[error("it was made by another description of the columns")]
    Described,
    /// It leaves out malformed rows, perhaps more of them than are allowed now.
    #[error("it was made with other limits of malformed rows")]
    BadRows,
    /// An input is not what it was.
    #[error("{file} has changed since it was made")]
    Stale {
        /// The resolved path of the input.
        file: String,
    },
    /// It was made of the first rows only, and more of them are wanted.
    #[error("it holds the first {n_rows} rows only")]
    TooFewRows {
        /// Rows that it holds.
        n_rows: u64,
    },
}
