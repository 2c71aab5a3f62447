//! Offline separation's own promises: hot features are chosen beforehand, own a row, and start
//! where they would have anyway.

use cafe_core::methods::{
    CafeConfig, CafeSettings, FeatureCounts, FullConfig, FullEmbedding, OfflineConfig,
    OfflineEmbedding,
};
use cafe_core::table::{FieldKind, FieldRows};
use cafe_core::{
    Budget, BudgetError, Embedding, FeatureId, RowFormat, RowPrecision, Sizing, StateError,
    StateView,
};
use proptest::prelude::*;

const FEATURES: [u64; 3] = [3, 500, 9000];
const DIM: usize = 4;

fn sizing(bytes: u64) -> Sizing<'static> {
    let (budget, format) = (Budget::Bytes(bytes), RowFormat::default());
    Sizing { features: &FEATURES, dim: DIM, budget, format, seed: 5 }
}

fn config(budget_bytes: u64) -> OfflineConfig {
    OfflineConfig::within(&sizing(budget_bytes), 0.25).expect("fits")
}

fn vector(embedding: &dyn Embedding, id: FeatureId) -> Vec<f32> {
    let mut out = vec![0.0; DIM];
    embedding.lookup(&[id], &mut out);
    out
}

#[test]
fn hot_and_cold_start_from_the_same_vectors() {
    let config = config(4000);
    let hot: Vec<_> =
        [(2, 70), (1, 3), (2, 8)].map(|(field, token)| FeatureId::new(field, token)).to_vec();
    let (with, without) =
        (OfflineEmbedding::new(&config, &hot), OfflineEmbedding::new(&config, &[]));
    for field in 0..3 {
        for token in 0..100 {
            let id = FeatureId::new(field, token);
            assert_eq!(vector(&with, id), vector(&without, id), "{id}");
        }
    }
}

#[test]
fn a_hot_row_learns_alone_and_others_go_together() {
    let config = config(2000);
    let hot = [FeatureId::new(2, 7), FeatureId::new(1, 7)];
    let mut embedding = OfflineEmbedding::new(&config, &hot);
    let others: Vec<_> = (8..200).map(|token| FeatureId::new(2, token)).collect();
    let before: Vec<_> = others.iter().map(|&id| vector(&embedding, id)).collect();
    let stats = embedding.update(&hot, &[1.0; 2 * DIM], 0.5);
    assert_eq!((stats.hot_rows, stats.promoted, stats.demoted), (2, 0, 0));
    assert_eq!(others.iter().map(|&id| vector(&embedding, id)).collect::<Vec<_>>(), before);
    // 193 features in fewer rows: those that share the row of the first move with it.
    embedding.update(&others[..1], &[1.0; DIM], 0.5);
    let moved = others
        .iter()
        .zip(&before)
        .filter(|&(&id, before)| &vector(&embedding, id) != before)
        .count();
    assert!((2..100).contains(&moved), "{moved}");
}

/// With all features hot and none cold it is the full table, but for where rows start.
#[test]
fn with_all_features_hot_it_equals_the_full_table() {
    let (features, ids) =
        ([40_u64; 2], (0..80).map(|i| FeatureId::new(i % 2, i as u32 / 2)).collect::<Vec<_>>());
    let fields =
        vec![FieldRows { n_features: 40, kind: FieldKind::Shared { first: 1, second: 0 } }; 2];
    let config =
        OfflineConfig { dim: DIM, n_hot: 80, fields, format: RowFormat::default(), seed: 1 };
    let mut offline = OfflineEmbedding::new(&config, &ids);
    let features = features.to_vec();
    let full = FullConfig { dim: DIM, features, format: RowFormat::default(), seed: 1 };
    let mut full = FullEmbedding::new(&full);
    let start =
        |embedding: &dyn Embedding| ids.iter().map(|&id| vector(embedding, id)).collect::<Vec<_>>();
    let (offline_start, full_start) = (start(&offline), start(&full));
    for step in 0..20_u32 {
        let batch: Vec<_> = (0..30).map(|i| ids[(i * i + step as usize * 7) % 80]).collect();
        let grads: Vec<_> =
            (0..30 * DIM as u32).map(|i| ((i * 37 + step) % 9) as f32 - 4.0).collect();
        offline.update(&batch, &grads, 0.125);
        full.update(&batch, &grads, 0.125);
    }
    for (at, &id) in ids.iter().enumerate() {
        for k in 0..DIM {
            let moved = vector(&offline, id)[k] - offline_start[at][k];
            assert!((moved - (vector(&full, id)[k] - full_start[at][k])).abs() < 1e-5, "{id}");
        }
    }
}

#[test]
fn restore_takes_over_hot_features() {
    let config = config(4000);
    let hot: Vec<_> = (0..50).map(|token| FeatureId::new(2, token)).collect();
    let mut original = OfflineEmbedding::new(&config, &hot);
    original.update(&hot, &[0.5; 50 * DIM], 0.1);
    let mut restored = OfflineEmbedding::new(&config, &[]);
    restored.restore(&mut original.state().into_iter().collect()).expect("a sound state");
    assert_eq!((restored.n_hot(), restored.state()), (50, original.state()));
    assert!(hot.iter().all(|&id| vector(&restored, id) == vector(&original, id)));
}

