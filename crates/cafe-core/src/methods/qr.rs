//! Quotient-remainder: two small tables a field, and every feature has a pair of rows that no other
//! one has.

use super::pair_table::{PairTable, Pairing};
use crate::budget::{BudgetError, bisect, bisect_whole, ratio_too_high};
use crate::embedding::{Embedding, Executor, MemoryUsage, UpdateStats};
use crate::feature::FeatureId;
use crate::hash::{mix64, reduce};
use crate::state::{StateError, StateMap, StateView};
use crate::table::rows::RowFormat;
use crate::table::sizing::Sizing;

/// Sizes and settings of a [`QrEmbedding`].
#[derive(Clone, Debug, PartialEq)]
pub struct QrConfig {
    /// Values a row.
    pub dim: usize,
    /// Features of each field.
    pub features: Vec<u64>,
    /// Rows of each field's table of remainders; as many as features where the field has one full
    /// table.
    pub moduli: Vec<u64>,
    /// How rows are stored, and how they follow their gradients.
    pub format: RowFormat,
    /// Seeds the hash and the initial rows.
    pub seed: u64,
}

impl QrConfig {
    /// Rows in proportion to the fields' features, as many as the budget holds for all fields
    /// together, but in no field fewer than about `2 sqrt(n)`, which is as far as two tables can
    /// go.
    ///
    /// # Errors
    /// If the smallest tables don't fit.
    pub fn within(sizing: &Sizing<'_>) -> Result<Self, BudgetError> {
        let Sizing { features, dim, format, seed, .. } = *sizing;
        let (budget_bytes, row_bytes) = (sizing.budget_bytes(), sizing.row_bytes());
        let max_rows = budget_bytes / row_bytes;
        let moduli = |scale: f64| -> Vec<u64> {
            features.iter().map(|&n| modulus(n, (n as f64 * scale).ceil() as u64)).collect()
        };
        let total =
            |moduli: &[u64]| features.iter().zip(moduli).map(|(&n, &m)| rows(n, m)).sum::<u64>();
        let least = total(&moduli(0.0));
        if least > max_rows {
            let (full, needed) = (sizing.full_bytes(), least * row_bytes);
            return Err(ratio_too_high("quotient-remainder", full, needed, budget_bytes));
        }
        let fits = |scale: f64| total(&moduli(scale)) <= max_rows;
        let scale = if fits(1.0) { 1.0 } else { bisect(0.0..1.0, fits).start };
        Ok(Self { dim, features: features.to_vec(), moduli: moduli(scale), format, seed })
    }

    /// Rows of both tables of a field.
    ///
    /// # Panics
    /// If there is no such field.
    #[must_use]
    pub fn field_rows(&self, field: usize) -> u64 {
        rows(self.features[field], self.moduli[field])
    }

    /// Rows of both tables of all fields.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        (0..self.features.len()).map(|field| self.field_rows(field)).sum()
    }

    /// Bytes of all rows.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        self.n_rows() * self.format.row_bytes(self.dim)
    }
}

/// Rows for `n_features` of a field with the modulus m: m remainders and `ceil(n / m)` quotients,
/// or one full table.
fn rows(n_features: u64, modulus: u64) -> u64 {
    if modulus == n_features { n_features } else { modulus + n_features.div_ceil(modulus) }
}

/// The largest modulus with which `n_features` take at most `max_rows`, or the one with which they
/// take fewest.
fn modulus(n_features: u64, max_rows: u64) -> u64 {
    if max_rows >= n_features {
        return n_features;
    }
    // With q quotients `q + ceil(n / q)` rows will do. That falls up to q = ceil(sqrt(n)), where it
    // is least.
    let root = n_features.isqrt();
    let most = root + u64::from(root * root < n_features);
    let n_rows = |n_quotients: u64| n_quotients + n_features.div_ceil(n_quotients);
    if n_rows(most) > max_rows {
        // In the smallest fields two tables save nothing.
        return if n_rows(most) >= n_features { n_features } else { most };
    }
    let too_few = bisect_whole(0..most, |n_quotients| n_rows(n_quotients) > max_rows);
    max_rows - (too_few + 1)
}

