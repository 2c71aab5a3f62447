//! CAFE: features that matter own rows, the rest share them, and a sketch decides while training.

mod config;
mod field_step;
mod levers;
mod pools;
mod restore;
mod route;
mod sizes;
mod tiers;
mod tracker;
mod update;

use crate::batch::executor::{for_batch, lookup_parts};
use crate::embedding::{Embedding, Memory, UpdateStats, Workers};
use crate::feature::FeatureId;
use crate::sketch::HotSketch;
use crate::state::{StateError, StateMap, StateView, f64_bits};
use crate::table::cold::{FieldKind, FieldRows};
use crate::table::own_rows::OwnRows;
use crate::table::rows::{RowTable, init_bound};
use crate::table::signed_table::SignedTable;
use crate::tier_summary::{HotFeature, TierSummary, by_score, count_by_exponent, count_by_field};

use pools::Pools;
use route::{Route, SharedRows};
use tiers::Tiers;
use tracker::Sketch;
use update::Scratch;

pub use config::{CafeConfig, CafeSettings, Decay, Importance, Medium, PaperData};
pub use levers::{Cold, HotRows, HotRule, Sketches, SlotLayout};

/// Where a feature's vector comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// A row of its own, given for its score.
    Hot,
    /// The sum of a shared row of the first table and one of the second.
    Medium,
    /// A shared row of the first table, or a sum of rows that all fields share.
    Cold,
    /// A row of its own because its field is small.
    Own,
}

/// The CAFE embedding: hot, medium and cold tiers over one table of rows, led by a [`HotSketch`].
///
/// # How it works
/// `lookup` asks the sketch for each feature. One that owns a row gets it (hot); one of a middling
/// score, where the multi-level setting is on, gets the sum of two shared rows (medium); the rest
/// get one shared row, by hash (cold). `update` then, in this order:
///
/// 1. field by field, in parallel where there are threads: sums the gradients of each feature,
///    routes them to the rows that `lookup` read, and takes one optimizer step a row;
/// 2. adds each feature's importance to the sketch: its gradient norms, scaled so that the mean
///    over the field's occurrences in the batch is one (a batch whose gradients are all zero adds
///    nothing). A victim that owned a row loses it;
/// 3. if enough mass has come in, decays all scores; whoever falls below the threshold loses its
///    row;
/// 4. gives the features of the batch whose score has reached the threshold a free row, if there is
///    one. The row starts as a copy of the feature's shared vector, so nothing jumps (but for
///    rounding, where rows are stored in few bits and the vector is a sum of two).
///
/// Fields so small that hashing would save nothing have a row for every feature from the start.
///
/// That is the paper's CAFE. What else there is, each by itself or together: a threshold that
/// follows the hot rows in use ([`HotRule::Quota`]), hot rows that are added to the shared vector
/// ([`HotRows::Residual`]), one cold table for all fields ([`Cold::Unified`]), slots of a third of
/// the bytes ([`SlotLayout::Compact`]), a sketch for each field ([`Sketches::PerField`]), demoted
/// rows folded back into the shared ones ([`CafeSettings::write_back`]).
///
/// # Costs
/// One probe of a 48-byte bucket for each id in `lookup`, two for each distinct id in `update`;
/// memory is fixed at construction, to the byte that [`CafeConfig::embedding_bytes`] says, and
/// `update` allocates nothing once it has seen the largest batch.
///
/// # Example
/// Two fields, 16 KB instead of 3.2 MB; slices in, slices out.
///
/// ```
/// use cafe_core::{Budget, CafeConfig, CafeEmbedding, CafeSettings, Embedding, FeatureId};
///
/// let (features, dim) = ([40_000, 10_000], 16);
/// let config = CafeConfig::within(&features, dim, Budget::Bytes(16_000), &CafeSettings::paper(200.0))?;
/// let mut embedding = CafeEmbedding::new(config);
///
/// let ids = [FeatureId::new(0, 0x68fd_1e64), FeatureId::new(1, 7), FeatureId::missing(0)];
/// let mut rows = vec![0.0; ids.len() * dim];
/// embedding.lookup(&ids, &mut rows);
///
/// let before = rows.clone();
/// let grads = vec![0.5; rows.len()]; // d loss / d rows, from any model
/// embedding.update(&ids, &grads, 0.1);
/// embedding.lookup(&ids, &mut rows);
/// assert!(rows.iter().zip(&before).all(|(after, before)| after < before));
/// assert!(embedding.memory().embedding_bytes() <= 16_000);
/// # Ok::<(), cafe_core::BudgetError>(())
/// ```
///
/// Source: the CAFE paper (SIGMOD 2024). Unlike its published code, promotion copies exactly the
/// vector that `lookup` returned, hashes are mixed, and ids are never confused with row numbers.
#[derive(Clone, Debug)]
pub struct CafeEmbedding {
    config: CafeConfig,
    layout: Vec<FieldLayout>,
    sketch: Sketch,
    /// Hot rows first, then field by field: first table, second table.
    rows: RowTable,
    /// The rows that all fields share, if they do.
    cold: Option<SignedTable>,
    own: OwnRows,
    pools: Pools,
    mass_at_decay: f64,
    /// When the thresholds of a quota were last adapted.
    mass_at_scan: f64,
    scratch: Scratch,
}

