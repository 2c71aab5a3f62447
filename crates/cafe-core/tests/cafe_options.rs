//! CAFE's options, each with its effect: a quota uses what a threshold leaves unused, a shared
//! table takes the place of all fields' rows, and settings out of range are refused.

mod common;

use cafe_core::methods::{
    CafeConfig, CafeEmbedding, CafeSettings, Decay, Hysteresis, OutOfRange, Promotion, Shared, Tier,
};
use cafe_core::table::{FieldKind, Hashes, Signs, UnifiedSettings};
use cafe_core::{
    Budget, BudgetError, Embedding, FeatureId, RowFormat, Sizing, UpdateStats, VictimPolicy, mix64,
};
use common::quota_coded;
use proptest::prelude::*;

const DIM: usize = 3;
const FEATURES: [u64; 2] = [3000, 9000];
const TABLE: Shared =
    Shared::Table(UnifiedSettings { hashes: Hashes::Two, signs: Signs::Row, field_rows: true });

fn quota() -> Promotion {
    let hysteresis = Hysteresis::try_from(1.5).expect("at least 1");
    Promotion::Quota { least: 1.5, hysteresis }
}

fn settings() -> CafeSettings {
    CafeSettings {
        promotion: Promotion::Threshold(10.0),
        decay: None,
        shared_share: 0.3,
        ..CafeSettings::paper(100.0)
    }
}

fn sizing(budget: Budget) -> Sizing<'static> {
    Sizing { features: &FEATURES, dim: DIM, budget, format: RowFormat::default(), seed: 0 }
}

fn config(settings: &CafeSettings) -> CafeConfig {
    CafeConfig::within(&sizing(Budget::Bytes(3000)), settings).expect("fits")
}

fn embedding(settings: &CafeSettings) -> CafeEmbedding {
    CafeEmbedding::new(&config(settings))
}

fn vector(embedding: &CafeEmbedding, id: FeatureId) -> Vec<f32> {
    let mut out = vec![0.0; DIM];
    embedding.lookup(&[id], &mut out);
    out
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
    let high = CafeSettings { promotion: Promotion::Threshold(1e4), ..settings() };
    let n_hot = config(&high).n_hot as u64;
    assert_eq!(stream(&mut embedding(&high), 0..200, 0).hot_rows, 0);
    let quota = CafeSettings { promotion: quota(), slots: 6, ..high };
    let of_quota = config(&quota).n_hot as u64;
    let used = stream(&mut embedding(&quota), 0..200, 0).hot_rows;
    assert!(used * 10 >= of_quota * 9, "{used} of {of_quota}");
    assert!(n_hot > 20);
}

/// Once the weights have settled, rows stay where they are; when others become heavy, they move.
#[test]
fn a_quota_neither_thrashes_nor_sticks() {
    let victim = VictimPolicy::ByChance;
    let quota = CafeSettings { promotion: quota(), slots: 6, victim, ..settings() };
    let mut embedding = embedding(&quota);
    let n_hot = embedding.config().n_hot as u64;
    stream(&mut embedding, 0..1000, 0);
    let settled = stream(&mut embedding, 1000..2000, 0);
    assert!(settled.promoted < n_hot / 2, "{settled:?} of {n_hot}");
    let head = FeatureId::new(0, 20_000);
    assert_eq!(embedding.tier(head), Tier::Cold);
    let moved = stream(&mut embedding, 2000..8000, 20_000);
    assert!(moved.promoted > n_hot / 2 && moved.demoted > n_hot / 2, "{moved:?} of {n_hot}");
    assert_eq!(embedding.tier(head), Tier::Hot);
}

#[test]
fn shared_table_replaces_field_rows() {
    let config = config(&CafeSettings { shared: TABLE, ..settings() });
    assert_eq!(config.n_shared_table_rows, 3000 * 3 / 10 / (4 * DIM as u64));
    assert!(
        config.fields.iter().all(|field| field.kind == FieldKind::Unified && field.n_rows() == 0)
    );
}

#[test]
fn settings_out_of_range_are_refused() {
    for factor in [0.9, f32::NAN, f32::INFINITY] {
        let refused = Hysteresis::try_from(factor);
        assert!(matches!(refused, Err(OutOfRange::Hysteresis(_))), "{factor}");
    }
    for (factor, interval) in [(1.5, None), (-0.1, None), (f32::NAN, Some(1.0))] {
        let refused = Decay::new(factor, interval);
        assert!(matches!(refused, Err(OutOfRange::DecayFactor(_))), "{factor}");
    }
    for interval in [0.0, -1.0, f64::NAN] {
        let refused = Decay::new(0.5, Some(interval));
        assert!(matches!(refused, Err(OutOfRange::DecayInterval(_))), "{interval}");
    }
    assert_eq!(Hysteresis::try_from(1.0).map(Hysteresis::get), Ok(1.0));
    assert_eq!(Decay::new(0.5, Some(30.0)).map(Decay::interval), Ok(Some(30.0)));
}

#[test]
fn the_paper_has_no_sizes_for_a_shared_table() {
    let refused = CafeConfig::paper(
        &sizing(Budget::Compression(10.0)),
        &CafeSettings { shared: TABLE, ..settings() },
    );
    assert_eq!(refused, Err(BudgetError::NotPublished));
}

#[test]
fn all_options_together_fit_every_ratio() {
    for ratio in [2.0, 10.0, 100.0, 1000.0] {
        let config = CafeConfig::within(&sizing(Budget::Compression(ratio)), &quota_coded(ratio));
        assert!(ratio > 100.0 || config.is_ok(), "CR {ratio}: {config:?}");
    }
}

proptest! {
    /// With a learning rate of zero only demotions move a vector: every other change of tier is
    /// continuous.
    #[test]
    fn promotions_are_continuous_under_every_option(
        table: bool, with_quota: bool,
        steps in prop::collection::vec(
            prop::collection::vec((0_usize..2, 0_u32..90, -3_i8..4), 1..24), 1..40),
    ) {
        let settings = CafeSettings {
            promotion: if with_quota { quota() } else { Promotion::Threshold(3.0) },
            shared: if table { TABLE } else { Shared::PER_FIELD },
            ..settings()
        };
        let mut embedding = embedding(&settings);
        let watched: Vec<_> = (0..180).map(|i| FeatureId::new(i % 2, i as u32 / 2)).collect();
        for (step, samples) in steps.into_iter().enumerate() {
            let ids: Vec<_> = samples.iter()
                .map(|&(field, token, _)| FeatureId::new(field, token)).collect();
            let grads: Vec<_> = samples.iter().flat_map(|&(_, _, g)| [f32::from(g), 0.5, 0.0])
                .collect();
            if step % 2 == 0 {
                embedding.update(&ids, &grads, 0.1);
                continue;
            }
            let before: Vec<_> = watched.iter()
                .map(|&id| (embedding.tier(id), vector(&embedding, id))).collect();
            embedding.update(&ids, &grads, 0.0);
            for (&id, (tier, before)) in watched.iter().zip(&before) {
                let demoted = *tier == Tier::Hot && embedding.tier(id) != Tier::Hot;
                prop_assert!(demoted || &vector(&embedding, id) == before, "{}: {:?} -> {:?}", id,
                    tier, embedding.tier(id));
            }
        }
    }
}
