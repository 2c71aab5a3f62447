//! What a cache stores of an input in order to notice that it changed.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::bytes::open;
use crate::bytes::stamp::Ends;
use crate::error::ReadError;

/// An input as it was when its rows were cached.
///
/// Path, length and time of modification detect nearly every change, and cost nothing. They miss a
/// file replaced by another of the same length and time, as `cp -p`, `rsync` and `tar` may do;
/// therefore the checksums of both ends, and the end of a gzip file holds the checksum of all of
/// its content. Not detected is a plain file edited in the middle only, to the same length, whose
/// time was then set back; for that, all of the file would have to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InputStamp {
    /// The resolved path, lossily as Unicode.
    pub(super) path: String,
    pub(super) stamp: Stamp,
}

/// Everything but the path.
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
    /// Reads the stamp of the file at `path`.
    ///
    /// # Errors
    /// If the file can be read only once, or cannot be opened or read.
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

/// Nanoseconds since 1970: negative before, and clamped from the year 2262 on.
fn nanoseconds(time: SystemTime) -> i64 {
    let clamp = |nanos: u128| i64::try_from(nanos).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => clamp(since.as_nanos()),
        Err(error) => -clamp(error.duration().as_nanos()),
    }
}
