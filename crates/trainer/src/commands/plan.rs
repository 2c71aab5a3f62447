//! `trainer plan`: the memory that a configuration will need, without reading data.

use std::fmt::Write as _;

use anyhow::Result;
use dlrm_model::ModelError;

use crate::build::memory::{SCORE_BYTES, check_memory, peak_bytes};
use crate::build::{self, EmbeddingPlan};
use crate::config::{Config, Named, cafe, models};
use crate::memory::MemoryError;
use crate::results::report::TrainingReport;
use crate::text::{bytes, grouped, table};

/// The memory of a configuration.
pub struct Plan {
    /// The text to print.
    pub text: String,
    /// Set if a run would be refused.
    pub refusal: Option<MemoryError>,
}

/// Computes sizes and bytes of all tables, the sketch and the network, and the expected peak.
///
/// # Errors
/// If the budget is too small, or the configuration is invalid.
pub fn plan(config: &Config) -> Result<Plan> {
    let embedding = build::plan_embedding(config)?;
    let model = models::model_config(config)?;
    model.validate().map_err(ModelError::from)?;
    let n_features: u64 = embedding.features.iter().sum();
    let row_bytes = embedding.full_bytes / n_features;
    let mut lines = vec![
        ("run", format!("{} ({})", config.name, config.embedding.method.name())),
        (
            "full table",
            format!(
                "{} features x {row_bytes} B = {}",
                grouped(n_features),
                bytes(embedding.full_bytes)
            ),
        ),
    ];
    lines.extend(embedding.sizes.lines());
    if let Some(cafe) = cafe::cafe_in_full(config) {
        let settings = toml::to_string(&cafe)?;
        lines.push(("settings", settings.trim_end().replace('\n', ", ")));
    }
    lines.push(("embedding", budget_line(&embedding)));
    lines.push(("training", TrainingReport::new(config).line()));
    let n_parameters = model.n_parameters() as u64;
    lines.push((
        "network",
        format!("{} parameters, {}", grouped(n_parameters), bytes(4 * n_parameters)),
    ));
    let peak = format!(
        "about {}, and {SCORE_BYTES} B per test row and per row of the longest day, if rows have \
         days; more if fields hold many values",
        bytes(peak_bytes(config, &embedding, &model))
    );
    lines.push(("expected peak", peak));
    let text = table(&lines) + "\n" + &field_table(&embedding);
    Ok(Plan { text, refusal: check_memory(config, &embedding, &model).err() })
}

fn budget_line(plan: &EmbeddingPlan) -> String {
    let spent = plan.sizes.embedding_bytes();
    let over = spent as f64 / plan.budget_bytes as f64 - 1.0;
    let (budget, ratio) = (bytes(plan.budget_bytes), plan.full_bytes as f64 / spent as f64);
    if over > 0.0 {
        let over = 100.0 * over;
        format!(
            "{}, {ratio:.1} times less than full; {over:.2} % over {budget}: the paper's sizes are \
             rounded up",
            bytes(spent)
        )
    } else {
        format!("{}, {ratio:.1} times less than full; within {budget}", bytes(spent))
    }
}

/// A table of rows and bytes by field.
fn field_table(plan: &EmbeddingPlan) -> String {
    let mut out = String::from("field      features              rows           bytes\n");
    for (field, &n) in plan.features.iter().enumerate() {
        let (_, text) = plan.sizes.field_rows(field);
        let field_bytes = grouped(plan.sizes.field_bytes(field, plan.row_bytes()));
        let _ = writeln!(out, "C{:<4} {:>13} {text:>17} {field_bytes:>15}", field + 1, grouped(n));
    }
    out
}
