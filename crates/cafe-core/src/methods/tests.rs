//! The sizes that methods choose within a budget.

use proptest::prelude::*;

use crate::budget::{Budget, full_bytes};
use crate::embedding::Embedding;
use crate::kaggle::KAGGLE;
use crate::methods::{
    CafeConfig, CafeEmbedding, CafePlusConfig, CafePlusSettings, CafeSettings, Middle,
    OfflineConfig, PaperData, Promotion, Shared,
};
use crate::table::{FieldRows, RowFormat, RowOptimizer, RowPrecision, Sizing, UnifiedSettings};

/// Rows of 16 values in `f32`.
fn sizing(features: &[u64], budget: Budget) -> Sizing<'_> {
    Sizing { features, dim: 16, budget, format: RowFormat::default(), seed: 1 }
}

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
        assert_eq!((settings.shared_share, settings.promotion), (h, Promotion::Threshold(k)));
        let config = CafeConfig::paper(&sizing(&KAGGLE, Budget::Compression(ratio)), &settings)
            .expect("fits");
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
        let within = CafeConfig::within(&sizing(&KAGGLE, Budget::Compression(ratio)), &settings)
            .expect("fits");
        let paper = CafeConfig::paper(&sizing(&KAGGLE, Budget::Compression(ratio)), &settings)
            .expect("fits");
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
        let found = [2.0, 5.0, 10.0].map(|ratio| CafeSettings::paper_on(data, ratio).shared_share);
        assert!(
            found.iter().zip(shares).all(|(found, listed)| (found - listed).abs() < f64::EPSILON),
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
            let sizing = sizing(&features, Budget::Compression(ratio));
            let settings = CafeSettings::paper(ratio);
            let cafe = CafeConfig::within(&sizing, &settings);
            let plus = CafePlusConfig::within(&sizing, &CafePlusSettings::paper(ratio));
            let offline = OfflineConfig::within(&sizing, settings.shared_share);
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
    let few = sizing(&[150, 7, 150, 9], budget);
    let sizes = CafeConfig::within(&few, &CafeSettings::paper(1.0)).expect("fits");
    assert_eq!(
        sizes.fields.iter().map(FieldRows::is_own).collect::<Vec<_>>(),
        [false, true, false, true]
    );
}

#[test]
fn too_small_a_budget_names_the_bytes_needed() {
    let sizing = sizing(&KAGGLE, Budget::Bytes(26 * 64));
    let error = CafeConfig::within(&sizing, &CafeSettings::paper(1e4)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a budget of 1664 bytes is too small: a row for each field and one hot row \
         needs at least 1776 bytes"
    );
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
        ratio in 1.1_f64..5000.0, middle: bool, table: bool, precision in precisions(),
    ) {
        let budget = Budget::Compression(ratio).bytes(&features, dim);
        let mut settings = CafeSettings::paper(ratio);
        settings.shared = if table {
            Shared::Table(UnifiedSettings::default())
        } else {
            Shared::PerField { middle: middle.then(Middle::default) }
        };
        let optimizer = RowOptimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
        let format = RowFormat::new(precision, optimizer);
        let sizing = Sizing { dim, format, ..sizing(&features, Budget::Bytes(budget)) };
        if let Ok(config) = CafeConfig::within(&sizing, &settings) {
            prop_assert!(config.embedding_bytes() <= budget);
            let unit = 4 * dim as u64 + 48;
            let memory = CafeEmbedding::new(&config).memory();
            prop_assert!(memory.embedding_bytes() + memory.index_bytes + unit > budget);
            prop_assert_eq!(memory.embedding_bytes(), config.embedding_bytes());
            prop_assert_eq!(memory.sketch_bytes, config.sketch_bytes());
            prop_assert_eq!(memory.optimizer_bytes, config.n_rows() * optimizer.state_bytes(dim));
            prop_assert!(memory.embedding_bytes() + memory.index_bytes <= budget);
        }
    }
}
