//! The policy for malformed rows: the first one is an error, or they are counted and left out up to
//! a limit. Apart from the readers, because the policy is the same for all of them.

use crate::error::ReadError;
use crate::error::bad_row::{BadRowCounts, BadRowLimit, BadRowReason};
use crate::record::{Record, RecordSource};

/// The policy for malformed rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum BadRows {
    /// The first malformed row ends the stream.
    #[default]
    Error,
    /// Malformed rows are counted and left out, up to a limit.
    Skip(SkipLimits),
}

/// How many malformed rows are left out at most: 10,000, and 1 % of all rows, by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SkipLimits {
    /// The number of malformed rows.
    pub max_rows: u64,
    /// The share of malformed rows in all rows, from 0 to 1. Checked from row 1,000 on, and at the
    /// end.
    pub max_fraction: f64,
}

impl Default for SkipLimits {
    fn default() -> Self {
        Self { max_rows: 10_000, max_fraction: 0.01 }
    }
}

impl BadRows {
    /// Whether this policy allows all that `other` allows.
    pub(crate) fn allows_all_of(self, other: Self) -> bool {
        match (self, other) {
            (_, Self::Error) => true,
            (Self::Error, Self::Skip(_)) => false,
            (Self::Skip(limits), Self::Skip(others)) => {
                limits.max_rows >= others.max_rows && limits.max_fraction >= others.max_fraction
            }
        }
    }
}

/// The result of reading one row through a [`BadRowFilter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilteredRow {
    /// A good row.
    Row,
    /// A malformed row, which was counted. Only the day of the record is valid.
    Bad(BadRowReason),
    /// There are no more rows.
    End,
}

/// Rows before the share of malformed ones is checked: a single malformed row among the first
/// hundred already exceeds 1 %.
const FRACTION_FROM: u64 = 1000;

/// Reads rows from any source and counts the malformed ones as far as the policy allows.
///
/// It belongs around a [`PartRows`](crate::PartRows), not inside, so that leaving out a row does
/// not move other rows from one part to the other.
#[derive(Debug)]
pub struct BadRowFilter {
    policy: BadRows,
    n_rows: u64,
    counts: BadRowCounts,
    /// Location and fault of the first malformed row.
    first: Option<String>,
}

impl BadRowFilter {
    /// A filter for one pass over a source, from its first row on.
    #[must_use]
    pub fn new(policy: BadRows) -> Self {
        Self { policy, n_rows: 0, counts: BadRowCounts::default(), first: None }
    }

    /// Reads the next row of `source`.
    ///
    /// # Errors
    /// If the source cannot be read, or the row is malformed and the policy does not allow it.
    pub fn read(
        &mut self,
        source: &mut dyn RecordSource,
        record: &mut Record,
    ) -> Result<FilteredRow, ReadError> {
        match source.read_record(record) {
            Ok(true) => {
                self.n_rows += 1;
                if self.n_rows == FRACTION_FROM {
                    self.finish()?;
                }
                Ok(FilteredRow::Row)
            }
            Ok(false) => Ok(FilteredRow::End),
            Err(error) => self.take(error).map(FilteredRow::Bad),
        }
    }

    /// Checks the share of malformed rows; to be called at the end of a pass.
    ///
    /// # Errors
    /// If the share exceeds its limit.
    pub fn finish(&self) -> Result<(), ReadError> {
        match self.policy {
            BadRows::Skip(limits) if self.is_over(limits.max_fraction) => {
                Err(self.too_many(BadRowLimit::Fraction(limits.max_fraction)))
            }
            _ => Ok(()),
        }
    }

    /// The malformed rows so far, by reason.
    #[must_use]
    pub fn counts(&self) -> BadRowCounts {
        self.counts
    }

    /// Counts rows that were skipped and are known to be good.
    pub(crate) fn count_good(&mut self, n_rows: u64) {
        self.n_rows += n_rows;
    }

    #[cold]
    fn take(&mut self, error: ReadError) -> Result<BadRowReason, ReadError> {
        let (BadRows::Skip(limits), Some(reason)) = (self.policy, error.bad_row()) else {
            return Err(error);
        };
        self.n_rows += 1;
        self.counts.add(reason);
        self.first.get_or_insert_with(|| error.location_and_fault());
        if self.counts.total() > limits.max_rows {
            return Err(self.too_many(BadRowLimit::Rows(limits.max_rows)));
        }
        if self.n_rows >= FRACTION_FROM {
            self.finish()?;
        }
        Ok(reason)
    }

    fn is_over(&self, max_fraction: f64) -> bool {
        self.counts.total() as f64 > max_fraction * self.n_rows as f64
    }

    fn too_many(&self, limit: BadRowLimit) -> ReadError {
        ReadError::TooManyBadRows {
            n_rows: self.n_rows,
            counts: Box::new(self.counts),
            limit,
            first: self.first.clone().unwrap_or_default(),
        }
    }
}
