//! From bytes or a compression ratio to sizes: everything that a method stores is counted here.

use crate::RowFormat;

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
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
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
    /// The method can't compress so far, however it is sized.
    #[error(
        "n/a: {method} needs CR <= {limit:.1}, asked for {asked:.1}; choose a lower compression ratio or another method"
    )]
    RatioTooHigh {
        /// The method.
        method: &'static str,
        /// The highest compression ratio that it reaches on these fields.
        limit: f64,
        /// The compression ratio asked for.
        asked: f64,
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
    /// Settings that can't work, alone or together.
    #[error("{what}")]
    Contradiction {
        /// What is asked of them.
        what: &'static str,
    },
}

/// Bytes of a table with one row for every feature.
#[must_use]
pub fn full_bytes(features: &[u64], dim: usize) -> u64 {
    features.iter().sum::<u64>() * RowFormat::default().row_bytes(dim)
}

/// What a method says that needs `needed` bytes at least, of `full` for the full table, and was
/// given `budget`. The limit is rounded down to the one decimal that the message shows, so that it
/// can be reached as shown.
pub(crate) fn ratio_too_high(
    method: &'static str,
    full: u64,
    needed: u64,
    budget: u64,
) -> BudgetError {
    let tenths = (10.0 * full as f64 / needed as f64).floor();
    BudgetError::RatioTooHigh { method, limit: tenths / 10.0, asked: full as f64 / budget as f64 }
}

