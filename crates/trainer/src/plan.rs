//! `trainer plan`: what a configuration will occupy, before any data is touched.

use std::fmt::Write as _;

use anyhow::Result;
use dlrm_model::{DlrmConfig, EngineKind, n_training_shards};

use crate::config::{Config, Optimizer};
use crate::data::PREFETCH_DEPTH;
use crate::report::{bytes, grouped, table};
use crate::run::EVAL_BATCH;
use crate::setup::{self, EmbeddingPlan};

/// Bytes of the program itself with its threads and its allocator's slack, as measured with runs
/// of a few rows on x86-64 Linux.
const PROGRAM_BYTES: usize = 25_000_000;
/// Bytes that a test row's score takes until the AUC is known.
const SCORE_BYTES: u64 = 4;

/// Sizes and bytes of every table, of the sketch, of the network, and the expected peak.
///
/// # Errors
/// If the budget does not suffice.
pub fn plan(config: &Config) -> Result<String> {
    let embedding = setup::plan_embedding(config)?;
    let model = setup::model_config(config)?;
    let n_features: u64 = embedding.features.iter().sum();
    let row_bytes = embedding.row_bytes();
    let mut lines = vec![
        ("run", format!("{} ({})", config.name, config.embedding.method.name())),
        ("full table", format!("{} features x {row_bytes} B = {}", grouped(n_features), bytes(embedding.full_bytes))),
    ];
    lines.extend(embedding.lines());
    lines.push(("embedding", budget_line(&embedding)));
    let n_parameters = model.n_parameters() as u64;
    lines.push(("network", format!("{} parameters, {}", grouped(n_parameters), bytes(4 * n_parameters))));
    let peak = format!("about {}, and {SCORE_BYTES} B a test row", bytes(peak_bytes(config, &embedding, &model)));
    lines.push(("expected peak", peak));
    Ok(table(&lines) + "\n" + &field_table(&embedding))
}

fn budget_line(plan: &EmbeddingPlan) -> String {
    let spent = plan.embedding_bytes();
    let over = spent as f64 / plan.budget_bytes as f64 - 1.0;
    let (budget, ratio) = (bytes(plan.budget_bytes), plan.full_bytes as f64 / spent as f64);
    if over > 0.0 {
        let over = 100.0 * over;
        format!(
            "{}, {ratio:.1} times less than full; {over:.2} % over {budget}: the paper's sizes round up",
            bytes(spent)
        )
    } else {
        format!("{}, {ratio:.1} times less than full; within {budget}", bytes(spent))
    }
}

/// What a run will hold at most, on a CPU: an estimate, of the parts that grow with the settings.
fn peak_bytes(config: &Config, embedding: &EmbeddingPlan, model: &DlrmConfig) -> u64 {
    const FLOAT: usize = size_of::<f32>();
    let has_state = usize::from(config.train.optimizer == Optimizer::Adagrad);
    let batch = config.train.batch;
    let (largest, n_ids) = (batch.max(EVAL_BATCH), model.n_fields);
    // Labels, dense inputs and ids of the batches that go round; rows, their gradients.
    let batches = (PREFETCH_DEPTH + 2) * largest * (FLOAT * (1 + model.n_dense) + 8 * n_ids);
    let rows = 2 * largest * n_ids * model.dim * FLOAT;
    // Sums by feature and by row, with keys and a hash table twice as large as can be filled.
    let sums = 3 * batch * n_ids * (model.dim * FLOAT + 8 + 32);
    let n_vectors = n_ids + 1;
    let layers: usize = model.bottom.iter().chain(&model.top).sum::<usize>() + model.top_input();
    let activations = largest.max(2 * batch) * FLOAT * (layers + 2 * n_vectors * model.dim + n_vectors * n_vectors);
    // candle has a gradient for each shard, the native engine one for all of them.
    let is_native = config.engine.parse() == Ok(EngineKind::Native);
    let n_gradients = if is_native { 1 } else { n_training_shards(batch) };
    let network = FLOAT * model.n_parameters() * (2 + has_state + n_gradients);
    let optimizer = has_state as u64 * embedding.embedding_bytes() / model.dim as u64;
    let buffers = PROGRAM_BYTES + batches + rows + sums + activations + network;
    embedding.total_bytes() + optimizer + buffers as u64
}

/// Rows and bytes field by field.
fn field_table(plan: &EmbeddingPlan) -> String {
    let mut out = String::from("field      features              rows           bytes\n");
    for (field, &n) in plan.features.iter().enumerate() {
        let (n_rows, text) = plan.field_rows(field);
        let field_bytes = grouped(n_rows * plan.row_bytes());
        let _ = writeln!(out, "C{:<4} {:>13} {text:>17} {field_bytes:>15}", field + 1, grouped(n));
    }
    out
}
