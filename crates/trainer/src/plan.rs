//! `trainer plan`: what a configuration will occupy, before any data is touched.

use std::fmt::Write as _;

use anyhow::Result;
use cafe_core::{CafeConfig, FieldKind, FieldRows};

use crate::config::{Config, Optimizer};
use crate::data::PREFETCH_DEPTH;
use crate::report::{bytes, grouped, table};
use crate::run::EVAL_BATCH;
use crate::setup::{self, EmbeddingPlan, Sizes};

/// Bytes of the program itself with its threads: measured on x86-64 Linux with a run of one row.
const PROGRAM_BYTES: u64 = 12_000_000;

/// Sizes and bytes of every table, of the sketch, of the network, and the expected peak.
///
/// # Errors
/// If the budget does not suffice.
pub fn plan(config: &Config) -> Result<String> {
    let embedding = setup::plan_embedding(config)?;
    let n_features: u64 = embedding.features.iter().sum();
    let row_bytes = (config.model.dim * size_of::<f32>()) as u64;
    let mut rows = vec![
        ("run", format!("{} ({})", config.name, config.embedding.method.name())),
        ("full table", format!("{} features x {row_bytes} B = {}", grouped(n_features), bytes(embedding.full_bytes))),
    ];
    match &embedding.sizes {
        Sizes::Full { .. } => rows.push(("rows", "one for each feature seen, up to the full table".to_owned())),
        Sizes::Hash(sizes) => rows.push(("hash rows", rows_and_bytes(sizes.n_rows.iter().sum(), row_bytes))),
        Sizes::Cafe(sizes) => cafe_rows(sizes, row_bytes, &mut rows),
    }
    let spent = embedding_bytes(&embedding);
    rows.push(("embedding", budget_line(spent, &embedding)));
    let n_parameters = setup::model_config(config)?.n_parameters() as u64;
    rows.push(("network", format!("{} parameters, {}", grouped(n_parameters), bytes(4 * n_parameters))));
    rows.push(("expected peak", format!("about {}", bytes(peak_bytes(config, spent, n_parameters)))));
    Ok(table(&rows) + "\n" + &field_table(&embedding))
}

fn cafe_rows(sizes: &CafeConfig, row_bytes: u64, rows: &mut Vec<(&str, String)>) {
    let kind_rows = |own: bool| sizes.fields.iter().filter(|f| f.is_own() == own).map(FieldRows::n_rows).sum::<u64>();
    let buckets = format!(
        "{} buckets of {} slots, {}",
        grouped(sizes.n_buckets as u64),
        sizes.slots,
        bytes(sizes.sketch_bytes())
    );
    let decay = sizes
        .decay
        .map_or("never decays".to_owned(), |d| format!("scores x {} every {:.3e} of mass", d.factor, d.every));
    rows.push(("sketch", buckets));
    rows.push(("hot rows", rows_and_bytes(sizes.n_hot as u64, row_bytes)));
    rows.push(("hash rows", rows_and_bytes(kind_rows(false), row_bytes)));
    rows.push(("small rows", rows_and_bytes(kind_rows(true), row_bytes)));
    rows.push(("hot from", format!("score {}; {decay}", sizes.threshold)));
}

fn rows_and_bytes(n_rows: u64, row_bytes: u64) -> String {
    format!("{} rows, {}", grouped(n_rows), bytes(n_rows * row_bytes))
}

fn budget_line(spent: u64, plan: &EmbeddingPlan) -> String {
    let over = spent as f64 / plan.budget_bytes as f64 - 1.0;
    let budget = bytes(plan.budget_bytes);
    let ratio = plan.full_bytes as f64 / spent as f64;
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

/// Rows and sketch; for `full` what it can grow to.
fn embedding_bytes(plan: &EmbeddingPlan) -> u64 {
    match &plan.sizes {
        Sizes::Full { .. } => plan.full_bytes,
        Sizes::Hash(sizes) => sizes.embedding_bytes(),
        Sizes::Cafe(sizes) => sizes.embedding_bytes(),
    }
}

/// What a run will hold at most, on a CPU: an estimate, of the parts that grow with the settings.
fn peak_bytes(config: &Config, embedding_bytes: u64, n_parameters: u64) -> u64 {
    let has_state = u64::from(config.train.optimizer == Optimizer::Adagrad);
    let model = &config.model;
    let schema_widths = 13 + 26 * (model.dim + 2);
    let widths: usize = model.bottom.iter().chain(&model.top).sum::<usize>() + 2 * model.dim * 27 + 27 * 27;
    let n_shards = (config.train.batch / 64).clamp(1, 8) as u64;
    let batches = (PREFETCH_DEPTH + 2) * EVAL_BATCH.max(config.train.batch) * schema_widths * 4;
    let activations = EVAL_BATCH.max(2 * config.train.batch) * widths * 4;
    let rows = 2 * EVAL_BATCH.max(config.train.batch) * 26 * model.dim * 4;
    let network = 4 * n_parameters * (2 + has_state + n_shards);
    let optimizer = has_state * embedding_bytes / model.dim as u64;
    PROGRAM_BYTES + embedding_bytes + optimizer + network + (batches + activations + rows) as u64
}

/// Rows field by field.
fn field_table(plan: &EmbeddingPlan) -> String {
    let mut out = String::from("field      features          rows\n");
    for (field, &n) in plan.features.iter().enumerate() {
        let rows = match &plan.sizes {
            Sizes::Full { .. } => format!("up to {}", grouped(n)),
            Sizes::Hash(sizes) => grouped(sizes.n_rows[field]),
            Sizes::Cafe(sizes) => match sizes.fields[field].kind {
                FieldKind::Own => format!("{} own", grouped(n)),
                FieldKind::Shared { first, second: 0 } => grouped(first),
                FieldKind::Shared { first, second } => format!("{} + {}", grouped(first), grouped(second)),
            },
        };
        let _ = writeln!(out, "C{:<4} {:>13} {rows:>13}", field + 1, grouped(n));
    }
    out
}
