//! What becomes of malformed rows: the first one is an error, or they are counted and left out, up
//! to a limit. Apart from the readers, because the rule is the same for all of them.

use crate::error::ReadError;
use crate::error::bad_row::{BadRowCounts, BadRowLimit, BadRowReason};
use crate::record::{Record, RecordSource};

/// What to do where a row is malformed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum BadRows {
    /// The first one ends the stream.
    #[default]
    Error,
    /// They are counted and left out, as long as there are not too many of them.
    Skip(SkipLimits),
}

/// How many malformed rows are left out at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SkipLimits {
    /// In all.
    pub max_rows: u64,
    /// As a share of all rows. Looked at from row 1,000 on, and at the end.
    pub max_fraction: f64,
}

impl Default for SkipLimits {
    fn default() -> Self {
        Self { max_rows: 10_000, max_fraction: 0.01 }
    }
}

impl BadRows {
    /// Whether everything that `other` lets pass, this does too.
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

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilteredRow {
    /// A row.
    Row,
    /// A malformed one, which was counted. The record holds no more than its day.
    Bad(BadRowReason),
    /// The source is at its end.
    End,
}

/// Rows are passed before their share of malformed ones is looked at.
const FRACTION_FROM: u64 = 1000;

/// Reads rows, and counts those that are malformed as far as that is allowed: around any source,
/// and outside of a [`PartRows`](crate::PartRows), so that leaving out a row moves no other to
/// another part.
#[derive(Debug)]
pub struct BadRowFilter {
    policy: BadRows,
    n_rows: u64,
    counts: BadRowCounts,
    /// Where the first one was, and what was wrong.
    first: Option<String>,
}

impl BadRowFilter {
    /// For a pass over a source, from its first row on.
    #[must_use]
    pub fn new(policy: BadRows) -> Self {
        Self { policy, n_rows: 0, counts: BadRowCounts::default(), first: None }
    }

    /// Reads the next row of `source`.
    ///
    /// # Errors
    /// If the source can't be read, or the row is malformed and that is an error, or one too many.
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

    /// Looks at the share of malformed rows: to be called at the end of a pass.
    ///
    /// # Errors
    /// If they are too many.
    pub fn finish(&self) -> Result<(), ReadError> {
        match self.policy {
            BadRows::Skip(limits) if self.is_over(limits.max_fraction) => {
                Err(self.too_many(BadRowLimit::Fraction(limits.max_fraction)))
            }
            _ => Ok(()),
        }
    }

    /// The malformed rows so far.
    #[must_use]
    pub fn counts(&self) -> BadRowCounts {
        self.counts
    }

    /// Takes note of rows that were passed over and are known to be good.
    pub(crate) fn pass_good(&mut self, n_rows: u64) {
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
