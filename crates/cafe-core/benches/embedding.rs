//! How fast the sketch and the embeddings are, beside random reads of one word and a memcpy: `cargo bench -p cafe-core`.
//!
//! Sketch: 4 slots, 2 MiB, a Zipf stream of exponent 1.05 over 30 million ids. Embeddings: Criteo Kaggle's fields, rows of
//! 16 values, a thousandth of the full table; batches of 128 and 2048 samples, alone and with a second thread.

use std::hint::black_box;
use std::time::Duration;

use cafe_core::{
    Alone, Budget, CafeConfig, CafeEmbedding, CafeSettings, Embedding, FeatureId, FullEmbedding, HashedConfig,
    HashedEmbedding, HotSketch, RowOptimizer, SketchConfig, VictimPolicy, Workers, mix64, reduce,
};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Zipf;
use rayon::{ThreadPool, ThreadPoolBuilder};

const FEATURES: [u64; 26] = [
    1460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5683, 8_351_593, 3194, 27, 14_992, 5_461_306,
    10, 5652, 2173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572,
];
const DIM: usize = 16;
const SKEW: f64 = 1.05;
const SKETCH_BYTES: usize = 2 << 20;

/// The caller and one more thread.
struct Pair(ThreadPool);

impl Workers for Pair {
    fn run(&self, work: &(dyn Fn() + Sync)) {
        self.0.in_place_scope(|scope| {
            scope.spawn(|_| work());
            work();
        });
    }
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800));
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
            sketch.observe_each(&pairs, |observed| freed += u32::from(observed.freed_row.is_some()));
            freed
        });
    });
    group.bench_function("observe", |bencher| {
        bencher.iter(|| pairs.iter().filter(|&&(id, weight)| sketch.observe(id, weight).freed_row.is_some()).count());
    });
    let mut scores = vec![0.0; N];
    group
        .bench_function("estimate_each", |bencher| bencher.iter(|| sketch.estimate_each(&ids, black_box(&mut scores))));
    group.bench_function("estimate", |bencher| bencher.iter(|| ids.iter().map(|&id| sketch.estimate(id)).sum::<f32>()));
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
    let zipfs = FEATURES.map(|n| Zipf::new(n as f64, SKEW).expect("a valid exponent"));
    let mut batch = || {
        let mut ids = Vec::with_capacity(n_samples * FEATURES.len());
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

/// The methods at a thousandth, after 100,000 samples; with a threshold at which most hot rows are taken by then.
fn methods() -> Vec<(&'static str, Box<dyn Embedding>)> {
    let budget = Budget::Compression(1000.0);
    let settings = CafeSettings { threshold: 50.0, ..CafeSettings::paper(1000.0) };
    let cafe = CafeConfig::within(&FEATURES, DIM, budget, &settings).expect("fits");
    let bytes = budget.bytes(&FEATURES, DIM);
    let hashed = HashedConfig::within(&FEATURES, DIM, bytes, RowOptimizer::Sgd, 3).expect("fits");
    let mut methods: Vec<(_, Box<dyn Embedding>)> = vec![
        ("cafe", Box::new(CafeEmbedding::new(cafe))),
        ("hash", Box::new(HashedEmbedding::new(&hashed))),
        ("full", Box::new(FullEmbedding::new(&FEATURES, DIM, RowOptimizer::Sgd, 3))),
    ];
    for batch in batches(50, 2048, 9) {
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
        group.throughput(Throughput::Elements((n_samples * FEATURES.len()) as u64));
        let mut rows = vec![0.0; n_samples * FEATURES.len() * DIM];
        for (name, method) in &mut methods {
            for (n_threads, workers) in [(1, &Alone as &dyn Workers), (2, &pair)] {
                let mut cycle = batches.iter().cycle();
                let mut next = || cycle.next().expect("a cycle has no end");
                group.bench_function(format!("{name} lookup, {n_threads} threads"), |bencher| {
                    bencher.iter(|| method.lookup_on(&next().ids, black_box(&mut rows), workers));
                });
                group.bench_function(format!("{name} update, {n_threads} threads"), |bencher| {
                    bencher.iter(|| {
                        let batch = next();
                        method.update_on(&batch.ids, &batch.grads, 0.01, workers)
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

criterion_group!(benches, sketch, embeddings);
criterion_main!(benches);
