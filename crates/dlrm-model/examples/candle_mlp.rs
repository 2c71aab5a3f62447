//! A training loop in candle with a compressed embedding table of `cafe-core` in front of a small
//! MLP: forward pass, `loss.backward()`, and a step of both optimizers.
//!
//! The table is no tensor and not part of the graph: the rows of a batch are looked up as a leaf,
//! and their gradient goes back into the table. So no step costs more than its batch.
//!
//! ```text
//! cargo run --release -p dlrm-model --example candle_mlp
//! ```
#![allow(clippy::print_stdout, reason = "an example prints its results")]

use cafe_core::methods::{CafeConfig, CafeEmbedding, CafeSettings};
use cafe_core::{Budget, Embedding, FeatureId, RowFormat, Sizing, mix64, unit_f64};
use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::{Optimizer, SGD, VarBuilder, VarMap, linear, loss, seq};

const N_FIELDS: usize = 4;
const N_FEATURES: u64 = 1000;
const DIM: usize = 8;
const BATCH: usize = 256;
const N_STEPS: usize = 600;
const LEARNING_RATE: f32 = 0.5;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    // A tenth of the bytes that a row for every feature would take.
    let (features, budget) = ([N_FEATURES; N_FIELDS], Budget::Compression(10.0));
    let sizing =
        Sizing { features: &features, dim: DIM, budget, format: RowFormat::default(), seed: 0 };
    let config = CafeConfig::within(&sizing, &CafeSettings::paper(10.0))?;
    let mut table = CafeEmbedding::new(&config);

    let variables = VarMap::new();
    let builder = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
    let mlp = seq()
        .add(linear(N_FIELDS * DIM, 32, builder.pp("hidden"))?)
        .add(candle_nn::Activation::Relu)
        .add(linear(32, 1, builder.pp("logit"))?);
    let mut optimizer = SGD::new(variables.all_vars(), f64::from(LEARNING_RATE))?;

    let mut losses = Vec::new();
    for step in 0..N_STEPS {
        let (ids, labels) = batch(step);
        let mut rows = vec![0.0; ids.len() * DIM];
        table.lookup(&ids, &mut rows);
        let rows = Var::from_vec(rows, (BATCH, N_FIELDS * DIM), &Device::Cpu)?;
        let loss = forward(&mlp, &rows, &labels)?;
        let gradients = loss.backward()?;
        optimizer.step(&gradients)?;
        let row_grads = gradients.get(&rows).expect("the rows lead to the loss");
        table.update(&ids, &row_grads.flatten_all()?.to_vec1()?, LEARNING_RATE);
        losses.push(loss.to_scalar::<f32>()?);
    }
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&losses[..50]), mean(&losses[N_STEPS - 50..]));
    println!("mean loss of the first 50 steps {first:.4}, of the last 50 {last:.4}");
    println!("bytes of the table {}", table.memory().embedding_bytes());
    assert!(last < 0.95 * first, "expected the model to learn");
    Ok(())
}

fn forward(mlp: &impl Module, rows: &Tensor, labels: &[f32]) -> Result<Tensor> {
    let logits = mlp.forward(rows)?.squeeze(1)?;
    loss::binary_cross_entropy_with_logit(&logits, &Tensor::new(labels, &Device::Cpu)?)
}

/// The ids of a batch, sample by sample, and its labels: frequent features are drawn often, and
/// every feature has a weight by which it moves the probability of a click.
fn batch(step: usize) -> (Vec<FeatureId>, Vec<f32>) {
    let (mut ids, mut labels) = (Vec::new(), Vec::new());
    for sample in (step * BATCH) as u64..((step + 1) * BATCH) as u64 {
        let mut logit = 0.0;
        for field in 0..N_FIELDS {
            let u = unit_f64(mix64(sample, field as u64));
            let token = (N_FEATURES as f64 * u.powi(4)) as u32;
            ids.push(FeatureId::new(field, token));
            logit += 4.0 * (unit_f64(mix64(u64::from(token), 100 + field as u64)) - 0.5);
        }
        let probability = 1.0 / (1.0 + (-logit).exp());
        labels.push(f32::from(u8::from(unit_f64(mix64(sample, 99)) < probability)));
    }
    (ids, labels)
}
