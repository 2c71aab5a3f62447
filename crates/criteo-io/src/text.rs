//! From bytes to rows as text: lines, and the records of the `csv` dialects. Knows neither files
//! nor columns.

pub(crate) mod csv_rows;
pub(crate) mod lines;

/// The longest line or record that is read, in bytes. A row has about 250; this bounds the memory.
pub(crate) const LINE_LIMIT: usize = 64 << 10;

/// The default size of a buffer. Four times the line limit: a refill then moves little in
/// proportion to what it reads.
pub(crate) const BUFFER_BYTES: usize = 4 * LINE_LIMIT;

/// A UTF-8 byte order mark, which some programs put at the start of a file.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
