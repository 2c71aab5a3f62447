//! One training step of the tiers: gradients to rows, importance to the sketch, rows to those who earned them.

use super::field_step::{FieldBuffers, FieldStep, NO_SCORE};
use super::{CafeConfig, CafeEmbedding, FieldLayout, Route};
use crate::by_field::{ByField, take};
use crate::coalesce::RowSums;
use crate::prefetch::AHEAD;
use crate::rows::init_row;
use crate::workers::{Buffers, for_each};
use crate::{FeatureId, UpdateStats, Workers};

/// Buffers of one update, kept from step to step. What there is of each distinct feature lies at its place in `batch`.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    batch: ByField,
    /// Gradient norms summed.
    importance: Vec<f64>,
    /// What the sketch is to be told, or `NO_SCORE`.
    scores: Vec<f32>,
    /// Buckets of the sketch.
    buckets: Vec<u32>,
    /// Where gradients went.
    routes: Vec<Route>,
    /// Places of the features that reached the threshold without owning a row.
    candidates: Vec<u32>,
    buffers: Buffers<FieldBuffers>,
    own_sums: RowSums,
}

impl CafeEmbedding {
    /// Step 1: every gradient to the rows that its lookup read, but for hot rows and fields of own rows, which come
    /// after; and what each feature's score is. Fields share nothing here, so threads may take one each.
    pub(super) fn step_fields(
        &mut self,
        scratch: &mut Scratch,
        (ids, grads, learning_rate): (&[FeatureId], &[f32], f32),
        workers: &dyn Workers,
    ) {
        let Self { config, layout, sketch, rows, .. } = self;
        let mut rows = rows.all_mut();
        rows.take(config.n_hot);
        let Scratch { batch, importance, scores, buckets, routes, buffers, .. } = scratch;
        let (mut importance, mut scores) = (importance.as_mut_slice(), scores.as_mut_slice());
        let (mut buckets, mut routes) = (buckets.as_mut_slice(), routes.as_mut_slice());
        let (config, sketch) = (&*config, &*sketch);
        let steps = batch.parts().zip(&*layout).map(|(part, layout)| {
            let n = part.occurrences.len();
            let (n_rows, shared) = match layout {
                FieldLayout::Own { n, .. } => (*n, None),
                FieldLayout::Shared(rows) => (rows.n_rows(), Some(rows)),
            };
            FieldStep {
                config,
                sketch,
                shared,
                part,
                rows: rows.take(n_rows),
                importance: take(&mut importance, n),
                scores: take(&mut scores, n),
                buckets: take(&mut buckets, n),
                routes: take(&mut routes, n),
            }
        });
        for_each(workers, steps, |mut step| {
            buffers.with(|buffers| step.run(buffers, ids, grads, learning_rate));
        });
    }

    /// Step 1 for small fields. One exception: where features fill such a field past its declared number within a
    /// batch, the surplus read rows of its own that can't be stored any more.
    pub(super) fn step_own_fields(&mut self, scratch: &mut Scratch, learning_rate: f32) {
        let Scratch { batch, own_sums, .. } = scratch;
        for field in 0..self.layout.len() {
            if matches!(self.layout[field], FieldLayout::Shared(_)) {
                continue;
            }
            let places = batch.places(field);
            own_sums.clear(places.len(), self.config.dim);
            for place in places {
                let id = FeatureId::from_raw(batch.key(place));
                let row_idx = match self.route(id) {
                    Route::Unseen { bound } => self.store(id, bound),
                    Route::Own(row_idx) | Route::Cold(row_idx) => row_idx,
                    Route::Hot(_) | Route::Medium(..) | Route::Unknown => unreachable!("the sketch does not see it"),
                };
                own_sums.add(row_idx, batch.sum(place));
            }
            for (row_idx, grad) in own_sums.iter(self.config.dim) {
                self.rows.step(row_idx, grad, learning_rate);
            }
        }
    }

    /// Gives a feature of a small field its row.
    fn store(&mut self, id: FeatureId, bound: f32) -> u32 {
        let FieldLayout::Own { start, used, .. } = &mut self.layout[id.field()] else {
            unreachable!("only small fields have unseen features");
        };
        let row_idx = *start + *used as u32;
        *used += 1;
        init_row(self.rows.row_mut(row_idx), id.raw(), self.config.seed, bound);
        self.own.insert(id, row_idx);
        row_idx
    }

