//! From bytes or a compression ratio to sizes: everything that a method stores is counted here.

use crate::HotSketch;
use crate::cafe::{CafeConfig, CafeSettings, Decay, FieldRows};
use crate::own_rows::OwnRows;

/// What an embedding may occupy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// The compression ratio CR: bytes of the full table over bytes of the embedding.
    Compression(f64),
    /// Bytes.
    Bytes(u64),
}

impl Budget {
    /// The budget in bytes, for fields of `features[f]` features and rows of `dim` values.
    #[must_use]
    pub fn bytes(self, features: &[u64], dim: usize) -> u64 {
        match self {
            Self::Compression(ratio) => (full_bytes(features, dim) as f64 / ratio) as u64,
            Self::Bytes(bytes) => bytes,
        }
    }

    /// The budget as a compression ratio.
    #[must_use]
    pub fn compression(self, features: &[u64], dim: usize) -> f64 {
        match self {
            Self::Compression(ratio) => ratio,
            Self::Bytes(bytes) => full_bytes(features, dim) as f64 / bytes as f64,
        }
    }
}

/// Why a method can't work within a budget.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// Too few bytes.
    #[error("a budget of {budget} bytes is too small: {what} needs at least {needed} bytes")]
    TooSmall {
        /// Bytes given.
        budget: u64,
        /// Bytes needed.
        needed: u64,
        /// By what.
        what: &'static str,
    },
    /// More hot rows than a sketch slot can number.
    #[error(
        "{n_hot} hot rows are more than the {limit} that the sketch can number: choose a higher compression ratio or a larger embedding.cafe.shared_share"
    )]
    TooManyHotRows {
        /// Rows asked for.
        n_hot: usize,
        /// The limit.
        limit: usize,
    },
}

/// Bytes of a table with one row for every feature.
#[must_use]
pub fn full_bytes(features: &[u64], dim: usize) -> u64 {
    features.iter().sum::<u64>() * row_bytes(dim)
}

/// Rows for each field, in proportion to its features, at least one and at most one a feature:
/// `ceil(scale * n_f)` with the largest scale at which all fit into `max_rows`.
///
/// # Errors
/// If there are more fields than rows.
pub fn proportional_rows(features: &[u64], dim: usize, max_rows: u64) -> Result<Vec<u64>, BudgetError> {
    let n_fields = features.len() as u64;
    if max_rows < n_fields {
        let (budget, needed) = (max_rows * row_bytes(dim), n_fields * row_bytes(dim));
        return Err(BudgetError::TooSmall { budget, needed, what: "one row for each field" });
    }
    let rows = |scale: f64| scaled_rows(features, scale);
    let (mut low, mut high) = (0.0, 1.0);
    if rows(high).iter().sum::<u64>() <= max_rows {
        return Ok(rows(high));
    }
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if rows(middle).iter().sum::<u64>() <= max_rows { low = middle } else { high = middle }
    }
    Ok(rows(low))
}

impl CafeConfig {
    /// The sizes that the paper's published code gives a compression ratio:
    /// `H = floor(n (1 - h) / CR * 4d / (4d + 12c))` hot rows and as many buckets, `ceil(h n_f / CR)`
    /// shared rows in each field of more than `2000 / CR` features, and a row for every feature of
    /// the smaller fields. Rounding up a row in each field can overspend the budget by a percent
    /// at high ratios; [`CafeConfig::within`] does not.
    ///
    /// # Errors
    /// If nothing is left for a hot row, or there are more than the sketch can number.
    pub fn paper(features: &[u64], dim: usize, compression: f64, settings: &CafeSettings) -> Result<Self, BudgetError> {
        let n = features.iter().sum::<u64>() as f64;
        let share = row_bytes(dim) as f64 / hot_bytes(dim, settings.slots) as f64;
        let n_hot = (n * (1.0 / compression) * (1.0 - settings.shared_share) * share) as u64;
        let is_small = |n_f: u64| is_small(n_f, compression);
        let scale = settings.shared_share / compression;
        let fields = features.iter().map(|&n_f| {
            if is_small(n_f) {
                FieldRows::own(n_f)
            } else {
                FieldRows::shared(n_f, scaled_rows(&[n_f], scale)[0], settings)
            }
        });
        let budget = Budget::Compression(compression).bytes(features, dim);
        let needed = (hot_bytes(dim, settings.slots) as f64 / (1.0 - settings.shared_share)).ceil() as u64;
        Self::assemble(dim, n_hot, fields.collect(), settings)
            .map_err(|error| error.unwrap_or(BudgetError::TooSmall { budget, needed, what: HOT_ROW }))
    }

