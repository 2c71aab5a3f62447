//! Lines sliced in place out of one buffer. Apart from the reader, because it knows neither files
//! nor rows, and can be tested at every boundary.

use std::io::{self, Read};
use std::ops::Range;

use crate::bytes::refill::RefillBuffer;
use crate::text::LINE_LIMIT;

/// The lines of one input.
///
/// ```text
/// buffer  | read and done | start .. searched .. end | free |
/// ```
///
/// A buffer below the line limit doubles where a line does not fit, so the limit holds for every
/// size.
pub(crate) struct Lines {
    buffer: RefillBuffer,
    /// Unread bytes known to hold no line feed.
    n_searched: usize,
    /// Whether the line that was returned last was cut, and its rest is unread.
    is_cut: bool,
}

impl Lines {
    pub(crate) fn new(n_bytes: usize) -> Self {
        Self { buffer: RefillBuffer::new(n_bytes), n_searched: 0, is_cut: false }
    }

    /// Forgets everything, for another input.
    pub(crate) fn restart(&mut self) {
        self.buffer.restart();
        (self.n_searched, self.is_cut) = (0, false);
    }

    /// The bytes in `range`, which the last call returned from [`Lines::next`].
    pub(crate) fn line(&self, range: Range<usize>) -> &[u8] {
        &self.buffer.bytes[range]
    }

    /// The first `n_bytes` unread bytes, or fewer if the input ends before.
    pub(crate) fn peek(&mut self, input: &mut dyn Read, n_bytes: usize) -> io::Result<&[u8]> {
        while self.buffer.end - self.buffer.start < n_bytes && self.buffer.fill(input)? {}
        let end = self.buffer.end.min(self.buffer.start + n_bytes);
        Ok(&self.buffer.bytes[self.buffer.start..end])
    }

    /// Where the next line is in the buffer, without its line feed; `None` at the end.
    ///
    /// A line over [`LINE_LIMIT`] is returned as soon as that is known, perhaps cut; the next call
    /// skips its rest.
    pub(crate) fn next(&mut self, input: &mut dyn Read) -> io::Result<Option<Range<usize>>> {
        self.pass_rest(input)?;
        loop {
            let from = self.buffer.start + self.n_searched;
            if let Some(idx) = memchr::memchr(b'\n', &self.buffer.bytes[from..self.buffer.end]) {
                let line = self.buffer.start..from + idx;
                self.buffer.start = line.end + 1;
                self.n_searched = 0;
                return Ok(Some(line));
            }
            self.n_searched = self.buffer.end - self.buffer.start;
            if self.n_searched > LINE_LIMIT || !self.buffer.fill(input)? {
                let line = self.buffer.start..self.buffer.end;
                self.buffer.start = self.buffer.end;
                self.n_searched = 0;
                self.is_cut = !self.buffer.ended && line.len() > LINE_LIMIT;
                return Ok((!line.is_empty()).then_some(line));
            }
        }
    }

    /// Skips the rest of a line that was cut.
    fn pass_rest(&mut self, input: &mut dyn Read) -> io::Result<()> {
        if std::mem::take(&mut self.is_cut) {
            self.pass_lines(input, 1)?;
        }
        Ok(())
    }

    /// Skips up to `n_lines` lines of any length; returns how many there were.
    pub(crate) fn skip(&mut self, input: &mut dyn Read, n_lines: u64) -> io::Result<u64> {
        self.pass_rest(input)?;
        self.pass_lines(input, n_lines)
    }

