//! Sizes and settings of CAFE+.

use super::admission_sketch::AdmissionSketch;
use crate::budget::{BudgetError, bisect_whole};
use crate::methods::cafe::CafeSettings;
use crate::methods::importance::Importance;
use crate::sketch::HotSketch;
use crate::table::cold::{ColdSizes, FieldRows, OwnerMaps};
use crate::table::rows::RowFormat;
use crate::table::sizing::Sizing;

/// Sizes and settings of a [`CafePlusEmbedding`](super::CafePlusEmbedding);
/// [`CafePlusConfig::within`] makes them from
/// a budget.
#[derive(Clone, Debug, PartialEq)]
pub struct CafePlusConfig {
    /// Values a row.
    pub dim: usize,
    /// `H`: rows for hot features.
    pub n_hot: usize,
    /// Buckets of the sketch's main part.
    pub n_main_buckets: usize,
    /// Buckets of its admission filter.
    pub n_filter_buckets: usize,
    /// The rows of each field that its features share or own from the start.
    pub fields: Vec<FieldRows>,
    /// How rows are stored, and how they follow their gradients.
    pub format: RowFormat,
    /// Seeds every hash and the initial rows.
    pub seed: u64,
    /// Everything that does not depend on the data set.
    pub settings: CafePlusSettings,
}

/// The settings of CAFE+ that do not depend on the data set.
#[derive(Clone, Debug, PartialEq)]
pub struct CafePlusSettings {
    /// `h`: the share of the budget that the shared rows get; the rest is for sketch and hot rows.
    pub shared_share: f64,
    /// The share of the sketch's buckets that the admission filter gets.
    pub filter_share: f64,
    /// `c`: slots a bucket, in both parts.
    pub slots: usize,
    /// What a score measures.
    pub importance: Importance,
    /// `K` at the start: the score from which a feature is hot, in average occurrences of the
    /// present.
    pub initial_threshold: f32,
    /// `K` never falls below this.
    pub min_threshold: f32,
    /// The score with which a feature that leaves the filter is admitted to the main part.
    pub admission_score: f32,
    /// `K` is raised when more than this multiple of `H` features reach it or own a row.
    pub overfull: f64,
    /// Steps from one look at how many rows are free to the next.
    pub check_every: u64,
    /// `K` is lowered when at two looks in succession more than this share of the rows, and more
    /// than one, was free.
    pub free_share: f64,
    /// `α`: what weights grow by from one field's batch to the next; 1 never forgets.
    pub growth: f64,
}

impl Default for CafePlusSettings {
    /// The published settings for a compression ratio of 1,000 on Criteo.
    fn default() -> Self {
        Self::paper(1000.0)
    }
}

impl CafePlusSettings {
    /// The published settings, with CAFE's share of shared rows for a compression ratio on Criteo.
    #[must_use]
    pub fn paper(compression: f64) -> Self {
        Self {
            shared_share: CafeSettings::paper(compression).shared_share,
            filter_share: 0.1,
            slots: 4,
            importance: Importance::default(),
            initial_threshold: 1.0,
            min_threshold: 1.0,
            admission_score: 5.0,
            overfull: 1.2,
            check_every: 1024,
            free_share: 0.05,
            growth: 1.000_000_5,
        }
    }
}