#[test]
fn a_state_with_an_impossible_owner_is_refused() {
    let config = config(4000);
    let mut embedding =
        OfflineEmbedding::new(&config, &[FeatureId::new(1, 3), FeatureId::new(2, 8)]);
    let sound: Vec<u64> = match embedding.state().into_iter().find(|(name, _)| *name == "hot_ids") {
        Some((_, StateView::U64(ids))) => ids.to_vec(),
        other => panic!("{other:?}"),
    };
    let [twice, swapped, small, late] =
        [(1, sound[0]), (0, sound[1] + 1), (0, 5), (4, sound[1] + 1)];
    for (at, raw) in [twice, swapped, small, late] {
        let (mut ids, before) = (sound.clone(), embedding.clone());
        ids[at] = raw;
        let mut state: std::collections::BTreeMap<_, _> = before.state().into_iter().collect();
        state.insert("hot_ids", StateView::U64(ids.into()));
        let refused = embedding.restore(&mut state.clone());
        assert!(
            matches!(refused, Err(StateError::Damaged { name: "hot_ids", .. })),
            "{at} {raw:#x}: {refused:?}"
        );
        assert_eq!(embedding.state(), before.state());
    }
}

#[test]
#[should_panic(expected = "is named twice")]
fn a_feature_named_twice_is_refused() {
    let _ = OfflineEmbedding::new(
        &config(4000),
        &[FeatureId::new(1, 3), FeatureId::new(2, 0), FeatureId::new(1, 3)],
    );
}

#[test]
#[should_panic(expected = "hot rows")]
fn more_hot_features_than_rows_are_refused() {
    let hot: Vec<_> = (0..5000).map(|token| FeatureId::new(2, token)).collect();
    let _ = OfflineEmbedding::new(&config(4000), &hot);
}

/// By hand: CR 38.0, so fields of at most 52 features own rows; 3 rows of 16 B and a map of 4 cells
/// of 17 B come to 116 B; (1000 - 116) / 16 = 55 shared rows at most, and what is left of 4000 B is
/// hot rows.
#[test]
fn sizes_are_those_of_cafe_without_the_sketch() {
    let config = config(4000);
    let cold: u64 = config.fields.iter().map(FieldRows::n_rows).sum();
    assert_eq!(config.n_own_rows(), 3);
    assert!((54..=58).contains(&cold), "{cold}");
    assert_eq!(config.n_hot as u64, (4000 - 4 * 17) / 16 - cold);
    let settings = CafeSettings { shared_share: 0.25, ..CafeSettings::paper(38.0) };
    let cafe = CafeConfig::within(&sizing(4000), &settings).expect("fits");
    assert_eq!(config.fields, cafe.fields);
}

#[test]
fn the_most_frequent_of_the_shared_fields_are_hot() {
    let config = OfflineConfig { n_hot: 2, ..config(4000) };
    let mut counts = FeatureCounts::default();
    let [small, first, second, third] =
        [(0, 1), (2, 9), (1, 4), (2, 1)].map(|(f, token)| FeatureId::new(f, token));
    for (id, n) in [(small, 9), (first, 7), (second, 5), (third, 4)] {
        counts.add_all(&vec![id; n]);
    }
    assert_eq!(config.hot_features(&counts), [first, second]);
}

#[test]
fn too_small_a_budget_names_the_bytes_needed() {
    let within = |bytes| OfflineConfig::within(&sizing(bytes), 0.2);
    assert!(matches!(within(47), Err(BudgetError::TooSmall { budget: 47, .. })));
    assert!(matches!(within(63), Err(BudgetError::TooSmall { budget: 63, needed: 64, .. })));
    assert_eq!(
        within(64).map(|config| config.embedding_bytes()),
        Ok(64),
        "a row for each field, one hot row"
    );
}

proptest! {
    #[test]
    fn within_never_overspends(
        features in prop::collection::vec(1_u64..200_000, 1..30), dim in 1_usize..40,
        ratio in 1.1_f64..5000.0, share in 0.0_f64..1.0, is_half: bool,
    ) {
        let precision = if is_half { RowPrecision::F16 } else { RowPrecision::F32 };
        let (format, budget) =
            (RowFormat { precision, ..RowFormat::default() }, Budget::Compression(ratio));
        let budget_bytes = budget.bytes(&features, dim);
        let sizing = Sizing { features: &features, dim, budget, format, seed: 1 };
        if let Ok(config) = OfflineConfig::within(&sizing, share) {
            let own_maps = config
                .index_bytes() - OfflineConfig { fields: vec![], ..config.clone() }.index_bytes();
            prop_assert!(config.embedding_bytes() + own_maps <= budget_bytes);
            if precision == RowPrecision::F32 {
                let memory = OfflineEmbedding::new(&config, &[]).memory();
                prop_assert_eq!(memory.embedding_bytes(), config.embedding_bytes());
                prop_assert_eq!(memory.index_bytes, config.index_bytes());
            }
        }
    }
}
