//! What a CAFE embedding is made of: sizes, tiers, thresholds.

use crate::sketch::VictimPolicy;
use crate::table::cold::FieldRows;
use crate::table::rows::RowFormat;

use super::levers::{Cold, HotRows, HotRule, Sketches, SlotLayout};

/// Sizes and settings of a [`crate::CafeEmbedding`]; [`CafeConfig::within`] makes them from a
/// budget.
#[derive(Clone, Debug, PartialEq)]
pub struct CafeConfig {
    /// Values a row.
    pub dim: usize,
    /// `H`: rows for hot features.
    pub n_hot: usize,
    /// `w`: buckets of the sketch.
    pub n_buckets: usize,
    /// `c`: slots a bucket.
    pub slots: usize,
    /// Who makes room in a full bucket.
    pub victim: VictimPolicy,
    /// What a score measures.
    pub importance: Importance,
    /// `K`: the score from which a feature is hot; under [`HotRule::Quota`] the least that `K` may
    /// be.
    pub threshold: f32,
    /// Whether `K` stays or follows the hot rows in use.
    pub rule: HotRule,
    /// How scores fade; `None` never.
    pub decay: Option<Decay>,
    /// What a hot row holds.
    pub hot: HotRows,
    /// The share β of what a hot row knows that goes back into the shared rows when it is taken
    /// away; `None` forgets it.
    pub write_back: Option<f32>,
    /// The middle tier; `None` for hot and cold only.
    pub medium: Option<Medium>,
    /// What a slot of the sketch consists of.
    pub layout: SlotLayout,
    /// Buckets of each field, with hot rows in proportion; empty where all fields share all of
    /// them.
    pub field_buckets: Vec<usize>,
    /// Where features without a hot row have their vectors.
    pub cold: Cold,
    /// Rows of the table that all fields share, if they do.
    pub n_unified: u64,
    /// The rows of each field that its features share or own from the start.
    pub fields: Vec<FieldRows>,
    /// How rows are stored, and how they follow their gradients.
    pub format: RowFormat,
    /// Seeds every hash and the initial rows.
    pub seed: u64,
}

/// The settings of CAFE that don't depend on the data set.
#[derive(Clone, Debug, PartialEq)]
pub struct CafeSettings {
    /// `h`: the share of the budget that the shared rows get; the rest is for sketch and hot rows.
    pub shared_share: f64,
    /// `K`: the score from which a feature is hot; under [`HotRule::Quota`] the least that `K` may
    /// be.
    pub threshold: f32,
    /// Whether `K` stays or follows the hot rows in use.
    pub rule: HotRule,
    /// Slots a bucket.
    pub slots: usize,
    /// What a slot of the sketch consists of.
    pub layout: SlotLayout,
    /// One sketch for all fields, or one for each.
    pub sketches: Sketches,
    /// Who makes room in a full bucket.
    pub victim: VictimPolicy,
    /// What a score measures.
    pub importance: Importance,
    /// Each decay multiplies the scores by this; `None` never decays.
    pub decay_factor: Option<f32>,
    /// The score mass observed from one decay to the next; `None` for `10 H K`, as the paper's
    /// published code.
    pub decay_every: Option<f64>,
    /// What a hot row holds.
    pub hot: HotRows,
    /// The share β of what a hot row knows that goes back into the shared rows when it is taken
    /// away; `None` forgets it.
    pub write_back: Option<f32>,
    /// Where features without a hot row have their vectors.
    pub cold: Cold,
    /// The middle tier of the multi-level embedding.
    pub medium: Option<Medium>,
    /// How rows are stored, and how they follow their gradients.
    pub format: RowFormat,
    /// Seeds every hash and the initial rows.
    pub seed: u64,
}

impl CafeSettings {
    /// [`CafeSettings::paper`] for the data set: the paper lists another `h` for Avazu and KDD12 at
    /// ratios of 2 and 5.
    #[must_use]
    pub fn paper_on(data: PaperData, compression: f64) -> Self {
        let paper = Self::paper(compression);
        // Between the ratios listed the nearest counts, by their quotient.
        let listed = match (data, compression) {
            (PaperData::Avazu | PaperData::Kdd12, ..3.162) => Some(0.95),
            (PaperData::Avazu, ..7.071) => Some(0.7),
            (PaperData::Kdd12, ..7.071) => Some(0.8),
            _ => None,
        };
        Self { shared_share: listed.unwrap_or(paper.shared_share), ..paper }
    }

    /// The share of a field's shared rows that the middle tier's table gets.
    pub(super) fn second_share(&self) -> f64 {
        self.medium.map_or(0.0, |medium| medium.second_share)
    }

    /// The paper's settings for a compression ratio on Criteo, of the nearest ratio that it lists.
    /// Rows that features own are spared when a bucket is full, as in the paper's published code
    /// ([`VictimPolicy::LightestCold`]).
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
            threshold,
            rule: HotRule::Threshold,
            slots: 4,
            layout: SlotLayout::Full,
            sketches: Sketches::One,
            victim: VictimPolicy::default(),
            importance: Importance::GradientNorm,
            decay_factor: Some(0.99),
            decay_every: None,
            hot: HotRows::Exclusive,
            write_back: None,
            cold: Cold::PerField,
            medium: None,
            format: RowFormat::default(),
            seed: 0,
        }
    }

    /// The same with hot rows for the heaviest, as many as there are. The paper's `K` is for a `K`
    /// that stays: as the least one it would keep a quota from using all rows, and a decay that
    /// goes by it would come at another pace.
    #[must_use]
    pub fn under_quota(self) -> Self {
        Self {
            threshold: 2.0,
            rule: HotRule::Quota { hysteresis: 1.25 },
            decay_factor: None,
            ..self
        }
    }
}

/// The data sets for which the paper lists settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaperData {
    /// Criteo Kaggle and Terabyte.
    Criteo,
    /// Avazu.
    Avazu,
    /// KDD Cup 2012, track 2.
    Kdd12,
}

/// What a score measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Importance {
    /// Gradient norms, scaled to a mean of one for each field and batch: `K = 500` is what 500
    /// average occurrences bring.
    #[default]
    GradientNorm,
    /// One for each occurrence.
    Frequency,
}

/// When and how scores fade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decay {
    /// Scores are multiplied by this.
    pub factor: f32,
    /// The score mass observed from one decay to the next.
    pub every: f64,
}

/// The middle tier of the multi-level embedding: a feature of some importance adds a row of a
/// second, independently hashed table to that of the first, so that two features rarely share both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Medium {
    /// A feature is of the middle tier from this share of `K` on.
    pub threshold_ratio: f32,
    /// The share of a field's shared rows that the second table gets.
    pub second_share: f64,
}

impl Default for Medium {
    /// The paper's: from 0.2 K, 0.3 of the rows.
    fn default() -> Self {
        Self { threshold_ratio: 0.2, second_share: 0.3 }
    }
}