    /// The sizes for a budget that is never overspent: `h` of the bytes for shared rows in
    /// proportion to the fields' features, the rest for hot rows and a bucket for each.
    ///
    /// # Errors
    /// If the budget can't hold a row for each field and one hot row, or the hot rows are more
    /// than the sketch can number.
    pub fn within(features: &[u64], dim: usize, budget: Budget, settings: &CafeSettings) -> Result<Self, BudgetError> {
        let (compression, budget_bytes) = (budget.compression(features, dim), budget.bytes(features, dim));
        let (small, large): (Vec<u64>, Vec<u64>) = features.iter().partition(|&&n_f| is_small(n_f, compression));
        let n_own = small.iter().sum::<u64>();
        let own_bytes = n_own * row_bytes(dim) + OwnRows::bytes_for(n_own as usize);
        let shared_bytes = (budget_bytes as f64 * settings.shared_share) as u64;
        // Every field needs a row, however small its share of the budget.
        let max_rows = (shared_bytes.saturating_sub(own_bytes) / row_bytes(dim)).max(large.len() as u64);
        let shared = proportional_rows(&large, dim, max_rows)?;
        let mut sizes = shared.iter();
        let fields = features.iter().map(|&n_f| {
            if is_small(n_f, compression) {
                FieldRows::own(n_f)
            } else {
                FieldRows::shared(n_f, sizes.next().copied().unwrap_or(1), settings)
            }
        });
        let spent = own_bytes + shared.iter().sum::<u64>() * row_bytes(dim);
        let n_hot = budget_bytes.saturating_sub(spent) / hot_bytes(dim, settings.slots);
        let needed = spent + hot_bytes(dim, settings.slots);
        Self::assemble(dim, n_hot, fields.collect(), settings)
            .map_err(|error| error.unwrap_or(BudgetError::TooSmall { budget: budget_bytes, needed, what: HOT_ROW }))
    }

    /// Bytes of rows and sketch: what [`crate::Memory::embedding_bytes`] will be.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        self.sketch_bytes() + self.n_rows() * row_bytes(self.dim)
    }

    /// Bytes of the sketch.
    #[must_use]
    pub fn sketch_bytes(&self) -> u64 {
        (self.n_buckets * self.slots * HotSketch::SLOT_BYTES) as u64
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

    /// `Err(None)`: nothing was left for a hot row.
    fn assemble(
        dim: usize,
        n_hot: u64,
        fields: Vec<FieldRows>,
        settings: &CafeSettings,
    ) -> Result<Self, Option<BudgetError>> {
        let n_hot = n_hot as usize;
        if n_hot == 0 {
            return Err(None);
        }
        if n_hot > HotSketch::MAX_ROWS {
            return Err(Some(BudgetError::TooManyHotRows { n_hot, limit: HotSketch::MAX_ROWS }));
        }
        // As the paper's code: a decay is due once the mass seen would fill every bucket to 10 K.
        let every = 10.0 * n_hot as f64 * f64::from(settings.threshold);
        let CafeSettings {
            shared_share: _,
            threshold,
            slots,
            victim,
            importance,
            decay_factor,
            medium,
            optimizer,
            seed,
        } = settings.clone();
        let decay = decay_factor.map(|factor| Decay { factor, every });
        Ok(Self {
            dim,
            n_hot,
            n_buckets: n_hot,
            slots,
            victim,
            importance,
            threshold,
            decay,
            medium,
            fields,
            optimizer,
            seed,
        })
    }
}

const HOT_ROW: &str = "a row for each field and one hot row";

/// Fields of so few features get a row for each: hashing them would save nothing worth a collision.
fn is_small(n_features: u64, compression: f64) -> bool {
    n_features as f64 <= 2000.0 / compression
}

fn scaled_rows(features: &[u64], scale: f64) -> Vec<u64> {
    features.iter().map(|&n_f| ((n_f as f64 * scale).ceil() as u64).clamp(1, n_f.max(1))).collect()
}

fn row_bytes(dim: usize) -> u64 {
    (dim * size_of::<f32>()) as u64
}

