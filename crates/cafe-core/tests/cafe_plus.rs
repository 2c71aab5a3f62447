//! CAFE+'s own promises: an adaptive threshold, forward decay, continuity of every promotion.

use cafe_core::methods::{CafePlusConfig, CafePlusEmbedding, CafePlusSettings, Tier};
use cafe_core::table::{FieldKind, FieldRows};
use cafe_core::{
    Budget, BudgetError, Embedding, FeatureId, RowFormat, RowOptimizer, RowPrecision, Sizing,
    UpdateStats, mix64,
};
use proptest::prelude::*;

const DIM: usize = 3;

fn settings() -> CafePlusSettings {
    CafePlusSettings { growth: 1.0, ..CafePlusSettings::paper(100.0) }
}

fn config(n_hot: usize, settings: CafePlusSettings) -> CafePlusConfig {
    let field =
        |first| FieldRows { n_features: 1000, kind: FieldKind::Shared { first, second: 0 } };
    let fields = vec![field(2), field(3), FieldRows { n_features: 2, kind: FieldKind::Own }];
    CafePlusConfig {
        dim: DIM,
        n_hot,
        n_main_buckets: 64,
        n_filter_buckets: 8,
        fields,
        format: RowFormat::default(),
        seed: 11,
        settings,
    }
}

fn vector(embedding: &CafePlusEmbedding, id: FeatureId) -> Vec<f32> {
    let mut out = vec![0.0; DIM];
    embedding.lookup(&[id], &mut out);
    out
}

/// One feature alone has a score of exactly one for each occurrence, times the weight: the mean of
/// its field.
fn occur(embedding: &mut CafePlusEmbedding, token: u32) -> UpdateStats {
    embedding.update(&[FeatureId::new(0, token)], &[0.1, 0.0, 0.0], 0.0)
}

fn occur_each(embedding: &mut CafePlusEmbedding, tokens: impl IntoIterator<Item = u32>) {
    for token in tokens {
        occur(embedding, token);
    }
}

fn owners(embedding: &CafePlusEmbedding) -> Vec<u32> {
    (0..200).filter(|&token| embedding.tier(FeatureId::new(0, token)) == Tier::Hot).collect()
}

#[test]
fn threshold_rises_when_overfull() {
    let mut embedding = CafePlusEmbedding::new(&config(5, settings()));
    let mut demoted = 0;
    // Six features of 1 to 6 occurrences reach a threshold of 1: 1.2 H, which is not too many. A
    // seventh is.
    for token in 1..=6 {
        demoted += (0..token).map(|_| occur(&mut embedding, token).demoted).sum::<u64>();
    }
    assert_eq!((embedding.threshold(), owners(&embedding), demoted), (1.0, vec![1, 2, 3, 4, 5], 0));
    let stats = occur(&mut embedding, 100);
    assert_eq!((stats.promoted, stats.demoted, stats.hot_rows), (1, 2, 4));
    // Scores 6 5 4 3 2 1 1: the fifth largest is 2, and rows go to the top 4.
    assert_eq!((embedding.threshold(), owners(&embedding)), (2.0, vec![3, 4, 5, 6]));
    // At the threshold while a row is free: hot.
    assert_eq!((occur(&mut embedding, 100).promoted, occur(&mut embedding, 2).promoted), (1, 0));
    assert_eq!(owners(&embedding), [3, 4, 5, 6, 100]);
}

#[test]
fn threshold_falls_when_rows_stay_free() {
    let start = CafePlusSettings { initial_threshold: 500.0, check_every: 10, ..settings() };
    let mut embedding = CafePlusEmbedding::new(&config(4, start));
    let stats: Vec<_> = (0..20).map(|step| occur(&mut embedding, step % 8 % 5)).collect();
    // After two looks; the 4th largest of the scores 5 5 5 3 2 is 3, and the top 3 own rows.
    assert!(stats[..19].iter().all(|stats| stats.promoted == 0));
    assert_eq!((stats[19].promoted, embedding.threshold()), (3, 3.0));
    assert_eq!(owners(&embedding), [0, 1, 2]);
}

#[test]
fn threshold_stays_above_its_minimum() {
    let start = CafePlusSettings {
        initial_threshold: 500.0,
        min_threshold: 3.0,
        check_every: 5,
        ..settings()
    };
    let mut embedding = CafePlusEmbedding::new(&config(4, start));
    occur_each(&mut embedding, (0..10).map(|step| step % 5));
    assert_eq!((embedding.threshold(), owners(&embedding)), (3.0, vec![]));
    occur(&mut embedding, 1);
    assert_eq!(owners(&embedding), [1]);
}

/// Ten features are popular, then ten others, a little less long. Without decay the first ten keep
/// their rows.
#[test]
fn with_forward_decay_the_present_counts() {
    for (growth, expected) in [(1.0, 0..10), (1.01, 10..20)] {
        let mut embedding =
            CafePlusEmbedding::new(&config(10, CafePlusSettings { growth, ..settings() }));
        for (tokens, n) in [(0..10, 60), (10..20, 40)] {
            (0..n).for_each(|_| occur_each(&mut embedding, tokens.clone()));
        }
        let hot = owners(&embedding);
        assert!(
            hot.len() >= 9 && hot.iter().all(|token| expected.contains(token)),
            "{growth}: {hot:?}"
        );
    }
}

