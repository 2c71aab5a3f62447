//! The bytes of several files, one after another, and the place in the list. Apart from the
//! readers, because rows of every kind come out of files in the same way.

use std::path::PathBuf;

use crate::bytes::decompress::DecompressThread;
use crate::bytes::input::Input;
use crate::bytes::open;
use crate::error::ReadError;

/// Files opened in turn, each while the end of the one before it is read.
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    /// Files opened so far; the one in use is the last of them.
    n_opened: usize,
    input: Option<Input>,
    /// The file after the one that ended, as far as it was opened ahead.
    ahead: Option<DecompressThread>,
}

impl Files {
    /// Looks whether the files can be opened at all.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Result<Self, ReadError> {
        if paths.is_empty() {
            return Err(ReadError::NoFiles);
        }
        paths.iter().try_for_each(|path| open::check(path))?;
        Ok(Self { paths, n_opened: 0, input: None, ahead: None })
    }

    /// How many there are.
    pub(crate) fn n_files(&self) -> usize {
        self.paths.len()
    }

    /// The file in use.
    pub(crate) fn file(&self) -> PathBuf {
        self.paths[self.n_opened - 1].clone()
    }

    /// Its place in the list, from 0.
    pub(crate) fn file_idx(&self) -> usize {
        self.n_opened.saturating_sub(1)
    }

    /// Its bytes; `None` between two files and at the end.
    pub(crate) fn input(&mut self) -> Option<&mut Input> {
        self.input.as_mut()
    }

    /// Is to be called when the bytes of a file have come to their end.
    pub(crate) fn end_file(&mut self) {
        self.ahead = self.input.take().and_then(Input::into_next);
    }

    /// Opens the next file, if there is one.
    pub(crate) fn open_next(&mut self) -> Result<bool, ReadError> {
        let Some(path) = self.paths.get(self.n_opened) else { return Ok(false) };
        self.n_opened += 1;
        let following = self.paths.get(self.n_opened).map(PathBuf::as_path);
        self.input = Some(Input::open(path, self.ahead.take(), following)?);
        Ok(true)
    }

    /// Hands `result` on; after an error there is nothing more to read.
    pub(crate) fn end_on_error<T>(&mut self, result: Result<T, ReadError>) -> Result<T, ReadError> {
        if result.is_err() {
            (self.input, self.ahead) = (None, None);
            self.n_opened = self.paths.len();
        }
        result
    }
}
