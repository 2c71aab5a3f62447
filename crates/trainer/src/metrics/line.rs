//! The lines of `metrics.jsonl`: one definition for writing and reading.

use serde::{Deserialize, Serialize};

use crate::metrics::Quality;

/// Progress of training, counted from the start of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Steps.
    pub step: u64,
    /// Rows.
    pub rows: u64,
    /// Features with a hot row.
    pub hot_rows: u64,
    /// Promotions.
    pub promoted: u64,
    /// Demotions.
    pub demoted: u64,
}

/// A line about the window of steps since the previous line. Without times: equal runs write equal
/// files.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainLine {
    /// Steps so far.
    pub step: u64,
    /// Training rows so far.
    pub rows: u64,
    /// Mean log-loss of the window's rows in nats, each scored before the model learned from it.
    pub train_logloss: f64,
    /// AUC of the window's rows; null if all labels are equal.
    pub train_auc: Option<f64>,
    /// Log-loss over the entropy of the share of clicks; null if all labels are equal.
    pub train_normalised_entropy: Option<f64>,
    /// Mean predicted probability over the share of clicks; null without clicks.
    pub train_calibration: Option<f64>,
    /// Features that own a hot row.
    pub hot_rows: u64,
    /// Share of the last batch's lookups that were served by hot rows before its step; absent for a
    /// method without tiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot_share: Option<f64>,
    /// Promotions so far.
    pub promoted: u64,
    /// Demotions so far.
    pub demoted: u64,
}

/// A line about a day that has ended: its last row is the `rows`th of the run and was trained in
/// `step`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DayLine {
    /// The number of the day in the data.
    pub day: u32,
    /// The number of its rows.
    pub day_rows: u64,
    /// Quality over the day, and the counts after its last row.
    #[serde(flatten)]
    pub line: TrainLine,
}

/// A line about an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestLine {
    /// Steps so far.
    pub step: u64,
    /// Training rows so far.
    pub rows: u64,
    /// AUC on the test rows; null if all labels are equal.
    pub test_auc: Option<f64>,
    /// Mean log-loss on the test rows in nats.
    pub test_logloss: f64,
    /// Log-loss over the entropy of the share of clicks; null if all labels are equal.
    pub test_normalised_entropy: Option<f64>,
    /// Mean predicted probability over the share of clicks; null without clicks.
    pub test_calibration: Option<f64>,
}

/// A line of `metrics.jsonl`; the kinds are distinguished by their keys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MetricsLine {
    /// It has a test log-loss.
    Test(TestLine),
    /// It has a day.
    Day(DayLine),
    /// Any other.
    Train(TrainLine),
}

impl TrainLine {
    /// `quality` is that of the rows since the previous line.
    #[must_use]
    pub fn new(counters: Counters, quality: &Quality) -> Self {
        let Counters { step, rows, hot_rows, promoted, demoted } = counters;
        Self {
            step,
            rows,
            train_logloss: quality.logloss,
            train_auc: quality.auc,
            train_normalised_entropy: quality.normalised_entropy,
            train_calibration: quality.calibration,
            hot_rows,
            hot_share: None,
            promoted,
            demoted,
        }
    }

    /// Sets the share of lookups that were served by hot rows, if it was measured.
    #[must_use]
    pub fn with_hot_share(self, hot_share: Option<f64>) -> Self {
        Self { hot_share, ..self }
    }
}

impl TestLine {
    /// `quality` is that of the test rows after `step` steps on `rows` rows.
    #[must_use]
    pub fn new(step: u64, rows: u64, quality: &Quality) -> Self {
        Self {
            step,
            rows,
            test_auc: quality.auc,
            test_logloss: quality.logloss,
            test_normalised_entropy: quality.normalised_entropy,
            test_calibration: quality.calibration,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_line_round_trip() {
        let quality = Quality {
            rows: 3,
            positives: 1,
            auc: Some(0.5),
            logloss: 0.6,
            normalised_entropy: Some(0.9),
            calibration: None,
            equal_scores: false,
        };
        let counters = Counters { step: 1, rows: 3, hot_rows: 2, promoted: 2, demoted: 0 };
        let train = TrainLine::new(counters, &quality);
        let lines = [
            MetricsLine::Train(train),
            MetricsLine::Train(train.with_hot_share(Some(0.25))),
            MetricsLine::Day(DayLine { day: 7, day_rows: 3, line: train }),
            MetricsLine::Test(TestLine::new(1, 3, &quality)),
        ];
        for line in lines {
            let text = serde_json::to_string(&line).expect("JSON");
            assert_eq!(serde_json::from_str::<MetricsLine>(&text).expect("a line"), line, "{text}");
        }
    }
}