/// Two tables a field: `e(id) = R[i mod m] + Q[i div m]`, i the number of the feature in its field.
///
/// No two numbers have both remainder and quotient in common, so numbered features never share a
/// whole vector, and a field of n features needs only about `2 sqrt(n)` rows; that is also the
/// limit: where not even those fit, the ratio can't be reached. Here features aren't numbered: no
/// vocabulary is built. The number of a token is a seeded hash onto `0..n`. Features of the same
/// number share everything: where n features appear, almost two thirds of them have their number in
/// common with another one.
///
/// The moduli are chosen for all fields together so that the sum fits the budget, with as many
/// remainders as it allows: more rows for remainders keep features apart, and a few quotients keep
/// those apart that share a remainder. Fields where two tables would save nothing have one full
/// table. Remainder and quotient are added; the paper also multiplies them.
///
/// Costs: two rows read and stepped for each id, no bytes beside the rows.
///
/// Source: Shi et al. 2020, "Compositional Embeddings Using Complementary Partitions for
/// Memory-Efficient Recommendation Systems".
#[derive(Clone, Debug)]
pub struct QrEmbedding {
    table: PairTable<QuotientRemainder>,
}

impl QrEmbedding {
    /// Tables of freshly initialised rows; their sums start with the variance of U(±sqrt(1 / n)) in
    /// a field of n features.
    ///
    /// # Panics
    /// If `features` and `moduli` are not of equal length, a modulus is 0 or above the field's
    /// features, a field has 2^32 features, or there are 2^32 rows.
    #[must_use]
    pub fn new(config: &QrConfig) -> Self {
        let QrConfig { dim, features, moduli, format, seed } = config;
        let pairing = |(&n_features, &modulus): (&u64, &u64)| {
            assert!(
                (1..=n_features).contains(&modulus),
                "a modulus of {modulus} for {n_features} features"
            );
            assert!(u32::try_from(n_features).is_ok(), "a field has fewer than 2^32 features");
            QuotientRemainder {
                n_features: n_features as usize,
                modulus: modulus as u32,
                seed: *seed,
            }
        };
        let pairings = features.iter().zip(moduli).map(pairing).collect();
        Self { table: PairTable::new(features, pairings, *dim, *format, *seed) }
    }
}

impl Embedding for QrEmbedding {
    fn dim(&self) -> usize {
        self.table.dim()
    }

    fn lookup_on(&self, ids: &[FeatureId], out: &mut [f32], executor: &dyn Executor) {
        self.table.lookup(ids, out, executor);
    }

    fn update_on(
        &mut self,
        ids: &[FeatureId],
        grads: &[f32],
        learning_rate: f32,
        executor: &dyn Executor,
    ) -> UpdateStats {
        self.table.update(ids, grads, learning_rate, executor);
        UpdateStats::default()
    }

    fn memory(&self) -> MemoryUsage {
        self.table.memory()
    }

    fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        self.table.state()
    }

    fn restore(&mut self, state: &mut StateMap<'_>) -> Result<(), StateError> {
        self.table.restore(state)
    }
}

#[derive(Clone, Debug)]
struct QuotientRemainder {
    n_features: usize,
    /// `u32`, since it divides.
    modulus: u32,
    seed: u64,
}

impl Pairing for QuotientRemainder {
    fn n_rows(&self) -> usize {
        rows(self.n_features as u64, u64::from(self.modulus)) as usize
    }

    fn n_terms(&self) -> usize {
        if self.is_full() { 1 } else { 2 }
    }

    /// Remainders first, then quotients.
    #[inline]
    fn rows_of(&self, id: FeatureId) -> (u32, Option<u32>) {
        let number = reduce(mix64(id.raw(), self.seed), self.n_features) as u32;
        if self.is_full() {
            return (number, None);
        }
        (number % self.modulus, Some(self.modulus + number / self.modulus))
    }
}

