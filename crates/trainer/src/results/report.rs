//! What a run leaves behind: `report.json`, and the table at its end.

use std::collections::BTreeMap;

use cafe_core::{Accumulator, RowPrecision, TierSummary};
use serde::{Deserialize, Serialize};

use crate::config::{CafeTable, Config};
use crate::results::phases::PhaseSeconds;
use crate::results::warnings::{self, Warning};
use crate::text::{bytes, grouped, table};

/// Everything that is known of a finished run. Counts are plain, sizes in bytes, losses in nats.
///
/// For the same configuration, data and build all fields are equal but the last six.
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
    /// What computed the products, on this CPU: `gemm`, `avx512f`, `avx512_bf16`, `candle`, ...
    pub kernel: String,
    /// Where the rows came from: `criteo-kaggle`, `criteo-terabyte`, or `generated`.
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
    /// The same over the entropy of the share of clicks.
    pub test_normalised_entropy: Option<f64>,
    /// Mean predicted probability over the share of clicks on the test rows; null without clicks.
    pub test_calibration: Option<f64>,
    /// What the user should look at, such as a model that has not learned; absent in reports of
    /// earlier versions.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// How network and rows were stepped; absent in reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainingReport>,
    /// Mean loss over the last epoch, each row before the model learned from it.
    pub train_logloss: f64,
    /// Malformed rows that were left out, with `data.bad_rows = "skip"`; absent if there were none.
    #[serde(default, skip_serializing_if = "BadRowsOfPasses::is_empty")]
    pub bad_rows: BadRowsOfPasses,
    /// For generated rows, absent otherwise: the AUC of the logits that the labels were drawn from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_possible_auc: Option<f64>,
    /// How rows are stored; absent in reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_precision: Option<RowPrecision>,
    /// The settings of `cafe` in full, whatever preset they come from; absent for other methods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cafe: Option<CafeTable>,
    /// Rows and sketch, and the rows' optimizer state where the budget counts it.
    pub embedding_bytes: u64,
    /// The sketch's part.
    pub sketch_bytes: u64,
    /// What the embedding was allowed.
    pub budget_bytes: u64,
    /// A table with a row for every feature of the data set.
    pub full_bytes: u64,
    /// `full_bytes` over `embedding_bytes`.
    pub compression_ratio: f64,
    /// Rows, sketch, maps, free list, optimizer state.
    pub embedding_total_bytes: u64,
    /// Parameters of the dense network.
    pub dense_parameters: u64,
    /// Features that own a hot row at the end.
    pub hot_rows: u64,
    /// Promotions over the run.
    pub promoted: u64,
    /// Demotions over the run.
    pub demoted: u64,
    /// How rows are given out at the end; absent for a method without hot rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tiers: Option<TierReport>,
    /// Threads of the dense network.
    pub threads: usize,
    /// Training rows over training time, evaluation apart.
    pub samples_per_second: f64,
    /// Where the time of training went.
    pub phase_seconds: PhaseSeconds,
    /// From the configuration to this report.
    pub wall_seconds: f64,
    /// Evaluation's part of it.
    pub evaluation_seconds: f64,
    /// The most memory the process held; null where the system does not say.
    pub peak_rss_bytes: Option<u64>,
}

/// Optimizers, their rates and what they keep, with nothing left to a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingReport {
    /// Of the network.
    pub optimizer: String,
    /// Its learning rate.
    pub lr: f32,
    /// Of the embedding's rows.
    pub embedding_optimizer: String,
    /// Their learning rate.
    pub embedding_lr: f32,
    /// How row-wise Adagrad stores its sums; null with another optimizer of the rows.
    pub accumulator: Option<Accumulator>,
    /// Whether the budget counts the rows' optimizer state.
    pub counts_optimizer: bool,
    /// Whether the network's only number is the constant 1.
    pub constant_input: bool,
    /// Whether the network gets how often features occurred.
    #[serde(default)]
    pub frequency_inputs: bool,
}

impl TrainingReport {
    /// What a loaded configuration says.
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

    /// The same in a line.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { optimizer, lr, embedding_optimizer, embedding_lr, .. } = self;
        let accumulator = match self.accumulator {
            Some(Accumulator::Byte) => " (a byte a row)",
            _ => "",
        };
        let constant = if self.constant_input { "; no numbers: constant input" } else { "" };
        let frequencies =
            if self.frequency_inputs { "; frequencies of features as inputs" } else { "" };
        let rows = format!("rows {embedding_optimizer} at {embedding_lr:.4}{accumulator}");
        format!("{optimizer} at {lr:.4}, {rows}{constant}{frequencies}")
    }
}

/// Who owns rows, and what scores there are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TierReport {
    /// Rows that important features can own.
    pub max_hot_rows: u64,
    /// Those that are owned, of each field; empty where slots don't tell fields apart.
    pub hot_rows_by_field: Vec<u64>,
    /// What the fields are called.
    pub field_names: Vec<String>,
    /// The score from which a feature is hot: one for all fields, one for each, or none where there
    /// is no such score.
    pub thresholds: Vec<f32>,
    /// Slots of the sketch, or entries of the statistics.
    pub slots: u64,
    /// Those that are in use.
    pub slots_in_use: u64,
    /// `[e, n]`: `n` slots in use have a score from `2^e` to below `2^(e + 1)`; scores of zero are
    /// left out.
    pub score_counts: Vec<(i32, u64)>,
}

impl TierReport {
    /// What a report says of `summary`.
    #[must_use]
    pub fn new(summary: TierSummary, field_names: Vec<String>) -> Self {
        let TierSummary {
            max_hot_rows, hot_rows_by_field, slots, slots_in_use, score_counts, ..
        } = summary;
        let mut thresholds = summary.thresholds;
        // Nobody reaches infinity, and JSON has no word for it.
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
    /// In the training rows, once through.
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
    /// The table at the end of a run.
    #[must_use]
    pub fn table(&self) -> String {
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
            rows.push(("rows left out", format!("of training: {train}; of test: {test}")));
        }
        if !self.warnings.is_empty() {
            rows.push(("warnings", warnings::codes(&self.warnings)));
        }
        rows.push(("train log-loss", format!("{:.5}", self.train_logloss)));
        if let Some(training) = &self.training {
            rows.push(("  by", training.line()));
        }
        rows.push((
            "embedding",
            format!("{} of {} allowed", bytes(self.embedding_bytes), bytes(self.budget_bytes)),
        ));
        if self.sketch_bytes > 0 {
            rows.push(("  sketch", bytes(self.sketch_bytes)));
            let moved =
                format!("{} promoted, {} demoted", grouped(self.promoted), grouped(self.demoted));
            rows.push(("  hot rows", format!("{} ({moved})", grouped(self.hot_rows))));
        }
        rows.push((
            "full table",
            format!("{}: {:.1} times as much", bytes(self.full_bytes), self.compression_ratio),
        ));
        rows.push(("  all counted", bytes(self.embedding_total_bytes)));
        let speed = format!(
            "{} samples/s, {:.1} s in all",
            grouped(self.samples_per_second as u64),
            self.wall_seconds
        );
        rows.push(("speed", speed));
        rows.push(("  of it", self.phase_seconds.line()));
        rows.push((
            "  on",
            format!(
                "{} threads, {} engine, {} ({})",
                self.threads, self.engine, self.precision, self.kernel
            ),
        ));
        if let Some(peak) = self.peak_rss_bytes {
            rows.push(("peak memory", bytes(peak)));
        }
        table(&rows)
    }
}
