//! CAFE's own promises: continuity of every promotion, tiers by score, protection by policy.

use cafe_core::methods::{
    CafeConfig, CafeEmbedding, CafeSettings, Decay, Middle, Promotion, Shared, Tier,
};
use cafe_core::table::{FieldKind, FieldRows};
use cafe_core::{Budget, Embedding, FeatureId, RowFormat, RowOptimizer, Sizing};
use proptest::prelude::*;

const DIM: usize = 3;

/// Hot from a score of 10; a score of 15 from one decay to the next, where a test asks for decay.
fn config(with_middle: bool) -> CafeConfig {
    let field =
        |first, second| FieldRows { n_features: 1000, kind: FieldKind::Shared { first, second } };
    CafeConfig {
        dim: DIM,
        n_hot: 4,
        n_buckets: 8,
        n_shared_table_rows: 0,
        fields: vec![field(2, 2), field(3, 1), FieldRows { n_features: 2, kind: FieldKind::Own }],
        decay_interval: 15.0,
        format: RowFormat::default(),
        seed: 11,
        settings: CafeSettings {
            promotion: Promotion::Threshold(10.0),
            decay: None,
            shared: Shared::PerField { middle: with_middle.then(Middle::default) },
            ..CafeSettings::default()
        },
    }
}

fn vector(embedding: &CafeEmbedding, id: FeatureId) -> Vec<f32> {
    let mut out = vec![0.0; DIM];
    embedding.lookup(&[id], &mut out);
    out
}

/// One feature alone has a score of exactly one for each occurrence: the mean of its field.
#[test]
fn tiers_follow_the_score() {
    let id = FeatureId::new(0, 42);
    let mut embedding = CafeEmbedding::new(&config(true));
    let mut tiers = Vec::new();
    for _ in 0..12 {
        tiers.push(embedding.tier(id));
        embedding.update(&[id], &[0.1, 0.0, 0.0], 0.0);
    }
    let expected = [vec![Tier::Cold; 2], vec![Tier::Medium; 8], vec![Tier::Hot; 2]].concat();
    assert_eq!(tiers, expected, "medium from 0.2 K = 2, hot from K = 10");
    assert_eq!(embedding.tier(FeatureId::new(2, 1)), Tier::Own);
    assert!((embedding.score(id) - 12.0).abs() < 1e-4);
}

#[test]
fn scores_have_mean_one_per_field_and_batch() {
    let mut embedding = CafeEmbedding::new(&config(false));
    let ids =
        [FeatureId::new(0, 1), FeatureId::new(1, 1), FeatureId::new(0, 2), FeatureId::new(1, 2)];
    // Field 0 has norms 3 and 1, field 1 has norms 0.5 and 0.
    let grads = [[3.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, -1.0], [0.0; 3]].concat();
    embedding.update(&ids, &grads, 0.1);
    let scores = ids.map(|id| embedding.score(id));
    assert_eq!(scores, [1.5, 2.0, 0.5, 0.0]);
}

#[test]
fn hot_features_are_listed_by_score() {
    let mut embedding = CafeEmbedding::new(&config(false));
    for (token, n_times) in [(1, 11), (2, 9), (3, 12)] {
        for _ in 0..n_times {
            embedding.update(&[FeatureId::new(0, token)], &[0.1, 0.0, 0.0], 0.0);
        }
    }
    let reported: Vec<_> =
        embedding.hot_features().iter().map(|hot| (hot.id.token(), hot.score)).collect();
    assert_eq!(reported, [(Some(3), Some(12.0)), (Some(1), Some(11.0))]);
    let tiers = embedding.tiers().expect("CAFE has tiers");
    assert_eq!(
        (tiers.hot_rows_by_field, tiers.max_hot_rows, tiers.slots_in_use),
        (vec![2, 0, 0], 4, 3)
    );
    assert_eq!((tiers.thresholds, tiers.mass, tiers.n_decays), (vec![10.0], Some(32.0), Some(0)));
}

