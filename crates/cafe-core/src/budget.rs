//! From bytes or a compression ratio to sizes: everything that a method stores is counted here.

use std::ops::Range;

/// What an embedding may occupy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// The compression ratio CR: bytes of the full table over bytes of the embedding.
    Compression(f64),
    /// Bytes.
    Bytes(u64),
}

impl Budget {
    /// The budget in bytes, for fields of `features[f]` features and rows of `dim` values.
    #[must_use]
    pub fn bytes(self, features: &[u64], dim: usize) -> u64 {
        match self {
            Self::Compression(ratio) => (full_bytes(features, dim) as f64 / ratio) as u64,
            Self::Bytes(bytes) => bytes,
        }
    }

    /// The budget as a compression ratio.
    #[must_use]
    pub fn compression(self, features: &[u64], dim: usize) -> f64 {
        match self {
            Self::Compression(ratio) => ratio,
            Self::Bytes(bytes) => full_bytes(features, dim) as f64 / bytes as f64,
        }
    }
}

/// Why a method can't work within a budget.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// Too few bytes.
    #[error("a budget of {budget} bytes is too small: {what} needs at least {needed} bytes")]
    TooSmall {
        /// Bytes given.
        budget: u64,
        /// Bytes needed.
        needed: u64,
        /// By what.
        what: &'static str,
    },
    /// The method can't compress so far, however it is sized.
    #[error(
        "{method} needs CR <= {limit:.1}, asked for {asked:.1}; choose a lower compression ratio \
         or another method"
    )]
    RatioTooHigh {
        /// The method.
        method: &'static str,
        /// The highest compression ratio that it reaches on these fields.
        limit: f64,
        /// The compression ratio asked for.
        asked: f64,
    },
    /// More hot rows than a sketch slot can number.
    #[error(
        "{n_hot} hot rows are more than the {limit} that the sketch can number: choose a higher \
         compression ratio or a larger share of shared rows"
    )]
    TooManyHotRows {
        /// Rows asked for.
        n_hot: usize,
        /// The limit.
        limit: usize,
    },
    /// The paper has no sizes for features that share one table.
    #[error("the paper's sizes are for rows of each field")]
    NotPublished,
}

/// Bytes of a table with one row of `f32` values for every feature: what compression ratios refer
/// to, whatever format a method stores its rows in.
#[must_use]
pub fn full_bytes(features: &[u64], dim: usize) -> u64 {
    features.iter().sum::<u64>() * (dim * size_of::<f32>()) as u64
}

/// The error of a method that needs `needed` bytes at least, of `full` for the full table, and was
/// given `budget`. The limit is rounded down to the one decimal that the message shows, so that it
/// can be reached as shown.
pub(crate) fn ratio_too_high(
    method: &'static str,
    full: u64,
    needed: u64,
    budget: u64,
) -> BudgetError {
    let tenths = (10.0 * full as f64 / needed as f64).floor();
    BudgetError::RatioTooHigh { method, limit: tenths / 10.0, asked: full as f64 / budget as f64 }
}

/// Rows for each field, in proportion to its features, at least one and at most one a feature:
/// `ceil(scale * n_f)` with the largest scale at which all fit into `max_rows`.
///
/// # Errors
/// If there are more fields than rows.
pub(crate) fn proportional_rows(
    features: &[u64],
    row_bytes: u64,
    max_rows: u64,
) -> Result<Vec<u64>, BudgetError> {
    let n_fields = features.len() as u64;
    if max_rows < n_fields {
        let (budget, needed) = (max_rows * row_bytes, n_fields * row_bytes);
        return Err(BudgetError::TooSmall { budget, needed, what: "one row for each field" });
    }
    let rows = |scale: f64| scaled_rows(features, scale);
    let fits = |scale: f64| rows(scale).iter().sum::<u64>() <= max_rows;
    Ok(rows(if fits(1.0) { 1.0 } else { bisect(0.0..1.0, fits).start }))
}

