//! Offline separation: an oracle decides beforehand which features are hot, for the whole training.

use std::borrow::Cow;

use crate::batch::Batch;
use crate::batch::by_field::ByField;
use crate::batch::cache_hint::AHEAD;
use crate::batch::coalesce::{KeyIndex, RowSums};
use crate::batch::executor::{Buffers, for_batch, for_each, lookup_parts};
use crate::budget::BudgetError;
use crate::embedding::{Embedding, Executor, MemoryUsage, UpdateStats};
use crate::feature::FeatureId;
use crate::methods::counts::FeatureCounts;
use crate::state::{StateError, StateMap, StateView, array, check_len};
use crate::table::cold::{ColdFields, ColdSizes, FieldRows, OwnerMaps};
use crate::table::own_rows::OwnRows;
use crate::table::rows::{RowFormat, RowTable};
use crate::table::sizing::Sizing;
use crate::tier_summary::{HotFeature, TierSummary, count_by_field};

/// Sizes and settings of an [`OfflineEmbedding`].
#[derive(Clone, Debug, PartialEq)]
pub struct OfflineConfig {
    /// Values a row.
    pub dim: usize,
    /// `H`: rows for the most frequent features.
    pub n_hot: usize,
    /// The rows of each field that its other features share, or own where the field is small.
    pub fields: Vec<FieldRows>,
    /// How rows are stored, and how they follow their gradients.
    pub format: RowFormat,
    /// Seeds the hash and the initial rows.
    pub seed: u64,
}

impl OfflineConfig {
    /// The sizes of a [`CafeConfig`](super::CafeConfig) that needs no sketch: `shared_share` of the
    /// budget for shared rows in proportion to the fields' features, the rest for hot rows. The map
    /// from features to hot rows is not counted, as in the literature; [`MemoryUsage::total_bytes`]
    /// has it.
    ///
    /// # Errors
    /// If the budget can't hold a row for each field and one hot row.
    pub fn within(sizing: &Sizing<'_>, shared_share: f64) -> Result<Self, BudgetError> {
        let Sizing { dim, format, seed, .. } = *sizing;
        let (row_bytes, budget_bytes) = (sizing.row_bytes(), sizing.budget_bytes());
        let ColdSizes { fields, bytes } =
            ColdSizes::within(sizing, shared_share, 0.0, OwnerMaps::PerField)?;
        // More hot rows than features without a row of their own would stay unused.
        let max_hot = fields
            .iter()
            .filter(|field| !field.is_own())
            .map(|field| field.n_features)
            .sum::<u64>();
        let n_hot = (budget_bytes.saturating_sub(bytes) / row_bytes).min(max_hot) as usize;
        if bytes > budget_bytes || (n_hot == 0 && max_hot > 0) {
            let one_hot = if max_hot > 0 { row_bytes } else { 0 };
            let (needed, what) = (bytes + one_hot, "a row for each field and one hot row");
            return Err(BudgetError::TooSmall { budget: budget_bytes, needed, what });
        }
        Ok(Self { dim, n_hot, fields, format, seed })
    }

    /// Bytes of all rows: what [`MemoryUsage::embedding_bytes`] will be.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        self.n_rows() * self.format.row_bytes(self.dim)
    }

    /// Bytes of the maps from features to rows, which [`OfflineConfig::embedding_bytes`] leaves
    /// out.
    #[must_use]
    pub fn index_bytes(&self) -> u64 {
        let own = self.fields.iter().filter(|field| field.is_own());
        own.map(|field| OwnRows::bytes_for(field.n_features as usize)).sum::<u64>()
            + OwnRows::bytes_for(self.n_hot)
    }

    /// Rows of all kinds.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_hot as u64 + self.fields.iter().map(FieldRows::n_rows).sum::<u64>()
    }

    /// Rows of small fields, each owned by a feature.
    #[must_use]
    pub fn n_own_rows(&self) -> u64 {
        self.fields.iter().filter(|field| field.is_own()).map(FieldRows::n_rows).sum()
    }

    /// The features that get the hot rows: the most frequent features of the fields whose rows are
    /// shared.
    #[must_use]
    pub fn hot_features(&self, counts: &FeatureCounts) -> Vec<FeatureId> {
        counts.top_where(self.n_hot, |id| {
            self.fields.get(id.field()).is_some_and(|field| !field.is_own())
        })
    }
}

