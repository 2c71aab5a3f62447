//! The uncompressed table: a row for every feature, stored when it is first trained.

use crate::batch::Batch;
use crate::batch::by_field::ByField;
use crate::batch::cache_hint::AHEAD;
use crate::batch::coalesce::KeyIndex;
use crate::batch::executor::{Buffers, for_batch, for_each, lookup_parts};
use crate::budget::BudgetError;
use crate::embedding::{Embedding, Executor, MemoryUsage, UpdateStats};
use crate::feature::FeatureId;
use crate::state::{StateError, StateMap, StateView, array};
use crate::table::own_rows::OwnRows;
use crate::table::rows::{RowFormat, RowTable, init_bound};
use crate::table::sizing::Sizing;

/// Sizes and settings of a [`FullEmbedding`].
#[derive(Clone, Debug, PartialEq)]
pub struct FullConfig {
    /// Values of a row.
    pub dim: usize,
    /// Features of each field: as many rows at most; they set the initial rows' scale.
    pub features: Vec<u64>,
    /// How rows are stored, and how they follow their gradients.
    pub format: RowFormat,
    /// Seeds the initial rows.
    pub seed: u64,
}

impl FullConfig {
    /// A row for every feature.
    ///
    /// # Errors
    /// If the budget can't hold them.
    pub fn within(sizing: &Sizing<'_>) -> Result<Self, BudgetError> {
        let Sizing { features, dim, format, seed, .. } = *sizing;
        let config = Self { dim, features: features.to_vec(), format, seed };
        let (budget, needed) = (sizing.budget_bytes(), config.embedding_bytes());
        if budget < needed {
            return Err(BudgetError::TooSmall { budget, needed, what: "a row for each feature" });
        }
        Ok(config)
    }

    /// Rows when every feature has been trained.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.features.iter().sum()
    }

    /// Bytes of these rows.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        self.n_rows() * self.format.row_bytes(self.dim)
    }
}

/// A row for every feature: the ceiling that compression is measured against.
///
/// No vocabulary is built beforehand. A feature that was never trained has the row that it would
/// start from, a function of its id; the row takes memory from its first update on. So the table
/// grows with the features of the training data, the one method here that does.
#[derive(Clone, Debug)]
pub struct FullEmbedding {
    seed: u64,
    /// Initial rows of field f are U(±bounds[f]).
    bounds: Vec<f32>,
    own: OwnRows,
    rows: RowTable,
    batch: ByField,
    buffers: Buffers<KeyIndex>,
}

impl FullEmbedding {
    /// An embedding that stores no row yet.
    #[must_use]
    pub fn new(config: &FullConfig) -> Self {
        let FullConfig { dim, features, format, seed } = config;
        Self {
            seed: *seed,
            bounds: features.iter().copied().map(init_bound).collect(),
            own: OwnRows::with_capacity(0),
            rows: RowTable::new(0, *dim, *format),
            batch: ByField::new(features.len(), *dim),
            buffers: Buffers::default(),
        }
    }

    /// Rows stored: the features that were trained so far.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.rows.n_rows()
    }

    fn stored_row(&mut self, id: FeatureId) -> u32 {
        if let Some(row_idx) = self.own.get(id) {
            return row_idx;
        }
        let row_idx = self.rows.push_row();
        self.rows.init(row_idx, id.raw(), self.seed, self.bounds[id.field()]);
        self.own.insert(id, row_idx);
        row_idx
    }
}

impl Embedding for FullEmbedding {
    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn lookup_on(&self, ids: &[FeatureId], out: &mut [f32], executor: &dyn Executor) {
        let dim = self.dim();
        lookup_parts(ids, out, dim, executor, |ids, out| {
            for (ids, out) in ids.chunks(AHEAD).zip(out.chunks_mut(AHEAD * dim)) {
                let mut rows = [None; AHEAD];
                for (row, &id) in rows.iter_mut().zip(ids) {
                    *row = self.own.get(id);
                    if let Some(row_idx) = *row {
                        self.rows.prefetch(row_idx);
                    }
                }
                for ((row, &id), out) in rows.iter().zip(ids).zip(out.chunks_exact_mut(dim)) {
                    match *row {
                        Some(row_idx) => self.rows.read(row_idx, out),
                        None => {
                            self.rows.initial(id.raw(), self.seed, self.bounds[id.field()], out);
                        }
                    }
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
        let mut batch = std::mem::take(&mut self.batch);
        batch.sort(ids);
        let buffers = &self.buffers;
        for_each(for_batch(executor, ids.len()), batch.parts(), |mut part| {
            buffers.with(|keys| {
                part.coalesce(keys, given, FeatureId::raw, |_, _| ());
            });
        });
        // Rows are assigned in the order of the batch, whichever thread summed.
        batch.order();
        for places in batch.in_order().chunks(AHEAD) {
            let mut rows = [0; AHEAD];
            for (row_idx, &place) in rows.iter_mut().zip(places) {
                *row_idx = self.stored_row(FeatureId::from_raw(batch.key(place as usize)));
                self.rows.prefetch(*row_idx);
            }
            for (&row_idx, &place) in rows.iter().zip(places) {
                self.rows.step(row_idx, batch.sum(place as usize), learning_rate);
            }
        }
        self.batch = batch;
        UpdateStats::default()
    }

    fn memory(&self) -> MemoryUsage {
        MemoryUsage { index_bytes: self.own.bytes(), ..self.rows.memory() }
    }

    fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        self.rows.state().into_iter().chain(self.own.state()).collect()
    }

    fn restore(&mut self, state: &mut StateMap<'_>) -> Result<(), StateError> {
        let n_rows = array::<u64>(state, "own_ids")?.len();
        let rows = self.rows.restored(n_rows, state)?;
        let own = OwnRows::restored(n_rows, state)?;
        // Rows are assigned in order, so the sorted row numbers of a sound state count up.
        if own.iter_by_row().zip(0_u32..).any(|((_, row), expected)| row != expected) {
            return Err(StateError::Damaged {
                name: "own_rows",
                why: "the rows are not numbered through".into(),
            });
        }
        (self.rows, self.own) = (rows, own);
        Ok(())
    }
}
