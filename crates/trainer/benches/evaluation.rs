//! The exact AUC of 6.5 million scores, as many as Criteo Kaggle's last day has; the limit is one
//! sort of as many integers. And what judging training as it goes costs: a window and a day of 1000
//! batches.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use trainer::metrics::line::Counters;
use trainer::metrics::online::Online;
use trainer::metrics::{Predictions, Scores};

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

fn online(c: &mut Criterion) {
    const BATCH: usize = 128;
    let (logits, labels): (Vec<_>, Vec<_>) = samples().into_iter().take(1000 * BATCH).unzip();
    let days = [0; BATCH];
    let mut group = c.benchmark_group("online");
    group.throughput(Throughput::Elements(logits.len() as u64)).sample_size(20);
    // As in training: the buffers are there, and the loss comes from the step.
    let run = |online: &mut Online, days: &[u32]| {
        let mut counters = Counters::default();
        for (logits, labels) in logits.chunks(BATCH).zip(labels.chunks(BATCH)) {
            counters.rows += BATCH as u64;
            black_box(online.add(Predictions::with_loss_sum(logits, labels, 64.0), days, counters));
        }
        black_box((online.end_window(counters), online.end_day()))
    };
    let mut collector = Online::default();
    group.bench_function("window", |b| b.iter(|| run(&mut collector, &[])));
    group.bench_function("window and day", |b| b.iter(|| run(&mut collector, &days)));
    group.finish();
}

criterion_group!(benches, auc, online);
criterion_main!(benches);
