//! Records of the `csv` dialects out of one buffer. Apart from the reader, because it knows neither
//! files nor columns, and can be tested at every boundary.
//!
//! `csv-core`, the state machine inside the `csv` crate, decides what a record is. It runs over a
//! buffer of our own in place of the crate's, for two things that the crate's reader does not
//! offer: a bound, so that an unterminated quote is an error instead of the whole file in memory,
//! and line and column of every field, for messages.

use std::io::{self, Read};
use std::ops::Range;

use csv_core::{ReadFieldResult, ReadRecordResult, ReaderBuilder};

use crate::bytes::refill::RefillBuffer;
use crate::text::LINE_LIMIT;

/// The records of one input.
///
/// ```text
/// buffer  | read and done | record | start .. end | free |
/// fields  | unquoted fields of the record, one after another |
/// ```
pub(crate) struct CsvRows {
    builder: ReaderBuilder,
    delimiter: u8,
    quoting: bool,
    core: csv_core::Reader,
    buffer: RefillBuffer,
    /// Where the record is in the buffer.
    raw: Range<usize>,
    /// The line where the record starts, from 1, and the line of the first unread byte.
    raw_line: u64,
    line: u64,
    fields: Vec<u8>,
    ends: Vec<usize>,
    n_fields: usize,
    quote_fault: Option<(usize, QuoteFault)>,
}

/// What comes next in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Record,
    /// A record, or an open quote, of more bytes than the limit.
    TooLong,
    End,
}

/// A quoted field that is not valid by RFC 4180. `csv-core` accepts it in some way, and may
/// silently read the rows after it as part of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuoteFault {
    /// The input ends inside it.
    Unclosed,
    /// Text follows its closing quote.
    TextBehind,
}

impl CsvRows {
    pub(crate) fn new(delimiter: u8, quoting: bool, n_bytes: usize) -> Self {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(delimiter).quoting(quoting);
        Self {
            core: started(&builder),
            builder,
            delimiter,
            quoting,
            buffer: RefillBuffer::new(n_bytes),
            raw: 0..0,
            raw_line: 1,
            line: 1,
            fields: vec![0; LINE_LIMIT],
            ends: vec![0; 64],
            n_fields: 0,
            quote_fault: None,
        }
    }

    pub(crate) fn set_buffer_bytes(&mut self, n_bytes: usize) {
        self.buffer = RefillBuffer::new(n_bytes);
    }

    /// Forgets everything, for another input.
    pub(crate) fn restart(&mut self) {
        self.core = started(&self.builder);
        self.buffer.restart();
        self.raw = 0..0;
        (self.raw_line, self.line, self.n_fields) = (1, 1, 0);
    }

    /// Skips `mark` if the input starts with it; returns whether the input has any bytes.
    pub(crate) fn skip_mark(&mut self, input: &mut dyn Read, mark: &[u8]) -> io::Result<bool> {
        while self.buffer.end < mark.len() && self.buffer.fill(input)? {}
        let is_empty = self.buffer.end == 0;
        if self.buffer.bytes[..self.buffer.end].starts_with(mark) {
            self.buffer.start = mark.len();
        }
        Ok(!is_empty)
    }

    /// Reads the next record; its fields remain until the next call.
    pub(crate) fn next(&mut self, input: &mut dyn Read) -> io::Result<Next> {
        if !self.skip_line_ends(input)? {
            return Ok(Next::End);
        }
        self.raw_line = self.line;
        self.core.set_line(self.line);
        // Relative to the start, because a refill moves the unread bytes to the front.
        let (mut n_in, mut n_out, mut n_ends) = (0, 0, 0);
        loop {
            if self.buffer.start + n_in == self.buffer.end && !self.buffer.ended {
                self.buffer.fill(input)?;
            }
            let unread = &self.buffer.unread()[n_in..];
            let (result, n_read, n_written, n_ended) =
                self.core.read_record(unread, &mut self.fields[n_out..], &mut self.ends[n_ends..]);
            (n_in, n_out, n_ends) = (n_in + n_read, n_out + n_written, n_ends + n_ended);
            if n_in > LINE_LIMIT {
                return Ok(Next::TooLong);
            }
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.fields.resize(2 * self.fields.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(Next::End),
            }
        }
        self.raw = self.buffer.start..self.buffer.start + n_in;
        self.buffer.start += n_in;
        self.line = self.core.line();
        self.n_fields = n_ends;
        self.quote_fault = self.find_quote_fault();
        Ok(Next::Record)
    }

