//! A buffer over the bytes of one input, refilled in place. Apart from the search for lines and
//! records, because both need the same window.

use std::io::{self, Read};

/// A window over the bytes of one input.
///
/// ```text
/// bytes  | read and done | start .. end | free |
/// ```
///
/// Unread bytes move to the front when the window is refilled; a buffer full of unread bytes
/// doubles its size. The caller bounds the size by not asking for more bytes than a limit.
pub(crate) struct RefillBuffer {
    pub(crate) bytes: Vec<u8>,
    /// Where the unread bytes start, and end.
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether the input has come to its end.
    pub(crate) ended: bool,
}

impl RefillBuffer {
    /// A buffer of `n_bytes`, at least one.
    pub(crate) fn new(n_bytes: usize) -> Self {
        Self { bytes: vec![0; n_bytes.max(1)], start: 0, end: 0, ended: false }
    }

    /// Forgets everything, for another input.
    pub(crate) fn restart(&mut self) {
        (self.start, self.end, self.ended) = (0, 0, false);
    }

    /// The bytes that were read from the input and not consumed.
    #[inline]
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Reads more; `false` at the end of the input.
    pub(crate) fn fill(&mut self, input: &mut dyn Read) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.bytes.len() {
            self.bytes.resize(2 * self.end, 0);
        }
        loop {
            match input.read(&mut self.bytes[self.end..]) {
                Ok(n_read) => {
                    self.end += n_read;
                    self.ended = n_read == 0;
                    return Ok(n_read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