    fn pass_lines(&mut self, input: &mut dyn Read, n_lines: u64) -> io::Result<u64> {
        let mut n_skipped = 0;
        let mut in_line = false;
        self.n_searched = 0;
        while n_skipped < n_lines {
            let unread = self.buffer.unread();
            in_line = unread.last().map_or(in_line, |&byte| byte != b'\n');
            for idx in memchr::memchr_iter(b'\n', unread) {
                n_skipped += 1;
                if n_skipped == n_lines {
                    self.buffer.start += idx + 1;
                    return Ok(n_skipped);
                }
            }
            self.buffer.start = self.buffer.end;
            if !self.buffer.fill(input)? {
                return Ok(n_skipped + u64::from(in_line));
            }
        }
        Ok(n_skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::BUFFER_BYTES;
    use proptest::prelude::*;

    fn all_lines(text: &[u8], n_bytes: usize) -> Vec<Vec<u8>> {
        let (mut lines, mut input) = (Lines::new(n_bytes), text);
        let mut found = Vec::new();
        while let Some(range) = lines.next(&mut input).unwrap() {
            found.push(lines.line(range).to_vec());
        }
        assert_eq!(lines.next(&mut input).unwrap(), None);
        found
    }

    proptest! {
        #[test]
        fn lines_and_skips_agree_with_a_plain_split(
            text in "[ab\r\n]{0,60}",
            n_bytes in 1_usize..70,
            n_skipped in 0_u64..20,
        ) {
            let text = text.as_bytes();
            let mut expected: Vec<_> = text.split(|&byte| byte == b'\n').collect();
            // After the last line feed comes a line only if it is not empty.
            expected.pop_if(|last| last.is_empty());
            prop_assert_eq!(all_lines(text, n_bytes), expected.clone());

            let (mut lines, mut input) = (Lines::new(n_bytes), text);
            let n_expected = n_skipped.min(expected.len() as u64);
            prop_assert_eq!(lines.skip(&mut input, n_skipped).unwrap(), n_expected);
            let next = lines.next(&mut input).unwrap().map(|range| lines.line(range).to_vec());
            prop_assert_eq!(next.as_deref(), expected.get(n_expected as usize).copied());
        }
    }

    #[test]
    fn line_after_one_over_the_limit_is_read_or_skipped() {
        let long = "x".repeat(LINE_LIMIT + 1);
        let text = |len: usize| format!("a\n{}\nb\n{long}", "x".repeat(len));
        for n_bytes in [1, 300, LINE_LIMIT, LINE_LIMIT + 1, BUFFER_BYTES] {
            for len in [
                LINE_LIMIT + 1,
                LINE_LIMIT + 2,
                4 * LINE_LIMIT - 2,
                4 * LINE_LIMIT - 1,
                10 * LINE_LIMIT,
            ] {
                let text = text(len);
                let (mut lines, mut input) = (Lines::new(n_bytes), text.as_bytes());
                let mut lens = Vec::new();
                while let Some(range) = lines.next(&mut input).unwrap() {
                    lens.push(range.len().min(LINE_LIMIT + 1));
                }
                assert_eq!(
                    lens,
                    [1, LINE_LIMIT + 1, 1, LINE_LIMIT + 1],
                    "{len} bytes, a buffer of {n_bytes}"
                );
                assert!(lines.buffer.bytes.len() <= n_bytes.max(4 * LINE_LIMIT));
                let (mut lines, mut input) = (Lines::new(n_bytes), text.as_bytes());
                for _ in 0..2 {
                    lines.next(&mut input).unwrap().unwrap();
                }
                assert_eq!(lines.skip(&mut input, 1).unwrap(), 1);
                assert!(lines.next(&mut input).unwrap().unwrap().len() > LINE_LIMIT);
                assert_eq!(lines.skip(&mut input, 1).unwrap(), 0);
            }
        }
    }

    #[test]
    fn line_limit_does_not_depend_on_the_buffer() {
        for n_bytes in [1, 300, LINE_LIMIT, LINE_LIMIT + 1, BUFFER_BYTES] {
            for (len, end) in [
                (LINE_LIMIT, "\n"),
                (LINE_LIMIT, ""),
                (LINE_LIMIT + 1, "\n"),
                (10 * LINE_LIMIT, ""),
            ] {
                let text = "x".repeat(len) + end;
                let (mut lines, mut input) = (Lines::new(n_bytes), text.as_bytes());
                let line = lines.next(&mut input).unwrap().unwrap();
                assert_eq!(line.len() > LINE_LIMIT, len > LINE_LIMIT);
                assert!(lines.buffer.bytes.len() <= n_bytes.max(4 * LINE_LIMIT));
            }
        }
    }
}
