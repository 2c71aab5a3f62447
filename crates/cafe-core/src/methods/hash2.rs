//! Double hashing: the features of a field share its rows, each the sum of two of them.

use super::pair_table::{PairTable, Pairing, embedding_of_pair_table};
use crate::budget::{BudgetError, proportional_rows};
use crate::feature::FeatureId;
use crate::hash::{mix64, reduce};
use crate::table::rows::RowFormat;

/// Sizes and settings of a [`Hash2Embedding`].
#[derive(Clone, Debug, PartialEq)]
pub struct Hash2Config {
    /// Values a row.
    pub dim: usize,
    /// Features of each field; they set the initial rows' scale.
    pub features: Vec<u64>,
    /// Rows of each field.
    pub n_rows: Vec<u64>,
    /// How rows are stored, and how they follow their gradients.
    pub format: RowFormat,
    /// Seeds the hashes and the initial rows.
    pub seed: u64,
}

impl Hash2Config {
    /// Rows in proportion to the fields' features, as many as `budget_bytes` holds.
    ///
    /// # Errors
    /// If the budget can't hold a row for each field.
    pub fn within(
        features: &[u64],
        dim: usize,
        budget_bytes: u64,
        format: RowFormat,
        seed: u64,
    ) -> Result<Self, BudgetError> {
        let row_bytes = format.row_bytes(dim);
        let n_rows = proportional_rows(features, row_bytes, budget_bytes / row_bytes)?;
        Ok(Self { dim, features: features.to_vec(), n_rows, format, seed })
    }

    /// Bytes of all rows.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        self.n_rows.iter().sum::<u64>() * self.format.row_bytes(self.dim)
    }
}

/// One table a field, a feature the sum of two different rows that two hashes choose: `e(id) =
/// T[h1(id)] + T[h2(id)]`.
///
/// Two features that share one row still differ in the other one. Of n rows there are n (n - 1) / 2
/// pairs, so features that can't be told apart are rare even where there are many more features
/// than rows. Both hashes choose from the whole table: two tables of half the rows would load each
/// row as much and have only half as many pairs. A field of one row has nothing to choose, and is
/// that row.
///
/// Costs: two rows read and stepped for each id, no bytes beside the rows. Every ratio can be
/// reached down to a row for each field; at high ratios that is what fields of a few hundred
/// features are left with, as with one hash.
///
/// Source: Zhang et al. 2020, "Model Size Reduction Using Frequency Based Double Hashing for
/// Recommender Systems", without its treatment of frequent features.
#[derive(Clone, Debug)]
pub struct Hash2Embedding {
    table: PairTable<TwoHashes>,
}

impl Hash2Embedding {
    /// A table of freshly initialised rows; their sums start with the variance of U(±sqrt(1 / n))
    /// in a field of n features.
    ///
    /// # Panics
    /// If `features` and `n_rows` are not of equal length, a field has no row, or there are 2^32
    /// rows.
    #[must_use]
    pub fn new(config: &Hash2Config) -> Self {
        let Hash2Config { dim, features, n_rows, format, seed } = config;
        let seeds = [mix64(1, *seed), mix64(2, *seed)];
        let pairings = n_rows.iter().map(|&n| TwoHashes { n_rows: n as usize, seeds }).collect();
        Self { table: PairTable::new(features, pairings, *dim, *format, *seed) }
    }
}

embedding_of_pair_table!(Hash2Embedding);

#[derive(Clone, Debug)]
struct TwoHashes {
    n_rows: usize,
    seeds: [u64; 2],
}

impl Pairing for TwoHashes {
    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn n_terms(&self) -> usize {
        self.n_rows.min(2)
    }

