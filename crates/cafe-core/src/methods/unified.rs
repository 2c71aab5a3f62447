//! One table for all fields: every feature is a signed sum of its rows.

use crate::batch::Batch;
use crate::batch::by_field::ByField;
use crate::batch::cache_hint::AHEAD;
use crate::batch::coalesce::KeyIndex;
use crate::batch::executor::{Buffers, for_batch, for_each, lookup_parts};
use crate::budget::{Budget, BudgetError};
use crate::embedding::{Embedding, Executor, MemoryUsage, UpdateStats};
use crate::feature::FeatureId;
use crate::state::{StateError, StateMap, StateView};
use crate::table::claimed::{ClaimedRows, OwnRowSizes};
use crate::table::rows::RowFormat;
use crate::table::signed_table::contributions::Contributions;
use crate::table::signed_table::{
    FeatureRows, MAX_ROWS, SignedTable, Signs, TableSizes, UnifiedSettings,
};
use crate::table::sizing::Sizing;

/// Sizes and settings of a [`UnifiedEmbedding`].
#[derive(Clone, Debug, PartialEq)]
pub struct UnifiedConfig {
    /// Values a row.
    pub dim: usize,
    /// Features of each field; they set the scale that the fields' rows start with.
    pub features: Vec<u64>,
    /// Rows that features share, those of the fields among them.
    pub n_shared: u64,
    /// Which rows a feature is the sum of.
    pub settings: UnifiedSettings,
    /// Narrow rows that features claim at first sight; `None` where all values are shared.
    pub own_rows: Option<OwnRowSizes>,
    /// How rows are stored, and how they follow their gradients.
    pub format: RowFormat,
    /// Seeds the hashes and the initial rows.
    pub seed: u64,
}

/// Rows for each feature of a coded table at most, where the budget has room for more.
const MAX_ROWS_PER_FEATURE: u64 = 4;

impl UnifiedConfig {
    /// As many rows as the budget holds, the rows of the fields among them, but no more than
    /// there are features; with a sign for each value four times as many, since fewer features
    /// collide then.
    ///
    /// # Errors
    /// If the budget can't hold a row for each field that has one and one for each hash.
    pub fn within(sizing: &Sizing<'_>, settings: UnifiedSettings) -> Result<Self, BudgetError> {
        let Sizing { features, dim, format, seed, .. } = *sizing;
        let (row_bytes, budget_bytes) = (sizing.row_bytes(), sizing.budget_bytes());
        let min_rows = settings.min_rows(features.len());
        let per_feature =
            if settings.signs == Signs::Coordinate { MAX_ROWS_PER_FEATURE } else { 1 };
        let max_rows = (per_feature * sizing.n_features() + min_rows).min(MAX_ROWS);
        let n_shared = max_rows.min(budget_bytes / row_bytes);
        if n_shared < min_rows {
            let needed = min_rows * row_bytes;
            let what = if settings.field_rows {
                "a row for each field and each hash"
            } else {
                "a row for each hash"
            };
            return Err(BudgetError::TooSmall { budget: budget_bytes, needed, what });
        }
        Ok(Self {
            dim,
            features: features.to_vec(),
            n_shared,
            settings,
            own_rows: None,
            format,
            seed,
        })
    }

    /// The coded table ([`UnifiedSettings::CODED`]), with rows of their own for all features where
    /// the budget has a few bytes for each ([`OwnRowSizes`]); these then take nine tenths of it.
    ///
    /// # Errors
    /// If the budget can't hold a row for each field and one for a hash.
    pub fn coded(sizing: &Sizing<'_>) -> Result<Self, BudgetError> {
        let (budget_bytes, format) = (sizing.budget_bytes(), sizing.format);
        let coded = |bytes| {
            let sizing = Sizing { budget: Budget::Bytes(bytes), ..*sizing };
            Self::within(&sizing, UnifiedSettings::CODED)
        };
        let with_own = |own: OwnRowSizes| {
            let shared = coded(budget_bytes - own.bytes(format)).ok()?;
            Some(Self { own_rows: Some(own), ..shared })
        };
        let own = OwnRowSizes::within(sizing.n_features(), sizing.dim, budget_bytes, format);
        own.and_then(with_own).map_or_else(|| coded(budget_bytes), Ok)
    }

