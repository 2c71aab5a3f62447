//! A step allocates nothing once the buffers have seen the largest batch.
//!
//! A binary of its own: the counting allocator is global, and nothing else may run beside it.

mod common;
#[path = "common/counting_allocator.rs"]
mod counting_allocator;

use cafe_core::frequency::{FrequencyConfig, FrequencyEmbedding};
use cafe_core::methods::{
    AdaConfig, AdaEmbedding, CafeConfig, CafeEmbedding, CafePlusConfig, CafePlusEmbedding,
    CafePlusSettings, CafeSettings, HashedConfig, HashedEmbedding, MdeConfig, MdeEmbedding, Middle,
    OfflineConfig, OfflineEmbedding, Promotion, QrConfig, QrEmbedding, Shared, UnifiedConfig,
    UnifiedEmbedding,
};
use cafe_core::table::UnifiedSettings;
use cafe_core::{Embedding, FeatureId, RowFormat, RowOptimizer, RowPrecision, mix64};

use common::{quota, quota_coded, sizing};
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
    let within = |bytes| sizing(&FEATURES, DIM, bytes, format);
    let given = within(20_000);
    let settings = CafeSettings {
        promotion: Promotion::Threshold(10.0),
        shared: Shared::PerField { middle: Some(Middle::default()) },
        ..CafeSettings::paper(100.0)
    };
    let cafe = CafeConfig::within(&given, &settings).expect("fits");
    let quota = CafeSettings {
        promotion: quota(10.0),
        shared: Shared::Table(UnifiedSettings::default()),
        ..settings
    };
    let quota = CafeConfig::within(&given, &quota).expect("fits");
    let coded = CafeConfig::within(&given, &quota_coded(100.0)).expect("fits");
    let hashed = HashedConfig::within(&given).expect("fits");
    let qr = QrConfig::within(&given).expect("fits");
    let mde = MdeConfig::within(&within(400_000)).expect("fits");
    let unified = UnifiedConfig::within(&given, UnifiedSettings::default()).expect("fits");
    let own_budget = FEATURES.iter().sum::<u64>() * (format.row_bytes(4) + 1);
    let own = UnifiedConfig::coded(&within(own_budget)).expect("fits");
    assert!(own.own_rows.is_some(), "{own:?}");
    let offline = OfflineConfig::within(&given, 0.2).expect("fits");
    let hot: Vec<_> =
        (0..offline.n_hot.min(200)).map(|i| FeatureId::new(1 + i % 2, i as u32 / 2)).collect();
    // Its statistics are checked every 4096 steps only, with scratch of their own: this is a run
    // between two checks.
    let ada = AdaConfig::within(&within(600_000)).expect("fits");
    // It looks at its threshold every few steps: that allocates nothing, either.
    let settings =
        CafePlusSettings { growth: 1.01, check_every: 8, ..CafePlusSettings::paper(100.0) };
    let plus = CafePlusConfig::within(&given, &settings).expect("fits");
    let counted = FrequencyEmbedding::new(
        Box::new(HashedEmbedding::new(&hashed)),
        &FrequencyConfig::within(&within(4000)).expect("fits"),
    );
    vec![
        ("hash, frequencies", Box::new(counted) as Box<dyn Embedding>),
        ("coded, own rows", Box::new(UnifiedEmbedding::new(&own))),
        ("cafe plus", Box::new(CafePlusEmbedding::new(&plus))),
        ("ada", Box::new(AdaEmbedding::new(&AdaConfig { decay_every: 16, ..ada }))),
        ("offline", Box::new(OfflineEmbedding::new(&offline, &hot))),
        ("cafe", Box::new(CafeEmbedding::new(&cafe))),
        ("cafe, quota", Box::new(CafeEmbedding::new(&quota))),
        ("cafe, quota, coded", Box::new(CafeEmbedding::new(&coded))),
        ("hash", Box::new(HashedEmbedding::new(&hashed))),
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
