//! CAFE: features that matter own rows, the rest share them, and a sketch decides while training.

mod config;
mod field_step;
mod restore;
mod route;
mod update;

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::own_rows::OwnRows;
use crate::rows::{RowTable, init_bound, init_row};
use crate::state::{check_len, u32s, u64s};
use crate::workers::{for_batch, lookup_parts};
use crate::{Embedding, FeatureId, HotSketch, Memory, SketchConfig, StateError, StateView, UpdateStats, Workers};

use restore::check_ownership;
use route::{Route, SharedRows};
use update::Scratch;

pub use config::{CafeConfig, CafeSettings, Decay, FieldKind, FieldRows, Importance, Medium};

/// Where a feature's vector comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// A row of its own, given for its score.
    Hot,
    /// The sum of a shared row of the first table and one of the second.
    Medium,
    /// A shared row of the first table.
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
/// 1. field by field, in parallel where there are threads: sums the gradients of each feature, routes them to the
///    rows that `lookup` read, and takes one optimizer step a row;
/// 2. adds each feature's importance to the sketch: its gradient norms, scaled so that the mean
///    over the field's occurrences in the batch is one (a batch whose gradients are all zero adds
///    nothing). A victim that owned a row loses it;
/// 3. if enough mass has come in, decays all scores; whoever falls below the threshold loses its row;
/// 4. gives the features of the batch whose score has reached the threshold a free row, if there
///    is one. The row starts as a copy of the feature's shared vector, so nothing jumps.
///
/// Fields so small that hashing would save nothing have a row for every feature from the start.
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
    sketch: HotSketch,
    /// Hot rows first, then field by field: first table, second table.
    rows: RowTable,
    own: OwnRows,
    /// Hot rows that nobody owns; the last is given out next.
    free: Vec<u32>,
    mass_at_decay: f64,
    scratch: Scratch,
}

/// Where a field's rows lie in the table.
#[derive(Clone, Copy, Debug)]
enum FieldLayout {
    Own { start: u32, n: usize, used: usize, bound: f32 },
    Shared(SharedRows),
}