    /// Rows of all kinds, narrow ones among them.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_shared + self.own_rows.map_or(0, |own| own.n_slots())
    }

    /// Bytes of all rows as the budget counts them, with the fingerprints of own rows.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        self.n_shared * self.format.row_bytes(self.dim)
            + self.own_rows.map_or(0, |own| own.bytes(self.format))
    }
}

/// One table that all fields share: `e(id) = T[field] + s1 T[h1(id)] + s2 T[h2(id)]`, s = ±1 from
/// the hash; with [`UnifiedSettings::CODED`] the method `coded`: one hashed row, and a sign for
/// each of its values.
///
/// Sizing a table for each field in proportion to its features leaves a field of a few hundred
/// features with one row at high ratios, and gives millions of rows' worth of bytes to features
/// that are seen once. Here nothing decides which features get the rows: a frequent feature moves
/// its rows far and often, a rare one hardly, so what a row holds is mostly its most frequent
/// feature. Two rows a feature make it unlikely that two frequent ones share everything, and signs
/// make the rare ones' contributions cancel. The row of the field takes up what its features have
/// in common. A sign for each value makes a second row unnecessary: two features of one row read it
/// through different reflections, so that d values hold about d numbers of several features
/// ([`Signs`]).
///
/// Where a budget has some bytes for each feature, features also claim narrow rows of their own
/// ([`UnifiedConfig::coded`]).
///
/// Costs: a row for each hash and one of the field read for each id, and as many stepped; nothing
/// is stored beside the rows but the fingerprints of own ones. Every ratio can be reached down to a
/// row for each field and hash.
///
/// [`Signs`]: crate::table::Signs
///
/// Sources: Weinberger et al. 2009 for signed hashing into one space ("Feature Hashing for Large
/// Scale Multitask Learning"), Svenstrup et al. 2017 for several rows from one pool ("Hash
/// Embeddings"), Coleman et al. 2023 for one table across fields ("Unified Embedding").
#[derive(Clone, Debug)]
pub struct UnifiedEmbedding {
    n_fields: usize,
    table: SignedTable,
    own: Option<ClaimedRows>,
    batch: ByField,
    scratch: Scratch,
    contributions: Contributions,
    buffers: Buffers<KeyIndex>,
}

/// Buffers of an update that steps own rows.
#[derive(Clone, Debug, Default)]
struct Scratch {
    /// The slot of each key of the batch, field after field.
    slots: Vec<u32>,
    /// A feature's shared values.
    shared: Vec<f32>,
}

impl UnifiedEmbedding {
    /// A table of freshly initialised rows, U(±sqrt(1 / (k n))) for n rows of which hashes choose
    /// k.
    ///
    /// # Panics
    /// If there are too few rows for the hashes and the fields, or 2^31 rows.
    #[must_use]
    pub fn new(config: &UnifiedConfig) -> Self {
        let UnifiedConfig { dim, features, n_shared, settings, own_rows, format, seed } = config;
        let sizes = TableSizes { features, n_rows: *n_shared };
        Self {
            n_fields: features.len(),
            table: SignedTable::new(*settings, sizes, *dim, *format, *seed),
            own: own_rows.map(|sizes| ClaimedRows::new(sizes, *format, *seed)),
            batch: ByField::new(features.len(), *dim),
            scratch: Scratch::default(),
            contributions: Contributions::default(),
            buffers: Buffers::default(),
        }
    }
}

impl Embedding for UnifiedEmbedding {
    fn dim(&self) -> usize {
        self.table.dim()
    }

