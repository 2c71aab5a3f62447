//! CAFE: features that matter own rows, the rest share them, and a sketch decides while training.

mod config;
mod field_step;
mod promotion;
mod restore;
mod route;
mod sizes;
mod tiers;
mod update;

use crate::batch::Batch;
use crate::batch::executor::{for_batch, lookup_parts};
use crate::embedding::{Embedding, Executor, MemoryUsage, UpdateStats};
use crate::feature::FeatureId;
use crate::sketch::{Entry, HotSketch, SketchConfig};
use crate::state::{StateError, StateMap, StateView, f64_bits};
use crate::table::cold::{FieldKind, FieldRows};
use crate::table::own_rows::OwnRows;
use crate::table::rows::{RowTable, init_bound};
use crate::table::signed_table::{SignedTable, TableSizes};
use crate::tier_summary::{HotFeature, TierSummary, by_score, count_by_exponent, count_by_field};

use promotion::HotRows;
use route::{Route, SharedRows};
use tiers::Tiers;
use update::Scratch;

pub use config::{
    CafeConfig, CafeSettings, Decay, Hysteresis, Middle, OutOfRange, PaperData, Promotion, Shared,
};

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
/// 3. if a large enough total score has come in, decays all scores; features whose score falls
///    below the threshold lose their row;
/// 4. gives the features of the batch whose score has reached the threshold a free row, if there is
///    one. The row starts as a copy of the feature's shared vector, so nothing jumps (but for
///    rounding, where rows are stored in few bits and the vector is a sum of two).
///
/// Fields so small that hashing would save nothing have a row for every feature from the start.
///
/// That is the paper's CAFE. Two options go beyond it, alone or together: a threshold that follows
/// the hot rows in use ([`Promotion::Quota`]), and one table of shared rows for all fields
/// ([`Shared::Table`]).
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
/// use cafe_core::methods::{CafeConfig, CafeEmbedding, CafeSettings};
/// use cafe_core::{Budget, Embedding, FeatureId, RowFormat, Sizing};
///
/// let (dim, budget, format) = (16, Budget::Bytes(16_000), RowFormat::default());
/// let sizing = Sizing { features: &[40_000, 10_000], dim, budget, format, seed: 1 };
/// let config = CafeConfig::within(&sizing, &CafeSettings::paper(200.0))?;
/// let mut embedding = CafeEmbedding::new(&config);
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
    sketch: HotSketch,
    /// Hot rows first, then field by field: first table, second table.
    rows: RowTable,
    /// The rows that all fields share, if they do.
    cold: Option<SignedTable>,
    own: OwnRows,
    hot: HotRows,
    /// The total score observed when scores last decayed.
    mass_at_decay: f64,
    /// The total score observed when the threshold of a quota was last adapted.
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
    /// rows, rows of fields where all share one table, 2^32 rows.
    #[must_use]
    pub fn new(config: &CafeConfig) -> Self {
        let CafeConfig { dim, n_hot, n_buckets, format, seed, .. } = *config;
        assert!((1..=HotSketch::MAX_ROWS).contains(&n_hot), "{n_hot} hot rows");
        assert!(u32::try_from(config.n_rows()).is_ok(), "a table has fewer than 2^32 rows");
        let n_rows = (config.n_rows() - config.n_shared_table_rows) as usize;
        let mut rows = RowTable::new(n_rows, dim, format);
        let mut layout = Vec::with_capacity(config.fields.len());
        let mut start = n_hot as u32;
        for field in &config.fields {
            let of_field = FieldLayout::new(config, field, start);
            if let FieldLayout::Shared(SharedRows { first_start, first_n, .. }) = of_field {
                assert!(first_n > 0, "every field needs a row");
                // The second table stays at zero, so that a feature's step from cold to medium
                // begins where it was.
                for row_idx in first_start..first_start + first_n as u32 {
                    rows.init(row_idx, u64::from(row_idx), seed, init_bound(field.n_features));
                }
            }
            layout.push(of_field);
            start += field.n_rows() as u32;
        }
        let CafeSettings { slots, victim, .. } = config.settings;
        let sketch =
            SketchConfig { n_buckets, slots, victim, seed: SketchSeeds::new(seed).buckets };
        Self {
            layout,
            sketch: HotSketch::new(sketch),
            rows,
            cold: shared_table(config),
            own: OwnRows::with_capacity(config.n_own_rows() as usize),
            hot: HotRows::new(config),
            mass_at_decay: 0.0,
            mass_at_scan: 0.0,
            scratch: Scratch::new(config),
            config: config.clone(),
        }
    }

    /// Its sizes and settings.
    #[must_use]
    pub fn config(&self) -> &CafeConfig {
        &self.config
    }

    /// The sketch: which features are held, their scores, their rows.
    #[must_use]
    pub fn sketch(&self) -> &HotSketch {
        &self.sketch
    }

    /// The score of `id` in the sketch, zero if it is not held.
    #[must_use]
    pub fn score(&self, id: FeatureId) -> f32 {
        self.sketch.estimate(id)
    }

    /// The tier that a lookup of `id` would be served from now.
    ///
    /// # Panics
    /// If `id` is of a field that the embedding lacks.
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

    /// The sketch, and everything that a change of a hot row's owner touches.
    fn tiers(&mut self) -> (&mut HotSketch, Tiers<'_>) {
        let Self { config, layout, sketch, rows, cold, hot, .. } = self;
        (sketch, Tiers { config, layout, rows, cold: cold.as_ref(), hot })
    }

    fn owners(&self) -> Vec<HotFeature> {
        let owners = self.sketch.iter().filter(|entry| entry.row.is_some());
        let feature = |entry: Entry| HotFeature { id: entry.id, score: Some(entry.score) };
        by_score(owners.map(feature).collect())
    }

    fn summary(&self) -> TierSummary {
        let owners = self.sketch.iter().filter(|entry| entry.row.is_some()).map(|entry| entry.id);
        let mass = self.sketch.mass();
        let decay = self.config.settings.decay;
        TierSummary {
            max_hot_rows: self.config.n_hot as u64,
            hot_rows: self.hot.free.n_owned() as u64,
            hot_rows_by_field: count_by_field(owners, self.config.fields.len()),
            knows_features: true,
            slots: (self.config.n_buckets * self.config.settings.slots) as u64,
            slots_in_use: self.sketch.iter().count() as u64,
            thresholds: vec![self.hot.threshold()],
            score_counts: count_by_exponent(self.sketch.iter().map(|entry| entry.score)),
            mass: Some(mass),
            mass_since_decay: decay.map(|_| mass - self.mass_at_decay),
            n_decays: if decay.is_none() { Some(0) } else { None },
        }
    }
}

