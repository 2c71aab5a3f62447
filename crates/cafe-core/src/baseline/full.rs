//! The uncompressed table: a row for every feature, stored when it is first trained.

use std::collections::BTreeMap;

use crate::coalesce::Coalescer;
use crate::own_rows::OwnRows;
use crate::rows::{RowTable, init_bound, init_row};
use crate::state::u64s;
use crate::{Embedding, FeatureId, Memory, RowOptimizer, StateError, StateView, UpdateStats};

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
    by_id: Coalescer,
}

impl FullEmbedding {
    /// An embedding of fields with `features[f]` features in rows of `dim` values; no row is stored yet.
    #[must_use]
    pub fn new(features: &[u64], dim: usize, optimizer: RowOptimizer, seed: u64) -> Self {
        Self {
            seed,
            bounds: features.iter().copied().map(init_bound).collect(),
            own: OwnRows::with_capacity(0),
            rows: RowTable::new(0, dim, optimizer),
            by_id: Coalescer::new(dim),
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
        init_row(self.rows.row_mut(row_idx), id.raw(), self.seed, self.bounds[id.field()]);
        self.own.insert(id, row_idx);
        row_idx
    }
}

impl Embedding for FullEmbedding {
    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn lookup(&self, ids: &[FeatureId], out: &mut [f32]) {
        let dim = self.dim();
        assert_eq!(out.len(), ids.len() * dim, "lookup writes dim values for each id");
        for (&id, out) in ids.iter().zip(out.chunks_exact_mut(dim)) {
            match self.own.get(id) {
                Some(row_idx) => out.copy_from_slice(self.rows.row(row_idx)),
                None => init_row(out, id.raw(), self.seed, self.bounds[id.field()]),
            }
        }
    }

    fn update(&mut self, ids: &[FeatureId], grads: &[f32], learning_rate: f32) -> UpdateStats {
        let dim = self.dim();
        assert_eq!(grads.len(), ids.len() * dim, "update takes dim gradients for each id");
        self.by_id.clear(ids.len());
        for (&id, grad) in ids.iter().zip(grads.chunks_exact(dim)) {
            self.by_id.add(id.raw(), grad);
        }
        for position in 0..self.by_id.keys().len() {
            let id = FeatureId::from_raw(self.by_id.keys()[position]);
            let row_idx = self.stored_row(id);
            self.rows.step(row_idx, self.by_id.sum(position), learning_rate);
        }
        UpdateStats::default()
    }

    fn memory(&self) -> Memory {
        Memory {
            rows_bytes: self.rows.values_bytes(),
            index_bytes: self.own.bytes(),
            optimizer_bytes: self.rows.optimizer_bytes(),
            ..Memory::default()
        }
    }

    fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        self.rows.state().into_iter().chain(self.own.state()).collect()
    }

    fn restore(&mut self, state: &BTreeMap<&str, StateView<'_>>) -> Result<(), StateError> {
        let n_rows = u64s(state, "own_ids")?.len();
        let rows = self.rows.restored(n_rows, state)?;
        let own = OwnRows::restored(n_rows, state)?;
        // Rows are given out in order, so the sorted row numbers of a sound state count up.
        if own.iter_by_row().zip(0_u32..).any(|((_, row), expected)| row != expected) {
            return Err(StateError::Damaged { name: "own_rows", why: "the rows are not numbered through".into() });
        }
        (self.rows, self.own) = (rows, own);
        Ok(())
    }
}
