//! What is recorded of a file in order to notice that it changed. Apart from the cache and from
//! resuming a run, because both ask the same question.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bytes::open;
use crate::error::ReadError;

/// Bytes at either end of a file that the checksums cover: enough for the header and the trailer of
/// any format, little against opening the file.
const END_BYTES: u64 = 64 << 10;

/// A file as it was: its path as given, its length, and checksums of its ends.
///
/// The time of modification is not included, so that a copy is as good as the file. A change in the
/// middle of a plain file that keeps its length is not noticed; the end of a gzip file holds the
/// checksum of all of its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    /// The path as given.
    pub path: PathBuf,
    /// The length in bytes, as stored.
    pub n_bytes: u64,
    /// CRC-32 of the first 64 KiB.
    pub head: u32,
    /// CRC-32 of the last 64 KiB.
    pub tail: u32,
}

impl FileStamp {
    /// Reads the stamp of the file at `path`; `None` if it can be read only once, as standard input
    /// (`-`) and pipes.
    ///
    /// # Errors
    /// If the file does not exist, is a directory or empty, or cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>, ReadError> {
        if open::is_read_once(path)? {
            return Ok(None);
        }
        let file = File::open(path).map_err(|error| ReadError::opening(path, error))?;
        let Ends { n_bytes, head, tail } =
            Ends::read(&file).map_err(|error| ReadError::reading(path, error))?;
        Ok(Some(Self { path: path.to_owned(), n_bytes, head, tail }))
    }
}

/// The length of a file, and the checksums of its ends.
pub(crate) struct Ends {
    pub(crate) n_bytes: u64,
    pub(crate) head: u32,
    pub(crate) tail: u32,
}

impl Ends {
    pub(crate) fn read(mut file: &File) -> io::Result<Self> {
        let n_bytes = file.metadata()?.len();
        let head = crc_of(file, END_BYTES)?;
        file.seek(SeekFrom::Start(n_bytes.saturating_sub(END_BYTES)))?;
        let tail = crc_of(file, END_BYTES)?;
        Ok(Self { n_bytes, head, tail })
    }
}

fn crc_of(file: &File, n_bytes: u64) -> io::Result<u32> {
    let mut bytes = Vec::new();
    file.take(n_bytes).read_to_end(&mut bytes)?;
    Ok(crc32fast::hash(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn stamp_changes_with_length_and_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let look = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            FileStamp::read(&path).unwrap().unwrap()
        };
        let mut bytes = vec![7; 200_000];
        let stamp = look(&bytes);
        assert_eq!((stamp.path.as_path(), stamp.n_bytes), (path.as_path(), 200_000));
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
        assert_eq!(FileStamp::read(&path).unwrap().unwrap(), stamp);
        for place in [0, (64 << 10) - 1, 200_000 - (64 << 10), 199_999] {
            bytes[place] ^= 1;
            assert_ne!(look(&bytes), stamp, "byte {place}");
            bytes[place] ^= 1;
        }
        bytes[100_000] ^= 1;
        assert_eq!(look(&bytes), stamp, "the middle is not covered");
        assert_ne!(look(&bytes[1..]), stamp);
    }

    #[test]
    fn stdin_has_no_stamp_and_missing_file_is_an_error() {
        assert_eq!(FileStamp::read(Path::new("-")).unwrap(), None);
        let directory = tempfile::tempdir().unwrap();
        let absent = FileStamp::read(&directory.path().join("absent"));
        assert!(matches!(absent, Err(ReadError::Missing { .. })));
    }
}