impl CafeEmbedding {
    /// An embedding whose features are all cold.
    ///
    /// # Panics
    /// If the sizes make no embedding: no hot row, more than the sketch can number, a field
    /// without rows, 2^32 rows.
    #[must_use]
    pub fn new(config: CafeConfig) -> Self {
        assert!((1..=HotSketch::MAX_ROWS).contains(&config.n_hot), "{} hot rows", config.n_hot);
        assert!(u32::try_from(config.n_rows()).is_ok(), "a table has fewer than 2^32 rows");
        let mut rows = RowTable::new(config.n_rows() as usize, config.dim, config.optimizer);
        let mut layout = Vec::with_capacity(config.fields.len());
        let mut start = config.n_hot as u32;
        for field in &config.fields {
            layout.push(field_layout(field, start));
            if let FieldLayout::Shared(SharedRows { first_start, first_n, .. }) = layout[layout.len() - 1] {
                assert!(first_n > 0, "every field needs a row");
                // The second table stays at zero, so that a feature's step from cold to medium
                // begins where it was.
                for row_idx in first_start..first_start + first_n as u32 {
                    init_row(rows.row_mut(row_idx), u64::from(row_idx), config.seed, init_bound(field.n_features));
                }
            }
            start += field.n_rows() as u32;
        }
        let SketchSeeds { buckets, .. } = SketchSeeds::of(config.seed);
        let sketch = HotSketch::new(SketchConfig {
            n_buckets: config.n_buckets,
            slots: config.slots,
            victim: config.victim,
            seed: buckets,
        });
        let n_own = config.n_own_rows();
        Self {
            layout,
            sketch,
            rows,
            own: OwnRows::with_capacity(n_own as usize),
            free: (0..config.n_hot as u32).rev().collect(),
            mass_at_decay: 0.0,
            scratch: Scratch::new(&config),
            config,
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

    /// The tier that a lookup of `id` would be served from now.
    #[must_use]
    pub fn tier(&self, id: FeatureId) -> Tier {
        match self.route(id) {
            Route::Hot(_) => Tier::Hot,
            Route::Medium(..) => Tier::Medium,
            Route::Cold(_) => Tier::Cold,
            Route::Own(_) | Route::Unseen { .. } => Tier::Own,
            Route::Unknown => unreachable!("every id has a route"),
        }
    }

    fn hot_rows(&self) -> u64 {
        (self.config.n_hot - self.free.len()) as u64
    }
}

impl Embedding for CafeEmbedding {
    fn dim(&self) -> usize {
        self.config.dim
    }

    fn lookup_on(&self, ids: &[FeatureId], out: &mut [f32], workers: &dyn Workers) {
        lookup_parts((ids, out, self.config.dim), workers, |ids, out| self.read_each(ids, out));
    }

    fn update_on(
        &mut self,
        ids: &[FeatureId],
        grads: &[f32],
        learning_rate: f32,
        workers: &dyn Workers,
    ) -> UpdateStats {
        assert_eq!(grads.len(), ids.len() * self.config.dim, "update takes dim gradients for each id");
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.sort(ids);
        let mut stats = UpdateStats::default();
        self.step_fields(&mut scratch, (ids, grads, learning_rate), for_batch(workers, ids.len()));
        self.step_own_fields(&mut scratch, learning_rate);
        self.observe(&mut scratch, learning_rate, &mut stats);
        self.decay_if_due(&mut stats);
        self.promote(&scratch, &mut stats);
        self.scratch = scratch;
        stats.hot_rows = self.hot_rows();
        stats
    }

    fn memory(&self) -> Memory {
        Memory {
            rows_bytes: self.rows.values_bytes(),
            sketch_bytes: self.sketch.bytes(),
            index_bytes: self.own.bytes(),
            free_list_bytes: (self.config.n_hot * size_of::<u32>()) as u64,
            optimizer_bytes: self.rows.optimizer_bytes(),
        }
    }

    fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        let mut state = Vec::from(self.rows.state());
        state.extend(self.sketch.state());
        state.extend(self.own.state());
        state.push(("free_rows", StateView::U32(Cow::Borrowed(&self.free))));
        state.push(("mass_at_decay", StateView::U64(Cow::Owned(vec![self.mass_at_decay.to_bits()]))));
        state
    }

    fn restore(&mut self, state: &BTreeMap<&str, StateView<'_>>) -> Result<(), StateError> {
        let rows = self.rows.restored(self.rows.n_rows(), state)?;
        let sketch = self.sketch.restored(state)?;
        let own = OwnRows::restored(self.config.n_own_rows() as usize, state)?;
        let layout = self.restored_layout(&own)?;
        let free = u32s(state, "free_rows")?.to_vec();
        check_ownership(&sketch, &free, self.config.n_hot)?;
        let mass = u64s(state, "mass_at_decay")?;
        check_len("mass_at_decay", mass.len(), 1)?;
        let mass_at_decay = f64::from_bits(mass[0]);
        if !(0.0..=sketch.mass()).contains(&mass_at_decay) {
            let why = format!("{mass_at_decay} of a mass of {}", sketch.mass());
            return Err(StateError::Damaged { name: "mass_at_decay", why });
        }
        self.mass_at_decay = mass_at_decay;
        (self.rows, self.sketch, self.own, self.layout, self.free) = (rows, sketch, own, layout, free);
        Ok(())
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

fn field_layout(field: &FieldRows, start: u32) -> FieldLayout {
    match field.kind {
        FieldKind::Own => {
            FieldLayout::Own { start, n: field.n_features as usize, used: 0, bound: init_bound(field.n_features) }
        }
        FieldKind::Shared { first, second } => FieldLayout::Shared(SharedRows {
            first_start: start,
            first_n: first as usize,
            second_start: start + first as u32,
            second_n: second as usize,
        }),
    }
}