impl Embedding for CafeEmbedding {
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
        let batch = Batch::new(ids, grads, self.config.dim);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.sort(ids);
        let mut stats = UpdateStats::default();
        let executor = for_batch(executor, ids.len());
        self.step_fields(&mut scratch, batch, learning_rate, executor);
        if let Some(cold) = &mut self.cold {
            scratch.step_unified(cold, learning_rate, executor);
        }
        self.step_own_fields(&mut scratch, learning_rate);
        self.observe(&mut scratch, learning_rate, &mut stats);
        self.decay_if_due(&mut stats);
        self.follow_if_due(&mut stats);
        self.promote(&mut scratch, &mut stats);
        self.scratch = scratch;
        stats.hot_rows = self.hot.free.n_owned() as u64;
        stats
    }

    fn memory(&self) -> MemoryUsage {
        let cold = self.cold.as_ref().map_or_else(MemoryUsage::default, SignedTable::memory);
        MemoryUsage {
            sketch_bytes: self.sketch.bytes(),
            index_bytes: self.own.bytes(),
            free_list_bytes: self.hot.free.bytes(),
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
        state.extend(self.hot.state());
        state.push(("mass_at_decay", f64_bits(self.mass_at_decay)));
        if self.config.settings.promotion.is_quota() {
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

/// The seeds of the three hashes, derived from the embedding's. The constants are arbitrary, but
/// saved states depend on them; `table::cold` has the second one for the same purpose.
struct SketchSeeds {
    buckets: u64,
    first: u64,
    second: u64,
}

impl SketchSeeds {
    #[inline]
    fn new(seed: u64) -> Self {
        Self { buckets: seed ^ 0xb0c4_e750, first: seed ^ 0xf125_7000, second: seed ^ 0x5ec0_0d00 }
    }
}

impl FieldLayout {
    /// The layout of a field whose rows begin at `start`.
    fn new(config: &CafeConfig, field: &FieldRows, start: u32) -> Self {
        match field.kind {
            FieldKind::Own => Self::Own {
                start,
                n: field.n_features as usize,
                used: 0,
                bound: init_bound(field.n_features),
            },
            FieldKind::Shared { first, second } => Self::Shared(SharedRows {
                first_start: start,
                first_n: first as usize,
                second_start: start + first as u32,
                second_n: second as usize,
                medium_from: config.medium_from(config.settings.promotion.threshold()),
            }),
            FieldKind::Unified => Self::Unified,
        }
    }
}

/// The table that all fields share, if they do.
fn shared_table(config: &CafeConfig) -> Option<SignedTable> {
    let Shared::Table(settings) = config.settings.shared else { return None };
    let has_rows = config.fields.iter().any(|field| field.kind != FieldKind::Unified);
    assert!(!has_rows, "where all fields share a table none has rows of its own");
    let features: Vec<u64> = config.fields.iter().map(|field| field.n_features).collect();
    let sizes = TableSizes { features: &features, n_rows: config.n_shared_table_rows };
    Some(SignedTable::new(settings, sizes, config.dim, config.format, config.seed))
}
