//! Every gradient against central differences of a twin: the model as plain loops in `f64`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::twin::{Twin, Weights, weights, widen};
use common::{Engine, other_models};
use dlrm_model::{
    DlrmConfig, Inputs, ModelConfig, ModelOptions, OptimizerKind, StepOutputs, TrainableModel,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

struct Batch {
    dense: Vec<f64>,
    rows: Vec<f64>,
    labels: Vec<f64>,
}

fn mean_loss(config: &ModelConfig, weights: &Weights, batch: &Batch) -> f64 {
    let n_samples = batch.labels.len();
    let loss = |sample: usize| {
        let dense = &batch.dense[sample * config.n_dense()..][..config.n_dense()];
        let rows = &batch.rows[sample * config.row_floats()..][..config.row_floats()];
        let x = Twin::new(config, weights).logit(dense, rows);
        x.exp().ln_1p() - x * batch.labels[sample]
    };
    (0..n_samples).map(loss).sum::<f64>() / n_samples as f64
}

/// Central difference of `loss`, as a function of one number, at `at`.
fn central_difference(mut loss: impl FnMut(f64) -> f64, at: f64) -> f64 {
    let step = 1e-5;
    (loss(at + step) - loss(at - step)) / (2.0 * step)
}

fn assert_close(what: &str, gradient: f64, expected: f64) {
    assert!(
        (gradient - expected).abs() <= 1e-6 + 1e-4 * expected.abs(),
        "{what}: {gradient}, expected {expected}"
    );
}

fn check(config: &ModelConfig, n_samples: usize, seed: u64, engine: Engine) {
    // Large, so that `(before - after) / RATE` is the gradient with most of its digits.
    const RATE: f32 = 256.0;
    let options = ModelOptions {
        optimizer: OptimizerKind::Sgd,
        seed,
        n_threads: 2,
        ..ModelOptions::default()
    };
    let mut model = engine.build(config.clone(), options);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<f32>>();
    let (dense, rows) = (draw(n_samples * config.n_dense()), draw(n_samples * config.row_floats()));
    let labels: Vec<f32> =
        draw(n_samples).into_iter().map(|v| f32::from(u8::from(v > 0.0))).collect();

    let before = model.parameters().unwrap();
    let (mut row_grads, mut logits) = (vec![0.0; rows.len()], vec![0.0; n_samples]);
    let inputs = Inputs { dense: &dense, rows: &rows, labels: &labels };
    let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
    let loss = model.train_step(inputs, RATE, outputs).unwrap();
    let after = model.parameters().unwrap();

    let mut batch = Batch { dense: widen(&dense), rows: widen(&rows), labels: widen(&labels) };
    let mut weights = weights(&before);
    assert_close("loss", loss.mean(), mean_loss(config, &weights, &batch));
    for (idx, &gradient) in row_grads.iter().enumerate() {
        let at = batch.rows[idx];
        let difference = central_difference(
            |value| {
                batch.rows[idx] = value;
                mean_loss(config, &weights, &batch)
            },
            at,
        );
        batch.rows[idx] = at;
        assert_close(&format!("row_grads[{idx}]"), f64::from(gradient), difference);
    }
    for (before, after) in before.iter().zip(&after) {
        for (idx, (&at, &moved)) in before.values.iter().zip(&after.values).enumerate() {
            let mut loss_at = |value| {
                weights.get_mut(&before.name).unwrap()[idx] = value;
                mean_loss(config, &weights, &batch)
            };
            let difference = central_difference(&mut loss_at, f64::from(at));
            loss_at(f64::from(at));
            assert_close(
                &format!("{}[{idx}]", before.name),
                f64::from((at - moved) / RATE),
                difference,
            );
        }
    }
}

#[test]
fn all_gradients_of_dlrm() {
    let with_dense =
        DlrmConfig { n_dense: 3, n_fields: 4, dim: 5, bottom: vec![7, 5], top: vec![6, 4, 1] };
    let single_layers =
        DlrmConfig { n_dense: 1, n_fields: 1, dim: 1, bottom: vec![1], top: vec![1] };
    let without_dense =
        DlrmConfig { n_dense: 0, n_fields: 3, dim: 2, bottom: vec![], top: vec![5, 1] };
    for config in [with_dense, single_layers, without_dense] {
        for (n_samples, seed) in [(1, 11), (3, 12), (7, 13)] {
            for &engine in Engine::ALL {
                check(&config.clone().into(), n_samples, seed, engine);
            }
        }
    }
}

#[test]
fn all_gradients_of_the_other_models() {
    let with_dense = other_models(3, 4, 3, &[6, 4]);
    let single = other_models(1, 1, 1, &[1]);
    let without_dense = other_models(0, 3, 2, &[5]);
    for config in [with_dense, single, without_dense].concat() {
        for (n_samples, seed) in [(1, 11), (7, 13)] {
            for &engine in Engine::ALL {
                check(&config, n_samples, seed, engine);
            }
        }
    }
}

#[test]
fn shards_add_up_to_the_batch() {
    let config = DlrmConfig { n_dense: 2, n_fields: 2, dim: 2, bottom: vec![2], top: vec![2, 1] };
    for &engine in Engine::ALL {
        check(&config.clone().into(), 131, 14, engine);
        for config in other_models(2, 2, 2, &[3]) {
            check(&config, 131, 14, engine);
        }
    }
}
