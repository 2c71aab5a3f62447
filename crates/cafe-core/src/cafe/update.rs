//! One training step of the tiers: gradients to rows, importance to the sketch, rows to those who earned them.

use super::{CafeConfig, CafeEmbedding, FieldLayout, Importance, Route};
use crate::coalesce::Coalescer;
use crate::rows::init_row;
use crate::{FeatureId, UpdateStats};

/// Buffers of one update, kept from step to step.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    by_id: Coalescer,
    by_row: Coalescer,
    /// For each distinct id: its gradient norms summed, and where its gradient went.
    importance: Vec<f64>,
    routes: Vec<Route>,
    /// Distinct ids that reached the threshold without owning a row.
    candidates: Vec<u32>,
    /// For each field: the sum of importance, and occurrences.
    field_totals: Vec<(f64, f64)>,
}

impl CafeEmbedding {
    /// Step 1: every gradient to the rows that its lookup read. One exception: where features fill a small field
    /// past its declared number within a batch, the surplus read rows of its own that can't be stored any more.
    pub(super) fn step_rows(&mut self, scratch: &mut Scratch, learning_rate: f32) {
        scratch.routes.clear();
        scratch.by_row.clear(2 * scratch.by_id.keys().len());
        for (raw, grad) in scratch.by_id.iter() {
            let id = FeatureId::from_raw(raw);
            let route = match self.route(id) {
                Route::Unseen { bound } => self.store(id, bound),
                route => route,
            };
            scratch.routes.push(route);
            match route {
                Route::Hot(row) | Route::Cold(row) | Route::Own(row) => {
                    scratch.by_row.add(u64::from(row), grad);
                }
                Route::Medium(first, second) => {
                    scratch.by_row.add(u64::from(first), grad);
                    scratch.by_row.add(u64::from(second), grad);
                }
                Route::Unseen { .. } => unreachable!("it was stored"),
            }
        }
        for (row_idx, grad) in scratch.by_row.iter() {
            self.rows.step(row_idx as u32, grad, learning_rate);
        }
    }

    /// Gives a feature of a small field its row.
    fn store(&mut self, id: FeatureId, bound: f32) -> Route {
        let FieldLayout::Own { start, used, .. } = &mut self.layout[id.field()] else {
            unreachable!("only small fields have unseen features");
        };
        let row_idx = *start + *used as u32;
        *used += 1;
        init_row(self.rows.row_mut(row_idx), id.raw(), self.config.seed, bound);
        self.own.insert(id, row_idx);
        Route::Own(row_idx)
    }

    /// Step 2: importance into the sketch.
    pub(super) fn observe(&mut self, scratch: &mut Scratch, stats: &mut UpdateStats) {
        scratch.candidates.clear();
        for (position, (raw, importance)) in scratch.by_id.keys().iter().zip(&scratch.importance).enumerate() {
            let id = FeatureId::from_raw(*raw);
            if matches!(self.layout[id.field()], FieldLayout::Own { .. }) || *importance == 0.0 {
                continue;
            }
            let (total, occurrences) = scratch.field_totals[id.field()];
            let score = match self.config.importance {
                Importance::Frequency => *importance as f32,
                Importance::GradientNorm => (importance * occurrences / total) as f32,
            };
            let observed = self.sketch.observe(id, score);
            if let Some(row_idx) = observed.freed_row {
                self.free.push(row_idx);
                stats.demoted += 1;
            }
            if observed.held.is_some_and(|held| held.row.is_none() && held.score >= self.config.threshold) {
                scratch.candidates.push(position as u32);
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
        for &position in &scratch.candidates {
            let Some(&row_idx) = self.free.last() else { return };
            let id = FeatureId::from_raw(scratch.by_id.keys()[position as usize]);
            // A later feature of the batch may have taken the slot, or a decay the score.
            let Some(held) = self.sketch.get(id) else { continue };
            if held.row.is_some() || held.score < self.config.threshold {
                continue;
            }
            let source = match scratch.routes[position as usize] {
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

    fn copy_shared(&mut self, source: Route, row_idx: u32) {
        for k in 0..self.config.dim {
            let value = match source {
                Route::Cold(first) => self.rows.row(first)[k],
                Route::Medium(first, second) => self.rows.row(first)[k] + self.rows.row(second)[k],
                Route::Hot(_) | Route::Own(_) | Route::Unseen { .. } => {
                    unreachable!("only shared vectors are copied")
                }
            };
            self.rows.row_mut(row_idx)[k] = value;
        }
    }
}

impl Scratch {
    pub(super) fn new(config: &CafeConfig) -> Self {
        Self {
            by_id: Coalescer::new(config.dim),
            by_row: Coalescer::new(config.dim),
            field_totals: vec![(0.0, 0.0); config.fields.len()],
            ..Self::default()
        }
    }

    /// Sums gradients and importance by id, and importance by field.
    pub(super) fn gather(&mut self, ids: &[FeatureId], grads: &[f32], config: &CafeConfig) {
        self.by_id.clear(ids.len());
        self.importance.clear();
        self.field_totals.fill((0.0, 0.0));
        for (&id, grad) in ids.iter().zip(grads.chunks_exact(config.dim)) {
            let importance = match config.importance {
                // In f64 no finite gradient's square overflows.
                Importance::GradientNorm => grad.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt(),
                Importance::Frequency => 1.0,
            };
            let position = self.by_id.add(id.raw(), grad);
            if position == self.importance.len() {
                self.importance.push(0.0);
            }
            self.importance[position] += importance;
            let (total, occurrences) = &mut self.field_totals[id.field()];
            *total += importance;
            *occurrences += 1.0;
        }
    }
}
