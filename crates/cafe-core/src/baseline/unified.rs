//! One table for all fields: every feature is a signed sum of its rows.

use crate::by_field::ByField;
use crate::coalesce::Positions;
use crate::signed_table::{Contributions, SignedTable, UnifiedSettings};
use crate::workers::{Buffers, for_batch, for_each, lookup_parts};
use crate::{
    BudgetError, Embedding, FeatureId, Memory, RowFormat, StateError, StateMap, StateView, UpdateStats, Workers,
};

/// Sizes and settings of a [`UnifiedEmbedding`].
#[derive(Clone, Debug, PartialEq)]
pub struct UnifiedConfig {
    /// Values a row.
    pub dim: usize,
    /// Features of each field; they set the scale that the fields' rows start with.
    pub features: Vec<u64>,
    /// Rows in all, those of the fields among them.
    pub n_rows: u64,
    /// Which rows a feature is the sum of.
    pub settings: UnifiedSettings,
    /// How rows are stored, and how they follow their gradients.
    pub format: RowFormat,
    /// Seeds the hashes and the initial rows.
    pub seed: u64,
}

impl UnifiedConfig {
    /// As many rows as `budget_bytes` holds, but no more than there are features, and the rows of the fields.
    ///
    /// # Errors
    /// If the budget can't hold a row for each field that has one and one for each hash.
    pub fn within(
        features: &[u64],
        dim: usize,
        budget_bytes: u64,
        format: RowFormat,
        seed: u64,
    ) -> Result<Self, BudgetError> {
        Self::with_settings(features, (dim, budget_bytes), UnifiedSettings::default(), format, seed)
    }

    /// [`UnifiedConfig::within`] with other settings than the default; `dim` and `budget_bytes` as a pair.
    ///
    /// # Errors
    /// As `within`.
    pub fn with_settings(
        features: &[u64],
        (dim, budget_bytes): (usize, u64),
        settings: UnifiedSettings,
        format: RowFormat,
        seed: u64,
    ) -> Result<Self, BudgetError> {
        let (row_bytes, min_rows) = (format.row_bytes(dim), settings.min_rows(features.len()));
        let max_rows = features.iter().sum::<u64>() + min_rows;
        let n_rows = max_rows.min(budget_bytes / row_bytes);
        if n_rows < min_rows {
            let needed = min_rows * row_bytes;
            let what = if settings.field_rows { "a row for each field and each hash" } else { "a row for each hash" };
            return Err(BudgetError::TooSmall { budget: budget_bytes, needed, what });
        }
        Ok(Self { dim, features: features.to_vec(), n_rows, settings, format, seed })
    }

    /// Bytes of all rows.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        self.n_rows * self.format.row_bytes(self.dim)
    }
}

/// One table that all fields share: `e(id) = T[field] + s1 T[h1(id)] + s2 T[h2(id)]`, s = ±1 from the hash.
///
/// Sizing a table for each field in proportion to its features leaves a field of a few hundred features with one row
/// at high ratios, and gives millions of rows' worth of bytes to features that are seen once. Here nobody decides who
/// gets the rows: a frequent feature moves its rows far and often, a rare one hardly, so what a row holds is mostly its
/// most frequent feature. Two rows a feature make it unlikely that two frequent ones share everything, and signs make
/// the rare ones' contributions cancel. The row of the field takes up what its features have in common.
///
/// Costs: two or three rows read for each id, and as many stepped; nothing is stored beside the rows. Every ratio can
/// be reached down to a row for each field and hash.
///
/// Sources: Weinberger et al. 2009 for signed hashing into one space ("Feature Hashing for Large Scale Multitask
/// Learning"), Svenstrup et al. 2017 for several rows from one pool ("Hash Embeddings"), Coleman et al. 2023 for one
/// table across fields ("Unified Embedding").
#[derive(Clone, Debug)]
pub struct UnifiedEmbedding {
    n_fields: usize,
    table: SignedTable,
    batch: ByField,
    contributions: Contributions,
    buffers: Buffers<Positions>,
}

impl UnifiedEmbedding {
    /// A table of freshly initialised rows, U(±sqrt(1 / (k n))) for n rows of which hashes choose k.
    ///
    /// # Panics
    /// If there are neither one nor two hashes, too few rows for them and the fields, or 2^31 rows.
    #[must_use]
    pub fn new(config: &UnifiedConfig) -> Self {
        let UnifiedConfig { dim, features, n_rows, settings, format, seed } = config;
        Self {
            n_fields: features.len(),
            table: SignedTable::new(settings, features, (*n_rows, *dim), *format, *seed),
            batch: ByField::new(features.len(), *dim),
            contributions: Contributions::default(),
            buffers: Buffers::default(),
        }
    }
}

impl Embedding for UnifiedEmbedding {
    fn dim(&self) -> usize {
        self.table.dim()
    }