/// Where a field's rows lie in the table.
#[derive(Clone, Copy, Debug)]
enum FieldLayout {
    Own { start: u32, n: usize, used: usize, bound: f32 },
    Shared(SharedRows),
    Unified,
}

impl CafeEmbedding {
    /// An embedding whose features are all cold.
    ///
    /// # Panics
    /// If the sizes make no embedding: no hot row, more than the sketch can number, a field without
    /// rows, 2^32 rows; or the settings contradict each other.
    #[must_use]
    pub fn new(config: CafeConfig) -> Self {
        let CafeConfig { dim, n_hot, format, seed, .. } = config;
        assert!((1..=HotSketch::MAX_ROWS).contains(&n_hot), "{n_hot} hot rows");
        assert!(u32::try_from(config.n_rows()).is_ok(), "a table has fewer than 2^32 rows");
        assert_eq!(config.contradiction(), None, "the settings contradict each other");
        let mut rows = RowTable::new((config.n_rows() - config.n_unified) as usize, dim, format);
        let mut layout = Vec::with_capacity(config.fields.len());
        let mut start = n_hot as u32;
        for field in &config.fields {
            layout.push(field_layout(&config, field, start));
            if let FieldLayout::Shared(SharedRows { first_start, first_n, .. }) =
                layout[layout.len() - 1]
            {
                assert!(first_n > 0, "every field needs a row");
                // The second table stays at zero, so that a feature's step from cold to medium
                // begins where it was.
                for row_idx in first_start..first_start + first_n as u32 {
                    rows.init(row_idx, u64::from(row_idx), seed, init_bound(field.n_features));
                }
            }
            start += field.n_rows() as u32;
        }
        let cold = match config.cold {
            Cold::PerField => None,
            Cold::Unified(settings) => {
                let features: Vec<u64> =
                    config.fields.iter().map(|field| field.n_features).collect();
                Some(SignedTable::new(&settings, &features, config.n_unified, dim, format, seed))
            }
        };
        Self {
            layout,
            sketch: Sketch::new(&config, SketchSeeds::of(seed).buckets),
            rows,
            cold,
            own: OwnRows::with_capacity(config.n_own_rows() as usize),
            pools: Pools::new(&config),
            mass_at_decay: 0.0,
            mass_at_scan: 0.0,
            scratch: Scratch::new(&config),
            config,
        }
    }

    /// Its sizes and settings.
    #[must_use]
    pub fn config(&self) -> &CafeConfig {
        &self.config
    }

    /// The sketch: which features are held, their scores, their rows; `None` with
    /// [`SlotLayout::Compact`], whose slots don't know their features.
    #[must_use]
    pub fn sketch(&self) -> Option<&HotSketch> {
        match &self.sketch {
            Sketch::Full(sketch) => Some(sketch),
            Sketch::Compact(_) => None,
        }
    }

    /// The score of `id` in the sketch, zero if it isn't held.
    #[must_use]
    pub fn score(&self, id: FeatureId) -> f32 {
        self.sketch.row_and_score(id).1
    }

    /// The tier that a lookup of `id` would be served from now.
    #[must_use]
    pub fn tier(&self, id: FeatureId) -> Tier {
        match self.route(id) {
            Route::Hot(_) => Tier::Hot,
            Route::Medium(..) => Tier::Medium,
            Route::Cold(_) | Route::Unified => Tier::Cold,
            Route::Own(_) | Route::Unseen { .. } => Tier::Own,
            Route::Unknown => unreachable!("every id has a route"),
        }
    }

    fn hot_rows(&self) -> u64 {
        match &self.sketch {
            Sketch::Full(_) => (self.config.n_hot - self.pools.n_free()) as u64,
            Sketch::Compact(sketch) => sketch.n_owners() as u64,
        }
    }

    /// The sketch, and everything that hot rows are given and taken in.
    fn tiers(&mut self) -> (&mut Sketch, Tiers<'_>) {
        let Self { config, layout, sketch, rows, cold, pools, scratch: _, .. } = self;
        (sketch, Tiers { config, layout, rows, cold: cold.as_mut(), pools })
    }
}

impl CafeEmbedding {
    fn owners(&self) -> Vec<HotFeature> {
        // Compact slots don't know their features.
        let held = self.sketch().into_iter().flat_map(HotSketch::iter);
        let owners = held.filter(|held| held.row.is_some());
        by_score(owners.map(|held| HotFeature { id: held.id, score: Some(held.score) }).collect())
    }