    #[inline]
    fn rows_of(&self, id: FeatureId) -> (u32, Option<u32>) {
        let first = reduce(mix64(id.raw(), self.seeds[0]), self.n_rows);
        if self.n_rows == 1 {
            return (0, None);
        }
        // One of the others.
        let second = reduce(mix64(id.raw(), self.seeds[1]), self.n_rows - 1);
        (first as u32, Some((second + usize::from(second >= first)) as u32))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::budget::Budget;
    use crate::embedding::Embedding;

    #[test]
    fn every_pair_of_different_rows_is_as_likely() {
        let hashes = TwoHashes { n_rows: 4, seeds: [8, 9] };
        let mut pairs = BTreeMap::<_, u32>::new();
        for token in 0..12_000 {
            *pairs.entry(hashes.rows_of(FeatureId::new(2, token))).or_default() += 1;
        }
        // 12 ordered pairs, 1,000 expected of each; four standard deviations are 121.
        assert_eq!(pairs.len(), 12);
        assert!(
            pairs.iter().all(|(pair, n)| Some(pair.0) != pair.1 && n.abs_diff(1000) < 121),
            "{pairs:?}"
        );
    }

    #[test]
    fn a_vector_is_the_sum_of_two_rows_and_of_one_where_there_is_one() {
        let features = [40, 3000];
        let config =
            Hash2Config::within(&features, 4, 16 * 16, RowFormat::default(), 1).expect("fits");
        assert_eq!(config.n_rows, [1, 15]);
        let embedding = Hash2Embedding::new(&config);
        for token in 0..50 {
            for (field, (start, pairing)) in embedding.table.fields().iter().enumerate() {
                let id = FeatureId::new(field, token);
                let (first, second) = pairing.rows_of(id);
                let row = |idx| embedding.table.row(start + idx);
                let mut expected = row(first);
                if let Some(second) = second {
                    expected.iter_mut().zip(row(second)).for_each(|(sum, value)| *sum += value);
                }
                let mut vector = vec![0.0; 4];
                embedding.lookup(&[id], &mut vector);
                assert_eq!(vector, expected);
                assert_eq!(second.is_none(), field == 0);
            }
        }
    }

    #[test]
    fn a_row_is_stepped_by_the_sum_of_its_features() {
        let config = Hash2Config { n_rows: vec![3], ..config(&[100], 4) };
        let mut embedding = Hash2Embedding::new(&config);
        let ids: Vec<_> = (0..20).map(|token| FeatureId::new(0, token)).collect();
        let before: Vec<_> = (0..3).map(|row| embedding.table.row(row)).collect();
        let mut sums = vec![vec![0.0_f32; 4]; 3];
        let grads: Vec<f32> = (0..80).map(|k| (k % 5) as f32 - 1.0).collect();
        for (&id, grad) in ids.iter().zip(grads.chunks_exact(4)) {
            let (first, second) = embedding.table.fields()[0].1.rows_of(id);
            for row in [Some(first), second].into_iter().flatten() {
                sums[row as usize].iter_mut().zip(grad).for_each(|(sum, g)| *sum += g);
            }
        }
        embedding.update(&ids, &grads, 0.25);
        for row in 0..3 {
            let expected: Vec<f32> =
                before[row].iter().zip(&sums[row]).map(|(value, sum)| value - 0.25 * sum).collect();
            assert_eq!(embedding.table.row(row as u32), expected);
        }
    }

    fn config(features: &[u64], dim: usize) -> Hash2Config {
        let bytes = Budget::Compression(1.0).bytes(features, dim);
        Hash2Config::within(features, dim, bytes, RowFormat::default(), 1).expect("fits")
    }

    proptest! {
        #[test]
        fn within_never_overspends(
            features in prop::collection::vec(1_u64..100_000, 1..30), dim in 1_usize..40, ratio in 1.0_f64..5000.0,
        ) {
            let budget = Budget::Compression(ratio).bytes(&features, dim);
            match Hash2Config::within(&features, dim, budget, RowFormat::default(), 1) {
                Ok(config) => {
                    prop_assert!(config.embedding_bytes() <= budget);
                    prop_assert_eq!(Hash2Embedding::new(&config).memory().total_bytes(), config.embedding_bytes());
                }
                Err(BudgetError::TooSmall { needed, .. }) => prop_assert_eq!(needed, (features.len() * dim * 4) as u64),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
    }
}