    pub(crate) fn n_fields(&self) -> usize {
        self.n_fields
    }

    /// A field of the record without its quotes.
    ///
    /// # Panics
    /// If the record has no such field.
    pub(crate) fn field(&self, idx: usize) -> &[u8] {
        let start = if idx == 0 { 0 } else { self.ends[idx - 1] };
        &self.fields[start..self.ends[idx]]
    }

    /// The bytes of the record in the text, quotes and line end included.
    fn raw(&self) -> &[u8] {
        &self.buffer.bytes[self.raw.clone()]
    }

    /// Whether the record takes more than one line.
    pub(crate) fn spans_lines(&self) -> bool {
        memchr::memchr2(b'\r', b'\n', self.raw().trim_ascii_end()).is_some()
    }

    /// The first field of the record with invalid quotes, by index.
    pub(crate) fn quote_fault(&self) -> Option<(usize, QuoteFault)> {
        self.quote_fault
    }

    #[inline]
    fn find_quote_fault(&self) -> Option<(usize, QuoteFault)> {
        let raw = self.raw();
        if !self.quoting || memchr::memchr(b'"', raw).is_none() {
            return None;
        }
        let (mut start, mut field_idx) = (0, 0);
        loop {
            let end = match raw.get(start) {
                Some(b'"') => match closing_quote(raw, start) {
                    Some(quote) => quote + 1,
                    None => return Some((field_idx, QuoteFault::Unclosed)),
                },
                // Quotes inside a field that does not start with one are text.
                _ => start + memchr::memchr3(self.delimiter, b'\r', b'\n', &raw[start..])?,
            };
            match raw.get(end) {
                Some(&byte) if byte == self.delimiter => {
                    (start, field_idx) = (end + 1, field_idx + 1);
                }
                None | Some(b'\r' | b'\n') => return None,
                Some(_) => return Some((field_idx, QuoteFault::TextBehind)),
            }
        }
    }

    /// The line where the record starts, from 1.
    pub(crate) fn first_line(&self) -> u64 {
        self.raw_line
    }

    /// Line and byte in it, both from 1, where a field of the record starts in the text; for a
    /// field past the last one, where the record ends.
    #[cold]
    pub(crate) fn line_and_column(&self, field_idx: usize) -> (u64, usize) {
        let raw = self.raw();
        let mut before =
            if field_idx < self.n_fields { self.n_bytes_before(field_idx) } else { raw.len() };
        if field_idx >= self.n_fields {
            let is_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
            before -= raw.iter().rev().take_while(is_end).count();
        }
        let line = self.raw_line + memchr::memchr_iter(b'\n', &raw[..before]).count() as u64;
        let line_start = memchr::memrchr(b'\n', &raw[..before]).map_or(0, |idx| idx + 1);
        (line, before - line_start + 1)
    }

    /// Bytes of the record before a field, found by parsing the record once more.
    fn n_bytes_before(&self, field_idx: usize) -> usize {
        let raw = self.raw();
        let (mut core, mut scratch) = (started(&self.builder), [0; 256]);
        let (mut n_bytes, mut n_passed) = (0, 0);
        while n_passed < field_idx && n_bytes < raw.len() {
            let (result, n_read, _) = core.read_field(&raw[n_bytes..], &mut scratch);
            n_bytes += n_read;
            n_passed += usize::from(matches!(result, ReadFieldResult::Field { .. }));
        }
        n_bytes
    }

