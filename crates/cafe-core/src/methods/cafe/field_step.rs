//! What one field does in a training step: independent of the other fields.

use super::{CafeConfig, Route, SharedRows};
use crate::batch::Batch;
use crate::batch::by_field::FieldPart;
use crate::batch::coalesce::RowSums;
use crate::feature::FeatureId;
use crate::methods::importance::{FieldBuffers, Importance, NO_SCORE};
use crate::sketch::HotSketch;
use crate::table::rows::RowsMut;
use crate::table::signed_table::contributions::FieldContributions;

/// One field's part of the batch, and what it reads and writes.
pub(super) struct FieldStep<'a> {
    pub(super) config: &'a CafeConfig,
    pub(super) sketch: &'a HotSketch,
    pub(super) cold: ColdStep<'a>,
    pub(super) part: FieldPart<'a>,
    /// The field's rows.
    pub(super) rows: RowsMut<'a>,
    pub(super) importance: &'a mut [f64],
    pub(super) scores: &'a mut [f32],
    pub(super) buckets: &'a mut [u32],
    pub(super) routes: &'a mut [Route],
}

/// Where gradients of a field's cold features go.
pub(super) enum ColdStep<'a> {
    /// To rows of their own, which the sketch does not see.
    Own,
    /// To rows of the field.
    Shared(&'a SharedRows),
    /// To rows of all fields; those step once it is known what all fields add to them.
    Unified(FieldContributions<'a>),
}

impl FieldStep<'_> {
    pub(super) fn run(mut self, buffers: &mut FieldBuffers, batch: Batch<'_>, learning_rate: f32) {
        if matches!(self.cold, ColdStep::Own) {
            self.part.coalesce(&mut buffers.keys, batch, FeatureId::raw, |_, _| ());
            self.scores.fill(NO_SCORE);
            // What an earlier batch left here may name hot rows.
            self.routes.fill(Route::Unknown);
            return;
        }
        let measure = self.config.settings.importance;
        let total = measure.coalesce(&mut self.part, batch, buffers, self.importance);
        self.score(total);
        self.route();
        match self.cold {
            ColdStep::Own => {}
            ColdStep::Shared(shared) => self.step(shared, &mut buffers.row_sums, learning_rate),
            ColdStep::Unified(_) => self.contribute(),
        }
    }

    /// Scores have a mean of one over the field's occurrences.
    fn score(&mut self, total: f64) {
        let occurrences = self.part.occurrences.len() as f64;
        for (score, &importance) in
            self.scores.iter_mut().zip(&self.importance[..*self.part.n_keys])
        {
            *score = match self.config.settings.importance {
                _ if importance == 0.0 => NO_SCORE,
                Importance::Frequency => importance as f32,
                Importance::GradientNorm => (importance * occurrences / total) as f32,
            };
        }
    }

    /// The rows that lookup read.
    fn route(&mut self) {
        let keys = &self.part.keys[..*self.part.n_keys];
        for (&raw, bucket) in keys.iter().zip(&mut *self.buckets) {
            let bucket_idx = self.sketch.bucket_idx(FeatureId::from_raw(raw));
            *bucket = bucket_idx as u32;
            self.sketch.prefetch(bucket_idx);
        }
        for ((&raw, &bucket), route) in keys.iter().zip(&*self.buckets).zip(&mut *self.routes) {
            let id = FeatureId::from_raw(raw);
            let (row, score) = self.sketch.row_and_score(bucket as usize, id);
            let cold = || match self.cold {
                ColdStep::Shared(shared) => shared.route(self.config, id, score),
                ColdStep::Unified(_) | ColdStep::Own => Route::Unified,
            };
            *route = row.map_or_else(cold, Route::Hot);
        }
    }

    /// One step for each shared row.
    fn step(&mut self, shared: &SharedRows, row_sums: &mut RowSums, learning_rate: f32) {
        let dim = self.config.dim;
        let rows_per_key = if self.config.settings.shared.middle().is_some() { 2 } else { 1 };
        // Room for the worst batch of this size: later ones then allocate nothing.
        row_sums.reserve((rows_per_key * self.part.occurrences.len()).min(shared.n_rows()), dim);
        row_sums.clear((rows_per_key * *self.part.n_keys).min(shared.n_rows()), dim);
        let start = shared.first_start;
        for ((_, grad), &route) in self.part.iter(dim).zip(&*self.routes) {
            match route {
                Route::Cold(row) => row_sums.add(row - start, grad),
                Route::Medium(first, second) => {
                    row_sums.add(first - start, grad);
                    row_sums.add(second - start, grad);
                }
                // Hot rows are not the field's; their step comes later.
                Route::Hot(_)
                | Route::Unified
                | Route::Own(_)
                | Route::Unseen { .. }
                | Route::Unknown => {}
            }
        }
        for (row_idx, grad) in row_sums.iter(dim) {
            self.rows.step(row_idx, grad, learning_rate);
        }
    }

    /// Notes what the rows that all fields share are to be stepped with.
    fn contribute(self) {
        let ColdStep::Unified(mut contributions) = self.cold else { return };
        for (position, ((raw, grad), &route)) in
            self.part.iter(self.config.dim).zip(&*self.routes).enumerate()
        {
            if route == Route::Unified {
                contributions.add(position, FeatureId::from_raw(raw), grad);
            }
        }
        contributions.finish();
    }
}