#[test]
fn gradients_that_are_all_zero_add_nothing() {
    let mut embedding = CafeEmbedding::new(&config(false));
    embedding.update(&[FeatureId::new(0, 1); 4], &[0.0; 4 * DIM], 0.1);
    assert!(
        embedding.sketch().mass().abs() < f64::EPSILON
            && embedding.sketch().iter().next().is_none()
    );
    embedding.update(&[FeatureId::new(0, 1)], &[1.0, 0.0, 0.0], 0.1);
    assert!((embedding.sketch().mass() - 1.0).abs() < 1e-6, "and it still observes afterwards");
}

#[test]
fn a_hot_row_learns_alone() {
    let hot = FeatureId::new(0, 42);
    let mut embedding = CafeEmbedding::new(&config(false));
    for _ in 0..10 {
        embedding.update(&[hot], &[1.0, 0.0, 0.0], 0.0);
    }
    assert_eq!(embedding.tier(hot), Tier::Hot);
    let others: Vec<_> =
        (0..50).map(|token| FeatureId::new(0, token)).filter(|&id| id != hot).collect();
    let before: Vec<_> = others.iter().map(|&id| vector(&embedding, id)).collect();
    embedding.update(&[hot], &[1.0, 1.0, 1.0], 0.5);
    assert_eq!(others.iter().map(|&id| vector(&embedding, id)).collect::<Vec<_>>(), before);
}

/// A row that had an owner before starts again: a step of the accumulator's first gradient moves it
/// by the rate.
#[test]
fn promotion_resets_optimizer_state() {
    let mut settings = config(false);
    settings.format = RowOptimizer::row_wise_adagrad(0.0).into();
    settings.settings.decay = Some(Decay::new(0.5, None).expect("in range"));
    settings.n_hot = 1;
    let (first, second) = (FeatureId::new(0, 42), FeatureId::new(1, 7));
    let mut embedding = CafeEmbedding::new(&settings);
    for id in [first, second] {
        let grad = [100.0, 0.0, 0.0];
        while embedding.tier(id) != Tier::Hot {
            embedding.update(&[id], &grad, 0.0);
        }
        let before = vector(&embedding, id);
        embedding.update(&[id], &grad, 0.1);
        // a = 100^2 / 3, so the step is 0.1 * 100 / sqrt(a) = 0.1 sqrt(3).
        let moved = before[0] - vector(&embedding, id)[0];
        assert!((moved - 0.1 * 3.0_f32.sqrt()).abs() < 1e-6, "{id}: {moved}");
    }
}

#[test]
fn decay_demotes_to_the_shared_row() {
    let mut settings = config(false);
    settings.settings.decay = Some(Decay::new(0.5, None).expect("in range"));
    let (id, filler) = (FeatureId::new(0, 42), FeatureId::new(1, 7));
    let mut embedding = CafeEmbedding::new(&settings);
    let shared = vector(&embedding, id);
    for _ in 0..10 {
        embedding.update(&[id], &[1.0, 0.0, 0.0], 0.0);
    }
    embedding.update(&[id], &[1.0, 0.0, 0.0], 0.5); // moves the hot row only
    assert_ne!(vector(&embedding, id), shared);
    let demoted: u64 =
        (0..5).map(|_| embedding.update(&[filler], &[1.0, 0.0, 0.0], 0.0).demoted).sum();
    assert_eq!((demoted, embedding.tier(id)), (1, Tier::Cold));
    assert_eq!(vector(&embedding, id), shared);
    assert!((embedding.score(id) - 5.5).abs() < 1e-5);
    for _ in 0..15 {
        embedding.update(&[filler], &[1.0, 0.0, 0.0], 0.0);
    }
    assert!(
        (embedding.score(id) - 5.5).abs() < 1e-5,
        "the next decay is due past a total score of 15 more"
    );
    embedding.update(&[filler], &[1.0, 0.0, 0.0], 0.0);
    assert!((embedding.score(id) - 2.75).abs() < 1e-5);
}

