//! Sizes and settings of CAFE.

use crate::methods::importance::Importance;
use crate::sketch::VictimPolicy;
use crate::table::cold::FieldRows;
use crate::table::rows::RowFormat;
use crate::table::signed_table::UnifiedSettings;

/// Sizes and settings of a [`CafeEmbedding`](super::CafeEmbedding); [`CafeConfig::within`] makes
/// them from a budget.
#[derive(Clone, Debug, PartialEq)]
pub struct CafeConfig {
    /// Values of a row.
    pub dim: usize,
    /// `H`: rows for hot features.
    pub n_hot: usize,
    /// `w`: buckets of the sketch.
    pub n_buckets: usize,
    /// Rows of the table that all fields share; 0 with [`Shared::PerField`].
    pub n_shared_table_rows: u64,
    /// The rows of each field that its features share, or own from the start.
    pub fields: Vec<FieldRows>,
    /// The total score observed from one decay to the next, where scores decay.
    pub decay_interval: f64,
    /// How rows are stored, and how they follow their gradients.
    pub format: RowFormat,
    /// Seeds every hash and the initial rows.
    pub seed: u64,
    /// Everything that does not depend on the data set.
    pub settings: CafeSettings,
}

/// The settings of CAFE that do not depend on the data set.
#[derive(Clone, Debug, PartialEq)]
pub struct CafeSettings {
    /// `h`: the share of the budget for shared rows; the rest is for the sketch and hot rows.
    pub shared_share: f64,
    /// Which features own a hot row.
    pub promotion: Promotion,
    /// `c`: slots of a bucket of the sketch.
    pub slots: usize,
    /// Which slot is evicted when a bucket is full.
    pub victim: VictimPolicy,
    /// What a score measures.
    pub importance: Importance,
    /// How scores decay; `None` never.
    pub decay: Option<Decay>,
    /// The rows of features that own none.
    pub shared: Shared,
}

/// Which features own a hot row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Promotion {
    /// Those whose score reaches this `K`, while rows are free.
    Threshold(f32),
    /// Those of the highest scores, as many as there are rows. `K` follows them: it falls while
    /// rows are free, and rises to the score of the last feature that there is a row for. An owner
    /// keeps its row until its score is below `K / hysteresis`, so that two features of about equal
    /// weight don't take a row from each other repeatedly.
    ///
    /// `K` is found by a scan of the sketch each time that the total score observed since the last
    /// one is four for each slot: a constant cost for each observation.
    Quota {
        /// `K` never falls below this.
        least: f32,
        /// How far below `K` an owner's score may fall.
        hysteresis: Hysteresis,
    },
}

impl Promotion {
    /// `K` at the start; of a quota, the least that it can be.
    #[must_use]
    pub fn threshold(self) -> f32 {
        match self {
            Self::Threshold(threshold) => threshold,
            Self::Quota { least, .. } => least,
        }
    }

    /// Whether `K` follows the scores.
    #[must_use]
    pub fn is_quota(self) -> bool {
        matches!(self, Self::Quota { .. })
    }
}

/// A setting outside of the range in which it means something.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OutOfRange {
    /// Of a [`Hysteresis`].
    #[error("a hysteresis is finite and at least 1, got {0}")]
    Hysteresis(f32),
    /// Of a [`Decay`].
    #[error("scores decay by a factor from 0 to 1, got {0}")]
    DecayFactor(f32),
    /// Of a [`Decay`].
    #[error("scores decay after a total score above 0, got {0}")]
    DecayInterval(f64),
}

/// By which factor an owner's score may be below `K`: finite and at least 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hysteresis(f32);

impl Hysteresis {
    /// The factor.
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }
}

impl Default for Hysteresis {
    /// 1.25: enough that two features of equal weight do not take turns.
    fn default() -> Self {
        Self(1.25)
    }
}

impl TryFrom<f32> for Hysteresis {
    type Error = OutOfRange;

    fn try_from(factor: f32) -> Result<Self, OutOfRange> {
        let is_valid = factor >= 1.0 && factor.is_finite();
        if is_valid { Ok(Self(factor)) } else { Err(OutOfRange::Hysteresis(factor)) }
    }
}

/// When and how scores decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decay {
    factor: f32,
    interval: Option<f64>,
}

impl Decay {
    /// Multiplies all scores by `factor` each time that a total score of `interval` was observed
    /// since the last decay; `None` for `10 H K`, as the paper's published code: a decay is due
    /// once the scores observed would fill every bucket to `10 K`.
    ///
    /// # Errors
    /// If `factor` is not in `0..=1`, or `interval` is not positive.
    pub fn new(factor: f32, interval: Option<f64>) -> Result<Self, OutOfRange> {
        if !(0.0..=1.0).contains(&factor) {
            return Err(OutOfRange::DecayFactor(factor));
        }
        match interval {
            Some(interval) if interval.is_nan() || interval <= 0.0 => {
                Err(OutOfRange::DecayInterval(interval))
            }
            _ => Ok(Self { factor, interval }),
        }
    }

