//! AdaEmbed: statistics for every feature, rows for the most important ones only.

mod config;
mod rebuild;

use std::borrow::Cow;

use crate::batch::Batch;
use crate::batch::by_field::{ByField, FieldPart, cut};
use crate::batch::cache_hint::{AHEAD, prefetch};
use crate::batch::coalesce::KeyIndex;
use crate::batch::executor::{Buffers, for_batch, for_each, lookup_parts};
use crate::batch::importance::norms;
use crate::embedding::{Embedding, Executor, MemoryUsage, UpdateStats};
use crate::feature::FeatureId;
use crate::hash::{mix64, reduce};
use crate::state::{StateError, StateMap, StateView, array, check_len};
use crate::table::free_rows::FreeRows;
use crate::table::rows::{RowTable, init_bound};
use crate::tier_summary::{TierSummary, count_by_exponent};

pub use config::AdaConfig;

/// AdaEmbed: every feature's importance is known exactly, and the `H` most important own the rows.
///
/// # How it works
/// For each of a field's `n_f` features there are 8 bytes of statistics: its importance and the row
/// that it owns. Tokens have 32 bits and no vocabulary numbers them, so a seeded hash maps them to
/// the `n_f` entries; tokens that meet in an entry are one feature (with as many tokens as entries,
/// about 63 % of the entries are used). A feature that owns no row is the zero vector. `update`
/// does, in this order:
///
/// 1. one optimizer step for each row that `lookup` read. As long as rows are free, a feature gets
///    one at its first update; it starts from its initial row, `U(±sqrt(1/n_f))` as a function of
///    its entry. Until the last row is taken `lookup` returns that initial row for features not yet
///    seen;
/// 2. adds the gradient norms of each feature's occurrences to its importance. With the decay of
///    step 3 this is an exponential moving average, but for a constant factor;
/// 3. every `decay_every` steps, multiplies all importances by `decay_factor`;
/// 4. every `check_every` steps, looks at a seeded sample of the statistics. Importances are
///    divided by their field's 95th percentile, so that fields are comparable. If more than
///    `changed_share` of the most important `H/n` of the sample own no row, rows are
///    reassigned: exactly the `H` most important features own rows afterwards. One that gains a row
///    starts from its initial row, one that loses it is the zero vector again, one that stays keeps
///    what it has learned, and importances don't change (of equal ones the earlier entry comes
///    first).
///
/// # Costs
/// Two reads of memory for each id, its statistics and its row. 8 bytes a feature are within the
/// budget and leave no row from a ratio of about `dim / 2` on. A step allocates nothing, but in a
/// check 8 bytes for each sampled feature. A check reads all statistics five times, new owners
/// seven times more: rare, but for 34 million features some tenths of a second.
///
/// # Example
/// ```
/// use cafe_core::methods::{AdaConfig, AdaEmbedding};
/// use cafe_core::{Budget, Embedding, FeatureId, RowFormat, Sizing};
///
/// let (budget, format) = (Budget::Bytes(80_000), RowFormat::default());
/// // A full table has 320 kB.
/// let sizing = Sizing { features: &[4000, 1000], dim: 16, budget, format, seed: 1 };
/// let config = AdaConfig::within(&sizing)?;
/// assert_eq!(config.n_hot, (80_000 - 8 * 5000) / 64);
/// let mut embedding = AdaEmbedding::new(&config);
/// let stats = embedding.update(&[FeatureId::new(0, 7)], &[0.5; 16], 0.1);
/// assert_eq!(stats.hot_rows, 1);
///
/// let tenth = Sizing { budget: Budget::Bytes(32_000), ..sizing };
/// let refused = AdaConfig::within(&tenth).unwrap_err();
/// assert!(refused.to_string().starts_with("ada needs CR <= 7.9, asked for 10.0"));
/// # Ok::<(), cafe_core::BudgetError>(())
/// ```
///
/// Source: "AdaEmbed: Adaptive Embedding for Large-Scale Recommendation Models" (OSDI 2023), in the
/// setting of the CAFE paper's comparison.
#[derive(Clone, Debug)]
pub struct AdaEmbedding {
    config: AdaConfig,
    /// Field f has the entries `starts[f]..starts[f + 1]`.
    starts: Vec<u32>,
    statistics: Vec<Statistics>,
    rows: RowTable,
    /// Rows that no feature owns.
    free: FreeRows,
    steps: u64,
    batch: ByField,
    /// The row of each distinct feature, at its place in `batch`.
    routes: Vec<u32>,
    buffers: Buffers<FieldBuffers>,
}