    /// Step 1 for hot rows, and step 2: importance into the sketch; in the order in which the batch names features.
    pub(super) fn observe(&mut self, scratch: &mut Scratch, learning_rate: f32, stats: &mut UpdateStats) {
        let Scratch { batch, scores, buckets, routes, candidates, .. } = scratch;
        candidates.clear();
        batch.order();
        for places in batch.in_order().chunks(AHEAD) {
            for &place in places {
                self.sketch.prefetch(buckets[place as usize] as usize);
                if let Route::Hot(row_idx) = routes[place as usize] {
                    self.rows.prefetch(row_idx);
                }
            }
            for &candidate in places {
                let place = candidate as usize;
                if let Route::Hot(row_idx) = routes[place] {
                    self.rows.step(row_idx, batch.sum(place), learning_rate);
                }
                if scores[place] == NO_SCORE {
                    continue;
                }
                let id = FeatureId::from_raw(batch.key(place));
                let observed = self.sketch.observe_in(buckets[place] as usize, id, scores[place]);
                if let Some(row_idx) = observed.freed_row {
                    self.free.push(row_idx);
                    stats.demoted += 1;
                }
                if observed.held.is_some_and(|held| held.row.is_none() && held.score >= self.config.threshold) {
                    candidates.push(candidate);
                }
            }
        }
    }

    /// Step 3: the past fades.
    pub(super) fn decay_if_due(&mut self, stats: &mut UpdateStats) {
        let Some(decay) = self.config.decay else { return };
        if self.sketch.mass() - self.mass_at_decay <= decay.every {
            return;
        }
        self.mass_at_decay = self.sketch.mass();
        self.sketch.decay(decay.factor);
        let Self { sketch, free, config, .. } = self;
        sketch.release_rows_below(config.threshold, |row_idx| {
            free.push(row_idx);
            stats.demoted += 1;
        });
    }

    /// Step 4: rows for those who earned one.
    pub(super) fn promote(&mut self, scratch: &Scratch, stats: &mut UpdateStats) {
        for &place in &scratch.candidates {
            let Some(&row_idx) = self.free.last() else { return };
            let id = FeatureId::from_raw(scratch.batch.key(place as usize));
            // A later feature of the batch may have taken the slot, or a decay the score.
            let Some(held) = self.sketch.get(id) else { continue };
            if held.row.is_some() || held.score < self.config.threshold {
                continue;
            }
            let source = match scratch.routes[place as usize] {
                // It was hot, lost its row to a newcomer in this very step, and came back.
                Route::Hot(_) => self.shared_route(id, held.score),
                route => route,
            };
            self.free.pop();
            self.copy_shared(source, row_idx);
            self.rows.reset_optimizer(row_idx);
            self.sketch.set_row(id, Some(row_idx));
            stats.promoted += 1;
        }
    }

    fn shared_route(&self, id: FeatureId, score: f32) -> Route {
        let FieldLayout::Shared(rows) = &self.layout[id.field()] else {
            unreachable!("small fields share no rows");
        };
        rows.route(&self.config, id, score)
    }

    fn copy_shared(&mut self, source: Route, row_idx: u32) {
        for k in 0..self.config.dim {
            let value = match source {
                Route::Cold(first) => self.rows.row(first)[k],
                Route::Medium(first, second) => self.rows.row(first)[k] + self.rows.row(second)[k],
                Route::Hot(_) | Route::Own(_) | Route::Unseen { .. } | Route::Unknown => {
                    unreachable!("only shared vectors are copied")
                }
            };
            self.rows.row_mut(row_idx)[k] = value;
        }
    }
}

impl Scratch {
    pub(super) fn new(config: &CafeConfig) -> Self {
        Self { batch: ByField::new(config.fields.len(), config.dim), ..Self::default() }
    }

    /// Sorts a batch by field and makes room for its features.
    pub(super) fn sort(&mut self, ids: &[FeatureId]) {
        self.batch.sort(ids);
        self.importance.resize(ids.len(), 0.0);
        self.scores.resize(ids.len(), 0.0);
        self.buckets.resize(ids.len(), 0);
        self.routes.resize(ids.len(), Route::Unknown);
    }
}