    /// Skips empty lines, and the line feed after a carriage return that ended a record; `false` at
    /// the end of the input.
    fn skip_line_ends(&mut self, input: &mut dyn Read) -> io::Result<bool> {
        loop {
            while let Some(&byte @ (b'\r' | b'\n')) = self.buffer.unread().first() {
                self.buffer.start += 1;
                self.line += u64::from(byte == b'\n');
            }
            if self.buffer.start < self.buffer.end {
                return Ok(true);
            }
            if !self.buffer.fill(input)? {
                return Ok(false);
            }
        }
    }
}

/// The index of the quote that closes the one at `start`; doubled quotes inside are text.
fn closing_quote(raw: &[u8], start: usize) -> Option<usize> {
    let mut from = start + 1;
    loop {
        let quote = from + memchr::memchr(b'"', &raw[from..])?;
        if raw.get(quote + 1) != Some(&b'"') {
            return Some(quote);
        }
        from = quote + 2;
    }
}

/// The state machine after an empty line. In its first state it would skip a byte order mark at any
/// point of the input, depending on whether the buffer happens to hold all of the mark.
fn started(builder: &ReaderBuilder) -> csv_core::Reader {
    let mut core = builder.build();
    core.read_record(b"\n", &mut [], &mut []);
    core
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::BUFFER_BYTES;
    use proptest::prelude::*;

    type Records = Vec<Vec<Vec<u8>>>;

    fn all_records(text: &[u8], quoting: bool, n_bytes: usize) -> Records {
        let (mut rows, mut input) = (CsvRows::new(b',', quoting, n_bytes), text);
        let mut found = Vec::new();
        while rows.next(&mut input).unwrap() == Next::Record {
            found.push((0..rows.n_fields()).map(|idx| rows.field(idx).to_vec()).collect());
        }
        assert_eq!(rows.next(&mut input).unwrap(), Next::End);
        found
    }

    /// The `csv` crate with a reader of its own.
    fn by_csv(text: &[u8], quoting: bool) -> Records {
        let mut builder = csv::ReaderBuilder::new();
        let mut reader =
            builder.quoting(quoting).has_headers(false).flexible(true).from_reader(text);
        reader
            .byte_records()
            .map(|record| record.unwrap().iter().map(<[u8]>::to_vec).collect())
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn records_agree_with_the_csv_crate(
            text in "[ab,\"\r\n]{0,50}",
            quoting in any::<bool>(),
            n_bytes in 1_usize..60,
        ) {
            let text = text.as_bytes();
            prop_assert_eq!(all_records(text, quoting, n_bytes), by_csv(text, quoting));
        }
    }

    proptest! {
        #[test]
        fn output_of_the_csv_crate_has_no_quote_fault(
            fields in prop::collection::vec("[ab,\"\r\n]{0,6}", 1..5),
            always: bool,
            n_bytes in 1_usize..60,
        ) {
            let style = if always { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
            let mut writer = csv::WriterBuilder::new().quote_style(style).from_writer(Vec::new());
            writer.write_record(&fields).unwrap();
            let text = writer.into_inner().unwrap();
            let mut rows = CsvRows::new(b',', true, n_bytes);
            prop_assert_eq!(rows.next(&mut &text[..]).unwrap(), Next::Record);
            prop_assert_eq!(rows.quote_fault(), None, "{}", text.escape_ascii());
            prop_assert_eq!(rows.n_fields(), fields.len());
        }
    }

    #[test]
    fn unpaired_quotes_are_found() {
        use QuoteFault::{TextBehind, Unclosed};
        for (text, expected, spans_lines) in [
            ("a,\"b", Some((1, Unclosed)), false),
            ("\"\nc,d\n", Some((0, Unclosed)), true),
            ("a,b,\"\"\"\n", Some((2, Unclosed)), false),
            ("a,\"b\"c,\"d", Some((1, TextBehind)), false),
            ("\"a\" ,b\n", Some((0, TextBehind)), false),
            ("a,\"b\nc,\"d\"\n", Some((1, TextBehind)), true),
            ("a\"b,c\"\n", None, false),
            ("\"a\"\"\",\"b\nc\"\r\n", None, true),
            ("\"\",\"\"\n", None, false),
            (",\n", None, false),
        ] {
            for n_bytes in 1..30 {
                let mut rows = CsvRows::new(b',', true, n_bytes);
                assert_eq!(rows.next(&mut text.as_bytes()).unwrap(), Next::Record);
                assert_eq!(
                    (rows.quote_fault(), rows.spans_lines()),
                    (expected, spans_lines),
                    "{text:?}"
                );
            }
            let mut rows = CsvRows::new(b',', false, 30);
            assert_eq!(rows.next(&mut text.as_bytes()).unwrap(), Next::Record);
            assert_eq!(rows.quote_fault(), None, "{text:?}, without quoting");
        }
    }

    #[test]
    fn byte_order_mark_after_empty_lines_is_text() {
        for text in ["\n\u{feff}a,b\n", "\r\n\n\u{feff}\"a\",b", "\u{feff}a,b"] {
            let expected = vec![vec![
                text.trim_start().split(',').next().unwrap_or_default().to_owned(),
                "b".to_owned(),
            ]];
            for n_bytes in 1..20 {
                let (mut rows, mut input) = (CsvRows::new(b',', true, n_bytes), text.as_bytes());
                let mut records = Vec::new();
                while rows.next(&mut input).unwrap() == Next::Record {
                    let field = |idx| String::from_utf8(rows.field(idx).to_vec()).unwrap();
                    records.push((0..rows.n_fields()).map(field).collect::<Vec<_>>());
                }
                assert_eq!(records, expected, "{text:?}, a buffer of {n_bytes}");
            }
        }
    }

    #[test]
    fn fields_are_located_in_the_text() {
        let text = b"\r\n\na,\"b\n\"\"c\",,\"d\"\r\n\ne,f,g\n\"x\ny\"";
        for n_bytes in 1..40 {
            let (mut rows, mut input) = (CsvRows::new(b',', true, n_bytes), &text[..]);
            let mut places = Vec::new();
            while rows.next(&mut input).unwrap() == Next::Record {
                places.push(
                    (0..=rows.n_fields()).map(|idx| rows.line_and_column(idx)).collect::<Vec<_>>(),
                );
            }
            let first = vec![(3, 1), (3, 3), (4, 6), (4, 7), (4, 10)];
            let second = vec![(6, 1), (6, 3), (6, 5), (6, 6)];
            assert_eq!(places, [first, second, vec![(7, 1), (8, 3)]]);
        }
    }

    #[test]
    fn record_limit_does_not_depend_on_the_buffer() {
        for n_bytes in [1, 300, LINE_LIMIT, LINE_LIMIT + 1, BUFFER_BYTES] {
            for (len, end, expected) in [
                (LINE_LIMIT - 1, "\n", Next::Record),
                (LINE_LIMIT, "", Next::Record),
                (LINE_LIMIT + 1, "\n", Next::TooLong),
                (10 * LINE_LIMIT, "", Next::TooLong),
            ] {
                let text = format!("{}{end}", "x".repeat(len));
                let (mut rows, mut input) = (CsvRows::new(b',', true, n_bytes), text.as_bytes());
                assert_eq!(
                    rows.next(&mut input).unwrap(),
                    expected,
                    "{len} bytes, a buffer of {n_bytes}"
                );
                assert!(rows.buffer.bytes.len() <= n_bytes.max(4 * LINE_LIMIT));
            }
        }
        // An unterminated quote.
        let text = "1,\"".to_owned() + &"2,3\n".repeat(LINE_LIMIT);
        let (mut rows, mut input) = (CsvRows::new(b',', true, 100), text.as_bytes());
        assert_eq!(rows.next(&mut input).unwrap(), Next::TooLong);
    }
}