/// What is known of a feature.
#[derive(Clone, Copy, Debug)]
struct Statistics {
    importance: f32,
    row: u32,
}

const STATISTICS_BYTES: u64 = size_of::<Statistics>() as u64;
/// Not a row, and in a state not an entry.
const NO_ROW: u32 = u32::MAX;
/// No run has as many steps.
const MAX_STEPS: u64 = 1 << 62;

/// What a thread needs for one field at a time.
#[derive(Debug, Default)]
struct FieldBuffers {
    keys: KeyIndex,
    norms: Vec<f64>,
    importance: Vec<f64>,
}

impl AdaEmbedding {
    /// An embedding in which no feature owns a row yet.
    ///
    /// # Panics
    /// If the sizes or settings make no embedding: a field without features, no row, more rows than
    /// features, 2^32 features, a period of no steps, a share or factor out of range.
    #[must_use]
    pub fn new(config: &AdaConfig) -> Self {
        config.check();
        let ends = config.features.iter().scan(0, |end, &n_f| {
            *end += n_f as u32;
            Some(*end)
        });
        let unknown = Statistics { importance: 0.0, row: NO_ROW };
        Self {
            starts: [0].into_iter().chain(ends).collect(),
            statistics: vec![unknown; config.n_features() as usize],
            rows: RowTable::new(config.n_hot, config.dim, config.format),
            free: FreeRows::new(config.n_hot),
            steps: 0,
            batch: ByField::new(config.features.len(), config.dim),
            routes: Vec::new(),
            buffers: Buffers::default(),
            config: config.clone(),
        }
    }

    /// Its sizes and settings.
    #[must_use]
    pub fn config(&self) -> &AdaConfig {
        &self.config
    }

    /// The importance of `id`, as yet not divided by its field's.
    ///
    /// # Panics
    /// If the embedding lacks the field of `id`.
    #[must_use]
    pub fn importance(&self, id: FeatureId) -> f32 {
        self.statistics[self.entry(id)].importance
    }

    /// Whether `id` owns a row.
    ///
    /// # Panics
    /// If the embedding lacks the field of `id`.
    #[must_use]
    pub fn owns_row(&self, id: FeatureId) -> bool {
        self.statistics[self.entry(id)].row != NO_ROW
    }

    /// Where the statistics of `id` are.
    #[inline]
    fn entry(&self, id: FeatureId) -> usize {
        let field = id.field();
        self.starts[field] as usize + local_entry(id, self.config.features[field], self.config.seed)
    }

    fn read_each(&self, ids: &[FeatureId], out: &mut [f32]) {
        let dim = self.config.dim;
        let (mut entries, mut rows) = ([0; AHEAD], [NO_ROW; AHEAD]);
        for (ids, out) in ids.chunks(AHEAD).zip(out.chunks_mut(AHEAD * dim)) {
            for (entry, &id) in entries.iter_mut().zip(ids) {
                *entry = self.entry(id);
                prefetch(&self.statistics, *entry, 1);
            }
            for ((row, &entry), _) in rows.iter_mut().zip(&entries).zip(ids) {
                *row = self.statistics[entry].row;
                if *row != NO_ROW {
                    self.rows.prefetch(*row);
                }
            }
            for ((&row, &entry), (out, id)) in
                rows.iter().zip(&entries).zip(out.chunks_exact_mut(dim).zip(ids))
            {
                match row {
                    NO_ROW if self.free.is_empty() => out.fill(0.0),
                    NO_ROW => {
                        let bound = init_bound(self.config.features[id.field()]);
                        self.rows.initial(entry as u64, self.config.seed, bound, out);
                    }
                    row => self.rows.read(row, out),
                }
            }
        }
    }

