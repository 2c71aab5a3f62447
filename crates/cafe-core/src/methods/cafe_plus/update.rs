//! One training step: gradients to rows, importance to the sketch, rows to the features
//! that reached the threshold.

use super::admission_sketch::BucketPair;
use super::field_step::FieldStep;
use super::reassign::start_row;
use super::{CafePlusConfig, CafePlusEmbedding};
use crate::batch::Batch;
use crate::batch::by_field::{ByField, cut};
use crate::batch::cache_hint::AHEAD;
use crate::batch::coalesce::RowSums;
use crate::batch::executor::{Buffers, for_each};
use crate::embedding::{Executor, UpdateStats};
use crate::feature::FeatureId;
use crate::methods::importance::{FieldBuffers, NO_SCORE};

/// Buffers of one update, kept from step to step. What there is of each distinct feature lies at
/// its place in `batch`.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    pub(super) batch: ByField,
    /// Gradient norms summed.
    importance: Vec<f64>,
    /// What is added to the score in the sketch, or `NO_SCORE`.
    scores: Vec<f32>,
    buckets: Vec<BucketPair>,
    /// The rows that gradients went to: a hot row where it is below `n_hot`.
    routes: Vec<u32>,
    /// Places of the features that are above the threshold without owning a row.
    candidates: Vec<u32>,
    buffers: Buffers<FieldBuffers>,
    pub(super) own_sums: RowSums,
    /// One vector.
    pub(super) vector: Vec<f32>,
}

impl Scratch {
    pub(super) fn new(config: &CafePlusConfig) -> Self {
        Self {
            batch: ByField::new(config.fields.len(), config.dim),
            vector: vec![0.0; config.dim],
            ..Self::default()
        }
    }

    /// Sorts a batch by field and makes room for its features.
    pub(super) fn sort(&mut self, ids: &[FeatureId]) {
        self.batch.sort(ids);
        self.importance.resize(ids.len(), 0.0);
        self.scores.resize(ids.len(), 0.0);
        self.buckets.resize(ids.len(), BucketPair::default());
        self.routes.resize(ids.len(), 0);
        self.candidates.reserve(ids.len());
    }
}

impl CafePlusEmbedding {
    /// Every gradient to the rows that its lookup read, but for hot rows and fields of own rows,
    /// which come after; and what each feature's score is. Fields share nothing here, so threads
    /// may take one each.
    pub(super) fn step_fields(
        &mut self,
        scratch: &mut Scratch,
        all: Batch<'_>,
        learning_rate: f32,
        executor: &dyn Executor,
    ) {
        let Self { config, sketch, cold, rows, progress, .. } = self;
        let mut rows = rows.all_mut();
        rows.cut(config.n_hot);
        let Scratch { batch, importance, scores, buckets, routes, buffers, .. } = scratch;
        let (mut importance, mut scores) = (importance.as_mut_slice(), scores.as_mut_slice());
        let (mut buckets, mut routes) = (buckets.as_mut_slice(), routes.as_mut_slice());
        let (config, sketch, cold, weight) = (&*config, &*sketch, &*cold, progress.weight);
        let mut next_row = config.n_hot as u32;
        let steps = batch.parts().map(|part| {
            let (n, n_rows, first_row) =
                (part.occurrences.len(), cold.n_rows(part.field), next_row);
            next_row += n_rows as u32;
            FieldStep {
                config,
                sketch,
                cold,
                weight,
                part,
                rows: rows.cut(n_rows),
                first_row,
                importance: cut(&mut importance, n),
                scores: cut(&mut scores, n),
                buckets: cut(&mut buckets, n),
                routes: cut(&mut routes, n),
            }
        });
        for_each(executor, steps, |mut step| {
            buffers.with(|buffers| step.run(buffers, all, learning_rate));
        });
    }

    /// Hot rows take their steps, and importance is added to the sketch, in the order in which the
    /// batch names features.
    pub(super) fn observe(
        &mut self,
        scratch: &mut Scratch,
        learning_rate: f32,
        stats: &mut UpdateStats,
    ) {
        let Scratch { batch, scores, buckets, routes, candidates, .. } = scratch;
        let limits = self.progress.limits(self.config.settings.admission_score);
        candidates.clear();
        batch.order();
        for places in batch.in_order().chunks(AHEAD) {
            for &place in places {
                let place = place as usize;
                if scores[place] != NO_SCORE {
                    self.sketch.prefetch(buckets[place]);
                }
                if (routes[place] as usize) < self.config.n_hot {
                    self.rows.prefetch(routes[place]);
                }
            }
            for &candidate in places {
                let place = candidate as usize;
                let id = FeatureId::from_raw(batch.key(place));
                if self.cold.is_own(id.field()) {
                    continue;
                }
                if (routes[place] as usize) < self.config.n_hot {
                    self.rows.step(routes[place], batch.sum(place), learning_rate);
                }
                if scores[place] == NO_SCORE {
                    continue;
                }
                let observed = self.sketch.observe(buckets[place], id, scores[place], limits);
                if let Some(row_idx) = observed.freed_row {
                    self.free.push(row_idx);
                    stats.demoted += 1;
                }
                if observed.score >= limits.hot {
                    self.progress.n_crossed += u64::from(observed.before < limits.hot);
                    if observed.row.is_none() {
                        candidates.push(candidate);
                    }
                }
            }
        }
    }

    /// Rows for the features of the batch that reached the threshold, while any is free.
    pub(super) fn promote(&mut self, scratch: &mut Scratch, stats: &mut UpdateStats) {
        let Scratch { batch, candidates, vector, .. } = scratch;
        let limits = self.progress.limits(self.config.settings.admission_score);
        for &place in &*candidates {
            let Some(row_idx) = self.free.next() else { return };
            let id = FeatureId::from_raw(batch.key(place as usize));
            // A later feature of the batch may have taken the slot, or the threshold may have been
            // raised.
            if self
                .sketch
                .get(id)
                .is_some_and(|slot| slot.row().is_none() && slot.score >= limits.hot)
            {
                self.free.pop();
                start_row(&mut self.rows, self.cold.shared_row(id), row_idx, vector);
                self.sketch.set_row(id, row_idx);
                stats.promoted += 1;
            }
        }
    }
}