/// A hot row and the bucket that comes with it.
fn hot_bytes(dim: usize, slots: usize) -> u64 {
    row_bytes(dim) + (slots * HotSketch::SLOT_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{CafeEmbedding, Embedding, Medium};

    const KAGGLE: [u64; 26] = [
        1460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5683, 8_351_593, 3194, 27, 14_992,
        5_461_306, 10, 5652, 2173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572,
    ];

    /// The table of the paper's sizes on Criteo Kaggle at d = 16.
    #[test]
    fn paper_sizes_of_criteo_kaggle() {
        assert_eq!(full_bytes(&KAGGLE, 16), 2_160_804_928);
        for (ratio, h, k, n_hot, shared, own, sketch, hot, hash, total) in [
            (10.0, 0.5, 20.0, 964_645, 1_688_128, 206, 46_302_960, 61_737_280, 108_040_192, 216_093_616),
            (100.0, 0.3, 100.0, 135_050, 101_296, 50, 6_482_400, 8_643_200, 6_482_944, 21_611_744),
            (1000.0, 0.2, 500.0, 15_434, 6772, 0, 740_832, 987_776, 433_408, 2_162_016),
            (10_000.0, 0.1, 500.0, 1736, 359, 0, 83_328, 111_104, 22_976, 217_408),
        ] {
            let settings = CafeSettings::paper(ratio);
            assert_eq!((settings.shared_share, settings.threshold), (h, k));
            let config = CafeConfig::paper(&KAGGLE, 16, ratio, &settings).expect("fits");
            assert_eq!((config.n_hot, config.n_buckets), (n_hot, n_hot));
            let own_rows = config.n_own_rows();
            assert_eq!((config.n_rows() - n_hot as u64 - own_rows, own_rows), (shared, own));
            assert_eq!(config.sketch_bytes(), sketch);
            assert_eq!((n_hot as u64 * 64, shared * 64), (hot, hash));
            assert_eq!(config.embedding_bytes(), total);
        }
    }

    /// A ratio decides which fields are small, not the bytes that it comes to, rounded down.
    #[test]
    fn small_fields_are_the_same_within_and_on_paper() {
        for ratio in [10.0, 100.0, 200.0, 500.0, 1000.0] {
            let settings = CafeSettings::paper(ratio);
            let within = CafeConfig::within(&KAGGLE, 16, Budget::Compression(ratio), &settings).expect("fits");
            let paper = CafeConfig::paper(&KAGGLE, 16, ratio, &settings).expect("fits");
            assert_eq!(within.n_own_rows(), paper.n_own_rows(), "CR {ratio}");
        }
    }

    #[test]
    fn settings_are_those_of_the_nearest_listed_ratio() {
        assert!((CafeSettings::paper(1200.0).shared_share - 0.2).abs() < f64::EPSILON);
        assert!((CafeSettings::paper(1e6).shared_share - 0.1).abs() < f64::EPSILON);
        assert!((CafeSettings::paper(1.0).shared_share - 0.7).abs() < f64::EPSILON);
    }

    #[test]
    fn a_hopeless_budget_says_what_is_needed() {
        let error = CafeConfig::within(&KAGGLE, 16, Budget::Bytes(26 * 64), &CafeSettings::paper(1e4)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a budget of 1664 bytes is too small: a row for each field and one hot row needs at least 1776 bytes"
        );
        assert!(proportional_rows(&KAGGLE, 16, 25).is_err());
    }

    proptest! {
        #[test]
        fn within_never_overspends(
            features in prop::collection::vec(1_u64..200_000, 1..30), dim in 1_usize..40,
            ratio in 1.1_f64..5000.0, medium: bool,
        ) {
            let budget = Budget::Compression(ratio).bytes(&features, dim);
            let mut settings = CafeSettings::paper(ratio);
            settings.medium = medium.then(Medium::default);
            if let Ok(config) = CafeConfig::within(&features, dim, Budget::Bytes(budget), &settings) {
                prop_assert!(config.embedding_bytes() <= budget);
                let memory = CafeEmbedding::new(config.clone()).memory();
                prop_assert_eq!(memory.embedding_bytes(), config.embedding_bytes());
                prop_assert_eq!(memory.sketch_bytes, config.sketch_bytes());
                prop_assert!(memory.embedding_bytes() + memory.index_bytes <= budget);
            }
        }

        #[test]
        fn proportional_rows_fit_and_leave_little(
            features in prop::collection::vec(1_u64..1_000_000, 1..30), spare in 0_u64..100_000,
        ) {
            let max_rows = features.len() as u64 + spare;
            let rows = proportional_rows(&features, 4, max_rows).expect("a row each");
            let total: u64 = rows.iter().sum();
            prop_assert!(total <= max_rows);
            prop_assert!(rows.iter().zip(&features).all(|(&r, &n)| (1..=n).contains(&r)));
            // One step of the scale adds at most a row to each field.
            prop_assert!(total + features.len() as u64 >= max_rows.min(features.iter().sum()));
        }
    }
}