    /// Sums gradients, adds importance, and notes which feature owns which row; field by field.
    fn gather(&mut self, given: Batch<'_>, executor: &dyn Executor) {
        let Self { config, starts, statistics, batch, routes, buffers, .. } = self;
        routes.resize(given.ids.len(), NO_ROW);
        let (mut statistics, mut routes) = (statistics.as_mut_slice(), routes.as_mut_slice());
        let (config, starts, buffers) = (&*config, &*starts, &*buffers);
        let steps = batch.parts().map(|part| FieldStep {
            config,
            start: starts[part.field],
            statistics: cut(&mut statistics, config.features[part.field] as usize),
            routes: cut(&mut routes, part.occurrences.len()),
            part,
        });
        for_each(executor, steps, |mut step| buffers.with(|buffers| step.run(buffers, given)));
    }

    /// One step for each row; rows that are free go to the features that the batch names first.
    fn step_rows(&mut self, learning_rate: f32, stats: &mut UpdateStats) {
        let mut batch = std::mem::take(&mut self.batch);
        batch.order();
        for places in batch.in_order().chunks(AHEAD) {
            let mut rows = [NO_ROW; AHEAD];
            for (row, &place) in rows.iter_mut().zip(places) {
                *row = self.routes[place as usize];
                if *row != NO_ROW {
                    self.rows.prefetch(*row);
                } else if let Some(free) = self.free.pop() {
                    *row = free;
                    self.assign(free, batch.key(place as usize) as usize);
                    stats.promoted += 1;
                }
            }
            for (&row, &place) in rows.iter().zip(places) {
                if row != NO_ROW {
                    self.rows.step(row, batch.sum(place as usize), learning_rate);
                }
            }
        }
        self.batch = batch;
    }

    /// Makes a row that of an entry: its initial one.
    fn assign(&mut self, row: u32, entry: usize) {
        let bound = init_bound(self.config.features[self.field_of(entry)]);
        self.rows.init(row, entry as u64, self.config.seed, bound);
        self.rows.reset_optimizer(row);
        self.statistics[entry].row = row;
    }

    fn field_of(&self, entry: usize) -> usize {
        self.starts.partition_point(|&start| start as usize <= entry) - 1
    }

    /// Owners of rows and importances, from a state.
    fn restored_statistics(
        &self,
        state: &StateMap<'_>,
    ) -> Result<(Vec<Statistics>, FreeRows), StateError> {
        let importance = array::<f32>(state, "importance")?;
        check_len("importance", importance.len(), self.statistics.len())?;
        if let Some(value) = importance.iter().find(|value| !(**value >= 0.0 && value.is_finite()))
        {
            return Err(StateError::Damaged {
                name: "importance",
                why: format!("it holds {value}"),
            });
        }
        let owners = array::<u32>(state, "row_owners")?;
        check_len("row_owners", owners.len(), self.config.n_hot)?;
        let mut statistics: Vec<_> =
            importance.iter().map(|&importance| Statistics { importance, row: NO_ROW }).collect();
        let damaged = |why: String| StateError::Damaged { name: "row_owners", why };
        for (&owner, row) in owners.iter().zip(0..).filter(|&(&owner, _)| owner != NO_ROW) {
            let entry = statistics.get_mut(owner as usize).filter(|entry| entry.row == NO_ROW);
            entry
                .ok_or_else(|| damaged(format!("entry {owner} is out of range or owns two rows")))?
                .row = row;
        }
        let owned = owners.iter().zip(0..).filter(|&(&owner, _)| owner != NO_ROW);
        let free = self.free.restored(state, owned.map(|(_, row)| row))?;
        Ok((statistics, free))
    }
}

/// The entry of `id` among those of its field.
#[inline]
fn local_entry(id: FeatureId, n_features: u64, seed: u64) -> usize {
    reduce(mix64(id.raw(), seed), n_features as usize)
}

/// One field's part of the batch, and what it reads and writes.
struct FieldStep<'a> {
    config: &'a AdaConfig,
    /// The field's first entry.
    start: u32,
    part: FieldPart<'a>,
    /// The field's statistics.
    statistics: &'a mut [Statistics],
    routes: &'a mut [u32],
}

