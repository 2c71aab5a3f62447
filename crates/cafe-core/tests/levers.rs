//! CAFE's levers, each doing its work: what a threshold leaves unused, a quota uses; what demotion
//! forgets, write-back and residual rows keep; and settings that contradict each other are refused.

mod common;

use cafe_core::{
    Budget, BudgetError, CafeConfig, CafeEmbedding, CafeSettings, Cold, Embedding, FeatureId,
    FieldKind, HotRows, HotRule, Medium, Signs, Sketches, SlotLayout, Tier, UnifiedSettings,
    UpdateStats, VictimPolicy, mix64,
};

use common::compact_quota;
use proptest::prelude::*;

const DIM: usize = 3;
const FEATURES: [u64; 2] = [3000, 9000];
const QUOTA: HotRule = HotRule::Quota { hysteresis: 1.5 };
const COMPACT: SlotLayout = SlotLayout::Compact { rows_per_bucket: 2 };
const UNIFIED: Cold =
    Cold::Unified(UnifiedSettings { n_hashes: 2, signs: Signs::Row, field_rows: true });

fn settings() -> CafeSettings {
    CafeSettings {
        threshold: 10.0,
        decay_factor: None,
        shared_share: 0.3,
        ..CafeSettings::paper(100.0)
    }
}

fn config(settings: &CafeSettings) -> CafeConfig {
    CafeConfig::within(&FEATURES, DIM, Budget::Bytes(3000), settings).expect("fits")
}

fn embedding(settings: &CafeSettings) -> CafeEmbedding {
    CafeEmbedding::new(config(settings))
}

fn vector(embedding: &CafeEmbedding, id: FeatureId) -> Vec<f32> {
    let mut out = vec![0.0; DIM];
    embedding.lookup(&[id], &mut out);
    out
}

/// A feature alone in its field's part of a batch scores one.
fn see(embedding: &mut CafeEmbedding, id: FeatureId, times: usize, rate: f32) -> UpdateStats {
    let mut stats = UpdateStats::default();
    for _ in 0..times {
        let step = embedding.update(&[id], &[1.0, -1.0, 0.5], rate);
        stats.promoted += step.promoted;
        stats.demoted += step.demoted;
        stats.hot_rows = step.hot_rows;
    }
    stats
}

/// A skewed stream of both fields.
fn stream(embedding: &mut CafeEmbedding, steps: std::ops::Range<u64>, shift: u32) -> UpdateStats {
    let mut stats = UpdateStats::default();
    for step in steps {
        let id = |i: u64| {
            let u = (mix64(i, step) >> 11) as f64 / (1_u64 << 53) as f64;
            FeatureId::new(
                (i % 2) as usize,
                (FEATURES[(i % 2) as usize] as f64 * u.powi(6)) as u32 + shift,
            )
        };
        let ids: Vec<_> = (0..32).map(id).collect();
        let step = embedding.update(&ids, &vec![0.1; ids.len() * DIM], 0.01);
        stats.promoted += step.promoted;
        stats.demoted += step.demoted;
        stats.hot_rows = step.hot_rows;
    }
    stats
}

#[test]
fn a_quota_uses_the_rows_that_a_threshold_leaves() {
    let high = CafeSettings { threshold: 1e4, ..settings() };
    let n_hot = config(&high).n_hot as u64;
    assert_eq!(stream(&mut embedding(&high), 0..200, 0).hot_rows, 0);
    for layout in [SlotLayout::Full, COMPACT] {
        let quota = CafeSettings { threshold: 1.5, rule: QUOTA, layout, slots: 6, ..high.clone() };
        let n_hot = config(&quota).n_hot as u64;
        let used = stream(&mut embedding(&quota), 0..200, 0).hot_rows;
        assert!(used * 10 >= n_hot * 9, "{layout:?}: {used} of {n_hot}");
    }
    assert!(n_hot > 20);
}

