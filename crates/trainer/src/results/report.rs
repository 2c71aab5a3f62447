//! `report.json`, the record of a finished run, and the table printed at its end.

use std::collections::BTreeMap;

use cafe_core::{Accumulator, RowPrecision, TierSummary};
use serde::{Deserialize, Serialize};

use crate::config::{CafeTable, Config};
use crate::results::phases::PhaseSeconds;
use crate::results::warnings::{self, Warning};
use crate::text::{bytes, grouped, table};

/// The results of a finished run. Sizes are in bytes, losses in nats.
///
/// All fields but the last six are reproducible: equal for the same configuration, data and build.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// `name` of the configuration.
    pub name: String,
    /// `embedding.method`.
    pub method: String,
    /// `model.kind`.
    pub model: String,
    /// `seed`.
    pub seed: u64,
    /// `device`.
    pub device: String,
    /// `engine`.
    pub engine: String,
    /// `precision`.
    pub precision: String,
    /// The kernel of the matrix products: `gemm`, `avx512f`, `avx512_bf16`, `candle`, ...
    pub kernel: String,
    /// The source of the rows: `generated`, or the data format, such as `criteo-kaggle`.
    pub data: String,
    /// Training rows over all epochs.
    pub train_rows: u64,
    /// Test rows.
    pub test_rows: u64,
    /// Test rows that were clicked.
    pub test_positives: u64,
    /// Area under the ROC curve on the test rows; null if all labels are equal.
    pub test_auc: Option<f64>,
    /// Mean log-loss on the test rows.
    pub test_logloss: f64,
    /// Log-loss on the test rows over the entropy of their share of clicks; null if all labels are
    /// equal.
    pub test_normalised_entropy: Option<f64>,
    /// Mean predicted probability over the share of clicks on the test rows; null without clicks.
    pub test_calibration: Option<f64>,
    /// Signs of a problem, such as a model that has not learned; absent in reports of earlier
    /// versions.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// Optimizers of network and rows; absent in reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingReport>,
    /// Mean log-loss over the last epoch, each row scored before the model learned from it.
    pub train_logloss: f64,
    /// Malformed rows that were skipped (`data.bad_rows = "skip"`); absent if there were none.
    #[serde(default, skip_serializing_if = "BadRowsOfPasses::is_empty")]
    pub bad_rows: BadRowsOfPasses,
    /// The AUC of the logits that the labels were drawn from; absent unless rows were generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_possible_auc: Option<f64>,
    /// How rows are stored; absent in reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_precision: Option<RowPrecision>,
    /// The resolved settings of `cafe`, whatever preset they come from; absent for other methods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cafe: Option<CafeTable>,
    /// Rows and sketch, and the rows' optimizer state if the budget includes it.
    pub embedding_bytes: u64,
    /// The sketch's share of `embedding_bytes`.
    pub sketch_bytes: u64,
    /// The budget of the embedding.
    pub budget_bytes: u64,
    /// Size of the full table, with a row for every feature of the data set.
    pub full_bytes: u64,
    /// `full_bytes` over `embedding_bytes`.
    pub compression_ratio: f64,
    /// Total size: rows, sketch, maps, free list and optimizer state.
    pub embedding_total_bytes: u64,
    /// Parameters of the dense network.
    pub dense_parameters: u64,
    /// Features with a hot row at the end.
    pub hot_rows: u64,
    /// Promotions over the run.
    pub promoted: u64,
    /// Demotions over the run.
    pub demoted: u64,
    /// Assignment of the hot rows at the end; absent for a method without hot rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<TierReport>,
    /// Threads of the dense network.
    pub threads: usize,
    /// Training rows over training time, without evaluation.
    pub samples_per_second: f64,
    /// Time spent in the phases of training.
    pub phase_seconds: PhaseSeconds,
    /// From reading the configuration to writing this report.
    pub wall_seconds: f64,
    /// Evaluation's share of `wall_seconds`.
    pub evaluation_seconds: f64,
    /// Peak resident memory of the process; null if the system does not report it.
    pub peak_rss_bytes: Option<u64>,
}

/// Optimizers with their learning rates and state, defaults resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingReport {
    /// Optimizer of the network.
    pub optimizer: String,
    /// Its learning rate.
    pub lr: f32,
    /// Optimizer of the embedding's rows.
    pub embedding_optimizer: String,
    /// Their learning rate.
    pub embedding_lr: f32,
    /// How row-wise Adagrad stores its sums; null for other optimizers of the rows.
    pub accumulator: Option<Accumulator>,
    /// Whether the budget includes the rows' optimizer state.
    pub counts_optimizer: bool,
    /// Whether the network's only numeric input is the constant 1.
    pub constant_input: bool,
    /// Whether the network gets the frequencies of features as inputs.
    #[serde(default)]
    pub frequency_inputs: bool,
}

impl TrainingReport {
    /// Of a loaded configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let Config { train, embedding, model, .. } = config;
        Self {
            optimizer: train.optimizer.name().to_owned(),
            lr: train.lr(),
            embedding_optimizer: train.row_optimizer().name().to_owned(),
            embedding_lr: train.embedding_lr(),
            accumulator: embedding.accumulator,
            counts_optimizer: embedding.count_optimizer == Some(true),
            constant_input: model.constant_input == Some(true),
            frequency_inputs: embedding.frequency_inputs,
        }
    }

    /// Optimizers and rates in a line, for tables.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { optimizer, lr, embedding_optimizer, embedding_lr, .. } = self;
        let accumulator = match self.accumulator {
            Some(Accumulator::Byte) => " (one byte per row)",
            _ => "",
        };
        let constant =
            if self.constant_input { "; constant input in place of numbers" } else { "" };
        let frequencies =
            if self.frequency_inputs { "; frequencies of features as inputs" } else { "" };
        let rows = format!("rows {embedding_optimizer} at {embedding_lr:.4}{accumulator}");
        format!("{optimizer} at {lr:.4}, {rows}{constant}{frequencies}")
    }
}