    fn lookup_on(&self, ids: &[FeatureId], out: &mut [f32], executor: &dyn Executor) {
        assert!(
            ids.iter().all(|id| id.field() < self.n_fields),
            "an id is of a field that there isn't"
        );
        lookup_parts(ids, out, self.dim(), executor, |ids, out| match &self.own {
            Some(own) => read_with_own(&self.table, own, ids, out),
            None => self.table.read(ids, out),
        });
    }

    fn update_on(
        &mut self,
        ids: &[FeatureId],
        grads: &[f32],
        learning_rate: f32,
        executor: &dyn Executor,
    ) -> UpdateStats {
        let dim = self.dim();
        let given = Batch::new(ids, grads, dim);
        let Self { n_fields, table, own, batch, scratch, contributions, buffers } = self;
        batch.sort(ids);
        let mut rest = contributions.start(table.hashes(), *n_fields, dim, ids.len());
        let parts = batch.parts().map(|part| {
            let contributions = rest.cut(part.occurrences.len());
            (part, contributions)
        });
        for_each(for_batch(executor, ids.len()), parts, |(mut part, mut contributions)| {
            buffers.with(|keys| {
                part.coalesce(keys, given, FeatureId::raw, |_, _| ());
            });
            for (position, (raw, grad)) in part.iter(dim).enumerate() {
                contributions.add(position, FeatureId::from_raw(raw), grad);
            }
            contributions.finish();
        });
        if let Some(own) = own {
            step_own(table, own, batch, scratch, learning_rate);
        }
        table.step(batch, contributions, learning_rate, executor);
        UpdateStats::default()
    }

    fn memory(&self) -> MemoryUsage {
        self.own
            .as_ref()
            .map_or_else(MemoryUsage::default, ClaimedRows::memory)
            .plus(self.table.memory())
    }

    fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        let own = self.own.iter().flat_map(ClaimedRows::state);
        self.table.state().into_iter().chain(own).collect()
    }

    fn restore(&mut self, state: &mut StateMap<'_>) -> Result<(), StateError> {
        let own = self.own.as_ref().map(|own| own.restored(state)).transpose()?;
        self.table = self.table.restored(state)?;
        self.own = own;
        Ok(())
    }
}

/// Writes the vector of `ids[i]` to `out[i * dim .. (i + 1) * dim]`: its first values from its own
/// row, if it has one.
fn read_with_own(table: &SignedTable, own: &ClaimedRows, ids: &[FeatureId], out: &mut [f32]) {
    let (dim, width) = (table.dim(), own.width());
    let (mut rows, mut slots) = ([FeatureRows::default(); AHEAD], [None; AHEAD]);
    for (ids, out) in ids.chunks(AHEAD).zip(out.chunks_mut(AHEAD * dim)) {
        for (rows, &id) in rows.iter_mut().zip(ids) {
            *rows = table.rows_of(id);
            table.prefetch(*rows);
            own.prefetch_bucket(id);
        }
        for (slot, &id) in slots.iter_mut().zip(ids) {
            *slot = own.find(id);
            if let Some(slot) = *slot {
                own.prefetch_row(slot);
            }
        }
        for (((&rows, &slot), id), out) in
            rows.iter().zip(&slots).zip(ids).zip(out.chunks_exact_mut(dim))
        {
            table.read_hashed(rows, id.field(), out);
            if let Some(slot) = slot {
                own.read(slot, &mut out[..width]);
            }
            table.add_field(id.field(), out);
        }
    }
}