/// Halves a range until it has no number inside: `is_low` holds at its start and not at its end.
pub(crate) fn bisect(range: Range<f64>, is_low: impl Fn(f64) -> bool) -> Range<f64> {
    let Range { mut start, mut end } = range;
    // More halvings than an f64 between 0 and 1 has bits to tell apart, but for the tiniest.
    for _ in 0..64 {
        let middle = f64::midpoint(start, end);
        if is_low(middle) { start = middle } else { end = middle }
    }
    start..end
}

/// [`bisect`] for whole numbers, until the range has one: `is_low` holds at its start and not at
/// its end. Returns the last number for which it holds.
pub(crate) fn bisect_whole(range: Range<u64>, is_low: impl Fn(u64) -> bool) -> u64 {
    let Range { mut start, mut end } = range;
    while end - start > 1 {
        let middle = u64::midpoint(start, end);
        if is_low(middle) { start = middle } else { end = middle }
    }
    start
}

/// What decides which fields own their rows.
pub(crate) struct OwnLimits {
    pub(crate) compression: f64,
    /// For the rows of all fields.
    pub(crate) shared_bytes: u64,
    pub(crate) row_bytes: u64,
}

/// Whether each field owns its rows: small ones do, as many as `shared_bytes` hold beside a row for
/// each other field, those of the fewest features first. `own_bytes` says what fields of these
/// features come to.
///
/// The paper's code lets all small fields own rows, whatever they cost: where a data set has
/// nothing but small fields they would need more than the full table.
pub(crate) fn owners(
    features: &[u64],
    limits: &OwnLimits,
    own_bytes: impl Fn(&[u64]) -> u64,
) -> Vec<bool> {
    let OwnLimits { compression, shared_bytes, row_bytes } = *limits;
    let mut small: Vec<usize> =
        (0..features.len()).filter(|&field| is_small(features[field], compression)).collect();
    small.sort_by_key(|&field| features[field]);
    let mut sizes: Vec<u64> = small.iter().map(|&field| features[field]).collect();
    while own_bytes(&sizes) + (features.len() - sizes.len()) as u64 * row_bytes > shared_bytes
        && sizes.pop().is_some()
    {}
    let mut owns = vec![false; features.len()];
    small.iter().zip(&sizes).for_each(|(&field, _)| owns[field] = true);
    owns
}

/// The sizes of the fields that own their rows, and of the others.
pub(crate) fn by_owning(features: &[u64], owns: &[bool]) -> (Vec<u64>, Vec<u64>) {
    let sizes_where = |wanted| {
        let sizes = features.iter().zip(owns).filter(move |(_, owns)| **owns == wanted);
        sizes.map(|(&n_features, _)| n_features).collect()
    };
    (sizes_where(true), sizes_where(false))
}

/// Fields of so few features get a row for each: hashing them would save nothing worth a collision.
///
/// The limit of 2000 / CR is that of the paper's published code.
pub(crate) fn is_small(n_features: u64, compression: f64) -> bool {
    n_features as f64 <= 2000.0 / compression
}

pub(crate) fn scaled_rows(features: &[u64], scale: f64) -> Vec<u64> {
    features.iter().map(|&n_f| ((n_f as f64 * scale).ceil() as u64).clamp(1, n_f.max(1))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fewer_rows_than_fields_are_refused() {
        assert!(proportional_rows(&[1460, 583, 10_131_227], 16, 2).is_err());
    }

    proptest! {
        #[test]
        fn proportional_rows_fit_and_leave_little(
            features in prop::collection::vec(1_u64..1_000_000, 1..30), spare in 0_u64..100_000,
        ) {
            let max_rows = features.len() as u64 + spare;
            let rows = proportional_rows(&features, 16, max_rows).expect("a row each");
            let total: u64 = rows.iter().sum();
            prop_assert!(total <= max_rows);
            prop_assert!(rows.iter().zip(&features).all(|(&r, &n)| (1..=n).contains(&r)));
            // One step of the scale adds at most a row to each field.
            prop_assert!(total + features.len() as u64 >= max_rows.min(features.iter().sum()));
        }
    }
}
