//! The bytes of several files, one after another, and which file is being read. Apart from the
//! readers, because rows of every kind come out of files in the same way.

use std::path::PathBuf;

use crate::bytes::decompress::DecompressThread;
use crate::bytes::input::Input;
use crate::bytes::open;
use crate::error::ReadError;

/// Files opened in order, each while the end of the previous one is read.
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    /// Files opened so far; the one in use is the last of them.
    n_opened: usize,
    input: Option<Input>,
    /// The file after the one that ended, if it was opened ahead.
    ahead: Option<DecompressThread>,
}

impl Files {
    /// Checks that every file can be opened. Pipes are opened in their turn only.
    ///
    /// # Errors
    /// If there are no paths, or a file cannot be opened.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Result<Self, ReadError> {
        if paths.is_empty() {
            return Err(ReadError::NoFiles);
        }
        paths.iter().try_for_each(|path| open::check(path))?;
        Ok(Self { paths, n_opened: 0, input: None, ahead: None })
    }

    /// The number of files.
    pub(crate) fn n_files(&self) -> usize {
        self.paths.len()
    }

    /// The file in use.
    pub(crate) fn file(&self) -> PathBuf {
        self.paths[self.n_opened - 1].clone()
    }

    /// The index of the file in use in the list, from 0.
    pub(crate) fn file_idx(&self) -> usize {
        self.n_opened.saturating_sub(1)
    }

    /// The bytes of the file in use; `None` between two files and at the end.
    pub(crate) fn input(&mut self) -> Option<&mut Input> {
        self.input.as_mut()
    }

    /// To be called when the bytes of a file have ended.
    pub(crate) fn end_file(&mut self) {
        self.ahead = self.input.take().and_then(Input::into_next);
    }

    /// Opens the next file; `false` if there is none.
    pub(crate) fn open_next(&mut self) -> Result<bool, ReadError> {
        let Some(path) = self.paths.get(self.n_opened) else { return Ok(false) };
        self.n_opened += 1;
        let following = self.paths.get(self.n_opened).map(PathBuf::as_path);
        self.input = Some(Input::open(path, self.ahead.take(), following)?);
        Ok(true)
    }

    /// Returns `result`; an error ends the stream.
    pub(crate) fn end_on_error<T>(&mut self, result: Result<T, ReadError>) -> Result<T, ReadError> {
        if result.is_err() {
            (self.input, self.ahead) = (None, None);
            self.n_opened = self.paths.len();
        }
        result
    }
}
