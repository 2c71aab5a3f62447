//! What one field does of a training step: alone, beside the other fields.

use super::CafePlusConfig;
use super::admission_sketch::{AdmissionSketch, BucketPair};
use crate::batch::Batch;
use crate::batch::by_field::FieldPart;
use crate::batch::coalesce::RowSums;
use crate::feature::FeatureId;
use crate::methods::importance::{FieldBuffers, NO_SCORE};
use crate::table::cold::ColdFields;
use crate::table::rows::RowsMut;

/// One field's part of the batch, and what it reads and writes. What there is of each distinct
/// feature lies at its position.
pub(super) struct FieldStep<'a> {
    pub(super) config: &'a CafePlusConfig,
    pub(super) sketch: &'a AdmissionSketch,
    pub(super) cold: &'a ColdFields,
    /// What scores are multiplied by.
    pub(super) weight: f64,
    pub(super) part: FieldPart<'a>,
    /// The field's cold rows, and the number of the first in the table.
    pub(super) rows: RowsMut<'a>,
    pub(super) first_row: u32,
    pub(super) importance: &'a mut [f64],
    pub(super) scores: &'a mut [f32],
    pub(super) buckets: &'a mut [BucketPair],
    pub(super) routes: &'a mut [u32],
}

impl FieldStep<'_> {
    pub(super) fn run(&mut self, buffers: &mut FieldBuffers, batch: Batch<'_>, learning_rate: f32) {
        if self.cold.is_own(self.part.field) {
            self.part.coalesce(&mut buffers.keys, batch, FeatureId::raw, |_, _| ());
            self.scores.fill(NO_SCORE);
            return;
        }
        let measure = self.config.settings.importance;
        let total = measure.coalesce(&mut self.part, batch, buffers, self.importance);
        self.score(total);
        self.route();
        self.step(&mut buffers.row_sums, learning_rate);
    }

    /// Scores have a mean of the present weight over the field's occurrences.
    fn score(&mut self, total: f64) {
        let scale = self.part.occurrences.len() as f64 / total * self.weight;
        for (score, &importance) in
            self.scores.iter_mut().zip(&self.importance[..*self.part.n_keys])
        {
            *score = if importance == 0.0 { NO_SCORE } else { (importance * scale) as f32 };
        }
    }

    /// The rows that lookup read.
    fn route(&mut self) {
        let keys = &self.part.keys[..*self.part.n_keys];
        for (&raw, buckets) in keys.iter().zip(&mut *self.buckets) {
            *buckets = self.sketch.buckets(FeatureId::from_raw(raw));
            self.sketch.prefetch(*buckets);
        }
        for ((&raw, &buckets), route) in keys.iter().zip(&*self.buckets).zip(&mut *self.routes) {
            let id = FeatureId::from_raw(raw);
            *route = self.sketch.row(buckets, id).unwrap_or_else(|| self.cold.shared_row(id));
        }
    }

    /// One step for each shared row. Hot rows are not the field's; they come later.
    fn step(&mut self, row_sums: &mut RowSums, learning_rate: f32) {
        let dim = self.config.dim;
        row_sums.clear(*self.part.n_keys, dim);
        for ((_, grad), &row) in self.part.iter(dim).zip(&*self.routes) {
            if row >= self.first_row {
                row_sums.add(row - self.first_row, grad);
            }
        }
        for (row_idx, grad) in row_sums.iter(dim) {
            self.rows.step(row_idx, grad, learning_rate);
        }
    }
}