/// Rows for each field, in proportion to its features, at least one and at most one a feature:
/// `ceil(scale * n_f)` with the largest scale at which all fit into `max_rows`.
///
/// # Errors
/// If there are more fields than rows.
pub fn proportional_rows(
    features: &[u64],
    row_bytes: u64,
    max_rows: u64,
) -> Result<Vec<u64>, BudgetError> {
    let n_fields = features.len() as u64;
    if max_rows < n_fields {
        let (budget, needed) = (max_rows * row_bytes, n_fields * row_bytes);
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

/// Whether each field owns its rows: small ones do, as many as `max_bytes` hold beside a row for
/// each other field, those of the fewest features first. `own_bytes` says what fields of these
/// features come to.
///
/// The paper's code lets all small fields own rows, whatever they cost: where a data set has
/// nothing but small fields they would need more than the full table.
pub(crate) fn owners(
    features: &[u64],
    compression: f64,
    (max_bytes, row_bytes): (u64, u64),
    own_bytes: impl Fn(&[u64]) -> u64,
) -> Vec<bool> {
    let mut small: Vec<usize> =
        (0..features.len()).filter(|&field| is_small(features[field], compression)).collect();
    small.sort_by_key(|&field| features[field]);
    let mut sizes: Vec<u64> = small.iter().map(|&field| features[field]).collect();
    while own_bytes(&sizes) + (features.len() - sizes.len()) as u64 * row_bytes > max_bytes
        && sizes.pop().is_some()
    {}
    let mut owns = vec![false; features.len()];
    small.iter().zip(&sizes).for_each(|(&field, _)| owns[field] = true);
    owns
}

/// The sizes of the fields that own their rows, and of the others.
pub(crate) fn by_owning(features: &[u64], owns: &[bool]) -> (Vec<u64>, Vec<u64>) {
    let sizes_where = |wanted| {
        let sizes = features.iter().zip(owns).filter(move |(_, owns)| **owns == wanted);
        sizes.map(|(&n_features, _)| n_features).collect()
    };
    (sizes_where(true), sizes_where(false))
}

/// Fields of so few features get a row for each: hashing them would save nothing worth a collision.
pub(crate) fn is_small(n_features: u64, compression: f64) -> bool {
    n_features as f64 <= 2000.0 / compression
}

pub(crate) fn scaled_rows(features: &[u64], scale: f64) -> Vec<u64> {
    features.iter().map(|&n_f| ((n_f as f64 * scale).ceil() as u64).clamp(1, n_f.max(1))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        CafeConfig, CafeEmbedding, CafePlusConfig, CafePlusSettings, CafeSettings, Cold, Embedding,
        FieldRows, Medium, OfflineConfig, PaperData, RowFormat, RowOptimizer, RowPrecision,
        Sketches, SlotLayout, UnifiedSettings,
    };

    const KAGGLE: [u64; 26] = [
        1460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5683, 8_351_593, 3194,
        27, 14_992, 5_461_306, 10, 5652, 2173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572,
    ];

    /// The table of the paper's sizes on Criteo Kaggle at d = 16.
    #[test]
    fn paper_sizes_of_criteo_kaggle() {
        assert_eq!(full_bytes(&KAGGLE, 16), 2_160_804_928);
        for (ratio, h, k, n_hot, shared, own, sketch, hot, hash, total) in [
            (
                10.0,
                0.5,
                20.0,
                964_645,
                1_688_128,
                206,
                46_302_960,
                61_737_280,
                108_040_192,
                216_093_616,
            ),
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
            let within = CafeConfig::within(&KAGGLE, 16, Budget::Compression(ratio), &settings)
                .expect("fits");
            let paper = CafeConfig::paper(&KAGGLE, 16, ratio, &settings).expect("fits");
            assert_eq!(within.n_own_rows(), paper.n_own_rows(), "CR {ratio}");
        }
    }

    #[test]
    fn settings_are_those_of_the_nearest_listed_ratio() {
        assert!((CafeSettings::paper(1200.0).shared_share - 0.2).abs() < f64::EPSILON);
        assert!((CafeSettings::paper(1e6).shared_share - 0.1).abs() < f64::EPSILON);
        assert!((CafeSettings::paper(1.0).shared_share - 0.7).abs() < f64::EPSILON);
        for (data, shares) in [
            (PaperData::Criteo, [0.7, 0.5, 0.5]),
            (PaperData::Avazu, [0.95, 0.7, 0.5]),
            (PaperData::Kdd12, [0.95, 0.8, 0.5]),
        ] {
            let found =
                [2.0, 5.0, 10.0].map(|ratio| CafeSettings::paper_on(data, ratio).shared_share);
            assert!(
                found
                    .iter()
                    .zip(shares)
                    .all(|(found, listed)| (found - listed).abs() < f64::EPSILON),
                "{data:?}"
            );
            assert_eq!(
                CafeSettings { shared_share: shares[0], ..CafeSettings::paper(2.0) },
                CafeSettings::paper_on(data, 2.0)
            );
        }
    }

    /// Small fields own rows only as far as the budget goes, so that whatever fits at some ratio
    /// fits at any lower one.
    #[test]
    fn fields_are_small_as_far_as_the_budget_goes() {
        for features in [vec![150; 3], vec![7, 60, 5], vec![2, 1990, 3, 900]] {
            let fits = |ratio: f64| {
                let (settings, budget) = (CafeSettings::paper(ratio), Budget::Compression(ratio));
                let cafe = CafeConfig::within(&features, 16, budget, &settings);
                let plus =
                    CafePlusConfig::within(&features, 16, budget, &CafePlusSettings::paper(ratio));
                let format = RowFormat::default();
                let offline =
                    OfflineConfig::within(&features, 16, budget, settings.shared_share, format, 1);
                [cafe.is_ok(), plus.is_ok(), offline.is_ok()]
            };
            let ratios = [1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 10.0, 14.0, 20.0, 50.0];
            let all: Vec<[bool; 3]> = ratios.into_iter().map(fits).collect();
            assert_eq!(all[1], [true; 3], "{features:?}");
            for (ratios, found) in ratios.windows(2).zip(all.windows(2)) {
                for (method, (low, high)) in found[0].into_iter().zip(found[1]).enumerate() {
                    assert!(
                        low || !high,
                        "{features:?}, method {method}: fits at {} and not at {}",
                        ratios[1],
                        ratios[0]
                    );
                }
            }
        }
        // The smallest first.
        let budget = Budget::Compression(1.0);
        let sizes = CafeConfig::within(&[150, 7, 150, 9], 16, budget, &CafeSettings::paper(1.0))
            .expect("fits");
        assert_eq!(
            sizes.fields.iter().map(FieldRows::is_own).collect::<Vec<_>>(),
            [false, true, false, true]
        );
    }

    #[test]
    fn a_hopeless_budget_says_what_is_needed() {
        let error =
            CafeConfig::within(&KAGGLE, 16, Budget::Bytes(26 * 64), &CafeSettings::paper(1e4))
                .unwrap_err();
        assert_eq!(
            error.to_string(),
            "a budget of 1664 bytes is too small: a row for each field and one hot row needs at least 1776 bytes"
        );
        assert!(proportional_rows(&KAGGLE, 16, 25).is_err());
    }

    fn precisions() -> impl Strategy<Value = RowPrecision> {
        prop::sample::select(vec![
            RowPrecision::F32,
            RowPrecision::F16,
            RowPrecision::Bf16,
            RowPrecision::I8,
        ])
    }

    proptest! {
        #[test]
        fn within_never_overspends(
            features in prop::collection::vec(1_u64..200_000, 1..30), dim in 1_usize..40,
            ratio in 1.1_f64..5000.0, medium: bool, unified: bool, per_field: bool, rows_per_bucket in 0_usize..4,
            precision in precisions(),
        ) {
            let budget = Budget::Compression(ratio).bytes(&features, dim);
            let mut settings = CafeSettings::paper(ratio);
            settings.medium = (medium && !unified).then(Medium::default);
            if unified {
                settings.cold = Cold::Unified(UnifiedSettings::default());
            }
            if per_field {
                settings.sketches = Sketches::PerField;
            }
            if rows_per_bucket > 0 {
                settings.layout = SlotLayout::Compact { rows_per_bucket };
            }
            let optimizer = RowOptimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
            settings.format = RowFormat::new(precision, optimizer);
            if let Ok(config) = CafeConfig::within(&features, dim, Budget::Bytes(budget), &settings) {
                prop_assert!(config.embedding_bytes() <= budget);
                let unit = config.layout.rows_per_bucket() as u64 * 4 * dim as u64 + 48;
                let memory = CafeEmbedding::new(config.clone()).memory();
                // Fields' buckets may be as many as their features, and no more.
                prop_assert!(per_field || memory.embedding_bytes() + memory.index_bytes + unit > budget);
                prop_assert_eq!(memory.embedding_bytes(), config.embedding_bytes());
                prop_assert_eq!(memory.sketch_bytes, config.sketch_bytes());
                prop_assert_eq!(memory.optimizer_bytes, config.n_rows() * optimizer.state_bytes(dim));
                prop_assert!(memory.embedding_bytes() + memory.index_bytes <= budget);
            }
        }

        #[test]
        fn proportional_rows_fit_and_leave_little(
            features in prop::collection::vec(1_u64..1_000_000, 1..30), spare in 0_u64..100_000,
        ) {
            let max_rows = features.len() as u64 + spare;
            let rows = proportional_rows(&features, 16, max_rows).expect("a row each");
            let total: u64 = rows.iter().sum();
            prop_assert!(total <= max_rows);
            prop_assert!(rows.iter().zip(&features).all(|(&r, &n)| (1..=n).contains(&r)));
            // One step of the scale adds at most a row to each field.
            prop_assert!(total + features.len() as u64 >= max_rows.min(features.iter().sum()));
        }
    }
}
