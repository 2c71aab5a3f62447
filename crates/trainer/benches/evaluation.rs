//! The exact AUC of 6.5 million scores, as many as Criteo Kaggle's last day has; the limit is one sort of as many
//! integers.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use trainer::metrics::Scores;

const N_SCORES: u64 = 6_500_000;

fn samples() -> Vec<(f32, f32)> {
    let draw = |idx: u64| {
        let bits = idx.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((bits >> 40) as f32 / 1e6 - 8.0, if bits.is_multiple_of(4) { 1.0 } else { 0.0 })
    };
    (0..N_SCORES).map(draw).collect()
}

fn auc(c: &mut Criterion) {
    let samples = samples();
    let mut group = c.benchmark_group("auc");
    group.throughput(Throughput::Elements(N_SCORES)).sample_size(10);
    group.bench_function("collect and rank", |b| {
        b.iter(|| {
            let mut scores = Scores::default();
            for &(logit, label) in &samples {
                scores.push(logit, label);
            }
            black_box(scores.quality())
        });
    });
    let bits: Vec<u32> = samples.iter().map(|(logit, _)| logit.to_bits()).collect();
    group.bench_function("limit: sort", |b| {
        b.iter_batched(|| bits.clone(), |mut bits| bits.sort_unstable(), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, auc);
criterion_main!(benches);