impl CafePlusConfig {
    /// The sizes for a budget that is never overspent: `h` of the bytes for shared rows in
    /// proportion to the fields' features, the rest for hot rows and a bucket for each, of the main
    /// part or of the filter.
    ///
    /// # Errors
    /// If the budget can't hold a row for each field and one hot row, or the hot rows are more than
    /// the sketch can number.
    pub fn within(sizing: &Sizing<'_>, settings: &CafePlusSettings) -> Result<Self, BudgetError> {
        let (row_bytes, budget_bytes) = (sizing.row_bytes(), sizing.budget_bytes());
        let ColdSizes { fields, bytes } =
            ColdSizes::within(sizing, settings.shared_share, 0.0, OwnerMaps::PerField)?;
        let hot_bytes = |n_hot: u64| {
            let (n_main, n_filter) = n_buckets(n_hot as usize, settings.filter_share);
            n_hot * row_bytes + AdmissionSketch::bytes_for(n_main, n_filter, settings.slots)
        };
        let left = budget_bytes.saturating_sub(bytes);
        // Bytes grow with rows, so the largest number that fits can be bisected for.
        let too_many = left / row_bytes + 1;
        let n_hot = bisect_whole(0..too_many, |n_hot| hot_bytes(n_hot) <= left) as usize;
        if n_hot == 0 {
            let (needed, what) = (bytes + hot_bytes(1), "a row for each field and one hot row");
            return Err(BudgetError::TooSmall { budget: budget_bytes, needed, what });
        }
        if n_hot > HotSketch::MAX_ROWS {
            return Err(BudgetError::TooManyHotRows { n_hot, limit: HotSketch::MAX_ROWS });
        }
        let (n_main_buckets, n_filter_buckets) = n_buckets(n_hot, settings.filter_share);
        Ok(Self {
            dim: sizing.dim,
            n_hot,
            n_main_buckets,
            n_filter_buckets,
            fields,
            format: sizing.format,
            seed: sizing.seed,
            settings: settings.clone(),
        })
    }

    /// Bytes of rows and sketch: what
    /// [`MemoryUsage::embedding_bytes`](crate::MemoryUsage::embedding_bytes) will be.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        self.sketch_bytes() + self.n_rows() * self.format.row_bytes(self.dim)
    }

    /// Bytes of the sketch: 12 a slot and 4 a slot more in the filter, for its clock; 4 a bucket,
    /// for its epoch.
    #[must_use]
    pub fn sketch_bytes(&self) -> u64 {
        AdmissionSketch::bytes_for(self.n_main_buckets, self.n_filter_buckets, self.settings.slots)
    }

    /// Rows of small fields, each owned by a feature.
    #[must_use]
    pub fn n_own_rows(&self) -> u64 {
        self.fields.iter().filter(|field| field.is_own()).map(FieldRows::n_rows).sum()
    }

    /// Rows of all tiers.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_hot as u64 + self.fields.iter().map(FieldRows::n_rows).sum::<u64>()
    }

    pub(super) fn check(&self) {
        let CafePlusSettings {
            slots,
            initial_threshold,
            min_threshold,
            growth,
            overfull,
            check_every,
            ..
        } = self.settings;
        assert!((1..=HotSketch::MAX_ROWS).contains(&self.n_hot), "{} hot rows", self.n_hot);
        assert!(u32::try_from(self.n_rows()).is_ok(), "a table has fewer than 2^32 rows");
        assert!(
            slots > 0 && self.n_main_buckets > 0 && self.n_filter_buckets > 0,
            "each part needs a bucket and a slot"
        );
        assert!(self.n_main_buckets as u64 <= 1 << 32, "a sketch has at most 2^32 buckets");
        assert!(
            min_threshold > 0.0 && initial_threshold >= min_threshold,
            "a threshold is positive and above its minimum"
        );
        assert!(
            initial_threshold.is_finite() && check_every > 0,
            "a threshold is finite, a period has a step"
        );
        assert!(
            overfull >= 1.0,
            "more features than rows are too many, not {overfull} times as many"
        );
        assert!((1.0..=2.0).contains(&growth), "weights grow by a factor in 1..=2, got {growth}");
    }
}

/// A bucket for each hot row: of the main part, and of the filter.
fn n_buckets(n_hot: usize, filter_share: f64) -> (usize, usize) {
    let n_filter = ((n_hot as f64 * filter_share).round() as usize).clamp(1, n_hot.max(1));
    ((n_hot - n_filter.min(n_hot)).max(1), n_filter)
}
