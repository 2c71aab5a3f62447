//! CAFE+: an admission filter in front of the sketch, an adaptive threshold, and
//! forward decay (no pass over the slots).

mod admission_sketch;
mod config;
mod field_step;
mod progress;
mod reassign;
mod slot;
#[cfg(test)]
mod tests;
mod update;

use crate::batch::Batch;
use crate::batch::cache_hint::AHEAD;
use crate::batch::executor::{for_batch, lookup_parts};
use crate::embedding::{Embedding, Executor, MemoryUsage, UpdateStats};
use crate::feature::FeatureId;
use crate::methods::cafe::Tier;
use crate::sketch::slot::Slot;
use crate::state::{StateError, StateMap, StateView};
use crate::table::cold::{ColdFields, FieldRows};
use crate::table::free_rows::FreeRows;
use crate::table::rows::RowTable;
use crate::tier_summary::{HotFeature, TierSummary, by_score, count_by_exponent, count_by_field};

use admission_sketch::{AdmissionSketch, BucketPair};
use progress::Progress;
use update::Scratch;

pub use config::{CafePlusConfig, CafePlusSettings};

/// CAFE+: CAFE with an admission filter, an adaptive threshold and forward decay.
///
/// # How it works
/// As in [`CafeEmbedding`](super::CafeEmbedding) features that matter own rows, the others of a
/// field share rows
/// by hash, small fields have a row for every feature, and a score measures what matters: gradient
/// norms, with a mean of one over a field's occurrences in a batch. Three things differ.
///
/// *Admission.* A tenth of the sketch's buckets are a filter in front of the others. A newcomer
/// enters the filter with its own score; where it finds no vacant slot the feature that was not
/// seen for longest leaves (least recently used, by a logical clock). A feature moves on to the
/// main part when its score reaches the threshold, or when it leaves the filter with a row or a
/// score of `admission_score`; there it takes a vacant slot, or that of the lightest feature that
/// owns no row. If all own rows it stays in the filter, where it may own a row, too, or, leaving,
/// is dropped.
///
/// *Threshold.* `K` starts at 1. When more than `1.2 H` features reach it or own a row, it becomes
/// the `H`-th largest score, and the features of the `H - 1` largest own the rows. When rows stay
/// free it is lowered in the same way. In between no feature loses a row (but a feature that is
/// dropped), and a feature that reaches `K` gets one while any is free.
///
/// *Forward decay.* Instead of making old scores smaller, newer ones weigh more: by `α` from one
/// field's batch to the next, by `α` to the number of hashed fields from step to step. `K` and the
/// admission score are in the same unit, so they count average occurrences of the present. When the
/// weight passes `2^16` the unit becomes `2^16` times as large; each bucket knows by an integer
/// epoch in which unit its scores are and is brought to the present when it is touched. So no step
/// sweeps through the sketch, nothing overflows, and a bucket that is not touched for many epochs
/// misses none.
///
/// A row starts as a copy of its feature's shared vector. So it does where rows are
/// reassigned.
///
/// # Costs
/// Two probes for each id in `lookup`, of a bucket of the main part and of the filter. A slot has
/// 12 bytes, in the filter 16, a bucket 4 more for its epoch: all counted, so that the budget holds
/// to the byte ([`CafePlusConfig::embedding_bytes`]). `update` allocates nothing once it has seen
/// the largest batch. New owners take some ten passes over the sketch, after `0.2 H` features have
/// reached the threshold, or every `check_every` steps.
///
/// # Example
/// ```
/// use cafe_core::methods::{CafePlusConfig, CafePlusEmbedding, CafePlusSettings, Tier};
/// use cafe_core::{Budget, Embedding, FeatureId, RowFormat, Sizing};
///
/// let (budget, format) = (Budget::Bytes(16_000), RowFormat::default());
/// let sizing = Sizing { features: &[40_000, 10_000], dim: 16, budget, format, seed: 1 };
/// let config = CafePlusConfig::within(&sizing, &CafePlusSettings::paper(200.0))?;
/// let mut embedding = CafePlusEmbedding::new(&config);
/// let id = FeatureId::new(0, 0x68fd_1e64);
/// assert_eq!(embedding.tier(id), Tier::Cold);
/// embedding.update(&[id], &[0.5; 16], 0.1);
/// assert_eq!(embedding.tier(id), Tier::Hot);
/// assert_eq!(embedding.threshold(), 1.0); // until rows get scarce
/// assert!((embedding.score(id) - 1.0).abs() < 1e-5); // one average occurrence, a step ago
/// assert!(embedding.memory().embedding_bytes() <= 16_000);
/// # Ok::<(), cafe_core::BudgetError>(())
/// ```
///
/// Source: CAFE+ (TOIS 2025). Unlike its published code, weights are multiplied in, and the epoch
/// is no single bit, which would lose re-basings.
#[derive(Clone, Debug)]
pub struct CafePlusEmbedding {
    config: CafePlusConfig,
    sketch: AdmissionSketch,
    progress: Progress,
    /// What weights grow by in a step.
    growth: f64,
    /// Hot rows first, then field by field.
    rows: RowTable,
    cold: ColdFields,
    /// Hot rows that no feature owns.
    free: FreeRows,
    scratch: Scratch,
}

