//! `trainer eval`: the quality of a trained model.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use criteo_io::{PassEnd, Prefetch};
use serde::Serialize;

use crate::commands::model_args::{DeviceArg, Files, ModelArgs};
use crate::config::Config;
use crate::data::{DataError, DataSet, EVAL_BATCH, tell_bad_rows};
use crate::metrics::Quality;
use crate::results::warnings::{self, Warning};
use crate::text::{grouped, table};
use crate::train::eval::{Evaluation, evaluate};
use crate::train::resume;
use crate::train::state::RunState;
use crate::train::step::Learner;
use crate::train::trained::Trained;

/// Arguments of `trainer eval`.
#[derive(Clone, Debug, clap::Args)]
pub struct EvalArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    device: DeviceArg,
    /// Files in the run's format, all rows of which are evaluated; `-` is standard input. By
    /// default the run's test rows
    #[arg(long, value_name = "FILE", num_args = 1..)]
    data: Vec<PathBuf>,
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// The results, with the names of `report.json`.
#[derive(Serialize)]
struct Findings {
    name: String,
    step: u64,
    test_rows: u64,
    test_positives: u64,
    test_auc: Option<f64>,
    test_logloss: f64,
    test_normalised_entropy: Option<f64>,
    test_calibration: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    best_possible_auc: Option<f64>,
    warnings: Vec<Warning>,
}

/// Evaluates a model; returns the text to print.
///
/// # Errors
/// If there is no such model, or a row cannot be read.
pub fn eval(args: &EvalArgs) -> Result<String> {
    let Trained { config, mut learner, state } = args.model.open_on(args.device)?;
    let evaluation = if args.data.is_empty() {
        on_test_rows(&config, &state, &mut learner)?
    } else {
        let files = Files { paths: &args.data, no_label: false, bad_rows: config.data.bad_rows() };
        evaluate_all(files.open(&config)?, &mut learner)?.0
    };
    if evaluation.quality.rows == 0 {
        return Err(DataError::NoRows { key: "--data" }.into());
    }
    let train_rows = state.counters.rows / u64::from(state.epochs_done.max(1));
    let warnings = warnings::not_learned(&evaluation.quality, &config, train_rows);
    for warning in &warnings {
        tracing::warn!("{}: {}", warning.code, warning.message);
    }
    let findings = Findings::new(config.name, state.counters.step, evaluation, warnings);
    Ok(if args.json { serde_json::to_string(&findings)? + "\n" } else { findings.text() })
}

/// Evaluates the rows on which the run was evaluated.
fn on_test_rows(config: &Config, state: &RunState, learner: &mut Learner) -> Result<Evaluation> {
    let data = DataSet::open(config)?;
    if let Err(difference) = resume::check_inputs(&state.inputs, &data.stamps()?) {
        tracing::warn!(
            "the results differ from the run's report, because its files have changed: {difference}"
        );
    }
    let (evaluation, pass) = evaluate_all(data.test(EVAL_BATCH, None)?, learner)?;
    data.check_test_rows(pass.end.n_rows)?;
    Ok(evaluation)
}

fn evaluate_all(rows: Prefetch, learner: &mut Learner) -> Result<(Evaluation, PassEnd)> {
    let (evaluation, pass) =
        evaluate(learner, rows, &AtomicBool::new(false))?.expect("it is not interrupted");
    tell_bad_rows("evaluation", pass.end.n_rows, &pass.bad_rows);
    Ok((evaluation, pass))
}

impl Findings {
    fn new(name: String, step: u64, evaluation: Evaluation, warnings: Vec<Warning>) -> Self {
        let Evaluation { quality, best_possible_auc } = evaluation;
        let Quality { auc, logloss, normalised_entropy, calibration, rows, positives, .. } =
            quality;
        Self {
            name,
            step,
            test_rows: rows,
            test_positives: positives,
            test_auc: auc,
            test_logloss: logloss,
            test_normalised_entropy: normalised_entropy,
            test_calibration: calibration,
            best_possible_auc,
            warnings,
        }
    }

    fn text(&self) -> String {
        let none = |why: &str| format!("none: {why}");
        let mut lines = vec![
            ("run", format!("{}, step {}", self.name, grouped(self.step))),
            (
                "rows",
                format!(
                    "{}, of which {} were clicked",
                    grouped(self.test_rows),
                    grouped(self.test_positives)
                ),
            ),
            (
                "AUC",
                self.test_auc
                    .map_or_else(|| none("all labels are equal"), |auc| format!("{auc:.5}")),
            ),
        ];
        if let Some(best) = self.best_possible_auc {
            lines.push(("  best possible", format!("{best:.5} (generated data)")));
        }
        let normalised = self
            .test_normalised_entropy
            .map_or_else(String::new, |ne| format!(" (normalised {ne:.4})"));
        lines.push(("log-loss", format!("{:.5}{normalised}", self.test_logloss)));
        let calibration = self
            .test_calibration
            .map_or_else(|| none("nothing was clicked"), |c| format!("{c:.4}"));
        lines.push(("calibration", format!("{calibration} (predicted clicks over clicks)")));
        if !self.warnings.is_empty() {
            lines.push(("warnings", warnings::codes(&self.warnings)));
        }
        table(&lines)
    }
}