/// Once the weights have settled, rows stay where they are; when others become heavy, they move.
#[test]
fn a_quota_neither_thrashes_nor_sticks() {
    for (layout, victim) in
        [(SlotLayout::Full, VictimPolicy::ByChance), (COMPACT, VictimPolicy::ByChance)]
    {
        let quota =
            CafeSettings { threshold: 1.5, rule: QUOTA, layout, slots: 6, victim, ..settings() };
        let mut embedding = embedding(&quota);
        let n_hot = embedding.config().n_hot as u64;
        stream(&mut embedding, 0..1000, 0);
        let settled = stream(&mut embedding, 1000..2000, 0);
        assert!(settled.promoted < n_hot / 2, "{layout:?}: {settled:?} of {n_hot}");
        let head = FeatureId::new(0, 20_000);
        assert_eq!(embedding.tier(head), Tier::Cold);
        let moved = stream(&mut embedding, 2000..8000, 20_000);
        assert!(
            moved.promoted > n_hot / 2 && moved.demoted > n_hot / 2,
            "{layout:?}: {moved:?} of {n_hot}"
        );
        assert_eq!(embedding.tier(head), Tier::Hot, "{layout:?}");
    }
}

#[test]
fn a_residual_row_adds_to_a_vector_that_goes_on_learning() {
    let [hot, other] = [FeatureId::new(0, 42), FeatureId::new(1, 7)];
    for cold in [Cold::PerField, UNIFIED] {
        let settings = CafeSettings { hot: HotRows::Residual, cold, ..settings() };
        let mut embedding = embedding(&settings);
        let cold_step = vector(&embedding, hot)[0] - {
            see(&mut embedding, hot, 1, 0.1);
            vector(&embedding, hot)[0]
        };
        let promoted = see(&mut embedding, hot, 9, 0.0);
        assert_eq!((promoted.promoted, embedding.tier(hot)), (1, Tier::Hot));
        let before = vector(&embedding, hot);
        see(&mut embedding, hot, 1, 0.1);
        let hot_step = before[0] - vector(&embedding, hot)[0];
        assert!(
            (hot_step - cold_step - 0.1).abs() < 1e-6,
            "the shared rows' step and its own: {hot_step} {cold_step}"
        );
        assert_eq!(embedding.tier(other), Tier::Cold);
    }
}

/// With a share of one the shared row becomes what the hot row was.
#[test]
fn write_back_keeps_what_demotion_would_forget() {
    for (cold, hot) in [
        (Cold::PerField, HotRows::Exclusive),
        (Cold::PerField, HotRows::Residual),
        (UNIFIED, HotRows::Exclusive),
        (UNIFIED, HotRows::Residual),
    ] {
        for write_back in [None, Some(1.0)] {
            let settings = CafeSettings {
                cold,
                hot,
                write_back,
                decay_factor: Some(0.1),
                decay_every: Some(30.0),
                ..settings()
            };
            let mut embedding = embedding(&settings);
            let id = FeatureId::new(0, 42);
            see(&mut embedding, id, 20, 0.1);
            assert_eq!(embedding.tier(id), Tier::Hot);
            let before = vector(&embedding, id);
            let demoted = (0..12)
                .map(|token| see(&mut embedding, FeatureId::new(1, token), 1, 0.0).demoted)
                .sum::<u64>();
            assert_eq!((demoted, embedding.tier(id)), (1, Tier::Cold));
            let lost = before
                .iter()
                .zip(vector(&embedding, id))
                .map(|(b, a)| (b - a).abs())
                .fold(0.0, f32::max);
            assert_eq!(lost < 1e-5, write_back.is_some(), "{cold:?} {hot:?}: {lost}");
        }
    }
}

#[test]
fn fields_with_sketches_of_their_own_keep_to_their_rows() {
    for layout in [SlotLayout::Full, COMPACT] {
        let per_field =
            CafeSettings { sketches: Sketches::PerField, layout, slots: 6, ..settings() };
        let config = config(&per_field);
        assert_eq!(config.field_buckets.len(), 2);
        assert!(
            config.field_buckets[1].abs_diff(3 * config.field_buckets[0]) <= 3,
            "{:?}",
            config.field_buckets
        );
        let mut embedding = CafeEmbedding::new(config.clone());
        for token in 0..400 {
            see(&mut embedding, FeatureId::new(0, token), 12, 0.01);
        }
        let hot = see(&mut embedding, FeatureId::new(0, 1), 1, 0.01).hot_rows as usize;
        let n_rows = config.field_buckets[0] * layout.rows_per_bucket();
        assert!(hot <= n_rows && hot * 10 >= n_rows * 9, "{layout:?}: {hot} of {n_rows}");
    }
}