impl CafePlusEmbedding {
    /// An embedding whose features are all cold.
    ///
    /// # Panics
    /// If the sizes or settings make no embedding: no hot row, more than the sketch can number, a
    /// field without rows, a part of the sketch without buckets, 2^32 rows, a threshold or growth
    /// out of range.
    #[must_use]
    pub fn new(config: &CafePlusConfig) -> Self {
        config.check();
        let (seed, n_hot) = (config.seed, config.n_hot as u32);
        let starts = config.fields.iter().scan(n_hot, |next, field| {
            let start = *next;
            *next += field.n_rows() as u32;
            Some(start)
        });
        let cold = ColdFields::new(&config.fields, starts, seed);
        let mut rows = RowTable::new(config.n_rows() as usize, config.dim, config.format);
        cold.init(&mut rows);
        let slots = config.settings.slots;
        let n_hashed = config.fields.iter().filter(|field| !field.is_own()).count();
        Self {
            sketch: AdmissionSketch::new(
                config.n_main_buckets,
                config.n_filter_buckets,
                slots,
                // The seed of the buckets, as in CAFE.
                seed ^ 0xb0c4_e750,
            ),
            progress: Progress::new(config),
            growth: (0..n_hashed).fold(1.0, |growth, _| growth * config.settings.growth),
            rows,
            cold,
            free: FreeRows::new(config.n_hot),
            scratch: Scratch::new(config),
            config: config.clone(),
        }
    }

    /// Its sizes and settings.
    #[must_use]
    pub fn config(&self) -> &CafePlusConfig {
        &self.config
    }

    /// `K` now: the score from which a feature is hot, in average occurrences of the present.
    #[must_use]
    pub fn threshold(&self) -> f32 {
        self.progress.threshold
    }

    /// The score of `id` in the same unit, that of the next step; zero if neither part of the
    /// sketch holds it.
    #[must_use]
    pub fn score(&self, id: FeatureId) -> f32 {
        self.sketch.get(id).map_or(0.0, |slot| self.progress.present(slot.score))
    }

    /// The tier that a lookup of `id` would be served from now: never [`Tier::Medium`].
    #[must_use]
    pub fn tier(&self, id: FeatureId) -> Tier {
        if self.sketch.row(self.sketch.buckets(id), id).is_some() {
            Tier::Hot
        } else if self.cold.is_own(id.field()) && !self.cold.is_surplus(id) {
            Tier::Own
        } else {
            Tier::Cold
        }
    }

    fn read_each(&self, ids: &[FeatureId], out: &mut [f32]) {
        let dim = self.config.dim;
        let (mut buckets, mut rows) = ([BucketPair::default(); AHEAD], [None; AHEAD]);
        for (ids, out) in ids.chunks(AHEAD).zip(out.chunks_mut(AHEAD * dim)) {
            for (buckets, &id) in buckets.iter_mut().zip(ids) {
                *buckets = self.sketch.buckets(id);
                self.sketch.prefetch(*buckets);
            }
            for ((row, &buckets), &id) in rows.iter_mut().zip(&buckets).zip(ids) {
                *row = self.sketch.row(buckets, id).or_else(|| self.cold.row(id));
                if let Some(row_idx) = *row {
                    self.rows.prefetch(row_idx);
                }
            }
            for ((row, &id), out) in rows.iter().zip(ids).zip(out.chunks_exact_mut(dim)) {
                match *row {
                    Some(row_idx) => self.rows.read(row_idx, out),
                    None => self.cold.read_unseen(&self.rows, id, out),
                }
            }
        }
    }

