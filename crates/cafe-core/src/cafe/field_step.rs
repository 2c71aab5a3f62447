//! What one field does of a training step: alone, beside the other fields.

use super::{CafeConfig, Importance, Route, SharedRows};
use crate::by_field::FieldPart;
use crate::coalesce::{Positions, RowSums};
use crate::prefetch::prefetch;
use crate::rows::RowsMut;
use crate::{FeatureId, HotSketch};

/// Stands for the score of a feature that adds nothing.
pub(super) const NO_SCORE: f32 = -1.0;

/// One field's part of the batch, and what it reads and writes.
pub(super) struct FieldStep<'a> {
    pub(super) config: &'a CafeConfig,
    pub(super) sketch: &'a HotSketch,
    /// `None` for a field whose features own rows.
    pub(super) shared: Option<&'a SharedRows>,
    pub(super) part: FieldPart<'a>,
    /// The field's rows.
    pub(super) rows: RowsMut<'a>,
    pub(super) importance: &'a mut [f64],
    pub(super) scores: &'a mut [f32],
    pub(super) buckets: &'a mut [u32],
    pub(super) routes: &'a mut [Route],
}

/// What a thread needs for one field at a time.
#[derive(Debug, Default)]
pub(super) struct FieldBuffers {
    positions: Positions,
    importance: Vec<f64>,
    row_sums: RowSums,
}

impl FieldStep<'_> {
    pub(super) fn run(&mut self, buffers: &mut FieldBuffers, ids: &[FeatureId], grads: &[f32], learning_rate: f32) {
        let FieldBuffers { positions, importance, row_sums } = buffers;
        let Some(shared) = self.shared else {
            self.part.coalesce(positions, (ids, grads, self.config.dim), FeatureId::raw, |_, _| ());
            self.scores.fill(NO_SCORE);
            return;
        };
        match self.config.importance {
            Importance::GradientNorm => norms(self.part.occurrences, grads, self.config.dim, importance),
            Importance::Frequency => {
                importance.clear();
                importance.resize(self.part.occurrences.len(), 1.0);
            }
        }
        self.importance.fill(0.0);
        self.part.coalesce(positions, (ids, grads, self.config.dim), FeatureId::raw, |number, position| {
            self.importance[position] += importance[number];
        });
        self.score(importance.iter().sum());
        self.route(shared);
        self.step(shared, row_sums, learning_rate);
    }

    /// Scores have a mean of one over the field's occurrences.
    fn score(&mut self, total: f64) {
        let occurrences = self.part.occurrences.len() as f64;
        for (score, &importance) in self.scores.iter_mut().zip(&self.importance[..*self.part.n_keys]) {
            *score = match self.config.importance {
                _ if importance == 0.0 => NO_SCORE,
                Importance::Frequency => importance as f32,
                Importance::GradientNorm => (importance * occurrences / total) as f32,
            };
        }
    }

    /// The rows that lookup read.
    fn route(&mut self, shared: &SharedRows) {
        let keys = &self.part.keys[..*self.part.n_keys];
        for (&raw, bucket) in keys.iter().zip(&mut *self.buckets) {
            let bucket_idx = self.sketch.bucket_idx(FeatureId::from_raw(raw));
            *bucket = bucket_idx as u32;
            self.sketch.prefetch(bucket_idx);
        }
        for ((&raw, &bucket), route) in keys.iter().zip(&*self.buckets).zip(&mut *self.routes) {
            let id = FeatureId::from_raw(raw);
            let (row, score) = self.sketch.row_and_score(bucket as usize, id);
            *route = row.map_or_else(|| shared.route(self.config, id, score), Route::Hot);
        }
    }

    /// One step for each shared row.
    fn step(&mut self, shared: &SharedRows, row_sums: &mut RowSums, learning_rate: f32) {
        let dim = self.config.dim;
        let rows_per_key = if self.config.medium.is_some() { 2 } else { 1 };
        row_sums.clear(rows_per_key * *self.part.n_keys, dim);
        let start = shared.first_start;
        for ((_, grad), &route) in self.part.iter(dim).zip(&*self.routes) {
            match route {
                Route::Cold(row) => row_sums.add(row - start, grad),
                Route::Medium(first, second) => {
                    row_sums.add(first - start, grad);
                    row_sums.add(second - start, grad);
                }
                // Hot rows are not the field's; they come later.
                Route::Hot(_) | Route::Own(_) | Route::Unseen { .. } | Route::Unknown => {}
            }
        }
        for (row_idx, grad) in row_sums.iter(dim) {
            self.rows.step(row_idx, grad, learning_rate);
        }
    }
}

/// The norms of the occurrences' gradients. In f64 no finite gradient's square overflows.
fn norms(occurrences: &[u32], all_grads: &[f32], dim: usize, out: &mut Vec<f64>) {
    let grad = |occurrence: u32| &all_grads[occurrence as usize * dim..][..dim];
    out.clear();
    out.reserve(occurrences.len());
    // Each sum waits for its last addition: four at a time wait together.
    let (fours, rest) = occurrences.as_chunks::<4>();
    for (idx, four) in fours.iter().enumerate() {
        // A field's gradients lie a sample apart: too far for the processor to see a stream.
        for &ahead in fours.get(idx + 4).into_iter().flatten() {
            prefetch(all_grads, ahead as usize * dim, dim);
        }
        let grads = four.map(grad);
        let mut sums = [0.0_f64; 4];
        for k in 0..dim {
            for (sum, grad) in sums.iter_mut().zip(grads) {
                *sum += f64::from(grad[k]).powi(2);
            }
        }
        out.extend(sums.map(f64::sqrt));
    }
    out.extend(rest.iter().map(|&at| grad(at).iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt()));
}
