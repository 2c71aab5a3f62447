//! One training step of the tiers: gradients to rows, importance to the sketch, rows to the
//! features that reached the threshold.

use super::field_step::{ColdStep, FieldStep};
use super::{CafeConfig, CafeEmbedding, FieldLayout, Route};
use crate::batch::Batch;
use crate::batch::by_field::{ByField, cut};
use crate::batch::coalesce::RowSums;
use crate::batch::executor::{Buffers, for_each};
use crate::embedding::{Executor, UpdateStats};
use crate::feature::FeatureId;
use crate::methods::importance::FieldBuffers;
use crate::table::signed_table::SignedTable;
use crate::table::signed_table::contributions::Contributions;

/// Buffers of one update, kept from step to step. What there is of each distinct feature lies at
/// its place in `batch`.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    pub(super) batch: ByField,
    /// The summed importance of the occurrences.
    importance: Vec<f64>,
    /// What is added to the score in the sketch, or `NO_SCORE`.
    pub(super) scores: Vec<f32>,
    /// Buckets of the sketch.
    pub(super) buckets: Vec<u32>,
    /// Where gradients went.
    pub(super) routes: Vec<Route>,
    /// Places of the features that reached the threshold without owning a row.
    pub(super) candidates: Vec<u32>,
    buffers: Buffers<FieldBuffers>,
    own_sums: RowSums,
    /// What goes to rows that all fields share.
    contributions: Contributions,
    /// One vector.
    pub(super) vector: Vec<f32>,
}

impl CafeEmbedding {
    /// Step 1: every gradient to the rows that its lookup read, but for hot rows and fields of own
    /// rows, which come after; and what each feature's score is. Fields share nothing here, so
    /// threads may take one each.
    pub(super) fn step_fields(
        &mut self,
        scratch: &mut Scratch,
        all: Batch<'_>,
        learning_rate: f32,
        executor: &dyn Executor,
    ) {
        let Self { config, layout, sketch, rows, cold, .. } = self;
        let (config, sketch) = (&*config, &*sketch);
        let mut rows = rows.all_mut();
        rows.cut(config.n_hot);
        let Scratch { batch, importance, scores, buckets, routes, buffers, contributions, .. } =
            scratch;
        let (mut importance, mut scores) = (importance.as_mut_slice(), scores.as_mut_slice());
        let (mut buckets, mut routes) = (buckets.as_mut_slice(), routes.as_mut_slice());
        let mut contributions = cold.as_ref().map(|cold| {
            contributions.start(cold.hashes(), layout.len(), config.dim, all.ids.len())
        });
        let steps = batch.parts().zip(&*layout).map(|(part, layout)| {
            let n = part.occurrences.len();
            let (n_rows, cold) = match layout {
                FieldLayout::Own { n, .. } => (*n, ColdStep::Own),
                FieldLayout::Shared(rows) => (rows.n_rows(), ColdStep::Shared(rows)),
                FieldLayout::Unified => {
                    let rest = contributions.as_mut().expect("a unified field has a cold table");
                    (0, ColdStep::Unified(rest.cut(n)))
                }
            };
            FieldStep {
                config,
                sketch,
                cold,
                part,
                rows: rows.cut(n_rows),
                importance: cut(&mut importance, n),
                scores: cut(&mut scores, n),
                buckets: cut(&mut buckets, n),
                routes: cut(&mut routes, n),
            }
        });
        for_each(executor, steps, |step| {
            buffers.with(|buffers| step.run(buffers, all, learning_rate));
        });
    }

    /// Step 1 for small fields. One exception: where features fill such a field past its declared
    /// number within a batch, the surplus read rows of its own that can't be stored any more.
    pub(super) fn step_own_fields(&mut self, scratch: &mut Scratch, learning_rate: f32) {
        let Scratch { batch, own_sums, .. } = scratch;
        for field in 0..self.layout.len() {
            if !matches!(self.layout[field], FieldLayout::Own { .. }) {
                continue;
            }
            let places = batch.places(field);
            own_sums.clear(places.len(), self.config.dim);
            for place in places {
                let id = FeatureId::from_raw(batch.key(place));
                let row_idx = match self.route(id) {
                    Route::Unseen { bound } => self.store(id, bound),
                    Route::Own(row_idx) | Route::Cold(row_idx) => row_idx,
                    Route::Hot(_) | Route::Medium(..) | Route::Unified | Route::Unknown => {
                        unreachable!("the sketch does not see it")
                    }
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
        self.rows.init(row_idx, id.raw(), self.config.seed, bound);
        self.own.insert(id, row_idx);
        row_idx
    }

    /// Step 1 for hot rows, and step 2.
    pub(super) fn observe(
        &mut self,
        scratch: &mut Scratch,
        learning_rate: f32,
        stats: &mut UpdateStats,
    ) {
        let (sketch, mut tiers) = self.tiers();
        tiers.observe(sketch, scratch, learning_rate, stats);
    }

    /// Step 3: scores decay.
    pub(super) fn decay_if_due(&mut self, stats: &mut UpdateStats) {
        let Some(decay) = self.config.settings.decay else { return };
        if self.sketch.mass() - self.mass_at_decay <= self.config.decay_interval {
            return;
        }
        self.mass_at_decay = self.sketch.mass();
        let (sketch, mut tiers) = self.tiers();
        tiers.decay(sketch, decay.factor(), stats);
    }

    /// Step 4 of a quota: the threshold follows the scores.
    pub(super) fn follow_if_due(&mut self, stats: &mut UpdateStats) {
        let CafeConfig { n_buckets, settings, .. } = &self.config;
        let interval = SCORE_PER_SLOT * (n_buckets * settings.slots) as f64;
        if !settings.promotion.is_quota() || self.sketch.mass() - self.mass_at_scan < interval {
            return;
        }
        self.mass_at_scan = self.sketch.mass();
        let (sketch, mut tiers) = self.tiers();
        tiers.follow(sketch, stats);
    }

    /// Step 5: rows for the features that reached the threshold.
    pub(super) fn promote(&mut self, scratch: &mut Scratch, stats: &mut UpdateStats) {
        let (sketch, mut tiers) = self.tiers();
        tiers.promote(sketch, scratch, stats);
    }
}

/// From one scan of the sketch to the next the total score grows by this for each slot: a scan
/// reads every slot four times, and so costs an average observation, of a score of one, the read of
/// one slot.
const SCORE_PER_SLOT: f64 = 4.0;

impl Scratch {
    pub(super) fn new(config: &CafeConfig) -> Self {
        let batch = ByField::new(config.fields.len(), config.dim);
        Self { batch, vector: vec![0.0; config.dim], ..Self::default() }
    }

    /// Step 1 for rows that all fields share: one step for each.
    pub(super) fn step_unified(
        &self,
        cold: &mut SignedTable,
        learning_rate: f32,
        executor: &dyn Executor,
    ) {
        cold.step(&self.batch, &self.contributions, learning_rate, executor);
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
