//! The products of DLRM in the shapes of Criteo Kaggle against what one core can do on registers
//! alone, and whole steps and predictions of both engines; steps of the other models. Two minutes.
//! Needs `--features bench`. Set `RAYON_NUM_THREADS=1`, or candle counts the cores before each of
//! its products.
#![allow(missing_docs, reason = "the macros of criterion have none")]

use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use dlrm_model::bench::{LayerProducts, peak};
use dlrm_model::{
    DcnConfig, DcnV2Config, DeepFmConfig, DlrmConfig, EngineKind, Inputs, Model, ModelConfig,
    ModelOptions, NamedTensor, OptimizerKind, Precision, StepOutputs, TrainableModel,
    WideDeepConfig,
};

/// Inputs and outputs of all layers but the last; two are 512 x 256.
const LAYERS: [[usize; 2]; 5] = [[13, 512], [512, 256], [256, 64], [64, 16], [367, 512]];

const BATCHES: [usize; 3] = [128, 2048, 8192];

/// The precisions that this CPU has.
fn precisions() -> impl Iterator<Item = Precision> {
    [Precision::F32, Precision::Bf16].into_iter().filter(|&precision| peak(precision, 1).is_ok())
}

/// Throughput in operations, two for each multiplication and addition: criterion's elements are
/// FLOP.
fn products(criterion: &mut Criterion) {
    for precision in precisions() {
        let (kernel, n_operations) =
            peak(precision, 1_000_000).expect("one of those that this CPU has");
        let mut group = criterion.benchmark_group(format!("products/{kernel}"));
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(400));
        group.throughput(Throughput::Elements(n_operations as u64));
        group.bench_function("limit of one core", |bencher| {
            bencher.iter(|| peak(precision, 1_000_000));
        });
        for n_samples in [64, 256] {
            for [n_input, n_output] in LAYERS {
                let mut products = LayerProducts::new(precision, n_samples, n_input, n_output)
                    .expect("one of those that this CPU has");
                group.throughput(Throughput::Elements((2 * n_samples * n_input * n_output) as u64));
                let id = |name| BenchmarkId::new(name, format!("{n_samples}x{n_input}x{n_output}"));
                group.bench_function(id("forward"), |bencher| bencher.iter(|| products.forward()));
                group.bench_function(id("back"), |bencher| bencher.iter(|| products.backward()));
                group
                    .bench_function(id("gradient"), |bencher| bencher.iter(|| products.gradient()));
            }
        }
    }
}

struct Batch {
    dense: Vec<f32>,
    rows: Vec<f32>,
    labels: Vec<f32>,
    row_grads: Vec<f32>,
    logits: Vec<f32>,
}

impl Batch {
    fn new(config: &ModelConfig, n_samples: usize) -> Self {
        let draw = |n: usize| {
            (0..n).map(|idx| (idx * 7919 % 1009) as f32 / 5045.0 - 0.1).collect::<Vec<f32>>()
        };
        let (dense, rows) =
            (draw(n_samples * config.n_dense()), draw(n_samples * config.row_floats()));
        let labels = (0..n_samples).map(|idx| f32::from(u8::from(idx % 4 == 0))).collect();
        Self { row_grads: vec![0.0; rows.len()], logits: vec![0.0; n_samples], dense, rows, labels }
    }
}

/// Throughput in samples, on all cores.
fn steps(criterion: &mut Criterion) {
    let config = dlrm();
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let options = ModelOptions {
        optimizer: OptimizerKind::Sgd,
        seed: 1,
        n_threads,
        ..ModelOptions::default()
    };
    let native = precisions().map(|precision| (EngineKind::Native, precision));
    for (engine, precision) in native.chain([(EngineKind::Candle, Precision::F32)]) {
        let mut model =
            Model::new(&config, &ModelOptions { engine, precision, ..options }).expect("a model");
        for is_training in [true, false] {
            let what = if is_training { "train" } else { "predict" };
            let mut group =
                criterion.benchmark_group(format!("{what}, {engine} on {}", model.kernel()));
            group
                .sample_size(10)
                .warm_up_time(Duration::from_millis(500))
                .measurement_time(Duration::from_secs(3));
            limit(&mut group, n_threads, precision, flop_per_sample(is_training));
            for n_samples in BATCHES {
                let Batch { dense, rows, labels, mut row_grads, mut logits } =
                    Batch::new(&config, n_samples);
                let inputs = Inputs { dense: &dense, rows: &rows, labels: &labels };
                group.throughput(Throughput::Elements(n_samples as u64));
                group.bench_function(format!("{n_samples} samples"), |bencher| {
                    bencher.iter(|| {
                        if is_training {
                            let outputs =
                                StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
                            model.train_step(inputs, 0.001, outputs).expect("a step");
                        } else {
                            model.predict(inputs, &mut logits).expect("a prediction");
                        }
                    });
                });
            }
        }
    }
}

