//! Plain hashing: the features of a field share its few rows, whatever their importance.

use crate::batch::Batch;
use crate::batch::by_field::ByField;
use crate::batch::cache_hint::AHEAD;
use crate::batch::coalesce::KeyIndex;
use crate::batch::executor::{Buffers, for_batch, for_each, lookup_parts};
use crate::budget::{BudgetError, proportional_rows};
use crate::embedding::{Embedding, Executor, MemoryUsage, UpdateStats};
use crate::feature::FeatureId;
use crate::hash::{mix64, reduce};
use crate::state::{StateError, StateMap, StateView};
use crate::table::rows::{RowFormat, RowTable, init_bound};
use crate::table::sizing::Sizing;

/// Sizes and settings of a [`HashedEmbedding`].
#[derive(Clone, Debug, PartialEq)]
pub struct HashedConfig {
    /// Values a row.
    pub dim: usize,
    /// Features of each field; they set the initial rows' scale.
    pub features: Vec<u64>,
    /// Rows of each field.
    pub field_rows: Vec<u64>,
    /// How rows are stored, and how they follow their gradients.
    pub format: RowFormat,
    /// Seeds the hash and the initial rows.
    pub seed: u64,
}

impl HashedConfig {
    /// Rows in proportion to the fields' features, as many as the budget holds.
    ///
    /// # Errors
    /// If the budget can't hold a row for each field.
    pub fn within(sizing: &Sizing<'_>) -> Result<Self, BudgetError> {
        let Sizing { features, dim, format, seed, .. } = *sizing;
        let row_bytes = sizing.row_bytes();
        let max_rows = sizing.budget_bytes() / row_bytes;
        let field_rows = proportional_rows(features, row_bytes, max_rows)?;
        Ok(Self { dim, features: features.to_vec(), field_rows, format, seed })
    }

    /// Rows of all fields.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.field_rows.iter().sum()
    }

    /// Bytes of all rows.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        self.n_rows() * self.format.row_bytes(self.dim)
    }
}

/// One table a field, the row chosen by a hash of the feature: the baseline of the literature.
///
/// Two features of a field that hash to one row are one feature to the model. At high ratios
/// a field of a few hundred features is left with one row.
#[derive(Clone, Debug)]
pub struct HashedEmbedding {
    seed: u64,
    /// First row and number of rows of each field.
    fields: Vec<(u32, usize)>,
    rows: RowTable,
    batch: ByField,
    buffers: Buffers<KeyIndex>,
}

impl HashedEmbedding {
    /// A table of freshly initialised rows.
    ///
    /// # Panics
    /// If `features` and `field_rows` are not of equal length, a field has no row, or there are
    /// 2^32 rows.
    #[must_use]
    pub fn new(config: &HashedConfig) -> Self {
        let HashedConfig { dim, features, field_rows, format, seed } = config;
        assert_eq!(features.len(), field_rows.len(), "features and rows are given for every field");
        let total = config.n_rows();
        assert!(u32::try_from(total).is_ok(), "a table has fewer than 2^32 rows");
        let mut rows = RowTable::new(total as usize, *dim, *format);
        let mut fields = Vec::with_capacity(features.len());
        let mut start = 0_u32;
        for (&n_features, &n) in features.iter().zip(field_rows) {
            assert!(n > 0, "every field needs a row");
            fields.push((start, n as usize));
            for row_idx in start..start + n as u32 {
                rows.init(row_idx, u64::from(row_idx), *seed, init_bound(n_features));
            }
            start += n as u32;
        }
        Self {
            seed: *seed,
            batch: ByField::new(fields.len(), *dim),
            fields,
            rows,
            buffers: Buffers::default(),
        }
    }

    #[inline]
    fn row_idx(&self, id: FeatureId) -> u32 {
        let (start, n) = self.fields[id.field()];
        start + reduce(mix64(id.raw(), self.seed), n) as u32
    }
}

impl Embedding for HashedEmbedding {
    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn lookup_on(&self, ids: &[FeatureId], out: &mut [f32], executor: &dyn Executor) {
        let dim = self.dim();
        lookup_parts(ids, out, dim, executor, |ids, out| {
            let mut row_idxs = [0; AHEAD];
            for (ids, out) in ids.chunks(AHEAD).zip(out.chunks_mut(AHEAD * dim)) {
                for (row_idx, &id) in row_idxs.iter_mut().zip(ids) {
                    *row_idx = self.row_idx(id);
                    self.rows.prefetch(*row_idx);
                }
                for (&row_idx, out) in row_idxs.iter().zip(out.chunks_exact_mut(dim)) {
                    self.rows.read(row_idx, out);
                }
            }
        });
    }

    fn update_on(
        &mut self,
        ids: &[FeatureId],
        grads: &[f32],
        learning_rate: f32,
        executor: &dyn Executor,
    ) -> UpdateStats {
        let dim = self.dim();
        let given = Batch::new(ids, grads, dim);
        let Self { seed, fields, rows, batch, buffers } = self;
        batch.sort(ids);
        let mut rest = rows.all_mut();
        let parts = batch.parts().map(|part| {
            let n_rows = fields[part.field].1;
            (part, n_rows, rest.cut(n_rows))
        });
        for_each(for_batch(executor, ids.len()), parts, |(mut part, n_rows, mut rows)| {
            let row = |id: FeatureId| reduce(mix64(id.raw(), *seed), n_rows) as u64;
            buffers.with(|keys| part.coalesce(keys, given, row, |_, _| ()));
            for (row_idx, grad) in part.iter(dim) {
                rows.step(row_idx as u32, grad, learning_rate);
            }
        });
        UpdateStats::default()
    }

    fn memory(&self) -> MemoryUsage {
        self.rows.memory()
    }

    fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        self.rows.state()
    }

    fn restore(&mut self, state: &mut StateMap<'_>) -> Result<(), StateError> {
        self.rows = self.rows.restored(self.rows.n_rows(), state)?;
        Ok(())
    }
}
