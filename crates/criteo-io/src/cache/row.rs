//! One row to its bytes and back.

use crate::{Record, Schema};

/// A row has a number of bytes that follows from the columns alone, so that any row can be found
/// by multiplication.
///
/// ```text
/// 8 bytes              bit 0: clicked; then a bit a column: 1 where there is a value
/// 4 or 8 · n_integers  two's complement; 0 where there is none
/// 4 · n_fields         tokens; 0 where there is none
/// ```
///
/// All little-endian. The logs' integers fit in four bytes; a file that has one that does not is
/// written with eight for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowLayout {
    pub(super) n_integers: usize,
    pub(super) n_fields: usize,
    /// Bytes of an integer: 4 or 8.
    pub(super) integer_bytes: usize,
}

/// An integer does not fit in the bytes that the layout has for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooWide;

const BITS_BYTES: usize = 8;
const TOKEN_BYTES: usize = 4;

impl RowLayout {
    pub(super) fn new(schema: &Schema, integer_bytes: usize) -> Self {
        assert!(schema.n_columns() <= 64, "a cached row has one bit a column");
        Self { n_integers: schema.n_integers, n_fields: schema.n_fields, integer_bytes }
    }

    /// Bytes of a row.
    pub(super) fn row_bytes(self) -> usize {
        BITS_BYTES + self.n_integers * self.integer_bytes + self.n_fields * TOKEN_BYTES
    }

    /// Appends `record` to `out`; on an error, part of it.
    pub(super) fn encode(self, record: &Record, out: &mut Vec<u8>) -> Result<(), TooWide> {
        let present = record.integers.iter().map(Option::is_some).chain(record.tokens.iter().map(Option::is_some));
        let bits =
            (1..).zip(present).fold(u64::from(record.clicked), |bits, (n, there)| bits | (u64::from(there) << n));
        out.extend_from_slice(&bits.to_le_bytes());
        for integer in &record.integers {
            let value = integer.unwrap_or(0);
            if self.integer_bytes == size_of::<i64>() {
                out.extend_from_slice(&value.to_le_bytes());
            } else {
                out.extend_from_slice(&i32::try_from(value).map_err(|_| TooWide)?.to_le_bytes());
            }
        }
        for token in &record.tokens {
            out.extend_from_slice(&token.unwrap_or(0).to_le_bytes());
        }
        Ok(())
    }

    /// Fills `record` from the bytes of a row. Allocates only where `record` has no columns yet.
    pub(super) fn decode(self, row: &[u8], record: &mut Record) {
        record.integers.resize(self.n_integers, None);
        record.tokens.resize(self.n_fields, None);
        record.true_logit = None;
        let (bits, rest) = row.split_first_chunk().expect("a row starts with its bits");
        let (integers, tokens) = rest.split_at(self.n_integers * self.integer_bytes);
        let mut bits = u64::from_le_bytes(*bits);
        let mut next_bit = || {
            let bit = bits & 1 == 1;
            bits >>= 1;
            bit
        };
        record.clicked = next_bit();
        if self.integer_bytes == size_of::<i64>() {
            for (integer, bytes) in record.integers.iter_mut().zip(integers.as_chunks().0) {
                *integer = next_bit().then_some(i64::from_le_bytes(*bytes));
            }
        } else {
            for (integer, bytes) in record.integers.iter_mut().zip(integers.as_chunks().0) {
                *integer = next_bit().then_some(i64::from(i32::from_le_bytes(*bytes)));
            }
        }
        for (token, bytes) in record.tokens.iter_mut().zip(tokens.as_chunks().0) {
            *token = next_bit().then_some(u32::from_le_bytes(*bytes));
        }
    }
}
