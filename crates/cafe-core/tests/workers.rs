//! Threads change nothing: with one, two or four, every method returns the same bits and ends in
//! the same state.

mod common;

use cafe_core::{
    AdaConfig, AdaEmbedding, Alone, Budget, CafeConfig, CafeEmbedding, CafePlusConfig,
    CafePlusEmbedding, CafePlusSettings, CafeSettings, Cold, Embedding, FeatureId, FieldRows,
    FullEmbedding, Hash2Config, Hash2Embedding, HashedConfig, HashedEmbedding, HotRows, HotRule,
    MdeConfig, MdeEmbedding, Medium, OfflineConfig, OfflineEmbedding, QrConfig, QrEmbedding,
    RowFormat, RowOptimizer, RowPrecision, StateView, UnifiedConfig, UnifiedEmbedding,
    UnifiedSettings, Workers,
};

use common::compact_quota;
use proptest::prelude::*;

const FEATURES: [u64; 5] = [4, 300, 4000, 40, 9000];
const DIM: usize = 10;
const BUDGET: u64 = 20_000;

/// `n` threads, started anew for each call.
struct Threads(usize);

impl Workers for Threads {
    fn run(&self, work: &(dyn Fn() + Sync)) {
        std::thread::scope(|scope| {
            for _ in 1..self.0 {
                scope.spawn(work);
            }
            work();
        });
    }
}

fn cafe(medium: Option<Medium>, format: RowFormat) -> Box<dyn Embedding> {
    let settings = CafeSettings {
        threshold: 8.0,
        decay_factor: Some(0.9),
        medium,
        format,
        ..CafeSettings::paper(10.0)
    };
    let config =
        CafeConfig::within(&FEATURES, DIM, Budget::Bytes(BUDGET), &settings).expect("fits");
    assert!(config.fields.iter().any(FieldRows::is_own), "a small field is tested, too");
    Box::new(CafeEmbedding::new(config))
}

fn offline(format: RowFormat) -> Box<dyn Embedding> {
    let config =
        OfflineConfig::within(&FEATURES, DIM, Budget::Bytes(BUDGET), 0.3, format, 3).expect("fits");
    assert!(config.fields.iter().any(FieldRows::is_own), "a small field is tested, too");
    let hot: Vec<_> =
        (0..50).flat_map(|token| [1, 2, 4].map(|field| FeatureId::new(field, token))).collect();
    Box::new(OfflineEmbedding::new(&config, &hot))
}

fn cafe_plus(format: RowFormat) -> Box<dyn Embedding> {
    let settings =
        CafePlusSettings { growth: 1.1, check_every: 2, format, ..CafePlusSettings::paper(10.0) };
    let config =
        CafePlusConfig::within(&FEATURES, DIM, Budget::Bytes(BUDGET), &settings).expect("fits");
    assert!(config.fields.iter().any(FieldRows::is_own), "a small field is tested, too");
    Box::new(CafePlusEmbedding::new(config))
}

fn ada(format: RowFormat) -> Box<dyn Embedding> {
    let n_features: u64 = FEATURES.iter().sum();
    let config =
        AdaConfig::within(&FEATURES, DIM, 8 * n_features + BUDGET, format, 3).expect("fits");
    Box::new(AdaEmbedding::new(AdaConfig {
        check_every: 2,
        decay_every: 3,
        n_sampled: 1000,
        ..config
    }))
}

/// Levers that change what threads share.
fn levers(format: RowFormat) -> Vec<(&'static str, Box<dyn Embedding>)> {
    let residual = CafeSettings {
        threshold: 2.0,
        rule: HotRule::Quota { hysteresis: 1.25 },
        hot: HotRows::Residual,
        cold: Cold::Unified(UnifiedSettings::default()),
        write_back: Some(0.5),
        format,
        ..CafeSettings::paper(10.0)
    };
    let best = CafeSettings { format, ..compact_quota(10.0) };
    let per_field = CafeSettings { cold: Cold::PerField, write_back: None, ..residual.clone() };
    let named = [
        ("cafe, unified residual", residual),
        ("cafe, compact, quota, coded", best),
        ("cafe, residual", per_field),
    ];
    let make = |settings| {
        CafeConfig::within(&FEATURES, DIM, Budget::Bytes(BUDGET), settings).expect("fits")
    };
    named
        .iter()
        .map(|(name, settings)| (*name, Box::new(CafeEmbedding::new(make(settings))) as _))
        .collect()
}