/// In the shape of Criteo Kaggle.
fn dlrm() -> ModelConfig {
    DlrmConfig {
        n_dense: 13,
        n_fields: 26,
        dim: 16,
        bottom: vec![512, 256, 64, 16],
        top: vec![512, 256, 1],
    }
    .into()
}

/// The others in the shape of Criteo Kaggle, with the layers that the program gives them by
/// default.
fn other_models() -> [ModelConfig; 5] {
    let (n_dense, n_fields, dim, deep) = (13, 26, 16, |n_layers| vec![256; n_layers]);
    let dcn_v2 = |rank| DcnV2Config { n_dense, n_fields, dim, n_cross: 3, rank, deep: deep(3) };
    [
        WideDeepConfig { n_dense, n_fields, dim, deep: deep(2) }.into(),
        DcnConfig { n_dense, n_fields, dim, n_cross: 3, deep: deep(3) }.into(),
        dcn_v2(None).into(),
        dcn_v2(Some(64)).into(),
        DeepFmConfig { n_dense, n_fields, dim, deep: deep(3) }.into(),
    ]
}

/// Training steps of every model, native, on all cores. Criterion's elements are FLOP of products,
/// so that the models can be compared: a model that is slower than DLRM here spends time outside of
/// its products.
fn models(criterion: &mut Criterion) {
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let options = ModelOptions {
        optimizer: OptimizerKind::Sgd,
        seed: 1,
        n_threads,
        ..ModelOptions::default()
    };
    for (precision, n_samples) in
        precisions().flat_map(|precision| [128, 2048].map(|n_samples| (precision, n_samples)))
    {
        let mut group =
            criterion.benchmark_group(format!("models, {n_samples} samples, {precision}"));
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        for config in std::iter::once(dlrm()).chain(other_models()) {
            let name = match config {
                ModelConfig::DcnV2(DcnV2Config { rank: Some(rank), .. }) => {
                    format!("dcnv2 of rank {rank}")
                }
                _ => config.name().to_owned(),
            };
            let mut model =
                Model::new(&config, &ModelOptions { precision, ..options }).expect("a model");
            let Batch { dense, rows, labels, mut row_grads, mut logits } =
                Batch::new(&config, n_samples);
            let inputs = Inputs { dense: &dense, rows: &rows, labels: &labels };
            group.throughput(Throughput::Elements((n_samples * flop_of_step(&model)) as u64));
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
                    model.train_step(inputs, 0.001, outputs).expect("a step");
                });
            });
        }
    }
}

/// Six for each weight and sample: forward, its gradient and that of its input, but for the dense
/// inputs of DLRM.
fn flop_of_step(model: &Model) -> usize {
    let parameters = model.parameters().expect("a model on a CPU");
    let weights = parameters.iter().filter(|tensor| tensor.name.ends_with("weight"));
    let flop = |tensor: &NamedTensor| {
        let n_products = if tensor.name == "bottom.0.weight" { 2 } else { 3 };
        2 * n_products * tensor.values.len()
    };
    weights.map(flop).sum()
}

/// Multiplications and additions in the products of a sample: forward, and in training the
/// gradients of all weights and of all inputs but the first layer's.
fn flop_per_sample(is_training: bool) -> usize {
    let weights: usize = LAYERS
        .iter()
        .chain([&[512, 256], &[256, 1]])
        .map(|[n_input, n_output]| n_input * n_output)
        .sum();
    if is_training { 6 * weights - 2 * 13 * 512 } else { 2 * weights }
}

/// As many operations as 2,048 samples have, on registers alone, on every core at the same time.
fn limit(
    group: &mut BenchmarkGroup<'_, WallTime>,
    n_threads: usize,
    precision: Precision,
    flop: usize,
) {
    const N_SAMPLES: usize = 2048;
    let (_, n_operations) = peak(precision, 1).expect("one of those that this CPU has");
    let n_rounds = N_SAMPLES * flop / n_operations / n_threads;
    group.throughput(Throughput::Elements(N_SAMPLES as u64));
    group.bench_function("limit: products on registers", |bencher| {
        bencher.iter(|| {
            std::thread::scope(|scope| {
                for _ in 0..n_threads {
                    scope.spawn(|| peak(precision, n_rounds));
                }
            });
        });
    });
}

criterion_group!(benches, products, steps, models);
criterion_main!(benches);
