//! Every gradient against central differences of a twin: DLRM as plain loops in `f64`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::collections::BTreeMap;

use common::Engine;
use dlrm_model::{DeviceSpec, DlrmConfig, Inputs, ModelOptions, OptimizerKind, StepOutputs};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Parameters by name, as the model names them.
type Weights = BTreeMap<String, Vec<f64>>;

struct Batch {
    dense: Vec<f64>,
    rows: Vec<f64>,
    labels: Vec<f64>,
}

/// `name.0`, `name.1`, ... applied to one sample.
fn mlp(weights: &Weights, name: &str, mut x: Vec<f64>, n_layers: usize, relu_at_end: bool) -> Vec<f64> {
    for layer in 0..n_layers {
        let (weight, bias) = (&weights[&format!("{name}.{layer}.weight")], &weights[&format!("{name}.{layer}.bias")]);
        let has_relu = relu_at_end || layer + 1 < n_layers;
        let output = |(row, bias): (&[f64], &f64)| {
            let y = bias + dot(row, &x);
            if has_relu { y.max(0.0) } else { y }
        };
        x = weight.chunks(x.len()).zip(bias).map(output).collect();
    }
    x
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn logit(config: &DlrmConfig, weights: &Weights, dense: &[f64], rows: &[f64]) -> f64 {
    let mut vectors: Vec<Vec<f64>> = rows.chunks(config.dim).map(<[f64]>::to_vec).collect();
    let mut features = Vec::new();
    if config.n_dense > 0 {
        features = mlp(weights, "bottom", dense.to_vec(), config.bottom.len(), true);
        vectors.insert(0, features.clone());
    }
    for i in 1..vectors.len() {
        for j in 0..i {
            features.push(dot(&vectors[i], &vectors[j]));
        }
    }
    mlp(weights, "top", features, config.top.len(), false)[0]
}

fn mean_loss(config: &DlrmConfig, weights: &Weights, batch: &Batch) -> f64 {
    let n_samples = batch.labels.len();
    let loss = |sample: usize| {
        let dense = &batch.dense[sample * config.n_dense..][..config.n_dense];
        let rows = &batch.rows[sample * config.row_floats()..][..config.row_floats()];
        let x = logit(config, weights, dense, rows);
        x.exp().ln_1p() - x * batch.labels[sample]
    };
    (0..n_samples).map(loss).sum::<f64>() / n_samples as f64
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Slope of `loss` by one number that `set` changes.
fn slope(mut loss: impl FnMut(f64) -> f64, at: f64) -> f64 {
    let step = 1e-5;
    (loss(at + step) - loss(at - step)) / (2.0 * step)
}

fn assert_close(what: &str, gradient: f64, slope: f64) {
    assert!((gradient - slope).abs() <= 1e-6 + 1e-4 * slope.abs(), "{what}: {gradient}, expected {slope}");
}

fn check(config: &DlrmConfig, n_samples: usize, seed: u64, engine: Engine) {
    const RATE: f32 = 256.0;
    let options = ModelOptions { optimizer: OptimizerKind::Sgd, seed, device: DeviceSpec::Cpu, n_threads: 2 };
    let mut model = engine.build(config.clone(), options);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<f32>>();
    let (dense, rows) = (draw(n_samples * config.n_dense), draw(n_samples * config.row_floats()));
    let labels: Vec<f32> = draw(n_samples).into_iter().map(|v| f32::from(u8::from(v > 0.0))).collect();

    let before = model.parameters().unwrap();
    let (mut row_grads, mut logits) = (vec![0.0; rows.len()], vec![0.0; n_samples]);
    let inputs = Inputs { dense: &dense, rows: &rows, labels: &labels };
    let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
    let loss = model.train_step(inputs, RATE, outputs).unwrap();
    let after = model.parameters().unwrap();

    let mut batch = Batch { dense: widen(&dense), rows: widen(&rows), labels: widen(&labels) };
    let mut weights: Weights = before.iter().map(|p| (p.name.clone(), widen(&p.values))).collect();
    assert_close("loss", loss.mean(), mean_loss(config, &weights, &batch));
    for (idx, &gradient) in row_grads.iter().enumerate() {
        let at = batch.rows[idx];
        let slope = slope(
            |value| {
                batch.rows[idx] = value;
                mean_loss(config, &weights, &batch)
            },
            at,
        );
        batch.rows[idx] = at;
        assert_close(&format!("row_grads[{idx}]"), f64::from(gradient), slope);
    }
    for (before, after) in before.iter().zip(&after) {
        for (idx, (&at, &moved)) in before.values.iter().zip(&after.values).enumerate() {
            let mut loss_at = |value| {
                weights.get_mut(&before.name).unwrap()[idx] = value;
                mean_loss(config, &weights, &batch)
            };
            let slope = slope(&mut loss_at, f64::from(at));
            loss_at(f64::from(at));
            assert_close(&format!("{}[{idx}]", before.name), f64::from((at - moved) / RATE), slope);
        }
    }
}

#[test]
fn all_gradients_are_slopes_of_the_loss() {
    let with_dense = DlrmConfig { n_dense: 3, n_fields: 4, dim: 5, bottom: vec![7, 5], top: vec![6, 4, 1] };
    let single_layers = DlrmConfig { n_dense: 1, n_fields: 1, dim: 1, bottom: vec![1], top: vec![1] };
    let without_dense = DlrmConfig { n_dense: 0, n_fields: 3, dim: 2, bottom: vec![], top: vec![5, 1] };
    for config in [with_dense, single_layers, without_dense] {
        for (n_samples, seed) in [(1, 11), (3, 12), (7, 13)] {
            for engine in Engine::ALL {
                check(&config, n_samples, seed, engine);
            }
        }
    }
}

#[test]
fn shards_add_up_to_the_batch() {
    let config = DlrmConfig { n_dense: 2, n_fields: 2, dim: 2, bottom: vec![2], top: vec![2, 1] };
    for engine in Engine::ALL {
        check(&config, 131, 14, engine);
    }
}
