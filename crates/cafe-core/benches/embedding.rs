//! How fast the sketch and the embeddings are, beside random reads of one word and a memcpy: `cargo
//! bench -p cafe-core`.
//!
//! Sketch: 4 slots, 2 MiB, a Zipf stream of exponent 1.05 over 30 million ids. Embeddings: Criteo
//! Kaggle's fields, rows of 16 values, a thousandth of the full table; batches of 128 and 2048
//! samples, alone and with a second thread. `rows`: the hashed table in each precision and with
//! each optimizer, at the same bytes of rows.

#[path = "../tests/common/kaggle.rs"]
mod kaggle;

use std::hint::black_box;
use std::time::Duration;

use cafe_core::methods::{
    AdaConfig, AdaEmbedding, CafeConfig, CafeEmbedding, CafePlusConfig, CafePlusEmbedding,
    CafePlusSettings, CafeSettings, FeatureCounts, FullConfig, FullEmbedding, HashedConfig,
    HashedEmbedding, MdeConfig, MdeEmbedding, OfflineConfig, OfflineEmbedding, Promotion, QrConfig,
    QrEmbedding, UnifiedConfig, UnifiedEmbedding,
};
use cafe_core::table::UnifiedSettings;
use cafe_core::{
    Budget, Embedding, Executor, FeatureId, HotSketch, Inline, RowFormat, RowOptimizer,
    RowPrecision, Sizing, SketchConfig, VictimPolicy, mix64, reduce,
};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Zipf;
use rayon::{ThreadPool, ThreadPoolBuilder};

use kaggle::KAGGLE;

const DIM: usize = 16;
const SKEW: f64 = 1.05;
const SKETCH_BYTES: usize = 2 << 20;

/// The caller and one more thread.
struct Pair(ThreadPool);

impl Executor for Pair {
    fn run(&self, work: &(dyn Fn() + Sync)) {
        self.0.in_place_scope(|scope| {
            scope.spawn(|_| work());
            work();
        });
    }
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    group
}

fn sketch(criterion: &mut Criterion) {
    const N: usize = 1 << 20;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let zipf = Zipf::new(30e6, SKEW).expect("a valid exponent");
    let ids: Vec<_> = (0..N).map(|_| id(rng.sample(zipf) as u64)).collect();
    let pairs: Vec<_> = ids.iter().map(|&id| (id, 1.0)).collect();
    let n_buckets = SKETCH_BYTES / (4 * HotSketch::SLOT_BYTES);
    let config = SketchConfig { n_buckets, slots: 4, victim: VictimPolicy::LightestCold, seed: 5 };
    let mut sketch = HotSketch::new(config);
    sketch.observe_each(&pairs, |_| ());

    let mut group = group(criterion, "sketch");
    group.throughput(Throughput::Elements(N as u64));
    group.bench_function("observe_each", |bencher| {
        bencher.iter(|| {
            let mut freed = 0_u32;
            sketch
                .observe_each(&pairs, |observed| freed += u32::from(observed.freed_row.is_some()));
            freed
        });
    });
    group.bench_function("observe", |bencher| {
        bencher.iter(|| {
            pairs
                .iter()
                .filter(|&&(id, weight)| sketch.observe(id, weight).freed_row.is_some())
                .count()
        });
    });
    let mut scores = vec![0.0; N];
    group.bench_function("estimate_each", |bencher| {
        bencher.iter(|| sketch.estimate_each(&ids, black_box(&mut scores)));
    });
    group.bench_function("estimate", |bencher| {
        bencher.iter(|| ids.iter().map(|&id| sketch.estimate(id)).sum::<f32>());
    });
    limit(&mut group, &ids);
    group.finish();
}

/// One word of a bucket where a hash says, nothing compared: reads that don't wait for each other.
fn limit(group: &mut BenchmarkGroup<'_, WallTime>, ids: &[FeatureId]) {
    const WORDS: usize = 6;
    let table = vec![1_u64; SKETCH_BYTES / 8];
    let n_buckets = table.len() / WORDS;
    let read = |id: &FeatureId| table[reduce(mix64(id.raw(), 5), n_buckets) * WORDS];
    group.bench_function("limit: hash and read a word", |bencher| {
        bencher.iter(|| ids.iter().fold(0, |all, id| all ^ read(id)));
    });
}

fn id(rank: u64) -> FeatureId {
    FeatureId::from_raw(mix64(rank, 77) >> (64 - FeatureId::BITS))
}

struct Batch {
    ids: Vec<FeatureId>,
    grads: Vec<f32>,
}

fn batches(n: usize, n_samples: usize, seed: u64) -> Vec<Batch> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let zipfs = KAGGLE.map(|n| Zipf::new(n as f64, SKEW).expect("a valid exponent"));
    let mut batch = || {
        let mut ids = Vec::with_capacity(n_samples * KAGGLE.len());
        for _ in 0..n_samples {
            ids.extend(zipfs.iter().enumerate().map(|(field, zipf)| {
                let rank = rng.sample(zipf) as u64;
                FeatureId::new(field, mix64(rank, field as u64) as u32)
            }));
        }
        let grads = (0..ids.len() * DIM).map(|_| rng.random_range(-0.005..0.005)).collect();
        Batch { ids, grads }
    };
    (0..n).map(|_| batch()).collect()
}

fn sizing(ratio: f64, format: RowFormat) -> Sizing<'static> {
    Sizing { features: &KAGGLE, dim: DIM, budget: Budget::Compression(ratio), format, seed: 3 }
}