fn all(format: RowFormat) -> Vec<(&'static str, Box<dyn Embedding>)> {
    let hashed = HashedConfig::within(&FEATURES, DIM, BUDGET, format, 3).expect("fits");
    let hash2 = Hash2Config::within(&FEATURES, DIM, BUDGET, format, 3).expect("fits");
    let qr = QrConfig::within(&FEATURES, DIM, BUDGET, format, 3).expect("fits");
    let mde = MdeConfig::within(&FEATURES, DIM, 8 * BUDGET, format, 3).expect("fits");
    let unified =
        UnifiedConfig::within(&FEATURES, DIM, BUDGET, UnifiedSettings::default(), format, 3)
            .expect("fits");
    let coded = UnifiedConfig::within(&FEATURES, DIM, BUDGET, UnifiedSettings::CODED, format, 3)
        .expect("fits");
    let own_budget = FEATURES.iter().sum::<u64>() * (format.row_bytes(4) + 1);
    let own = UnifiedConfig::coded(&FEATURES, DIM, own_budget, format, 3).expect("fits");
    assert!(own.own_rows.is_some(), "{own:?}");
    let mut all: Vec<(&'static str, Box<dyn Embedding>)> = vec![
        ("coded", Box::new(UnifiedEmbedding::new(&coded))),
        ("coded, own rows", Box::new(UnifiedEmbedding::new(&own))),
        ("hash2", Box::new(Hash2Embedding::new(&hash2))),
        ("qr", Box::new(QrEmbedding::new(&qr))),
        ("mde", Box::new(MdeEmbedding::new(&mde))),
        ("unified", Box::new(UnifiedEmbedding::new(&unified))),
        ("cafe", cafe(None, format)),
        ("cafe, multi-level", cafe(Some(Medium::default()), format)),
        ("hash", Box::new(HashedEmbedding::new(&hashed))),
        ("offline", offline(format)),
        ("ada", ada(format)),
        ("cafe plus", cafe_plus(format)),
        ("full", Box::new(FullEmbedding::new(&FEATURES, DIM, format, 3))),
    ];
    all.extend(levers(format));
    all
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Names and bits: a NaN or a sign of zero would show.
fn state_bits(embedding: &dyn Embedding) -> Vec<(&'static str, Vec<u64>)> {
    let bits = |view: &StateView<'_>| match view {
        StateView::F32(a) => a.iter().map(|v| u64::from(v.to_bits())).collect(),
        StateView::U16(a) => a.iter().map(|&v| u64::from(v)).collect(),
        StateView::I8(a) => a.iter().map(|&v| u64::from(v.cast_unsigned())).collect(),
        StateView::U8(a) => a.iter().map(|&v| u64::from(v)).collect(),
        StateView::U32(a) => a.iter().map(|&v| u64::from(v)).collect(),
        StateView::U64(a) => a.to_vec(),
    };
    embedding.state().iter().map(|(name, view)| (*name, bits(view))).collect()
}

/// Ids in any order, skewed, and gradients; large enough to be shared between threads.
fn batches() -> impl Strategy<Value = Vec<(Vec<FeatureId>, Vec<f32>)>> {
    let occurrence = (0..FEATURES.len(), 0.0_f64..1.0).prop_map(|(field, u)| {
        FeatureId::new(field, (FEATURES[field] as f64 * 1.2 * u.powi(4)) as u32)
    });
    let batch =
        (prop::collection::vec(occurrence, 1024..2100), any::<u64>()).prop_map(|(ids, seed)| {
            let grad = |k: usize| cafe_core::mix64(k as u64, seed) as i32 as f32 * 1e-10;
            let grads = (0..ids.len() * DIM).map(grad).collect();
            (ids, grads)
        });
    prop::collection::vec(batch, 1..6)
}

fn formats() -> impl Strategy<Value = RowFormat> {
    let precisions = [RowPrecision::F32, RowPrecision::F16, RowPrecision::Bf16, RowPrecision::I8];
    let optimizers = [
        RowOptimizer::Sgd,
        RowOptimizer::row_wise_adagrad(1e-10),
        RowOptimizer::Adagrad { epsilon: 1e-10 },
        RowOptimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
    ];
    let format = |(precision, optimizer)| RowFormat::new(precision, optimizer);
    (prop::sample::select(precisions.to_vec()), prop::sample::select(optimizers.to_vec()))
        .prop_map(format)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_number_of_threads_gives_the_same_bits(
        batches in batches(),
        format in formats(),
    ) {
        let threads: [&dyn Workers; 3] = [&Alone, &Threads(2), &Threads(4)];
        for which in 0..all(format).len() {
            let mut outcomes = Vec::new();
            for &workers in &threads {
                let (name, mut embedding) = all(format).swap_remove(which);
                let (mut read, mut stats) = (Vec::new(), Vec::new());
                for (ids, grads) in &batches {
                    let mut rows = vec![f32::NAN; grads.len()];
                    embedding.lookup_on(ids, &mut rows, workers);
                    read.push(bits(&rows));
                    stats.push(embedding.update_on(ids, grads, 0.1, workers));
                }
                outcomes.push((name, read, stats, state_bits(&*embedding)));
            }
            prop_assert!(outcomes[1] == outcomes[0], "{}: two threads differ from one", outcomes[0].0);
            prop_assert!(outcomes[2] == outcomes[0], "{}: four threads differ from one", outcomes[0].0);
        }
    }
}