/// The oracle that CAFE is compared with: frequencies are counted before training, and the most
/// frequent features own rows.
///
/// # How it works
/// A first pass over the training rows counts features ([`FeatureCounts`]); the `H` most frequent
/// own a row from the start ([`OfflineConfig::hot_features`]), the others of a field share rows by
/// hash. Nothing moves while it trains. An own row starts as a copy of the row that its feature
/// would share, so that a feature starts from the same vector whether it is hot or not. Fields so
/// small that hashing would save nothing have a row for every feature.
///
/// It knows what a model in production can't: the future. Counted on the first day only, it shows
/// what drift costs.
///
/// # Costs
/// One look into a hash map for each id. The map takes 17 bytes a cell, 19 to 39 a hot row: not
/// part of the published figure and not of the budget, but of [`MemoryUsage::total_bytes`]. Rows
/// lie field by field, so threads share a batch.
///
/// # Example
/// ```
/// use cafe_core::methods::{FeatureCounts, OfflineConfig, OfflineEmbedding};
/// use cafe_core::{Budget, Embedding, FeatureId, RowFormat, Sizing};
///
/// let (budget, format) = (Budget::Bytes(16_000), RowFormat::default());
/// let sizing = Sizing { features: &[40_000, 10_000], dim: 16, budget, format, seed: 1 };
/// let config = OfflineConfig::within(&sizing, 0.2)?;
/// let mut counts = FeatureCounts::default();
/// counts.add_all(&[FeatureId::new(0, 7), FeatureId::new(1, 7), FeatureId::new(0, 7)]);
/// let embedding = OfflineEmbedding::new(&config, &config.hot_features(&counts));
/// assert_eq!(embedding.n_hot(), 2);
/// assert_eq!(embedding.memory().embedding_bytes(), config.embedding_bytes());
/// # Ok::<(), cafe_core::BudgetError>(())
/// ```
///
/// Source: "offline separation" of the CAFE paper (SIGMOD 2024). Its published code takes the hot
/// rows out of the hash tables' share of the budget; here both have their own.
#[derive(Clone, Debug)]
pub struct OfflineEmbedding {
    config: OfflineConfig,
    /// Ascending, so field by field.
    hot: Vec<FeatureId>,
    /// The rows of the hot features.
    hot_rows: OwnRows,
    /// Of each field the hot rows and then the cold ones; unassigned rows
    /// last.
    rows: RowTable,
    cold: ColdFields,
    batch: ByField,
    buffers: Buffers<KeyIndex>,
    own_sums: RowSums,
}

impl OfflineEmbedding {
    /// An embedding in which `hot` own rows, in whatever order they are named.
    ///
    /// # Panics
    /// If `hot` are more than `config.n_hot`, name a feature twice, or one of a small field or of
    /// none; if the sizes make no embedding: a field without rows, 2^32 rows.
    #[must_use]
    pub fn new(config: &OfflineConfig, hot: &[FeatureId]) -> Self {
        let (n_hot, limit) = (hot.len(), config.n_hot);
        assert!(n_hot <= limit, "{n_hot} hot features for {limit} hot rows");
        assert!(u32::try_from(config.n_rows()).is_ok(), "a table has fewer than 2^32 rows");
        let mut sorted = hot.to_vec();
        sorted.sort_unstable();
        let layout = Layout::new(config, sorted).unwrap_or_else(|why| panic!("{why}"));
        let mut rows = RowTable::new(config.n_rows() as usize, config.dim, config.format);
        layout.cold.init(&mut rows);
        let mut vector = vec![0.0; config.dim];
        for (id, row_idx) in layout.hot_rows.iter_by_row() {
            rows.read(layout.cold.shared_row(id), &mut vector);
            rows.write(row_idx, &vector);
        }
        Self {
            config: config.clone(),
            hot: layout.hot,
            hot_rows: layout.hot_rows,
            rows,
            cold: layout.cold,
            batch: ByField::new(config.fields.len(), config.dim),
            buffers: Buffers::default(),
            own_sums: RowSums::default(),
        }
    }

    /// Features that own hot rows.
    #[must_use]
    pub fn n_hot(&self) -> usize {
        self.hot.len()
    }

    /// `None` for a feature of a small field before its first update.
    #[inline]
    fn row(&self, id: FeatureId) -> Option<u32> {
        self.hot_rows.get(id).or_else(|| self.cold.row(id))
    }