    /// The sketch is of features that compete for hot rows.
    fn check_sketched(&self, sketch: &AdmissionSketch) -> Result<(), StateError> {
        let is_stray =
            |id: FeatureId| self.config.fields.get(id.field()).is_none_or(FieldRows::is_own);
        match sketch.iter().map(Slot::id).find(|&id| is_stray(id)) {
            Some(stray) => Err(StateError::Damaged {
                name: "sketch_slots",
                why: format!("it holds {stray}, of a field whose features it does not see"),
            }),
            None => Ok(()),
        }
    }
}

impl CafePlusEmbedding {
    fn owners(&self) -> Vec<HotFeature> {
        let owners = self.sketch.iter_rebased().filter(|slot| slot.row().is_some());
        let present = |slot: Slot| HotFeature {
            id: slot.id(),
            score: Some(self.progress.present(slot.score)),
        };
        by_score(owners.map(present).collect())
    }

    fn summary(&self) -> TierSummary {
        let owners = self.sketch.iter().filter(|slot| slot.row().is_some()).map(Slot::id);
        let scores = self.sketch.iter_rebased().map(|slot| self.progress.present(slot.score));
        TierSummary {
            max_hot_rows: self.config.n_hot as u64,
            hot_rows: self.free.n_owned() as u64,
            hot_rows_by_field: count_by_field(owners, self.config.fields.len()),
            knows_features: true,
            slots: ((self.config.n_main_buckets + self.config.n_filter_buckets)
                * self.config.settings.slots) as u64,
            slots_in_use: self.sketch.iter().count() as u64,
            thresholds: vec![self.progress.threshold],
            score_counts: count_by_exponent(scores),
            // Newer scores weigh more in place of older ones that decay.
            n_decays: Some(0),
            ..TierSummary::default()
        }
    }
}

impl Embedding for CafePlusEmbedding {
    fn dim(&self) -> usize {
        self.config.dim
    }

    fn lookup_on(&self, ids: &[FeatureId], out: &mut [f32], executor: &dyn Executor) {
        lookup_parts(ids, out, self.config.dim, executor, |ids, out| self.read_each(ids, out));
    }

    fn update_on(
        &mut self,
        ids: &[FeatureId],
        grads: &[f32],
        learning_rate: f32,
        executor: &dyn Executor,
    ) -> UpdateStats {
        let given = Batch::new(ids, grads, self.config.dim);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.sort(ids);
        let mut stats = UpdateStats::default();
        let executor = for_batch(executor, ids.len());
        self.step_fields(&mut scratch, given, learning_rate, executor);
        self.cold.step_own(&scratch.batch, &mut self.rows, &mut scratch.own_sums, learning_rate);
        self.observe(&mut scratch, learning_rate, &mut stats);
        self.reassign_if_due(&mut scratch.vector, &mut stats);
        self.promote(&mut scratch, &mut stats);
        self.progress.advance(self.growth);
        self.sketch.set_epoch(self.progress.epoch);
        self.scratch = scratch;
        stats.hot_rows = self.free.n_owned() as u64;
        stats
    }

    fn memory(&self) -> MemoryUsage {
        MemoryUsage {
            sketch_bytes: self.sketch.bytes(),
            index_bytes: self.cold.map_bytes(),
            free_list_bytes: self.free.bytes(),
            ..self.rows.memory()
        }
    }

    fn hot_features(&self) -> Vec<HotFeature> {
        self.owners()
    }

    fn tiers(&self) -> Option<TierSummary> {
        Some(self.summary())
    }

    fn n_hot(&self, ids: &[FeatureId]) -> Option<u64> {
        Some(
            ids.iter().filter(|&&id| self.sketch.row(self.sketch.buckets(id), id).is_some()).count()
                as u64,
        )
    }

    fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        let mut state = self.rows.state();
        state.extend(self.sketch.state());
        state.extend(self.cold.state());
        state.push(self.free.state());
        state.push(self.progress.state(self.sketch.now()));
        state
    }

    fn restore(&mut self, state: &mut StateMap<'_>) -> Result<(), StateError> {
        let rows = self.rows.restored(self.rows.n_rows(), state)?;
        let (progress, now) = Progress::restored(&self.config, state)?;
        let sketch = self.sketch.restored(state, progress.epoch, now)?;
        let cold = self.cold.restored(state)?;
        self.check_sketched(&sketch)?;
        let free = self.free.restored(state, sketch.iter().filter_map(Slot::row))?;
        (self.rows, self.progress, self.sketch, self.cold, self.free) =
            (rows, progress, sketch, cold, free);
        Ok(())
    }
}
