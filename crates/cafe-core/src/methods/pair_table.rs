//! Rows of each field's own, of which a feature is the sum of one or two.

use std::fmt::Debug;

use crate::batch::Batch;
use crate::batch::by_field::ByField;
use crate::batch::cache_hint::AHEAD;
use crate::batch::coalesce::{KeyIndex, RowSums};
use crate::batch::executor::{Buffers, for_batch, for_each, lookup_parts};
use crate::embedding::{Executor, MemoryUsage};
use crate::feature::FeatureId;
use crate::state::{StateError, StateMap, StateView};
use crate::table::rows::{RowFormat, RowTable, init_bound};

/// How the features of a field choose among its rows.
pub(super) trait Pairing: Clone + Debug + Send + Sync {
    /// Rows of the field.
    fn n_rows(&self) -> usize;

    /// Rows that a feature is the sum of, 1 or 2: the same for all features of the field.
    fn n_terms(&self) -> usize;

    /// The rows of a feature, numbered within the field; the second is there if there are two
    /// terms.
    fn rows_of(&self, id: FeatureId) -> (u32, Option<u32>);
}

/// The rows of all fields, field after field.
#[derive(Clone, Debug)]
pub(super) struct PairTable<P> {
    /// The first row of each field, and the choice among its rows.
    fields: Vec<(u32, P)>,
    rows: RowTable,
    batch: ByField,
    buffers: Buffers<PairBuffers>,
}

/// What a thread needs for one field at a time.
#[derive(Debug, Default)]
struct PairBuffers {
    keys: KeyIndex,
    sums: RowSums,
}

impl<P: Pairing> PairTable<P> {
    /// Freshly initialised rows: a feature of a field of n starts with the variance of U(±sqrt(1 /
    /// n)), of one row or of two.
    ///
    /// # Panics
    /// If a field has no row, or there are 2^32 rows.
    pub(super) fn new(
        features: &[u64],
        pairings: Vec<P>,
        dim: usize,
        format: RowFormat,
        seed: u64,
    ) -> Self {
        assert_eq!(features.len(), pairings.len(), "features and rows are given for every field");
        let total = pairings.iter().map(P::n_rows).sum::<usize>();
        assert!(u32::try_from(total).is_ok(), "a table has fewer than 2^32 rows");
        let mut rows = RowTable::new(total, dim, format);
        let mut fields = Vec::with_capacity(pairings.len());
        let mut start = 0_u32;
        for (&n_features, pairing) in features.iter().zip(pairings) {
            assert!(pairing.n_rows() > 0, "every field needs a row");
            let bound = init_bound(n_features * pairing.n_terms() as u64);
            let end = start + pairing.n_rows() as u32;
            for row_idx in start..end {
                rows.init(row_idx, u64::from(row_idx), seed, bound);
            }
            fields.push((start, pairing));
            start = end;
        }
        Self { batch: ByField::new(fields.len(), dim), fields, rows, buffers: Buffers::default() }
    }

    pub(super) fn dim(&self) -> usize {
        self.rows.dim()
    }

    pub(super) fn lookup(&self, ids: &[FeatureId], out: &mut [f32], executor: &dyn Executor) {
        let dim = self.dim();
        lookup_parts(ids, out, dim, executor, |ids, out| {
            let mut pairs = [(0, None); AHEAD];
            for (ids, out) in ids.chunks(AHEAD).zip(out.chunks_mut(AHEAD * dim)) {
                for (pair, &id) in pairs.iter_mut().zip(ids) {
                    let (start, pairing) = &self.fields[id.field()];
                    let (first, second) = pairing.rows_of(id);
                    *pair = (start + first, second.map(|second| start + second));
                    self.rows.prefetch(pair.0);
                    if let Some(second) = pair.1 {
                        self.rows.prefetch(second);
                    }
                }
                for (&(first, second), out) in pairs.iter().zip(out.chunks_exact_mut(dim)) {
                    self.rows.read(first, out);
                    if let Some(second) = second {
                        self.rows.add_to(second, out);
                    }
                }
            }
        });
    }

    pub(super) fn update(
        &mut self,
        ids: &[FeatureId],
        grads: &[f32],
        learning_rate: f32,
        executor: &dyn Executor,
    ) {
        let dim = self.dim();
        let given = Batch::new(ids, grads, dim);
        let Self { fields, rows, batch, buffers } = self;
        batch.sort(ids);
        let mut rest = rows.all_mut();
        let parts = batch.parts().zip(&*fields).map(|(part, (_, pairing))| {
            let rows = rest.cut(pairing.n_rows());
            (part, pairing, rows)
        });
        for_each(for_batch(executor, ids.len()), parts, |(mut part, pairing, mut rows)| {
            buffers.with(|PairBuffers { keys, sums }| {
                part.coalesce(keys, given, FeatureId::raw, |_, _| ());
                let n_sums =
                    |n_features: usize| (n_features * pairing.n_terms()).min(pairing.n_rows());
                // Room for the worst batch of this size: later ones then allocate nothing.
                sums.reserve(n_sums(part.occurrences.len()), dim);
                sums.clear(n_sums(*part.n_keys), dim);
                for (raw, grad) in part.iter(dim) {
                    let (first, second) = pairing.rows_of(FeatureId::from_raw(raw));
                    sums.add(first, grad);
                    if let Some(second) = second {
                        sums.add(second, grad);
                    }
                }
                for (row_idx, grad) in sums.iter(dim) {
                    rows.step(row_idx, grad, learning_rate);
                }
            });
        });
    }

    pub(super) fn memory(&self) -> MemoryUsage {
        self.rows.memory()
    }

    pub(super) fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        self.rows.state().into_iter().collect()
    }

    pub(super) fn restore(&mut self, state: &mut StateMap<'_>) -> Result<(), StateError> {
        self.rows = self.rows.restored(self.rows.n_rows(), state)?;
        Ok(())
    }
}