/// 2^(1/2) a step: an epoch every 32 steps. One occurrence counts 2^(-n/2) after n more steps,
/// whatever epochs passed.
#[test]
fn decay_is_uniform_across_epochs() {
    let growth = 2.0_f64.powf(0.25); // for each of two hashed fields
    let mut embedding =
        CafePlusEmbedding::new(&config(10, CafePlusSettings { growth, ..settings() }));
    occur(&mut embedding, 5);
    for step in 1..200 {
        let score = embedding.score(FeatureId::new(0, 5));
        let expected = 2.0_f64.powf(f64::from(step) / -2.0);
        assert!((f64::from(score) / expected - 1.0).abs() < 1e-5, "{step}: {score} for {expected}");
        occur(&mut embedding, 6 + step % 2);
    }
    // Two features that alternate: 1 / (1 - 1/2), just observed and a step later.
    let scores = [6, 7].map(|token| embedding.score(FeatureId::new(0, token)));
    assert!(
        (scores[0] / scores[1] - 0.5_f32.sqrt()).abs() < 1e-5
            || (scores[1] / scores[0] - 0.5_f32.sqrt()).abs() < 1e-5
    );
    assert!((scores[0].max(scores[1]) - 2.0 * 0.5_f32.sqrt()).abs() < 1e-5, "{scores:?}");
    occur_each(&mut embedding, [8; 3000]);
    assert_eq!(embedding.score(FeatureId::new(0, 5)), 0.0);
}

/// A head in a long tail: after the threshold has found itself, the head owns the rows, and nearly
/// all rows are owned.
#[test]
fn the_head_of_a_skewed_stream_owns_the_rows() {
    let fields =
        vec![FieldRows { n_features: 100_000, kind: FieldKind::Shared { first: 50, second: 0 } }];
    let sizes = CafePlusConfig {
        n_hot: 100,
        n_main_buckets: 90,
        n_filter_buckets: 10,
        fields,
        ..config(1, settings())
    };
    let mut embedding = CafePlusEmbedding::new(&sizes);
    let mut last = UpdateStats::default();
    for step in 0..2000_u64 {
        let token = |i| {
            let uniform = (mix64(i, step) >> 11) as f64 / (1_u64 << 53) as f64;
            uniform.powi(-1).min(1e5) as u32 // the share of tokens up to x is 1 - 1/x
        };
        let ids: Vec<_> = (0..64).map(|i| FeatureId::new(0, token(i))).collect();
        last = embedding.update(&ids, &[0.1; 64 * DIM], 0.0);
    }
    assert!(embedding.threshold() > 5.0, "{}", embedding.threshold());
    assert!((95..=100).contains(&last.hot_rows), "{last:?}");
    let hot =
        (1..=50).filter(|&token| embedding.tier(FeatureId::new(0, token)) == Tier::Hot).count();
    assert!(hot >= 48, "{hot} of the 50 most frequent");
}

#[test]
fn gradients_that_are_all_zero_add_nothing() {
    let mut embedding = CafePlusEmbedding::new(&config(4, settings()));
    let ids = [FeatureId::new(0, 1), FeatureId::new(1, 1)];
    embedding.update(&ids, &[0.0, 0.0, 0.0, 0.0, 1.0, 0.0], 0.1);
    assert_eq!(ids.map(|id| embedding.score(id)), [0.0, 1.0]);
    occur(&mut embedding, 1);
    assert_eq!(ids.map(|id| embedding.score(id)), [1.0, 1.0]);
}

#[test]
fn surplus_features_of_a_small_field_share_its_rows() {
    let mut embedding = CafePlusEmbedding::new(&config(4, settings()));
    let ids: Vec<_> = (0..3).map(|token| FeatureId::new(2, token)).collect();
    embedding.update(&ids, &[0.1; 3 * DIM], 0.1);
    assert_eq!(
        ids.iter().map(|&id| embedding.tier(id)).collect::<Vec<_>>(),
        [Tier::Own, Tier::Own, Tier::Cold]
    );
    assert!(
        [ids[0], ids[1]].iter().any(|&id| vector(&embedding, id) == vector(&embedding, ids[2]))
    );
}

#[test]
#[should_panic(expected = "finite and not negative")]
fn nan_is_refused() {
    CafePlusEmbedding::new(&config(4, settings())).update(
        &[FeatureId::new(0, 1)],
        &[f32::NAN, 0.0, 0.0],
        0.1,
    );
}

