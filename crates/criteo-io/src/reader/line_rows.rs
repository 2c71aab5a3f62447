//! The lines of several files, and the number of the current line.

use std::ops::Range;
use std::path::PathBuf;

use crate::bytes::files::Files;
use crate::error::ReadError;
use crate::text::lines::Lines;
use crate::text::{BUFFER_BYTES, BYTE_ORDER_MARK, LINE_LIMIT};

pub(super) struct LineRows {
    files: Files,
    lines: Lines,
    /// The number of the last line in the file in use, from 1.
    line: u64,
}

impl LineRows {
    pub(super) fn new(paths: Vec<PathBuf>) -> Result<Self, ReadError> {
        Ok(Self { files: Files::new(paths)?, lines: Lines::new(BUFFER_BYTES), line: 0 })
    }

    pub(super) fn set_buffer_bytes(&mut self, n_bytes: usize) {
        self.lines = Lines::new(n_bytes);
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// The bytes of the line that [`LineRows::next_line`] just returned.
    pub(super) fn line(&self, range: Range<usize>) -> &[u8] {
        self.lines.line(range)
    }

    /// The number of that line in its file, from 1.
    pub(super) fn line_number(&self) -> u64 {
        self.line
    }

    /// The next line, in the next file if need be; `None` after the last one, and after an error.
    /// After a line that is too long, the next call returns the line after it.
    pub(super) fn next_line(&mut self) -> Result<Option<Range<usize>>, ReadError> {
        let line = self.try_next_line();
        let line = self.files.end_on_error(line)?;
        if line.as_ref().is_some_and(|line| line.len() > LINE_LIMIT) {
            let (file, line) = (self.files.file(), self.line);
            return Err(ReadError::LineTooLong { file, line, limit: LINE_LIMIT });
        }
        Ok(line)
    }

    /// Skips up to `n_lines` lines; returns how many there were.
    pub(super) fn skip_lines(&mut self, n_lines: u64) -> Result<u64, ReadError> {
        let n_skipped = self.try_skip_lines(n_lines);
        self.files.end_on_error(n_skipped)
    }

    fn try_next_line(&mut self) -> Result<Option<Range<usize>>, ReadError> {
        loop {
            let Some(input) = self.files.input() else {
                if self.open_next()? {
                    continue;
                }
                return Ok(None);
            };
            let line = self.lines.next(input);
            let Some(range) =
                line.map_err(|error| ReadError::reading(&self.files.file(), error))?
            else {
                self.files.end_file();
                continue;
            };
            self.line += 1;
            return Ok(Some(range));
        }
    }

    fn try_skip_lines(&mut self, n_lines: u64) -> Result<u64, ReadError> {
        let mut n_left = n_lines;
        while n_left > 0 {
            let Some(input) = self.files.input() else {
                if self.open_next()? {
                    continue;
                }
                break;
            };
            let skipped = self.lines.skip(input, n_left);
            let n_skipped =
                skipped.map_err(|error| ReadError::reading(&self.files.file(), error))?;
            self.line += n_skipped;
            n_left -= n_skipped;
            if n_left > 0 {
                self.files.end_file();
            }
        }
        Ok(n_lines - n_left)
    }

    /// Opens the next file and checks its first bytes; `false` if there is none.
    fn open_next(&mut self) -> Result<bool, ReadError> {
        if !self.files.open_next()? {
            return Ok(false);
        }
        self.line = 0;
        self.lines.restart();
        let input = self.files.input().expect("it was just opened");
        let head = self.lines.peek(input, BYTE_ORDER_MARK.len());
        match head.map_err(|error| ReadError::reading(&self.files.file(), error))? {
            [] => Err(ReadError::Empty { file: self.files.file() }),
            BYTE_ORDER_MARK => Err(ReadError::ByteOrderMark { file: self.files.file() }),
            _ => Ok(true),
        }
    }
}
