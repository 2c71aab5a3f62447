//! One training step of the tiers: gradients to rows, importance to the sketch, rows to those who
//! earned them.

use super::field_step::{ColdStep, FieldBuffers, FieldStep};
use super::tracker::{Sketch, Tracker};
use super::{CafeConfig, CafeEmbedding, FieldLayout, HotRule, Route};
use crate::batch::by_field::{ByField, take};
use crate::batch::coalesce::RowSums;
use crate::batch::executor::{Buffers, for_each};
use crate::embedding::{UpdateStats, Workers};
use crate::feature::FeatureId;
use crate::table::rows::RowsMut;
use crate::table::signed_table::{Contributions, SignedTable};

/// Buffers of one update, kept from step to step. What there is of each distinct feature lies at
/// its place in `batch`.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    pub(super) batch: ByField,
    /// Gradient norms summed.
    importance: Vec<f64>,
    /// What the sketch is to be told, or `NO_SCORE`.
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
    /// Two vectors.
    pub(super) vectors: Vec<f32>,
}

impl CafeEmbedding {
    /// Step 1: every gradient to the rows that its lookup read, but for hot rows and fields of own
    /// rows, which come after; and what each feature's score is. Fields share nothing here, so
    /// threads may take one each.
    pub(super) fn step_fields(
        &mut self,
        scratch: &mut Scratch,
        (ids, grads, learning_rate): (&[FeatureId], &[f32], f32),
        workers: &dyn Workers,
    ) {
        let Self { config, layout, sketch, rows, cold, .. } = self;
        let mut rows = rows.all_mut();
        rows.take(config.n_hot);
        let parts = FieldParts { config, layout, rows, cold: cold.as_ref() };
        match sketch {
            Sketch::Full(sketch) => {
                parts.step(sketch, scratch, (ids, grads, learning_rate), workers)
            }
            Sketch::Compact(sketch) => {
                parts.step(sketch, scratch, (ids, grads, learning_rate), workers)
            }
        }
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
        match sketch {
            Sketch::Full(sketch) => tiers.observe(sketch, scratch, learning_rate, stats),
            Sketch::Compact(sketch) => tiers.observe(sketch, scratch, learning_rate, stats),
        }
    }

    /// Step 3: the past fades.
    pub(super) fn decay_if_due(&mut self, scratch: &mut Scratch, stats: &mut UpdateStats) {
        let Some(decay) = self.config.decay else { return };
        if self.sketch.mass() - self.mass_at_decay <= decay.every {
            return;
        }
        self.mass_at_decay = self.sketch.mass();
        let (sketch, mut tiers) = self.tiers();
        tiers.decay(sketch, decay.factor, &mut scratch.vectors, stats);
    }

    /// Step 4 of a quota: the thresholds follow.
    pub(super) fn follow_if_due(&mut self, scratch: &mut Scratch, stats: &mut UpdateStats) {
        let every = MASS_PER_SLOT * (self.config.n_buckets * self.config.slots) as f64;
        if !self.scans() || self.sketch.mass() - self.mass_at_scan < every {
            return;
        }
        self.mass_at_scan = self.sketch.mass();
        let (sketch, mut tiers) = self.tiers();
        if let Sketch::Full(sketch) = sketch {
            tiers.follow(sketch, &mut scratch.vectors, stats);
        }
    }

    /// Whether the sketch is scanned for thresholds from time to time.
    pub(super) fn scans(&self) -> bool {
        matches!((self.config.rule, &self.sketch), (HotRule::Quota { .. }, Sketch::Full(_)))
    }

    /// Step 5: rows for those who earned one.
    pub(super) fn promote(&mut self, scratch: &mut Scratch, stats: &mut UpdateStats) {
        let (sketch, mut tiers) = self.tiers();
        tiers.promote(sketch, scratch, stats);
    }
}

/// From one scan of the sketch to the next the mass grows by this for each slot.
const MASS_PER_SLOT: f64 = 4.0;

/// What the fields' steps read and write beside the batch.
struct FieldParts<'a> {
    config: &'a CafeConfig,
    layout: &'a [FieldLayout],
    /// All rows but the hot ones.
    rows: RowsMut<'a>,
    cold: Option<&'a SignedTable>,
}

impl FieldParts<'_> {
    fn step<S: Tracker>(
        self,
        sketch: &S,
        scratch: &mut Scratch,
        (ids, grads, learning_rate): (&[FeatureId], &[f32], f32),
        workers: &dyn Workers,
    ) {
        let Self { config, layout, mut rows, cold } = self;
        let Scratch { batch, importance, scores, buckets, routes, buffers, contributions, .. } =
            scratch;
        let (mut importance, mut scores) = (importance.as_mut_slice(), scores.as_mut_slice());
        let (mut buckets, mut routes) = (buckets.as_mut_slice(), routes.as_mut_slice());
        let mut contributions = cold
            .map(|cold| contributions.start(cold.hashes(), layout.len(), config.dim, ids.len()));
        let steps = batch.parts().zip(layout).map(|(part, layout)| {
            let n = part.occurrences.len();
            let (n_rows, cold) = match layout {
                FieldLayout::Own { n, .. } => (*n, ColdStep::Own),
                FieldLayout::Shared(rows) => (rows.n_rows(), ColdStep::Shared(rows)),
                FieldLayout::Unified => {
                    let all = contributions.as_mut().expect("a unified field has a cold table");
                    (0, ColdStep::Unified(all.take(n)))
                }
            };
            FieldStep {
                config,
                sketch,
                cold,
                part,
                rows: rows.take(n_rows),
                importance: take(&mut importance, n),
                scores: take(&mut scores, n),
                buckets: take(&mut buckets, n),
                routes: take(&mut routes, n),
            }
        });
        for_each(workers, steps, |step| {
            buffers.with(|buffers| step.run(buffers, ids, grads, learning_rate));
        });
    }
}

impl Scratch {
    pub(super) fn new(config: &CafeConfig) -> Self {
        let batch = ByField::new(config.fields.len(), config.dim);
        Self { batch, vectors: vec![0.0; 2 * config.dim], ..Self::default() }
    }

    /// Step 1 for rows that all fields share: one step for each.
    pub(super) fn step_unified(
        &self,
        cold: &mut SignedTable,
        learning_rate: f32,
        workers: &dyn Workers,
    ) {
        cold.step(&self.batch, &self.contributions, learning_rate, workers);
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
