//! What is remembered of an input, to notice that it changed.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::bytes::open;
use crate::bytes::stamp::Ends;
use crate::error::ReadError;

/// An input as it was when its rows were cached.
///
/// Path, length and time of modification tell nearly every change, and cost nothing. They miss a
/// file that was replaced by one of the same length with its time set back, as `cp -p`, `rsync` and
/// `tar` do: therefore the checksums of both ends. The end of a gzip file holds the checksum of all
/// that is in it. What remains unseen is a plain file whose middle alone was edited, to the same
/// length, and whose time was then set back; to see that, all of it would have to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InputStamp {
    /// The resolved path; what of it is not Unicode is replaced.
    pub(super) path: String,
    pub(super) stamp: Stamp,
}

/// All but the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) n_bytes: u64,
    /// Nanoseconds since 1970.
    pub(super) modified: i64,
    /// CRC-32 of the first 64 KiB.
    pub(super) head: u32,
    /// CRC-32 of the last 64 KiB.
    pub(super) tail: u32,
}

impl InputStamp {
    /// Looks at the file at `path`.
    pub(super) fn read(path: &Path) -> Result<Self, ReadError> {
        if open::is_read_once(path)? {
            return Err(ReadError::ReadOnce { file: path.to_owned() });
        }
        let resolved = path.canonicalize().map_err(|error| ReadError::opening(path, error))?;
        let file = File::open(path).map_err(|error| ReadError::opening(path, error))?;
        let stamp = Stamp::read(&file).map_err(|error| ReadError::reading(path, error))?;
        Ok(Self { path: resolved.to_string_lossy().into_owned(), stamp })
    }
}

impl Stamp {
    fn read(file: &File) -> io::Result<Self> {
        let modified = nanoseconds(file.metadata()?.modified()?);
        let Ends { n_bytes, head, tail } = Ends::read(file)?;
        Ok(Self { n_bytes, modified, head, tail })
    }
}

/// Times before 1970 are negative; those past the year 2262 count as that.
fn nanoseconds(time: SystemTime) -> i64 {
    let clamp = |nanos: u128| i64::try_from(nanos).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => clamp(since.as_nanos()),
        Err(error) => -clamp(error.duration().as_nanos()),
    }
}