/// By hand: 4 slots of 12 B and an epoch of 4 B are 52 B a bucket, with clocks 68 B; 100 rows of 64
/// B.
#[test]
fn every_byte_of_the_sketch_is_counted() {
    let within_in = |bytes, settings: &CafePlusSettings, precision| {
        let format = RowFormat { precision, ..RowFormat::default() };
        let budget = Budget::Bytes(bytes);
        let sizing = Sizing { features: &[50_000], dim: 16, budget, format, seed: 11 };
        CafePlusConfig::within(&sizing, settings)
    };
    let within = |bytes, settings: &CafePlusSettings| within_in(bytes, settings, RowPrecision::F32);
    let fixed = CafePlusSettings { shared_share: 0.0, ..settings() }; // the field's one row
    let bytes = 64 + 100 * 64 + 90 * 52 + 10 * 68;
    let config = within(bytes, &fixed).expect("fits");
    assert_eq!((config.n_hot, config.n_main_buckets, config.n_filter_buckets), (100, 90, 10));
    assert_eq!((config.sketch_bytes(), config.embedding_bytes()), (90 * 52 + 10 * 68, bytes));
    assert_eq!(within(bytes - 1, &fixed).expect("fits").n_hot, 99);
    let half = within_in(32 + 100 * 32 + 90 * 52 + 10 * 68, &fixed, RowPrecision::F16);
    assert_eq!(half.expect("fits").n_hot, 100);
    let Err(BudgetError::TooSmall { needed, .. }) = within(100, &settings()) else {
        panic!("one row of each is 128 B")
    };
    assert_eq!(needed, 64 + 64 + 52 + 68);
    assert_eq!(within(needed, &settings()).expect("fits").n_hot, 1);
}

proptest! {
    #[test]
    fn within_never_overspends(
        features in prop::collection::vec(1_u64..200_000, 1..30), dim in 1_usize..40,
        ratio in 1.1_f64..5000.0,
        slots in 1_usize..9, filter_share in 0.0_f64..0.6,
    ) {
        let settings = CafePlusSettings { slots, filter_share, ..CafePlusSettings::paper(ratio) };
        let budget = Budget::Compression(ratio);
        if let Ok(config) = CafePlusConfig::within(&Sizing { features: &features, dim, budget,
            format: RowFormat::default(), seed: 0 }, &settings) {
            let memory = CafePlusEmbedding::new(&config).memory();
            prop_assert_eq!(memory.embedding_bytes(), config.embedding_bytes());
            prop_assert_eq!(memory.sketch_bytes, config.sketch_bytes());
            prop_assert!(memory.embedding_bytes() + memory.index_bytes <= budget
                .bytes(&features, dim));
        }
    }

    /// With a learning rate of zero nothing but tiers change, and no vector may: a feature that
    /// gains a row gains a copy of what lookup returned. Only a feature that loses its row moves.
    #[test]
    fn promotions_are_continuous(
        optimizer in prop_oneof![Just(RowOptimizer::Sgd),
            Just(RowOptimizer::row_wise_adagrad(1e-8))],
        steps in prop::collection::vec(prop::collection::vec((0_usize..3, 0_u32..12, -3_i8..4),
            1..12), 1..60),
    ) {
        let lively = CafePlusSettings { growth: 1.2, check_every: 3, ..settings() };
        let lively = CafePlusConfig { format: optimizer.into(), ..config(4, lively) };
        let mut embedding = CafePlusEmbedding::new(&lively);
        for (step, samples) in steps.into_iter().enumerate() {
            let ids: Vec<_> = samples.iter()
                .map(|&(field, token, _)| FeatureId::new(field, token)).collect();
            let grads: Vec<_> = samples.iter().flat_map(|&(_, _, g)| [f32::from(g), 0.5, 0.0])
                .collect();
            let watched: Vec<_> = (0..36).map(|i| FeatureId::new(i % 3, i as u32 / 3)).collect();
            let before: Vec<_> = watched.iter()
                .map(|&id| (embedding.tier(id), vector(&embedding, id))).collect();
            let hot = before.iter().filter(|(tier, _)| *tier == Tier::Hot).count() as u64;
            let learning_rate = if step % 2 == 0 { 0.1 } else { 0.0 };
            let stats = embedding.update(&ids, &grads, learning_rate);
            prop_assert_eq!(hot + stats.promoted - stats.demoted, stats.hot_rows);
            for (&id, (tier, before)) in watched.iter().zip(&before).filter(|_| step % 2 == 1) {
                let now = embedding.tier(id);
                let moves = (*tier == Tier::Hot && now != Tier::Hot)
                    || (*tier, now) == (Tier::Own, Tier::Cold);
                prop_assert!(moves || &vector(&embedding, id) == before, "{}: {:?} -> {:?}", id,
                    tier, now);
            }
        }
    }
}

/// Buckets that were last touched epochs ago keep their scores in the unit of that time.
#[test]
fn hot_features_have_the_scores_of_the_present() {
    let mut embedding =
        CafePlusEmbedding::new(&config(5, CafePlusSettings { growth: 1.5, ..settings() }));
    occur_each(&mut embedding, (0..3).chain([3; 60]));
    let features = embedding.hot_features();
    assert!(features.len() > 1);
    for feature in &features {
        assert_eq!(feature.score, Some(embedding.score(feature.id)), "{}", feature.id);
    }
    let mut tokens: Vec<_> = features.iter().filter_map(|feature| feature.id.token()).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, owners(&embedding));
}