/// Gives the batch's new features a row each, as far as there is room, starting from the shared
/// values; then steps own rows with their values' gradients, which the shared rows no longer get.
/// In the order of fields and keys, on one thread: a bucket is of all fields, and narrow rows are
/// quick.
fn step_own(
    table: &SignedTable,
    own: &mut ClaimedRows,
    batch: &mut ByField,
    scratch: &mut Scratch,
    learning_rate: f32,
) {
    const NO_SLOT: u32 = u32::MAX;
    let width = own.width();
    let Scratch { slots, shared } = scratch;
    shared.resize(table.dim(), 0.0);
    slots.clear();
    for field in 0..batch.n_fields() {
        for place in batch.places(field) {
            let id = FeatureId::from_raw(batch.key(place));
            let slot = own.find(id).or_else(|| {
                table.read_hashed(table.rows_of(id), field, shared);
                own.claim(id, &shared[..width])
            });
            slots.push(slot.unwrap_or(NO_SLOT));
        }
    }
    let (mut rows, mut slots) = (own.rows_mut(), slots.iter());
    for field in 0..batch.n_fields() {
        for (place, &slot) in batch.places(field).zip(&mut slots) {
            if slot != NO_SLOT {
                let grad = &mut batch.sum_mut(place)[..width];
                rows.step(slot, grad, learning_rate);
                grad.fill(0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::hash::mix64;
    use crate::table::rows::{Accumulator, RowOptimizer, RowPrecision};
    use crate::table::signed_table::Hashes;

    fn sizing(features: &[u64], dim: usize, bytes: u64) -> Sizing<'_> {
        let (budget, format) = (Budget::Bytes(bytes), RowFormat::default());
        Sizing { features, dim, budget, format, seed: 1 }
    }

    /// 2,000 features on 200 rows: more than rows, far fewer than signed pairs of rows.
    #[test]
    fn features_start_distinct_and_small() {
        let settings = UnifiedSettings { field_rows: false, ..UnifiedSettings::default() };
        let config =
            UnifiedConfig::within(&sizing(&[1000, 9000], 8, 200 * 32), settings).expect("fits");
        assert_eq!(config.n_rows(), 200);
        let embedding = UnifiedEmbedding::new(&config);
        let ids: Vec<_> = (0..2000).map(|at| FeatureId::new(at % 2, at as u32 / 2)).collect();
        let mut rows = vec![0.0_f32; ids.len() * 8];
        embedding.lookup(&ids, &mut rows);
        let distinct: BTreeSet<Vec<u32>> = rows
            .chunks_exact(8)
            .map(|row| row.iter().map(|value| value.to_bits()).collect())
            .collect();
        // 79,600 vectors are possible: 2,000 * 1,999 / 2 pairs of features give 25 that are equal,
        // give or take 15.
        assert!(distinct.len() >= 2000 - 40, "{}", distinct.len());
        let variance = rows.iter().map(|value| value * value).sum::<f32>() / rows.len() as f32;
        // 1 / (3 n); the 1,600 values drawn deviate by 5 %.
        assert!((variance * 600.0 - 1.0).abs() < 0.15, "{variance}");
    }

    /// Twins of plain steps, exact in f32 with SGD: shared rows get no gradient for values that an
    /// own row has, fields' rows all of it, and an own row starts from the shared values.
    #[test]
    fn own_rows_take_the_first_values_and_their_gradients() {
        const DIM: usize = 8;
        let format = RowFormat::default();
        let features = [40, 60];
        let budget = Budget::Bytes(100 * (format.row_bytes(4) + 1));
        let sizing = Sizing { features: &features, dim: DIM, budget, format, seed: 5 };
        let config = UnifiedConfig::coded(&sizing).expect("fits");
        let plain = UnifiedConfig { own_rows: None, ..config.clone() };
        let (mut embedding, mut hashed, mut fields) = (
            UnifiedEmbedding::new(&config),
            UnifiedEmbedding::new(&plain),
            UnifiedEmbedding::new(&plain),
        );
        let width = config.own_rows.expect("room").width;
        let shared = |embedding: &UnifiedEmbedding, id: FeatureId| {
            let mut out = vec![0.0; DIM];
            embedding.table.read_hashed(embedding.table.rows_of(id), id.field(), &mut out);
            out
        };
        let of_field = |embedding: &UnifiedEmbedding, id: FeatureId| {
            let mut out = vec![0.0; DIM];
            embedding.table.add_field(id.field(), &mut out);
            out
        };
        let id = |k: u64| FeatureId::new((k % 2) as usize, (k / 2) as u32);
        let mut own = BTreeMap::<FeatureId, Vec<f32>>::new();
        for step in 0..60_u64 {
            let first = mix64(step, 1) % 14;
            let ids = [id(first), id((first + 1) % 14), id((first + 5) % 14)];
            let grads: Vec<f32> =
                (0..3 * DIM as u64).map(|k| (mix64(k, step) % 9) as f32 / 64.0 - 0.0625).collect();
            for (&id, grad) in ids.iter().zip(grads.chunks_exact(DIM)) {
                let row = own.entry(id).or_insert_with(|| shared(&hashed, id)[..width].to_vec());
                row.iter_mut().zip(grad).for_each(|(value, g)| *value -= 0.5 * g);
            }
            let mut rest = grads.clone();
            rest.chunks_exact_mut(DIM).for_each(|grad| grad[..width].fill(0.0));
            hashed.update(&ids, &rest, 0.5);
            fields.update(&ids, &grads, 0.5);
            embedding.update(&ids, &grads, 0.5);
            for id in (0..20).map(id) {
                assert_eq!(shared(&embedding, id), shared(&hashed, id), "step {step}");
                assert_eq!(of_field(&embedding, id), of_field(&fields, id), "step {step}");
                assert_eq!(
                    embedding.own.as_ref().and_then(|own| own.find(id)).is_some(),
                    own.contains_key(&id)
                );
                let mut expected = shared(&hashed, id);
                if let Some(row) = own.get(&id) {
                    expected[..width].copy_from_slice(row);
                }
                expected.iter_mut().zip(of_field(&fields, id)).for_each(|(value, f)| *value += f);
                let mut out = vec![f32::NAN; DIM];
                embedding.lookup(&[id], &mut out);
                assert_eq!(out, expected, "step {step}");
            }
        }
        assert_eq!(own.len(), 14);
    }

    #[test]
    fn too_small_a_budget_names_the_bytes_needed() {
        let within = |bytes| {
            UnifiedConfig::within(&sizing(&[10, 20, 30], 4, bytes), UnifiedSettings::default())
        };
        let error = within(79).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a budget of 79 bytes is too small: a row for each field and each hash \
             needs at least 80 bytes"
        );
        assert!(within(80).is_ok());
    }

    proptest! {
        #[test]
        fn within_spends_all_but_a_row(
            features in prop::collection::vec(1_u64..100_000, 1..30), dim in 1_usize..40,
            ratio in 1.0_f64..5000.0,
            two_hashes: bool, field_rows: bool, count_optimizer: bool,
            signs in prop::sample::select(vec![Signs::None, Signs::Row, Signs::Coordinate]),
        ) {
            let hashes = if two_hashes { Hashes::Two } else { Hashes::One };
            let settings = UnifiedSettings { hashes, signs, field_rows };
            let optimizer = RowOptimizer::RowWiseAdagrad { epsilon: 1e-10,
                accumulator: Accumulator::Byte };
            let format = RowFormat { precision: RowPrecision::I8, optimizer, count_optimizer };
            let row_bytes = dim as u64 + 1 + u64::from(count_optimizer);
            let budget = Budget::Compression(ratio);
            let sizing = Sizing { features: &features, dim, budget, format, seed: 1 };
            let budget = sizing.budget_bytes();
            match UnifiedConfig::within(&sizing, settings) {
                Ok(config) => {
                    prop_assert!(config.embedding_bytes() <= budget);
                    let is_capped = signs != Signs::Coordinate
                        && config.n_shared >= features.iter().sum::<u64>();
                    prop_assert!(config.embedding_bytes() + row_bytes > budget || is_capped);
                    let memory = UnifiedEmbedding::new(&config).memory();
                    prop_assert_eq!(memory.embedding_bytes(), config.embedding_bytes());
                    prop_assert_eq!(memory.total_bytes(), config.n_rows() * (dim as u64 + 2));
                }
                Err(error) => {
                    let needed = settings.min_rows(features.len()) * row_bytes;
                    prop_assert!(budget < needed
                        && error.to_string().contains(&needed.to_string()), "{error}");
                }
            }
        }
    }
}
