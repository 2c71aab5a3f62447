//! A step allocates nothing once the buffers have seen the largest batch.
//!
//! A binary of its own: the counting allocator is global, and nothing else may run beside it.

mod common;
#[path = "common/counting_allocator.rs"]
mod counting_allocator;

use cafe_core::{
    AdaConfig, AdaEmbedding, Budget, CafeConfig, CafeEmbedding, CafePlusConfig, CafePlusEmbedding,
    CafePlusSettings, CafeSettings, Cold, Embedding, FeatureId, FrequencyConfig,
    FrequencyEmbedding, Hash2Config, Hash2Embedding, HashedConfig, HashedEmbedding, HotRows,
    HotRule, MdeConfig, MdeEmbedding, Medium, OfflineConfig, OfflineEmbedding, QrConfig,
    QrEmbedding, RowFormat, RowOptimizer, RowPrecision, UnifiedConfig, UnifiedEmbedding,
    UnifiedSettings, mix64,
};

use common::compact_quota;
use counting_allocator::allocations;

const FEATURES: [u64; 3] = [8, 1000, 50_000];
const DIM: usize = 8;
/// Few enough for one thread, and enough for many.
const SAMPLES: [usize; 2] = [64, 400];

fn fill(step: u64, ids: &mut [FeatureId], grads: &mut [f32]) {
    for (i, id) in ids.iter_mut().enumerate() {
        let hash = mix64(i as u64, step);
        *id = FeatureId::new(i % 3, (hash % FEATURES[i % 3]) as u32 % (1 + (hash >> 50) as u32));
    }
    for (i, g) in grads.iter_mut().enumerate() {
        *g = mix64(i as u64, !step) as i32 as f32 * 1e-10;
    }
}

#[test]
fn steps_do_not_allocate() {
    for n_samples in SAMPLES {
        for (name, embedding) in formats().flat_map(all) {
            check(name, embedding, n_samples);
        }
    }
}

/// Every precision, with the optimizer that keeps nothing and the one that keeps most.
fn formats() -> impl Iterator<Item = RowFormat> {
    let adam = RowOptimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let precisions = [RowPrecision::F32, RowPrecision::F16, RowPrecision::Bf16, RowPrecision::I8];
    precisions.into_iter().flat_map(move |precision| {
        [RowOptimizer::Sgd, adam]
            .into_iter()
            .map(move |optimizer| RowFormat::new(precision, optimizer))
    })
}

fn all(format: RowFormat) -> Vec<(&'static str, Box<dyn Embedding>)> {
    let settings = CafeSettings {
        threshold: 10.0,
        medium: Some(Medium::default()),
        format,
        ..CafeSettings::paper(100.0)
    };
    let cafe = CafeConfig::within(&FEATURES, DIM, Budget::Bytes(20_000), &settings).expect("fits");
    let quota = CafeSettings {
        rule: HotRule::Quota { hysteresis: 1.25 },
        hot: HotRows::Residual,
        cold: Cold::Unified(UnifiedSettings::default()),
        write_back: Some(0.5),
        medium: None,
        ..settings
    };
    let quota = CafeConfig::within(&FEATURES, DIM, Budget::Bytes(20_000), &quota).expect("fits");
    let best = CafeConfig::within(
        &FEATURES,
        DIM,
        Budget::Bytes(20_000),
        &CafeSettings { format, ..compact_quota(100.0) },
    )
    .expect("fits");
    let hashed = HashedConfig::within(&FEATURES, DIM, 20_000, format, 1).expect("fits");
    let hash2 = Hash2Config::within(&FEATURES, DIM, 20_000, format, 1).expect("fits");
    let qr = QrConfig::within(&FEATURES, DIM, 20_000, format, 1).expect("fits");
    let mde = MdeConfig::within(&FEATURES, DIM, 400_000, format, 1).expect("fits");
    let unified =
        UnifiedConfig::within(&FEATURES, DIM, 20_000, UnifiedSettings::default(), format, 1)
            .expect("fits");
    let own_budget = FEATURES.iter().sum::<u64>() * (format.row_bytes(4) + 1);
    let own = UnifiedConfig::coded(&FEATURES, DIM, own_budget, format, 1).expect("fits");
    assert!(own.own_rows.is_some(), "{own:?}");
    let offline =
        OfflineConfig::within(&FEATURES, DIM, Budget::Bytes(20_000), 0.2, format, 1).expect("fits");
    let hot: Vec<_> =
        (0..offline.n_hot.min(200)).map(|i| FeatureId::new(1 + i % 2, i as u32 / 2)).collect();
    // Its statistics are checked every 4096 steps only, with scratch of their own: this is a run
    // between two checks.
    let ada = AdaConfig::within(&FEATURES, DIM, 600_000, format, 1).expect("fits");
    // It looks at its threshold every few steps: that allocates nothing, either.
    let settings =
        CafePlusSettings { growth: 1.01, check_every: 8, format, ..CafePlusSettings::paper(100.0) };
    let plus =
        CafePlusConfig::within(&FEATURES, DIM, Budget::Bytes(20_000), &settings).expect("fits");
    let counted = FrequencyEmbedding::new(
        Box::new(HashedEmbedding::new(&hashed)),
        &FrequencyConfig::within(&FEATURES, 4000, 1).expect("fits"),
    );
    vec![
        ("hash, frequencies", Box::new(counted) as Box<dyn Embedding>),
        ("coded, own rows", Box::new(UnifiedEmbedding::new(&own))),
        ("cafe plus", Box::new(CafePlusEmbedding::new(plus))),
        ("ada", Box::new(AdaEmbedding::new(AdaConfig { decay_every: 16, ..ada }))),
        ("offline", Box::new(OfflineEmbedding::new(&offline, &hot))),
        ("cafe", Box::new(CafeEmbedding::new(cafe))),
        ("cafe, quota", Box::new(CafeEmbedding::new(quota))),
        ("cafe, compact, quota, coded", Box::new(CafeEmbedding::new(best))),
        ("hash", Box::new(HashedEmbedding::new(&hashed))),
        ("hash2", Box::new(Hash2Embedding::new(&hash2))),
        ("qr", Box::new(QrEmbedding::new(&qr))),
        ("mde", Box::new(MdeEmbedding::new(&mde))),
        ("unified", Box::new(UnifiedEmbedding::new(&unified))),
    ]
}

fn check(name: &str, mut embedding: Box<dyn Embedding>, n_samples: usize) {
    let mut ids = vec![FeatureId::default(); 3 * n_samples];
    let mut grads = vec![0.0; ids.len() * DIM];
    let mut rows = grads.clone();
    let mut frequencies = vec![0.0; ids.len()];
    let mut promoted = 0;
    let mut counted = 0;
    for step in 0..300 {
        // Distinct ids differ from step to step, and buffers grow to the most there can be.
        let warm = step >= 100;
        fill(step, &mut ids, &mut grads);
        let in_step = allocations(|| {
            embedding.lookup(&ids, &mut rows);
            embedding.frequencies(&ids, &mut frequencies);
            embedding.n_hot(&ids);
            promoted += embedding.update(&ids, &grads, 0.1).promoted;
        });
        if warm {
            counted += in_step;
        }
    }
    assert_eq!(counted, 0, "{name}, {n_samples} samples");
    assert!(
        promoted > 0 || embedding.tiers().is_none() || embedding.memory().sketch_bytes == 0,
        "the test reaches promotion"
    );
}
