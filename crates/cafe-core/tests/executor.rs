//! Threads change nothing: with one, two or four, every method returns the same bits and ends in
//! the same state.

mod common;

use cafe_core::methods::{
    AdaConfig, AdaEmbedding, CafeConfig, CafeEmbedding, CafePlusConfig, CafePlusEmbedding,
    CafePlusSettings, CafeSettings, Decay, FullConfig, FullEmbedding, HashedConfig,
    HashedEmbedding, MdeConfig, MdeEmbedding, Middle, OfflineConfig, OfflineEmbedding, Promotion,
    QrConfig, QrEmbedding, Shared, UnifiedConfig, UnifiedEmbedding,
};
use cafe_core::table::{FieldRows, UnifiedSettings};
use cafe_core::{
    Embedding, Executor, FeatureId, Inline, RowFormat, RowOptimizer, RowPrecision, Sizing,
    StateView,
};

use common::{quota, quota_coded};
use proptest::prelude::*;

const FEATURES: [u64; 5] = [4, 300, 4000, 40, 9000];
const DIM: usize = 10;
const BUDGET: u64 = 20_000;

/// `n` threads, started for each call.
struct Threads(usize);

impl Executor for Threads {
    fn run(&self, work: &(dyn Fn() + Sync)) {
        std::thread::scope(|scope| {
            for _ in 1..self.0 {
                scope.spawn(work);
            }
            work();
        });
    }
}

fn sizing(bytes: u64, format: RowFormat) -> Sizing<'static> {
    common::sizing(&FEATURES, DIM, bytes, format)
}

fn cafe(settings: &CafeSettings, format: RowFormat) -> Box<dyn Embedding> {
    let config = CafeConfig::within(&sizing(BUDGET, format), settings).expect("fits");
    Box::new(CafeEmbedding::new(&config))
}

fn cafe_of_tiers(middle: Option<Middle>, format: RowFormat) -> Box<dyn Embedding> {
    let settings = CafeSettings {
        promotion: Promotion::Threshold(8.0),
        decay: Some(Decay::new(0.9, None).expect("in range")),
        shared: Shared::PerField { middle },
        ..CafeSettings::paper(10.0)
    };
    let config = CafeConfig::within(&sizing(BUDGET, format), &settings).expect("fits");
    assert!(config.fields.iter().any(FieldRows::is_own), "a small field is tested, too");
    Box::new(CafeEmbedding::new(&config))
}

fn offline(format: RowFormat) -> Box<dyn Embedding> {
    let config = OfflineConfig::within(&sizing(BUDGET, format), 0.3).expect("fits");
    assert!(config.fields.iter().any(FieldRows::is_own), "a small field is tested, too");
    let hot: Vec<_> =
        (0..50).flat_map(|token| [1, 2, 4].map(|field| FeatureId::new(field, token))).collect();
    Box::new(OfflineEmbedding::new(&config, &hot))
}

fn cafe_plus(format: RowFormat) -> Box<dyn Embedding> {
    let settings =
        CafePlusSettings { growth: 1.1, check_every: 2, ..CafePlusSettings::paper(10.0) };
    let config = CafePlusConfig::within(&sizing(BUDGET, format), &settings).expect("fits");
    assert!(config.fields.iter().any(FieldRows::is_own), "a small field is tested, too");
    Box::new(CafePlusEmbedding::new(&config))
}

fn ada(format: RowFormat) -> Box<dyn Embedding> {
    let n_features: u64 = FEATURES.iter().sum();
    let config = AdaConfig::within(&sizing(8 * n_features + BUDGET, format)).expect("fits");
    Box::new(AdaEmbedding::new(&AdaConfig {
        check_every: 2,
        decay_every: 3,
        n_sampled: 1000,
        ..config
    }))
}

/// Options that change what threads share.
fn options(format: RowFormat) -> [(&'static str, Box<dyn Embedding>); 3] {
    let with_quota = CafeSettings { promotion: quota(2.0), ..CafeSettings::paper(10.0) };
    let table = Shared::Table(UnifiedSettings::default());
    [
        ("cafe, quota, unified", CafeSettings { shared: table, ..with_quota.clone() }),
        ("cafe, quota, coded", quota_coded(10.0)),
        ("cafe, quota", with_quota),
    ]
    .map(|(name, settings)| (name, cafe(&settings, format)))
}

fn all(format: RowFormat) -> Vec<(&'static str, Box<dyn Embedding>)> {
    let given = sizing(BUDGET, format);
    let full = FullConfig { dim: DIM, features: FEATURES.to_vec(), format, seed: 3 };
    let hashed = HashedConfig::within(&given).expect("fits");
    let qr = QrConfig::within(&given).expect("fits");
    let mde = MdeConfig::within(&sizing(8 * BUDGET, format)).expect("fits");
    let unified = UnifiedConfig::within(&given, UnifiedSettings::default()).expect("fits");
    let coded = UnifiedConfig::within(&given, UnifiedSettings::CODED).expect("fits");
    let own_budget = FEATURES.iter().sum::<u64>() * (format.row_bytes(4) + 1);
    let own = UnifiedConfig::coded(&sizing(own_budget, format)).expect("fits");
    assert!(own.own_rows.is_some(), "{own:?}");
    let mut all: Vec<(&'static str, Box<dyn Embedding>)> = vec![
        ("coded", Box::new(UnifiedEmbedding::new(&coded))),
        ("coded, own rows", Box::new(UnifiedEmbedding::new(&own))),
        ("qr", Box::new(QrEmbedding::new(&qr))),
        ("mde", Box::new(MdeEmbedding::new(&mde))),
        ("unified", Box::new(UnifiedEmbedding::new(&unified))),
        ("cafe", cafe_of_tiers(None, format)),
        ("cafe, multi-level", cafe_of_tiers(Some(Middle::default()), format)),
        ("hash", Box::new(HashedEmbedding::new(&hashed))),
        ("offline", offline(format)),
        ("ada", ada(format)),
        ("cafe plus", cafe_plus(format)),
        ("full", Box::new(FullEmbedding::new(&full))),
    ];
    all.extend(options(format));
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
        let threads: [&dyn Executor; 3] = [&Inline, &Threads(2), &Threads(4)];
        for which in 0..all(format).len() {
            let mut outcomes = Vec::new();
            for &executor in &threads {
                let (name, mut embedding) = all(format).swap_remove(which);
                let (mut read, mut stats) = (Vec::new(), Vec::new());
                for (ids, grads) in &batches {
                    let mut rows = vec![f32::NAN; grads.len()];
                    embedding.lookup_on(ids, &mut rows, executor);
                    read.push(bits(&rows));
                    stats.push(embedding.update_on(ids, grads, 0.1, executor));
                }
                outcomes.push((name, read, stats, state_bits(&*embedding)));
            }
            prop_assert!(outcomes[1] == outcomes[0], "{}: two threads differ from one",
                outcomes[0].0);
            prop_assert!(outcomes[2] == outcomes[0], "{}: four threads differ from one",
                outcomes[0].0);
        }
    }
}
