//! Why rows are malformed, in short, and how many are for each reason. Apart from the faults
//! themselves, because a cache and a report keep the reason alone.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Why a row is malformed, as it is counted and reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRowReason {
    /// The line is empty.
    EmptyLine,
    /// The row has too few columns.
    TooFewColumns,
    /// The row has too many columns.
    TooManyColumns,
    /// The line is longer than any row can be.
    LineTooLong,
    /// The label is not valid.
    Label,
    /// An integer field of Criteo's logs holds something else.
    Integer,
    /// An integer is too large.
    IntegerOverflow,
    /// A numeric column holds something else.
    Number,
    /// A categorical column holds something else.
    Token,
    /// The column of the day holds no day.
    Day,
    /// A quoted field is followed by text.
    Quote,
}

impl BadRowReason {
    /// Every reason. The position in this list is part of the format of caches.
    pub const ALL: [Self; 11] = [
        Self::EmptyLine,
        Self::TooFewColumns,
        Self::TooManyColumns,
        Self::LineTooLong,
        Self::Label,
        Self::Integer,
        Self::IntegerOverflow,
        Self::Number,
        Self::Token,
        Self::Day,
        Self::Quote,
    ];

    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EmptyLine => "empty_line",
            Self::TooFewColumns => "too_few_columns",
            Self::TooManyColumns => "too_many_columns",
            Self::LineTooLong => "line_too_long",
            Self::Label => "label",
            Self::Integer => "integer",
            Self::IntegerOverflow => "integer_overflow",
            Self::Number => "number",
            Self::Token => "token",
            Self::Day => "day",
            Self::Quote => "quote",
        }
    }
}

impl fmt::Display for BadRowReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The number of malformed rows for each reason. Serializes as a map from the names of the reasons
/// that occurred to their counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BadRowCounts([u64; BadRowReason::ALL.len()]);

impl BadRowCounts {
    /// The number of malformed rows in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The number of rows that are malformed for this reason.
    #[must_use]
    pub fn count(&self, reason: BadRowReason) -> u64 {
        self.0[reason as usize]
    }

    /// The reasons that occurred, and their counts.
    pub fn iter(&self) -> impl Iterator<Item = (BadRowReason, u64)> {
        BadRowReason::ALL
            .into_iter()
            .map(|reason| (reason, self.count(reason)))
            .filter(|&(_, n_rows)| n_rows > 0)
    }

    pub(crate) fn add(&mut self, reason: BadRowReason) {
        self.0[reason as usize] += 1;
    }
}

/// A limit of malformed rows that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BadRowLimit {
    /// At most this number of rows.
    Rows(u64),
    /// At most this share of the rows.
    Fraction(f64),
}

impl BadRowLimit {
    /// The key of the limit in `[data]`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Rows(_) => "max_bad_rows",
            Self::Fraction(_) => "max_bad_fraction",
        }
    }
}

/// The setting and its value: `data.max_bad_rows = 3`.
impl fmt::Display for BadRowLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data.{} = ", self.key())?;
        match self {
            Self::Rows(n_rows) => n_rows.fmt(f),
            Self::Fraction(fraction) => fraction.fmt(f),
        }
    }
}

/// The form in messages: `label 3, token 1`.
impl fmt::Display for BadRowCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, (reason, n_rows)) in self.iter().enumerate() {
            write!(f, "{}{reason} {n_rows}", if idx > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

impl Serialize for BadRowCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.iter().count()))?;
        for (reason, n_rows) in self.iter() {
            map.serialize_entry(reason.name(), &n_rows)?;
        }
        map.end()
    }
}