/// The methods at a thousandth (ada at a seventh: it can't go further), after 100,000 samples; with
/// a threshold at which most hot rows are taken by then.
fn methods() -> Vec<(&'static str, Box<dyn Embedding>)> {
    let at = |ratio| sizing(ratio, RowFormat::default());
    let thousandth = at(1000.0);
    let promotion = Promotion::Threshold(50.0);
    let settings = CafeSettings { promotion, ..CafeSettings::paper(1000.0) };
    let cafe = CafeConfig::within(&thousandth, &settings).expect("fits");
    let hashed = HashedConfig::within(&thousandth).expect("fits");
    let qr = QrConfig::within(&thousandth).expect("fits");
    let mde = MdeConfig::within(&at(10.0)).expect("fits");
    let unified = UnifiedConfig::within(&thousandth, UnifiedSettings::default()).expect("fits");
    let plus = CafePlusConfig::within(&thousandth, &CafePlusSettings::default()).expect("fits");
    let offline = OfflineConfig::within(&thousandth, 0.2).expect("fits");
    let ada = AdaConfig::within(&at(7.0)).expect("fits");
    let full = FullConfig::within(&at(1.0)).expect("fits");
    let warm_up = batches(50, 2048, 9);
    let mut counts = FeatureCounts::default();
    for batch in &warm_up {
        counts.add_all(&batch.ids);
    }
    let mut methods: Vec<(_, Box<dyn Embedding>)> = vec![
        ("cafe", Box::new(CafeEmbedding::new(&cafe))),
        ("cafe plus", Box::new(CafePlusEmbedding::new(&plus))),
        ("offline", Box::new(OfflineEmbedding::new(&offline, &offline.hot_features(&counts)))),
        ("ada", Box::new(AdaEmbedding::new(&ada))),
        ("hash", Box::new(HashedEmbedding::new(&hashed))),
        ("qr", Box::new(QrEmbedding::new(&qr))),
        ("mde at a tenth", Box::new(MdeEmbedding::new(&mde))),
        ("unified", Box::new(UnifiedEmbedding::new(&unified))),
        ("full", Box::new(FullEmbedding::new(&full))),
    ];
    for batch in &warm_up {
        for (_, method) in &mut methods {
            method.update(&batch.ids, &batch.grads, 0.01);
        }
    }
    methods
}

fn embeddings(criterion: &mut Criterion) {
    let pair = Pair(ThreadPoolBuilder::new().num_threads(1).build().expect("a thread"));
    let mut methods = methods();
    for (n_samples, n_batches) in [(128, 64), (2048, 8)] {
        let batches = batches(n_batches, n_samples, 10);
        let mut group = group(criterion, &format!("batch of {n_samples}"));
        group.throughput(Throughput::Elements((n_samples * KAGGLE.len()) as u64));
        let mut rows = vec![0.0; n_samples * KAGGLE.len() * DIM];
        for (name, method) in &mut methods {
            for (n_threads, executor) in [(1, &Inline as &dyn Executor), (2, &pair)] {
                let mut cycle = batches.iter().cycle();
                let mut next = || cycle.next().expect("a cycle has no end");
                group.bench_function(format!("{name} lookup, {n_threads} threads"), |bencher| {
                    bencher.iter(|| method.lookup_on(&next().ids, black_box(&mut rows), executor));
                });
                group.bench_function(format!("{name} update, {n_threads} threads"), |bencher| {
                    bencher.iter(|| {
                        let batch = next();
                        method.update_on(&batch.ids, &batch.grads, 0.01, executor)
                    });
                });
            }
        }
        let source = rows.clone();
        group.bench_function("limit: copy of the rows", |bencher| {
            bencher.iter(|| black_box(&mut rows).copy_from_slice(black_box(&source)));
        });
        group.finish();
    }
}

fn formats() -> Vec<(&'static str, RowFormat)> {
    let [sgd, row_wise, adagrad, adam] = [
        RowOptimizer::Sgd,
        RowOptimizer::row_wise_adagrad(1e-8),
        RowOptimizer::Adagrad { epsilon: 1e-8 },
        RowOptimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
    ];
    let [f32, f16, bf16, i8] =
        [RowPrecision::F32, RowPrecision::F16, RowPrecision::Bf16, RowPrecision::I8];
    let format = |(name, precision, optimizer)| (name, RowFormat::new(precision, optimizer));
    vec![
        format(("f32", f32, sgd)),
        format(("f16", f16, sgd)),
        format(("bf16", bf16, sgd)),
        format(("i8", i8, sgd)),
        format(("f32, row-wise adagrad", f32, row_wise)),
        format(("f32, adagrad", f32, adagrad)),
        format(("f32, adam", f32, adam)),
        format(("i8, row-wise adagrad", i8, row_wise)),
        format(("i8, adam", i8, adam)),
    ]
}

fn rows(criterion: &mut Criterion) {
    const SAMPLES: usize = 2048;
    let batches = batches(8, SAMPLES, 10);
    let mut group = group(criterion, "rows");
    group.throughput(Throughput::Elements((SAMPLES * KAGGLE.len()) as u64));
    let mut rows = vec![0.0; SAMPLES * KAGGLE.len() * DIM];
    for (name, format) in formats() {
        let config = HashedConfig::within(&sizing(1000.0, format)).expect("fits");
        let mut hashed = HashedEmbedding::new(&config);
        let mut cycle = batches.iter().cycle();
        let mut next = || cycle.next().expect("a cycle has no end");
        group.bench_function(format!("{name} lookup"), |bencher| {
            bencher.iter(|| hashed.lookup(&next().ids, black_box(&mut rows)));
        });
        group.bench_function(format!("{name} update"), |bencher| {
            bencher.iter(|| {
                let batch = next();
                hashed.update(&batch.ids, &batch.grads, 0.01)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, sketch, embeddings, rows);
criterion_main!(benches);