#[test]
fn a_unified_cold_table_takes_its_share_and_no_field_has_rows() {
    let config = config(&CafeSettings { cold: UNIFIED, ..settings() });
    assert_eq!(config.n_unified, 3000 * 3 / 10 / (4 * DIM as u64));
    assert!(
        config.fields.iter().all(|field| field.kind == FieldKind::Unified && field.n_rows() == 0)
    );
}

#[test]
fn contradictions_are_named() {
    let medium = Some(Medium::default());
    let wrong = [
        CafeSettings { medium, cold: UNIFIED, ..settings() },
        CafeSettings { medium, hot: HotRows::Residual, ..settings() },
        CafeSettings { medium, write_back: Some(0.5), ..settings() },
        CafeSettings { layout: COMPACT, victim: VictimPolicy::LastSlot, ..settings() },
        CafeSettings { layout: COMPACT, write_back: Some(0.5), ..settings() },
        CafeSettings { layout: COMPACT, slots: 2, ..settings() },
        CafeSettings { layout: SlotLayout::Compact { rows_per_bucket: 0 }, ..settings() },
        CafeSettings { rule: HotRule::Quota { hysteresis: 0.9 }, ..settings() },
        CafeSettings { rule: HotRule::Quota { hysteresis: f32::NAN }, ..settings() },
        CafeSettings { write_back: Some(1.5), ..settings() },
        CafeSettings {
            cold: Cold::Unified(UnifiedSettings { n_hashes: 3, ..UnifiedSettings::default() }),
            ..settings()
        },
    ];
    for wrong in wrong {
        let refused = CafeConfig::within(&FEATURES, DIM, Budget::Bytes(6000), &wrong);
        assert!(matches!(refused, Err(BudgetError::Contradiction { .. })), "{wrong:?}");
    }
    for unlisted in [
        CafeSettings { layout: COMPACT, ..settings() },
        CafeSettings { cold: UNIFIED, ..settings() },
    ] {
        assert!(matches!(
            CafeConfig::paper(&FEATURES, DIM, 10.0, &unlisted),
            Err(BudgetError::Contradiction { .. })
        ));
    }
}

#[test]
fn the_best_settings_fit_every_ratio() {
    for ratio in [2.0, 10.0, 100.0, 1000.0] {
        let config =
            CafeConfig::within(&FEATURES, DIM, Budget::Compression(ratio), &compact_quota(ratio));
        assert!(ratio > 100.0 || config.is_ok(), "CR {ratio}: {config:?}");
    }
}

proptest! {
    /// With a learning rate of zero only demotions move a vector: every other change of tier is
    /// continuous.
    #[test]
    fn promotions_are_continuous_under_every_lever(
        residual: bool, unified: bool, compact: bool, quota: bool,
        steps in prop::collection::vec(prop::collection::vec((0_usize..2, 0_u32..90, -3_i8..4), 1..24), 1..40),
    ) {
        let settings = CafeSettings {
            threshold: 3.0,
            hot: if residual { HotRows::Residual } else { HotRows::Exclusive },
            cold: if unified { UNIFIED } else { Cold::PerField },
            layout: if compact { COMPACT } else { SlotLayout::Full },
            rule: if quota { QUOTA } else { HotRule::Threshold },
            ..settings()
        };
        let mut embedding = embedding(&settings);
        let watched: Vec<_> = (0..180).map(|i| FeatureId::new(i % 2, i as u32 / 2)).collect();
        for (step, samples) in steps.into_iter().enumerate() {
            let ids: Vec<_> = samples.iter().map(|&(field, token, _)| FeatureId::new(field, token)).collect();
            let grads: Vec<_> = samples.iter().flat_map(|&(_, _, g)| [f32::from(g), 0.5, 0.0]).collect();
            if step % 2 == 0 {
                embedding.update(&ids, &grads, 0.1);
                continue;
            }
            let before: Vec<_> = watched.iter().map(|&id| (embedding.tier(id), vector(&embedding, id))).collect();
            embedding.update(&ids, &grads, 0.0);
            for (&id, (tier, before)) in watched.iter().zip(&before) {
                let demoted = *tier == Tier::Hot && embedding.tier(id) != Tier::Hot;
                prop_assert!(demoted || &vector(&embedding, id) == before, "{}: {:?} -> {:?}", id, tier, embedding.tier(id));
            }
        }
    }
}
