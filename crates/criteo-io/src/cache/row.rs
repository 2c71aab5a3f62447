//! One row to its bytes and back, and the size and the checksum of a block of rows.

use crate::error::bad_row::BadRowReason;
use crate::format::dialect::Dialect;
use crate::record::Record;

/// Rows of a block: enough (164 KiB) for the fixed cost of a block not to matter, few enough to
/// stay in a cache of the processor.
pub(super) const ROWS_PER_BLOCK: u64 = 1024;
pub(super) const CHECKSUM_BYTES: usize = 4;

/// The checksum of the number of a block and its rows, so that no block can replace another.
pub(super) fn block_checksum(block: u64, rows: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&block.to_le_bytes());
    checksum.update(rows);
    checksum.finalize()
}

/// The bytes of a row. Their number follows from the columns alone, so that any row is found by
/// multiplication.
///
/// ```text
/// 8 bytes or more      bit 0: clicked; bits 1 to 4: 0, or why the row is malformed;
///                      then a bit per integer and field: 1 if there is a value
/// 4 or 8 · n_integers  two's complement; 0 if there is none
/// 4 · n_dense          the bits of an f32
/// 4 · n_fields         tokens; 0 if there is none
/// 0 or 4               the day
/// ```
///
/// All little-endian. The integers of Criteo's logs fit in four bytes; if one does not fit, the
/// cache is written with eight bytes for each. A row has integers, or dense numbers if its columns
/// are described. A malformed row stores the reason, as its position in [`BadRowReason::ALL`] from
/// 1, and the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowLayout {
    pub(super) n_integers: usize,
    pub(super) n_dense: usize,
    pub(super) n_fields: usize,
    /// Bytes of an integer: 4 or 8.
    pub(super) integer_bytes: usize,
    pub(super) has_day: bool,
}

/// An integer does not fit in the bytes that the layout has for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooWide;

/// The number of the reason why a row is malformed is not known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownReason;

const WORD_BYTES: usize = 8;
/// Bits before those of the integers: one for the label, four for the reason.
const N_FIRST_BITS: usize = 5;
const DENSE_BYTES: usize = 4;
const TOKEN_BYTES: usize = 4;
const DAY_BYTES: usize = 4;

impl RowLayout {
    /// The layout of the rows of `n_files` files in `dialect`.
    pub(super) fn new(dialect: &Dialect, n_files: usize, integer_bytes: usize) -> Self {
        let schema = dialect.schema();
        let is_described = dialect.columns().is_some();
        let (n_integers, n_dense) =
            if is_described { (0, schema.n_integers) } else { (schema.n_integers, 0) };
        Self {
            n_integers,
            n_dense,
            n_fields: schema.n_fields,
            integer_bytes,
            has_day: dialect.has_days(n_files),
        }
    }

    /// The number of bytes of a row.
    pub(super) fn row_bytes(self) -> usize {
        let n_numbers = self.n_integers * self.integer_bytes + self.n_dense * DENSE_BYTES;
        self.bits_bytes()
            + n_numbers
            + self.n_fields * TOKEN_BYTES
            + usize::from(self.has_day) * DAY_BYTES
    }

    fn bits_bytes(self) -> usize {
        (N_FIRST_BITS + self.n_integers + self.n_fields).div_ceil(8 * WORD_BYTES) * WORD_BYTES
    }

    /// Appends `record` to `out`.
    ///
    /// # Errors
    /// If an integer does not fit; `out` then holds part of the row.
    pub(super) fn encode(self, record: &Record, out: &mut Vec<u8>) -> Result<(), TooWide> {
        let start = out.len();
        out.resize(start + self.bits_bytes(), 0);
        let present = record
            .integers
            .iter()
            .map(Option::is_some)
            .chain(record.tokens.iter().map(Option::is_some));
        out[start] = u8::from(record.clicked);
        for (n, bit) in (N_FIRST_BITS..).zip(present) {
            out[start + n / 8] |= u8::from(bit) << (n % 8);
        }
        for integer in &record.integers {
            let value = integer.unwrap_or(0);
            if self.integer_bytes == size_of::<i64>() {
                out.extend_from_slice(&value.to_le_bytes());
            } else {
                out.extend_from_slice(&i32::try_from(value).map_err(|_| TooWide)?.to_le_bytes());
            }
        }
        for number in &record.dense {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for token in &record.tokens {
            out.extend_from_slice(&token.unwrap_or(0).to_le_bytes());
        }
        if self.has_day {
            out.extend_from_slice(&record.day.unwrap_or(0).to_le_bytes());
        }
        Ok(())
    }

    /// Appends a malformed row.
    pub(super) fn encode_bad(self, reason: BadRowReason, day: Option<u32>, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.row_bytes(), 0);
        out[start] = (1 + reason as u8) << 1;
        if self.has_day {
            let day_start = out.len() - DAY_BYTES;
            out[day_start..].copy_from_slice(&day.unwrap_or(0).to_le_bytes());
        }
    }