    fn summary(&self) -> TierSummary {
        let (n_slots_in_use, hot_rows_by_field, score_counts) = match &self.sketch {
            Sketch::Full(sketch) => {
                let owners = sketch.iter().filter(|held| held.row.is_some()).map(|held| held.id);
                let scores = sketch.iter().map(|held| held.score);
                let by_field = count_by_field(owners, self.config.fields.len());
                (sketch.iter().count(), by_field, count_by_exponent(scores))
            }
            Sketch::Compact(sketch) => {
                (sketch.n_in_use(), Vec::new(), count_by_exponent(sketch.scores()))
            }
        };
        let mass = self.sketch.mass();
        TierSummary {
            max_hot_rows: self.config.n_hot as u64,
            hot_rows: self.hot_rows(),
            hot_rows_by_field,
            knows_features: matches!(self.sketch, Sketch::Full(_)),
            slots: (self.config.n_buckets * self.config.slots) as u64,
            slots_in_use: n_slots_in_use as u64,
            thresholds: (0..self.pools.n()).map(|pool| self.pools.part(pool).1).collect(),
            score_counts,
            mass: Some(mass),
            mass_since_decay: self.config.decay.map(|_| mass - self.mass_at_decay),
            n_decays: if self.config.decay.is_none() { Some(0) } else { None },
        }
    }
}

impl Embedding for CafeEmbedding {
    fn dim(&self) -> usize {
        self.config.dim
    }

    fn lookup_on(&self, ids: &[FeatureId], out: &mut [f32], workers: &dyn Workers) {
        lookup_parts((ids, out, self.config.dim), workers, |ids, out| match &self.sketch {
            Sketch::Full(sketch) => self.read_each(sketch, ids, out),
            Sketch::Compact(sketch) => self.read_each(sketch, ids, out),
        });
    }

    fn update_on(
        &mut self,
        ids: &[FeatureId],
        grads: &[f32],
        learning_rate: f32,
        workers: &dyn Workers,
    ) -> UpdateStats {
        assert_eq!(
            grads.len(),
            ids.len() * self.config.dim,
            "update takes dim gradients for each id"
        );
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.sort(ids);
        let mut stats = UpdateStats::default();
        let workers = for_batch(workers, ids.len());
        self.step_fields(&mut scratch, (ids, grads, learning_rate), workers);
        if let Some(cold) = &mut self.cold {
            scratch.step_unified(cold, learning_rate, workers);
        }
        self.step_own_fields(&mut scratch, learning_rate);
        self.observe(&mut scratch, learning_rate, &mut stats);
        self.decay_if_due(&mut scratch, &mut stats);
        self.follow_if_due(&mut scratch, &mut stats);
        self.promote(&mut scratch, &mut stats);
        self.scratch = scratch;
        stats.hot_rows = self.hot_rows();
        stats
    }

    fn memory(&self) -> Memory {
        let cold = self.cold.as_ref().map_or_else(Memory::default, SignedTable::memory);
        Memory {
            sketch_bytes: self.sketch.bytes(),
            index_bytes: self.own.bytes(),
            free_list_bytes: self.pools.bytes(),
            ..self.rows.memory().plus(cold)
        }
    }

    fn hot_features(&self) -> Vec<HotFeature> {
        self.owners()
    }

    fn tiers(&self) -> Option<TierSummary> {
        Some(self.summary())
    }

    fn n_hot(&self, ids: &[FeatureId]) -> Option<u64> {
        Some(ids.iter().filter(|&&id| matches!(self.route(id), Route::Hot(_))).count() as u64)
    }

    fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        let mut state = self.rows.state();
        state.extend(self.sketch.state());
        state.extend(self.own.state());
        state.extend(self.pools.state());
        state.push(("mass_at_decay", f64_bits(self.mass_at_decay)));
        if self.scans() {
            state.push(("mass_at_scan", f64_bits(self.mass_at_scan)));
        }
        if let Some(cold) = &self.cold {
            state.extend(
                cold.state().into_iter().map(|(name, view)| (restore::cold_name(name), view)),
            );
        }
        state
    }

    fn restore(&mut self, state: &mut StateMap<'_>) -> Result<(), StateError> {
        self.restore_all(state)
    }
}

/// The seeds of the three hashes, drawn from the embedding's.
struct SketchSeeds {
    buckets: u64,
    first: u64,
    second: u64,
}

impl SketchSeeds {
    #[inline]
    fn of(seed: u64) -> Self {
        Self { buckets: seed ^ 0xb0c4_e750, first: seed ^ 0xf125_7000, second: seed ^ 0x5ec0_0d00 }
    }
}

fn field_layout(config: &CafeConfig, field: &FieldRows, start: u32) -> FieldLayout {
    match field.kind {
        FieldKind::Own => FieldLayout::Own {
            start,
            n: field.n_features as usize,
            used: 0,
            bound: init_bound(field.n_features),
        },
        FieldKind::Shared { first, second } => FieldLayout::Shared(SharedRows {
            first_start: start,
            first_n: first as usize,
            second_start: start + first as u32,
            second_n: second as usize,
            medium_from: config.medium_from(config.threshold),
        }),
        FieldKind::Unified => FieldLayout::Unified,
    }
}
