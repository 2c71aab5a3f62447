//! Sizes and settings of AdaEmbed.

use super::STATISTICS_BYTES;
use crate::budget::{BudgetError, ratio_too_high};
use crate::table::rows::RowFormat;
use crate::table::sizing::Sizing;

/// Sizes and settings of an [`AdaEmbedding`](super::AdaEmbedding); [`AdaConfig::within`] makes them
/// from a budget, with the paper's settings, which may be changed afterwards: no size depends on
/// them.
#[derive(Clone, Debug, PartialEq)]
pub struct AdaConfig {
    /// Values a row.
    pub dim: usize,
    /// Features of each field: statistics are kept for as many, and they set the initial rows'
    /// scale.
    pub features: Vec<u64>,
    /// `H`: rows.
    pub n_hot: usize,
    /// Steps from one check of the rows' owners to the next.
    pub check_every: u64,
    /// Rows are reassigned if more than this share of the sampled top owns none.
    pub changed_share: f64,
    /// Statistics that a check samples; all of them where there are no more.
    pub n_sampled: usize,
    /// A field's importances are divided by this quantile of those that are not zero.
    pub quantile: f64,
    /// Steps from one decay of all importances to the next.
    pub decay_every: u64,
    /// Each decay multiplies them by this.
    pub decay_factor: f32,
    /// How rows are stored, and how they follow their gradients.
    pub format: RowFormat,
    /// Seeds the hash, the samples and the initial rows.
    pub seed: u64,
}

impl AdaConfig {
    /// As many rows as the budget holds beside 8 bytes of statistics for every feature, and the
    /// paper's settings: a check every 4096 steps, of a sample; new owners if more than 5 % of its
    /// top changed; the 95th percentile; 0.8 times the importance every 16,384 steps.
    ///
    /// # Errors
    /// [`BudgetError::RatioTooHigh`] if the statistics alone fill the budget: at ratios from about
    /// `dim / 2` on.
    pub fn within(sizing: &Sizing<'_>) -> Result<Self, BudgetError> {
        let Sizing { features, dim, format, seed, .. } = *sizing;
        let budget_bytes = sizing.budget_bytes();
        let (n_features, row_bytes) = (sizing.n_features(), sizing.row_bytes());
        let statistics_bytes = n_features * STATISTICS_BYTES;
        let n_hot =
            (budget_bytes.saturating_sub(statistics_bytes) / row_bytes).min(n_features) as usize;
        if n_hot == 0 {
            let (full, needed) = (sizing.full_bytes(), statistics_bytes + row_bytes);
            return Err(ratio_too_high("ada", full, needed, budget_bytes));
        }
        Ok(Self {
            dim,
            features: features.to_vec(),
            n_hot,
            check_every: 4096,
            changed_share: 0.05,
            n_sampled: 1 << 16,
            quantile: 0.95,
            decay_every: 16_384,
            decay_factor: 0.8,
            format,
            seed,
        })
    }

    /// Rows.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_hot as u64
    }

    /// Features of all fields.
    #[must_use]
    pub fn n_features(&self) -> u64 {
        self.features.iter().sum()
    }

    /// Bytes of the statistics.
    #[must_use]
    pub fn statistics_bytes(&self) -> u64 {
        self.n_features() * STATISTICS_BYTES
    }

    /// Bytes of statistics and rows: what
    /// [`MemoryUsage::embedding_bytes`](crate::MemoryUsage::embedding_bytes) will be.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        self.statistics_bytes() + self.n_hot as u64 * self.format.row_bytes(self.dim)
    }

    pub(super) fn check(&self) {
        let n_features = self.n_features();
        assert!(self.features.iter().all(|&n_f| n_f > 0), "every field needs a feature");
        assert!(
            n_features < u64::from(u32::MAX),
            "{n_features} features are past the limit of 2^32 - 2"
        );
        assert!(
            (1..=n_features).contains(&(self.n_hot as u64)),
            "{} rows for {n_features} features",
            self.n_hot
        );
        assert!(
            self.check_every > 0 && self.decay_every > 0 && self.n_sampled > 0,
            "a period or sample is empty"
        );
        assert!(
            self.quantile > 0.0 && self.quantile <= 1.0,
            "a quantile is in 0..=1, got {}",
            self.quantile
        );
        assert!(
            (0.0..=1.0).contains(&self.decay_factor),
            "a decay factor is in 0..=1, got {}",
            self.decay_factor
        );
    }
}
