//! The bytes of one file, and the file after it, opened ahead. Apart from the list of files,
//! because what is opened ahead has to be decided at every read.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::bytes::decompress::{DecompressThread, OpenFile};
use crate::bytes::open;
use crate::error::ReadError;

/// The bytes of one file. Towards its end the next file is opened, and decompression begins there.
///
/// For a compressed file that is when its thread has nothing left to do: so one thread decompresses
/// at a time, and one decompressor is all the memory that is needed. While a plain file is read the
/// next one is opened at once.
pub(crate) struct Input {
    bytes: OpenFile,
    /// The next file, until it is opened.
    following: Option<PathBuf>,
    next: Option<DecompressThread>,
}

impl Input {
    /// Opens `path`, or takes the file that was opened ahead. `following` is the file after it.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) fn open(
        path: &Path,
        ahead: Option<DecompressThread>,
        following: Option<&Path>,
    ) -> Result<Self, ReadError> {
        let ahead = ahead.unwrap_or_else(|| DecompressThread::spawn(path));
        let bytes = ahead.opened()?;
        // Opening a pipe early may wait for its writer, or take bytes that are then lost.
        let following = following.filter(|path| matches!(open::is_read_once(path), Ok(false)));
        Ok(Self { bytes, following: following.map(Path::to_owned), next: None })
    }

    /// The next file if it was opened ahead, errors included.
    pub(crate) fn into_next(self) -> Option<DecompressThread> {
        self.next
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (n_read, is_near_end) = match &mut self.bytes {
            OpenFile::Plain(bytes) => (bytes.read(buffer)?, true),
            OpenFile::Compressed(ahead) => (ahead.read(buffer)?, ahead.is_done()),
        };
        if is_near_end && let Some(path) = self.following.take() {
            self.next = Some(DecompressThread::spawn(&path));
        }
        Ok(n_read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn next_file_is_opened_near_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| directory.path().join(name));
        fs::write(&paths[1], "next").unwrap();
        let long = zstd::encode_all(&vec![7; 10 << 20][..], 1).unwrap();
        for (content, is_long) in [
            (b"plain".to_vec(), false),
            (zstd::encode_all(&b"short"[..], 1).unwrap(), false),
            (long, true),
        ] {
            fs::write(&paths[0], content).unwrap();
            let mut input = Input::open(&paths[0], None, Some(&paths[1])).unwrap();
            let mut buffer = vec![0; 1 << 16];
            assert!(input.next.is_none());
            assert!(input.read(&mut buffer).unwrap() > 0);
            // Ten megabytes are more than all blocks: their thread cannot have finished.
            if is_long {
                assert!(input.next.is_none());
            }
            while input.read(&mut buffer).unwrap() > 0 {}
            let next = Input::open(&paths[1], Some(input.into_next().unwrap()), None).unwrap();
            assert_eq!(std::io::read_to_string(next).unwrap(), "next");
        }
    }

    #[cfg(unix)]
    #[test]
    fn pipe_is_not_opened_early() {
        use std::process::Command;
        let directory = tempfile::tempdir().unwrap();
        let (file, pipe) = (directory.path().join("a"), directory.path().join("pipe"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for content in [b"plain".to_vec(), zstd::encode_all(&b"short"[..], 1).unwrap()] {
            fs::write(&file, content).unwrap();
            // It has no writer: opening it ahead would leave a thread behind.
            let mut input = Input::open(&file, None, Some(&pipe)).unwrap();
            assert!(!std::io::read_to_string(&mut input).unwrap().is_empty());
            assert!(input.into_next().is_none());
        }
    }
}