    fn lookup_on(&self, ids: &[FeatureId], out: &mut [f32], workers: &dyn Workers) {
        assert!(ids.iter().all(|id| id.field() < self.n_fields), "an id is of a field that there isn't");
        lookup_parts((ids, out, self.dim()), workers, |ids, out| self.table.read(ids, out));
    }

    fn update_on(
        &mut self,
        ids: &[FeatureId],
        grads: &[f32],
        learning_rate: f32,
        workers: &dyn Workers,
    ) -> UpdateStats {
        let dim = self.dim();
        assert_eq!(grads.len(), ids.len() * dim, "update takes dim gradients for each id");
        let Self { n_fields, table, batch, contributions, buffers } = self;
        batch.sort(ids);
        let mut rest = contributions.start(table.hashes(), (*n_fields, dim), ids.len());
        let parts = batch.parts().map(|part| {
            let contributions = rest.take(part.occurrences.len());
            (part, contributions)
        });
        for_each(for_batch(workers, ids.len()), parts, |(mut part, mut contributions)| {
            buffers.with(|positions| part.coalesce(positions, (ids, grads, dim), FeatureId::raw, |_, _| ()));
            for (position, (raw, grad)) in part.iter(dim).enumerate() {
                contributions.add(position, FeatureId::from_raw(raw), grad);
            }
            contributions.finish();
        });
        table.step(batch, contributions, learning_rate, workers);
        UpdateStats::default()
    }

    fn memory(&self) -> Memory {
        Memory {
            rows_bytes: self.table.values_bytes(),
            optimizer_bytes: self.table.optimizer_bytes(),
            ..Memory::default()
        }
    }

    fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        self.table.state()
    }

    fn restore(&mut self, state: &mut StateMap<'_>) -> Result<(), StateError> {
        self.table = self.table.restored(state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::Budget;

    /// 2,000 features on 200 rows: more than rows, far fewer than signed pairs of rows.
    #[test]
    fn features_start_distinct_and_small() {
        let settings = UnifiedSettings { field_rows: false, ..UnifiedSettings::default() };
        let config = UnifiedConfig::with_settings(&[1000, 9000], (8, 200 * 32), settings, RowFormat::default(), 1)
            .expect("fits");
        assert_eq!(config.n_rows, 200);
        let embedding = UnifiedEmbedding::new(&config);
        let ids: Vec<_> = (0..2000).map(|at| FeatureId::new(at % 2, at as u32 / 2)).collect();
        let mut rows = vec![0.0_f32; ids.len() * 8];
        embedding.lookup(&ids, &mut rows);
        let distinct: BTreeSet<Vec<u32>> =
            rows.chunks_exact(8).map(|row| row.iter().map(|value| value.to_bits()).collect()).collect();
        // 79,600 vectors are possible: 2,000 * 1,999 / 2 pairs of features give 25 that are equal, give or take 15.
        assert!(distinct.len() >= 2000 - 40, "{}", distinct.len());
        let variance = rows.iter().map(|value| value * value).sum::<f32>() / rows.len() as f32;
        // 1 / (3 n); the 1,600 values drawn leave 5 % to chance.
        assert!((variance * 600.0 - 1.0).abs() < 0.15, "{variance}");
    }

    #[test]
    fn a_hopeless_budget_says_what_is_needed() {
        let error = UnifiedConfig::within(&[10, 20, 30], 4, 79, RowFormat::default(), 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a budget of 79 bytes is too small: a row for each field and each hash needs at least 80 bytes"
        );
        assert!(UnifiedConfig::within(&[10, 20, 30], 4, 80, RowFormat::default(), 1).is_ok());
    }

    proptest! {
        #[test]
        fn within_spends_all_but_a_row(
            features in prop::collection::vec(1_u64..100_000, 1..30), dim in 1_usize..40, ratio in 1.0_f64..5000.0,
            n_hashes in 1_usize..3, signed: bool, field_rows: bool,
        ) {
            let budget = Budget::Compression(ratio).bytes(&features, dim);
            let settings = UnifiedSettings { n_hashes, signed, field_rows };
            let row_bytes = RowFormat::default().row_bytes(dim);
            match UnifiedConfig::with_settings(&features, (dim, budget), settings, RowFormat::default(), 1) {
                Ok(config) => {
                    prop_assert!(config.embedding_bytes() <= budget);
                    prop_assert!(config.embedding_bytes() + row_bytes > budget);
                    prop_assert_eq!(UnifiedEmbedding::new(&config).memory().total_bytes(), config.embedding_bytes());
                }
                Err(error) => {
                    let needed = settings.min_rows(features.len()) * row_bytes;
                    prop_assert!(budget < needed && error.to_string().contains(&needed.to_string()), "{error}");
                }
            }
        }
    }
}