    fn read_each(&self, ids: &[FeatureId], out: &mut [f32]) {
        let dim = self.config.dim;
        for (ids, out) in ids.chunks(AHEAD).zip(out.chunks_mut(AHEAD * dim)) {
            let mut rows = [None; AHEAD];
            for (row, &id) in rows.iter_mut().zip(ids) {
                *row = self.row(id);
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
}

impl Embedding for OfflineEmbedding {
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
        let dim = self.config.dim;
        let given = Batch::new(ids, grads, dim);
        let Self { hot, hot_rows, rows, cold, batch, buffers, own_sums, .. } = self;
        batch.sort(ids);
        let (mut rest, mut start, mut hot_left) = (rows.all_mut(), 0, &hot[..]);
        let (cold_fields, hot_rows, buffers) = (&*cold, &*hot_rows, &*buffers);
        let parts = batch.parts().map(|part| {
            let n_hot = hot_left.partition_point(|id| id.field() == part.field);
            hot_left = &hot_left[n_hot..];
            let (first, n_rows) = (start, n_hot + cold_fields.n_rows(part.field));
            start += n_rows as u32;
            (part, first, rest.cut(n_rows))
        });
        for_each(for_batch(executor, ids.len()), parts, |(mut part, first, mut rows)| {
            let is_own = cold_fields.is_own(part.field);
            let row = |id: FeatureId| {
                hot_rows.get(id).unwrap_or_else(|| cold_fields.shared_row(id)) - first
            };
            let key = |id: FeatureId| if is_own { id.raw() } else { u64::from(row(id)) };
            buffers.with(|keys| part.coalesce(keys, given, key, |_, _| ()));
            if !is_own {
                for (row_idx, grad) in part.iter(dim) {
                    rows.step(row_idx as u32, grad, learning_rate);
                }
            }
        });
        cold.step_own(batch, rows, own_sums, learning_rate);
        UpdateStats { hot_rows: hot.len() as u64, ..UpdateStats::default() }
    }

    fn memory(&self) -> MemoryUsage {
        MemoryUsage {
            index_bytes: self.hot_rows.bytes() + self.cold.map_bytes(),
            ..self.rows.memory()
        }
    }

    /// By id: the counts that chose them are not kept.
    fn hot_features(&self) -> Vec<HotFeature> {
        self.hot.iter().map(|&id| HotFeature { id, score: None }).collect()
    }

    fn tiers(&self) -> Option<TierSummary> {
        Some(TierSummary {
            max_hot_rows: self.config.n_hot as u64,
            hot_rows: self.hot.len() as u64,
            hot_rows_by_field: count_by_field(self.hot.iter().copied(), self.config.fields.len()),
            knows_features: true,
            ..TierSummary::default()
        })
    }

    fn n_hot(&self, ids: &[FeatureId]) -> Option<u64> {
        Some(ids.iter().filter(|&&id| self.hot_rows.get(id).is_some()).count() as u64)
    }

    fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        let mut hot: Vec<u64> = self.hot.iter().map(|id| id.raw()).collect();
        hot.resize(self.config.n_hot, NO_FEATURE);
        let mut state = self.rows.state();
        state.extend(self.cold.state());
        state.push(("hot_ids", StateView::U64(Cow::Owned(hot))));
        state
    }

    /// The hot features are part of the state: an embedding made with none takes them over.
    fn restore(&mut self, state: &mut StateMap<'_>) -> Result<(), StateError> {
        let rows = self.rows.restored(self.rows.n_rows(), state)?;
        let raw = array::<u64>(state, "hot_ids")?;
        check_len("hot_ids", raw.len(), self.config.n_hot)?;
        let damaged = |why| StateError::Damaged { name: "hot_ids", why };
        let n_used = raw.iter().position(|&raw| raw == NO_FEATURE).unwrap_or(raw.len());
        let (used, unused) = raw.split_at(n_used);
        let odd = used.iter().filter(|&raw| raw >> FeatureId::BITS != 0);
        if let Some(raw) = odd.chain(unused.iter().filter(|&&raw| raw != NO_FEATURE)).next() {
            return Err(damaged(format!("{raw:#x} is no feature id or out of place")));
        }
        let hot = used.iter().copied().map(FeatureId::from_raw).collect();
        let layout = Layout::new(&self.config, hot).map_err(damaged)?;
        let cold = layout.cold.restored(state)?;
        (self.rows, self.cold, self.hot, self.hot_rows) = (rows, cold, layout.hot, layout.hot_rows);
        Ok(())
    }
}

/// In a state, the owner of a row that no feature was chosen for.
const NO_FEATURE: u64 = u64::MAX;

/// Where everything lies in the table.
struct Layout {
    hot: Vec<FeatureId>,
    hot_rows: OwnRows,
    cold: ColdFields,
}

impl Layout {
    /// The layout for hot features in ascending order, or what is wrong with them.
    fn new(config: &OfflineConfig, hot: Vec<FeatureId>) -> Result<Self, String> {
        let mut pairs = hot.iter().zip(&hot[hot.len().min(1)..]);
        if let Some((_, id)) = pairs.find(|(before, id)| before >= id) {
            return Err(format!("hot feature {id} is named twice or out of order"));
        }
        if let Some(id) =
            hot.iter().find(|id| config.fields.get(id.field()).is_none_or(FieldRows::is_own))
        {
            return Err(format!("hot feature {id} is not of a field whose rows are shared"));
        }
        let mut hot_rows = OwnRows::with_capacity(config.n_hot);
        let mut starts = Vec::with_capacity(config.fields.len());
        let (mut next_row, mut hot_left) = (0, hot.iter().copied().peekable());
        for (field, rows) in config.fields.iter().enumerate() {
            while let Some(id) = hot_left.next_if(|id| id.field() == field) {
                hot_rows.insert(id, next_row);
                next_row += 1;
            }
            starts.push(next_row);
            next_row += rows.n_rows() as u32;
        }
        let cold = ColdFields::new(&config.fields, starts, config.seed);
        Ok(Self { hot, hot_rows, cold })
    }
}