impl QuotientRemainder {
    /// Whether there is one table with a row for every number.
    fn is_full(&self) -> bool {
        self.modulus as usize == self.n_features
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::budget::Budget;
    use crate::kaggle::KAGGLE;

    /// Against all moduli: the largest within the rows, and the fewest rows there can be.
    #[test]
    fn moduli_are_the_best_there_are() {
        for n in 1..=150_u64 {
            let best = |max_rows: u64| (1..=n).filter(|&m| rows(n, m) <= max_rows).max();
            let least = (1..=n).map(|m| rows(n, m)).min().expect("a modulus");
            for max_rows in 0..=n {
                let got = modulus(n, max_rows);
                match best(max_rows) {
                    Some(expected) => assert_eq!(got, expected, "{n} features, {max_rows} rows"),
                    None => assert_eq!(rows(n, got), least, "{n} features, {max_rows} rows"),
                }
            }
        }
    }

    #[test]
    fn no_two_numbers_share_both_rows() {
        for (n_features, modulus) in [(1000, 40), (1000, 999), (1000, 1000), (7, 3)] {
            let field = QuotientRemainder { n_features, modulus, seed: 4 };
            let mut numbers = BTreeMap::new();
            for token in 0..20_000 {
                let id = FeatureId::new(0, token);
                let pair = field.rows_of(id);
                let number = reduce(mix64(id.raw(), 4), n_features);
                assert_eq!(*numbers.entry(pair).or_insert(number), number);
                assert!((pair.0.max(pair.1.unwrap_or(0)) as usize) < field.n_rows());
            }
            assert_eq!(numbers.len(), n_features, "20,000 tokens reach all numbers");
        }
    }

    #[test]
    fn unreachable_ratio_names_reachable_limit() {
        let within = |ratio: f64| {
            let (budget, format) = (Budget::Compression(ratio), RowFormat::default());
            QrConfig::within(&Sizing { features: &KAGGLE, dim: 16, budget, format, seed: 1 })
        };
        // 28,800 rows at least, where the full table has 33,762,577.
        let error = within(10_000.0).unwrap_err().to_string();
        assert_eq!(
            error,
            "quotient-remainder needs CR <= 1172.3, asked for 10000.0; \
             choose a lower compression ratio or another method"
        );
        let config = within(1172.3).expect("the limit itself fits");
        assert!(config.embedding_bytes() <= Budget::Compression(1172.3).bytes(&KAGGLE, 16));
        assert!(within(1172.4).is_err());
    }

    proptest! {
        #[test]
        fn within_fits_and_leaves_little(
            features in prop::collection::vec(1_u64..100_000, 1..30), dim in 1_usize..40,
            ratio in 1.0_f64..200.0,
        ) {
            let sizing = |ratio: f64| {
                let (budget, format) = (Budget::Compression(ratio), RowFormat::default());
                Sizing { features: &features, dim, budget, format, seed: 1 }
            };
            let (budget, row_bytes) = (sizing(ratio).budget_bytes(), sizing(ratio).row_bytes());
            match QrConfig::within(&sizing(ratio)) {
                Ok(config) => {
                    let bytes = config.embedding_bytes();
                    prop_assert!(bytes <= budget);
                    // One step of the scale adds at most a few rows to each field.
                    let spare = (features.len() as u64 * 2 + 1) * row_bytes;
                    let full = sizing(ratio).full_bytes();
                    prop_assert!(bytes + spare > budget.min(full), "{bytes} of {budget}");
                    prop_assert_eq!(QrEmbedding::new(&config).memory().total_bytes(), bytes);
                }
                Err(BudgetError::RatioTooHigh { limit, .. }) => {
                    prop_assert!(limit < ratio);
                    prop_assert!(QrConfig::within(&sizing(limit)).is_ok());
                }
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
    }
}
