//! One row in memory, and the trait of everything that yields rows one by one.

pub(crate) mod bad_rows;
pub(crate) mod split;

use crate::error::ReadError;

/// One row as it is in the log, before encoding. Reused from row to row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Whether the impression was clicked.
    pub clicked: bool,
    /// The integer fields I1.. of Criteo's logs, `None` where empty.
    pub integers: Vec<Option<i64>>,
    /// The numeric columns of a described table, transformed, 0 where missing. A record has either
    /// these or integers.
    pub dense: Vec<f32>,
    /// The categorical fields C1.. as 32-bit tokens, `None` where empty. Where fields may hold
    /// several values, the values of the first field, then those of the second, and so on: a single
    /// `None` for a field without values, so that each field has at least one entry.
    pub tokens: Vec<Option<u32>>,
    /// Where fields may hold several values, the end of each field in `tokens`; else empty.
    pub bag_ends: Vec<u32>,
    /// The day, from 0, if the data have days.
    pub day: Option<u32>,
    /// The logit that the label was drawn from: only for generated rows.
    pub true_logit: Option<f32>,
}

/// A stream of rows in a fixed order.
pub trait RecordSource: Send {
    /// Fills `record` with the next row; `false` at the end, and at every call after it.
    ///
    /// # Errors
    /// If the source cannot be read, or the row is malformed. After a malformed row
    /// ([`ReadError::bad_row`]) the next call reads the row after it. `record` is then unspecified
    /// except for its day, if days are known: the day that the malformed row counts for.
    fn read_record(&mut self, record: &mut Record) -> Result<bool, ReadError>;

    /// Skips up to `n_rows` rows without parsing them; returns how many there were.
    ///
    /// # Errors
    /// If the source cannot be read.
    fn skip_records(&mut self, n_rows: u64) -> Result<u64, ReadError>;

    /// Whether [`RecordSource::skip_records`] skips rows without reading them, and these rows are
    /// known to be the same as before: generated rows, or rows of a verified cache.
    fn jumps(&self) -> bool {
        false
    }
}