#[test]
fn surplus_features_of_a_small_field_share_its_rows() {
    let mut embedding = CafeEmbedding::new(&config(false));
    let ids: Vec<_> = (0..3).map(|token| FeatureId::new(2, token)).collect();
    embedding.update(&ids, &[0.1; 3 * DIM], 0.1);
    assert_eq!(
        ids.iter().map(|&id| embedding.tier(id)).collect::<Vec<_>>(),
        [Tier::Own, Tier::Own, Tier::Cold]
    );
    let surplus = vector(&embedding, ids[2]);
    assert!(surplus == vector(&embedding, ids[0]) || surplus == vector(&embedding, ids[1]));
}

proptest! {
    /// With a learning rate of zero nothing but tiers change, and no vector may: a promotion
    /// copies exactly what lookup returned. Only a feature that loses its row, or one that meets a
    /// second table which others have trained, moves.
    #[test]
    fn promotions_are_continuous(
        medium: bool, optimizer in prop_oneof![Just(RowOptimizer::Sgd),
            Just(RowOptimizer::row_wise_adagrad(1e-8))],
        steps in prop::collection::vec(prop::collection::vec((0_usize..3, 0_u32..12, -3_i8..4),
            1..12), 1..60),
    ) {
        let mut settings = config(medium);
        settings.format = optimizer.into();
        let mut embedding = CafeEmbedding::new(&settings);
        for (step, samples) in steps.into_iter().enumerate() {
            let ids: Vec<_> = samples.iter()
                .map(|&(field, token, _)| FeatureId::new(field, token)).collect();
            let grads: Vec<_> = samples.iter().flat_map(|&(_, _, g)| [f32::from(g), 0.5, 0.0])
                .collect();
            if step % 2 == 0 {
                embedding.update(&ids, &grads, 0.1);
                continue;
            }
            let watched: Vec<_> = (0..36).map(|i| FeatureId::new(i % 3, i as u32 / 3)).collect();
            let before: Vec<_> = watched.iter()
                .map(|&id| (embedding.tier(id), vector(&embedding, id))).collect();
            embedding.update(&ids, &grads, 0.0);
            for (&id, (tier, before)) in watched.iter().zip(&before) {
                let now = embedding.tier(id);
                let moves = matches!((tier, now),
                    (Tier::Cold, Tier::Medium) | (Tier::Own, Tier::Cold))
                        || (*tier == Tier::Hot && now != Tier::Hot);
                prop_assert!(moves || &vector(&embedding, id) == before, "{}: {:?} -> {:?}", id,
                    tier, now);
            }
        }
    }
}

/// Buffers that a batch leaves behind say nothing about the next one: an embedding that has seen
/// the same, in a state of its own, continues the same.
#[test]
fn smaller_batches_ignore_stale_buffers() {
    let (budget, format) = (Budget::Bytes(12_000), RowFormat::default());
    let sizing = Sizing { features: &[4000, 5], dim: 4, budget, format, seed: 0 };
    let settings =
        CafeSettings { promotion: Promotion::Threshold(4.0), ..CafeSettings::paper(10.0) };
    let config = CafeConfig::within(&sizing, &settings).expect("fits");
    assert!(!config.fields[0].is_own() && config.fields[1].is_own());
    let batch = |n_samples: u32| {
        let ids: Vec<_> = (0..n_samples)
            .flat_map(|i| [FeatureId::new(0, i % 8), FeatureId::new(1, i % 5)])
            .collect();
        let grads: Vec<f32> = (0..ids.len() * 4).map(|k| (k % 7) as f32 - 2.0).collect();
        (ids, grads)
    };
    let mut running = CafeEmbedding::new(&config);
    let (ids, grads) = batch(32);
    for _ in 0..8 {
        running.update(&ids, &grads, 0.1);
    }
    assert_eq!(running.tier(ids[0]), Tier::Hot);
    let mut restored = CafeEmbedding::new(&config);
    restored.restore(&mut running.state().into_iter().collect()).expect("its own state");
    let (ids, grads) = batch(9);
    running.update(&ids, &grads, 0.1);
    restored.update(&ids, &grads, 0.1);
    assert_eq!(running.state(), restored.state());
}
