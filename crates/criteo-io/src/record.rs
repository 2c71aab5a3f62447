//! One row in memory, and the trait of whatever yields rows one by one.

pub(crate) mod bad_rows;
pub(crate) mod split;

use crate::error::ReadError;

/// One row as it stands in the log, before encoding. Reused from row to row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// Whether the impression was clicked.
    pub clicked: bool,
    /// The integer fields I1.. of Criteo's logs, `None` where empty.
    pub integers: Vec<Option<i64>>,
    /// The numeric columns of a described table, transformed, 0 where missing. A record has these
    /// or integers.
    pub dense: Vec<f32>,
    /// The categorical fields C1.. as 32-bit tokens, `None` where empty. Where fields may hold
    /// several values, those of the first field, then those of the second, and so on: a `None` for
    /// a field that holds none, so that each has at least one.
    pub tokens: Vec<Option<u32>>,
    /// Where fields may hold several values, the end of each of them in `tokens`; else empty.
    pub bag_ends: Vec<u32>,
    /// The day, from 0, where the data tell.
    pub day: Option<u32>,
    /// The logit that the label was drawn from: known for generated rows only.
    pub true_logit: Option<f32>,
}

/// A stream of rows in a fixed order.
pub trait RecordSource: Send {
    /// Fills `record` with the next row; `false` at the end, and at every call after it.
    ///
    /// # Errors
    /// Where the source can't be read, or the row is malformed. After a malformed row
    /// ([`ReadError::bad_row`]) the next call goes on with the one that follows, and nothing in
    /// `record` means anything but the day, which is the one that the row counts for where days are
    /// known.
    fn read_record(&mut self, record: &mut Record) -> Result<bool, ReadError>;

    /// Passes over up to `n_rows` rows without parsing them; returns how many there were.
    ///
    /// # Errors
    /// Where the source can't be read.
    fn skip_records(&mut self, n_rows: u64) -> Result<u64, ReadError>;

    /// Whether [`RecordSource::skip_records`] reads nothing of what it passes over, and what it
    /// passes over is known to be the same as before: rows that are generated, or in a cache that
    /// was found to be right.
    fn jumps(&self) -> bool {
        false
    }
}