/// Assignment of the hot rows and distribution of the scores.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TierReport {
    /// The number of hot rows, owned or free.
    pub max_hot_rows: u64,
    /// Owned hot rows by field; empty if slots do not distinguish fields.
    pub hot_rows_by_field: Vec<u64>,
    /// Names of the fields.
    pub field_names: Vec<String>,
    /// The score from which a feature is hot: one for all fields or one per field; empty if there
    /// is no such score.
    pub thresholds: Vec<f32>,
    /// Slots of the sketch, or entries of the statistics.
    pub slots: u64,
    /// Slots in use.
    pub slots_in_use: u64,
    /// `[e, n]`: `n` slots in use have a score from `2^e` to below `2^(e + 1)`; scores of zero are
    /// left out.
    pub score_counts: Vec<(i32, u64)>,
}

impl TierReport {
    /// Of a method's summary.
    #[must_use]
    pub fn new(summary: TierSummary, field_names: Vec<String>) -> Self {
        let TierSummary {
            max_hot_rows, hot_rows_by_field, slots, slots_in_use, score_counts, ..
        } = summary;
        let mut thresholds = summary.thresholds;
        // An infinite threshold is never reached, and JSON cannot express it.
        thresholds.retain(|threshold| threshold.is_finite());
        Self {
            max_hot_rows,
            hot_rows_by_field,
            field_names,
            thresholds,
            slots,
            slots_in_use,
            score_counts,
        }
    }
}

/// Malformed rows by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BadRowsOfPasses {
    /// In one pass over the training rows.
    pub train: BTreeMap<String, u64>,
    /// In the test rows.
    pub test: BTreeMap<String, u64>,
}

impl BadRowsOfPasses {
    fn is_empty(&self) -> bool {
        self.train.is_empty() && self.test.is_empty()
    }
}

impl Report {
    /// The table that is printed at the end of a run.
    #[must_use]
    pub fn table(&self) -> String {
        table(&[self.quality_lines(), self.embedding_lines(), self.speed_lines()].concat())
    }

    fn quality_lines(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("run", format!("{} ({}, {}, seed {})", self.name, self.method, self.model, self.seed)),
            (
                "data",
                format!(
                    "{}: {} rows train, {} test",
                    self.data,
                    grouped(self.train_rows),
                    grouped(self.test_rows)
                ),
            ),
            (
                "test AUC",
                self.test_auc.map_or_else(
                    || "none: all labels are equal".to_owned(),
                    |auc| format!("{auc:.5}"),
                ),
            ),
        ];
        if let Some(best) = self.best_possible_auc {
            rows.push((
                "  best possible",
                format!("{best:.5} (generated data: not comparable with published numbers)"),
            ));
        }
        let normalised = self
            .test_normalised_entropy
            .map_or_else(String::new, |ne| format!(" (normalised {ne:.4})"));
        rows.push(("test log-loss", format!("{:.5}{normalised}", self.test_logloss)));
        if let Some(calibration) = self.test_calibration {
            rows.push((
                "test calibration",
                format!("{calibration:.4} (predicted clicks over clicks)"),
            ));
        }
        if !self.bad_rows.is_empty() {
            let list = |counts: &BTreeMap<String, u64>| {
                let list: Vec<_> =
                    counts.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
                if list.is_empty() { "none".to_owned() } else { list.join(", ") }
            };
            let (train, test) = (list(&self.bad_rows.train), list(&self.bad_rows.test));
            rows.push(("skipped rows", format!("training: {train}; test: {test}")));
        }
        if !self.warnings.is_empty() {
            rows.push(("warnings", warnings::codes(&self.warnings)));
        }
        rows.push(("train log-loss", format!("{:.5}", self.train_logloss)));
        if let Some(training) = &self.training {
            rows.push(("  optimizers", training.line()));
        }
        rows
    }

    fn embedding_lines(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        rows.push((
            "embedding",
            format!("{} of a budget of {}", bytes(self.embedding_bytes), bytes(self.budget_bytes)),
        ));
        if self.sketch_bytes > 0 {
            rows.push(("  sketch", bytes(self.sketch_bytes)));
            let moved =
                format!("{} promoted, {} demoted", grouped(self.promoted), grouped(self.demoted));
            rows.push(("  hot rows", format!("{} ({moved})", grouped(self.hot_rows))));
        }
        rows.push((
            "full table",
            format!("{}: {:.1} times as large", bytes(self.full_bytes), self.compression_ratio),
        ));
        let total = bytes(self.embedding_total_bytes);
        rows.push(("  total", format!("{total} incl. maps and optimizer")));
        rows
    }

    fn speed_lines(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        let speed = format!(
            "{} samples/s, {:.1} s in total",
            grouped(self.samples_per_second as u64),
            self.wall_seconds
        );
        rows.push(("speed", speed));
        rows.push(("  time spent", self.phase_seconds.line()));
        rows.push((
            "  hardware",
            format!(
                "{} threads, {} engine, {} ({})",
                self.threads, self.engine, self.precision, self.kernel
            ),
        ));
        if let Some(peak) = self.peak_rss_bytes {
            rows.push(("peak memory", bytes(peak)));
        }
        rows
    }
}