    /// Fills `record` from the bytes of a row; returns why the row is malformed, if it is.
    /// Allocates only if `record` has no columns yet.
    ///
    /// # Errors
    /// If the reason is not known, which no version writes.
    pub(super) fn decode(
        self,
        row: &[u8],
        record: &mut Record,
    ) -> Result<Option<BadRowReason>, UnknownReason> {
        record.integers.resize(self.n_integers, None);
        record.dense.resize(self.n_dense, 0.0);
        record.tokens.resize(self.n_fields, None);
        record.bag_ends.clear();
        record.true_logit = None;
        let (bits, rest) = row.split_at(self.bits_bytes());
        let (integers, rest) = rest.split_at(self.n_integers * self.integer_bytes);
        let (dense, rest) = rest.split_at(self.n_dense * DENSE_BYTES);
        let (tokens, day) = rest.split_at(self.n_fields * TOKEN_BYTES);
        let mut bits = Bits::new(bits);
        record.clicked = bits.next();
        let reason = (0..4).fold(0, |sum, bit_idx| sum | usize::from(bits.next()) << bit_idx);
        if self.integer_bytes == size_of::<i64>() {
            for (integer, bytes) in record.integers.iter_mut().zip(integers.as_chunks().0) {
                *integer = bits.next().then_some(i64::from_le_bytes(*bytes));
            }
        } else {
            for (integer, bytes) in record.integers.iter_mut().zip(integers.as_chunks().0) {
                *integer = bits.next().then_some(i64::from(i32::from_le_bytes(*bytes)));
            }
        }
        for (number, bytes) in record.dense.iter_mut().zip(dense.as_chunks().0) {
            *number = f32::from_le_bytes(*bytes);
        }
        for (token, bytes) in record.tokens.iter_mut().zip(tokens.as_chunks().0) {
            *token = bits.next().then_some(u32::from_le_bytes(*bytes));
        }
        record.day = day.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        // A version with more reasons has another number in its header.
        match reason.checked_sub(1) {
            None => Ok(None),
            Some(idx) => BadRowReason::ALL.get(idx).copied().map(Some).ok_or(UnknownReason),
        }
    }
}

/// Bits one by one, from the lowest bit of the first byte on.
struct Bits<'a> {
    word: u64,
    n_left: u32,
    rest: &'a [[u8; WORD_BYTES]],
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { word: 0, n_left: 0, rest: bytes.as_chunks().0 }
    }

    /// The next bit, which must exist.
    fn next(&mut self) -> bool {
        if self.n_left == 0 {
            let (word, rest) = self.rest.split_first().expect("a row has a bit for every value");
            (self.word, self.n_left, self.rest) = (u64::from_le_bytes(*word), u64::BITS, rest);
        }
        let bit = self.word & 1 == 1;
        self.word >>= 1;
        self.n_left -= 1;
        bit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn row() -> impl Strategy<Value = (RowLayout, Record)> {
        let sizes = (0_usize..20, 0_usize..20, 0_usize..129, any::<bool>());
        sizes.prop_flat_map(|(n_integers, n_dense, n_fields, has_day)| {
            let layout = RowLayout { n_integers, n_dense, n_fields, integer_bytes: 8, has_day };
            let dense =
                vec(any::<f32>().prop_filter("equality", |number| !number.is_nan()), n_dense);
            let integers = vec(prop::option::of(any::<i64>()), n_integers);
            let tokens = vec(prop::option::of(any::<u32>()), n_fields);
            (any::<bool>(), integers, dense, tokens, any::<u32>()).prop_map(
                move |(clicked, integers, dense, tokens, day)| {
                    let day = has_day.then_some(day);
                    (layout, Record { clicked, integers, dense, tokens, day, ..Record::default() })
                },
            )
        })
    }

    proptest! {
        #[test]
        fn rows_of_any_width_decode_to_the_same((layout, record) in row()) {
            let mut bytes = vec![7];
            let mut found = Record { bag_ends: vec![1], ..Record::default() };
            prop_assert_eq!(layout.encode(&record, &mut bytes), Ok(()));
            prop_assert_eq!(bytes.len(), 1 + layout.row_bytes());
            prop_assert_eq!(layout.decode(&bytes[1..], &mut found), Ok(None));
            prop_assert_eq!(&found, &record);
            for reason in BadRowReason::ALL {
                bytes.clear();
                layout.encode_bad(reason, record.day, &mut bytes);
                prop_assert_eq!(bytes.len(), layout.row_bytes());
                prop_assert_eq!(layout.decode(&bytes, &mut found), Ok(Some(reason)));
                prop_assert_eq!(found.day, record.day);
            }
            bytes[0] = (1 + BadRowReason::ALL.len() as u8) << 1;
            prop_assert_eq!(layout.decode(&bytes, &mut found), Err(UnknownReason));
        }
    }
}