impl FieldStep<'_> {
    fn run(&mut self, buffers: &mut FieldBuffers, given: Batch<'_>) {
        let FieldBuffers { keys, norms: occurrence_norms, importance } = buffers;
        let AdaConfig { ref features, seed, .. } = *self.config;
        let n_features = features[self.part.field];
        norms(self.part.occurrences, given.grads, given.dim, occurrence_norms);
        importance.clear();
        importance.resize(self.part.occurrences.len(), 0.0);
        // Numbered through all fields, so that the batch can be ordered.
        let key = |id: FeatureId| u64::from(self.start) + local_entry(id, n_features, seed) as u64;
        self.part.coalesce(keys, given, key, |number, position| {
            importance[position] += occurrence_norms[number];
        });
        let keys = &self.part.keys[..*self.part.n_keys];
        for (at, (&key, row)) in keys.iter().zip(&mut *self.routes).enumerate() {
            if let Some(&ahead) = keys.get(at + 16) {
                prefetch(self.statistics, ahead as usize - self.start as usize, 1);
            }
            let added = importance[at];
            assert!(added.is_finite(), "field {}: a gradient is not finite", self.part.field);
            let entry = &mut self.statistics[key as usize - self.start as usize];
            entry.importance = (entry.importance + added as f32).min(f32::MAX);
            *row = entry.row;
        }
    }
}

impl AdaEmbedding {
    /// Tokens that meet in an entry are one feature, so entries have no ids, but their fields are
    /// known.
    fn summary(&self) -> TierSummary {
        let fields =
            self.starts.windows(2).map(|ends| &self.statistics[ends[0] as usize..ends[1] as usize]);
        let by_field =
            fields.map(|field| field.iter().filter(|entry| entry.row != NO_ROW).count() as u64);
        let used =
            self.statistics.iter().filter(|entry| entry.importance > 0.0 || entry.row != NO_ROW);
        TierSummary {
            max_hot_rows: self.config.n_hot as u64,
            hot_rows: self.free.n_owned() as u64,
            hot_rows_by_field: by_field.collect(),
            slots: self.statistics.len() as u64,
            slots_in_use: used.count() as u64,
            score_counts: count_by_exponent(self.statistics.iter().map(|entry| entry.importance)),
            n_decays: Some(self.steps / self.config.decay_every),
            ..TierSummary::default()
        }
    }
}

impl Embedding for AdaEmbedding {
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
        let mut stats = UpdateStats::default();
        self.batch.sort(ids);
        self.gather(given, for_batch(executor, ids.len()));
        self.step_rows(learning_rate, &mut stats);
        self.steps += 1;
        if self.steps.is_multiple_of(self.config.decay_every) {
            for entry in &mut self.statistics {
                entry.importance *= self.config.decay_factor;
            }
        }
        if self.steps.is_multiple_of(self.config.check_every) {
            self.rebuild_if_changed(&mut stats);
        }
        stats.hot_rows = self.free.n_owned() as u64;
        stats
    }

    fn memory(&self) -> MemoryUsage {
        MemoryUsage {
            sketch_bytes: size_of_val(self.statistics.as_slice()) as u64,
            free_list_bytes: self.free.bytes(),
            ..self.rows.memory()
        }
    }

    fn tiers(&self) -> Option<TierSummary> {
        Some(self.summary())
    }

    fn n_hot(&self, ids: &[FeatureId]) -> Option<u64> {
        Some(ids.iter().filter(|&&id| self.owns_row(id)).count() as u64)
    }

    fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        let importance = self.statistics.iter().map(|entry| entry.importance).collect();
        let mut owners = vec![NO_ROW; self.config.n_hot];
        for (entry, statistics) in (0_u32..).zip(&self.statistics) {
            if statistics.row != NO_ROW {
                owners[statistics.row as usize] = entry;
            }
        }
        let mut state = self.rows.state();
        state.push(("importance", StateView::F32(Cow::Owned(importance))));
        state.push(("row_owners", StateView::U32(Cow::Owned(owners))));
        state.push(self.free.state());
        state.push(("steps", StateView::U64(Cow::Owned(vec![self.steps]))));
        state
    }

    fn restore(&mut self, state: &mut StateMap<'_>) -> Result<(), StateError> {
        let rows = self.rows.restored(self.rows.n_rows(), state)?;
        let (statistics, free) = self.restored_statistics(state)?;
        let steps = array::<u64>(state, "steps")?;
        check_len("steps", steps.len(), 1)?;
        if steps[0] > MAX_STEPS {
            return Err(StateError::Damaged { name: "steps", why: format!("{} steps", steps[0]) });
        }
        (self.rows, self.statistics, self.free, self.steps) = (rows, statistics, free, steps[0]);
        Ok(())
    }
}