    /// Scores are multiplied by this.
    #[must_use]
    pub fn factor(self) -> f32 {
        self.factor
    }

    /// The total score from one decay to the next; `None` for `10 H K`.
    #[must_use]
    pub fn interval(self) -> Option<f64> {
        self.interval
    }
}

/// The rows of features that own none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shared {
    /// Rows of their field, in proportion to its features; small fields have a row for each
    /// feature.
    PerField {
        /// The middle tier of the multi-level embedding, if there is one.
        middle: Option<Middle>,
    },
    /// One table for all fields, whose features are sums of signed rows; no field is treated as
    /// small.
    Table(UnifiedSettings),
}

impl Shared {
    /// Rows of each field, without a middle tier: the paper's.
    pub const PER_FIELD: Self = Self::PerField { middle: None };

    /// The middle tier.
    #[must_use]
    pub fn middle(self) -> Option<Middle> {
        match self {
            Self::PerField { middle } => middle,
            Self::Table(_) => None,
        }
    }
}

/// The middle tier of the multi-level embedding: a feature of some importance adds a row of a
/// second, independently hashed table to that of the first, so that two features rarely share both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Middle {
    /// A feature is of the middle tier from this share of `K` on.
    pub threshold_ratio: f32,
    /// The share of a field's shared rows that the second table gets.
    pub second_share: f64,
}

impl Default for Middle {
    /// The paper's: from 0.2 K, 0.3 of the rows.
    fn default() -> Self {
        Self { threshold_ratio: 0.2, second_share: 0.3 }
    }
}

impl Default for CafeSettings {
    /// The paper's settings for a compression ratio of 1,000 on Criteo.
    fn default() -> Self {
        Self::paper(1000.0)
    }
}

impl CafeSettings {
    /// The paper's settings for a compression ratio on a data set: it lists another `h` for Avazu
    /// and KDD12 at ratios of 2 and 5 than [`CafeSettings::paper`] has for Criteo.
    #[must_use]
    pub fn paper_on(data: PaperData, compression: f64) -> Self {
        let paper = Self::paper(compression);
        // Of the ratios listed the nearest counts, by their quotient: 3.162 and 7.071 are the
        // geometric means of 2 and 5, and of 5 and 10.
        let listed = match (data, compression) {
            (PaperData::Avazu | PaperData::Kdd12, ..3.162) => Some(0.95),
            (PaperData::Avazu, ..7.071) => Some(0.7),
            (PaperData::Kdd12, ..7.071) => Some(0.8),
            _ => None,
        };
        Self { shared_share: listed.unwrap_or(paper.shared_share), ..paper }
    }

    /// The paper's settings for a compression ratio on Criteo, of the nearest ratio that it lists.
    /// Slots whose features own a row are not evicted when a bucket is full, as in the paper's
    /// published code ([`VictimPolicy::LightestCold`]).
    #[must_use]
    pub fn paper(compression: f64) -> Self {
        /// Compression ratio, K, h.
        const LISTED: [(f64, f32, f64); 12] = [
            (2.0, 10.0, 0.7),
            (5.0, 10.0, 0.5),
            (10.0, 20.0, 0.5),
            (20.0, 30.0, 0.5),
            (50.0, 50.0, 0.3),
            (100.0, 100.0, 0.3),
            (200.0, 200.0, 0.2),
            (500.0, 500.0, 0.2),
            (1000.0, 500.0, 0.2),
            (2000.0, 500.0, 0.1),
            (5000.0, 500.0, 0.1),
            (10_000.0, 500.0, 0.1),
        ];
        let distance = |ratio: f64| (ratio / compression).ln().abs();
        let nearest = LISTED.into_iter().min_by(|a, b| distance(a.0).total_cmp(&distance(b.0)));
        let (_, threshold, shared_share) = nearest.unwrap_or(LISTED[0]);
        Self {
            shared_share,
            promotion: Promotion::Threshold(threshold),
            slots: 4,
            victim: VictimPolicy::default(),
            importance: Importance::GradientNorm,
            decay: Some(Decay { factor: 0.99, interval: None }),
            shared: Shared::PER_FIELD,
        }
    }

    /// These settings with hot rows for the features of the highest scores, as many as there are
    /// rows, and without decay. The paper's `K` is meant for a `K` that is fixed: as the least one
    /// it would keep a quota from using all rows, and a decay after `10 H K` would come at another
    /// pace.
    #[must_use]
    pub fn under_quota(self) -> Self {
        let promotion = Promotion::Quota { least: 2.0, hysteresis: Hysteresis::default() };
        Self { promotion, decay: None, ..self }
    }

    /// The share of a field's shared rows that the middle tier's table gets.
    pub(super) fn second_share(&self) -> f64 {
        self.shared.middle().map_or(0.0, |middle| middle.second_share)
    }
}

/// The data sets for which the paper lists settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum PaperData {
    /// Criteo Kaggle and Terabyte.
    Criteo,
    /// Avazu.
    Avazu,
    /// KDD Cup 2012, track 2.
    Kdd12,
}
