//! Warnings at the end of a run or an evaluation: signs that the model has not learned.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Config, TrainConfig, dialect};
use crate::metrics::Quality;
use crate::text::grouped;

/// A warning as `report.json` holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// Identifies the warning; stable across versions.
    pub code: String,
    /// The text, with advice.
    pub message: String,
    /// The numbers that it is based on.
    pub values: BTreeMap<String, f64>,
}

/// An AUC within this number of standard errors of 0.5 is not distinguished from that of random
/// scores: the two-sided 95 % interval of a normal distribution.
const ERRORS_OF_CHANCE: f64 = 2.0;

/// The standard error of the AUC of random scores (Mann and Whitney): `sqrt((n + 1) / (12 p (n -
/// p)))` for `p` positives in `n` rows. `None` if all labels are equal.
fn chance_error(quality: &Quality) -> Option<f64> {
    let (rows, positives) = (quality.rows as f64, quality.positives as f64);
    let pairs = positives * (rows - positives);
    (pairs > 0.0).then(|| ((rows + 1.0) / (12.0 * pairs)).sqrt())
}

/// Signs that a model of this `quality` on test rows has learned nothing that generalises, or that
/// the test rows cannot show it. `train_rows` is the number of training rows per epoch.
#[must_use]
pub fn not_learned(quality: &Quality, config: &Config, train_rows: u64) -> Vec<Warning> {
    let error = chance_error(quality);
    let advice = advice(config, train_rows, error);
    let warning = |code: &str, what: String, values: &[(&str, f64)]| Warning {
        code: code.to_owned(),
        message: format!("{what}; {advice}"),
        values: values.iter().map(|&(name, value)| (name.to_owned(), value)).collect(),
    };
    let mut warnings = Vec::new();
    if quality.auc.is_none() && quality.rows > 0 {
        let label = if quality.positives > 0 { "1" } else { "0" };
        let rows = grouped(quality.rows);
        warnings.push(Warning {
            code: "one-class".to_owned(),
            message: format!(
                "the label of all test rows ({rows}) is {label}: they cannot show whether the \
                 model has learned; test on rows of both labels, and check the label rule and the \
                 order of rows"
            ),
            values: [("test_rows".to_owned(), quality.rows as f64)].into(),
        });
    }
    if let (Some(auc), Some(error)) = (quality.auc, error) {
        let values = [("auc", auc), ("standard_error", error)];
        if quality.equal_scores && quality.rows > 1 {
            let what =
                "all test rows have the same score: the model does not distinguish them".to_owned();
            warnings.push(warning("equal-scores", what, &values));
        } else if auc < 0.5 + ERRORS_OF_CHANCE * error {
            let what = format!(
                "the test AUC of {auc:.4} is not above 0.5, that of random scores, by more than \
                 twice its standard error of {error:.4}"
            );
            warnings.push(warning("auc-of-chance", what, &values));
        }
    }
    if let Some(normalised) = quality.normalised_entropy.filter(|normalised| *normalised >= 1.0) {
        let constant = quality.logloss / normalised;
        let what = format!(
            "the test log-loss of {:.4} is not below {constant:.4}, that of the share of \
             positives as the score of every row",
            quality.logloss
        );
        warnings.push(warning(
            "worse-than-constant",
            what,
            &[("logloss", quality.logloss), ("constant_logloss", constant)],
        ));
    }
    warnings
}

/// Advice for a model that has not learned, the most likely cause first.
fn advice(config: &Config, train_rows: u64, error: Option<f64>) -> String {
    /// With fewer rows a network of the published sizes is hardly trained.
    const FEW_ROWS: u64 = 50_000;
    /// With a larger standard error of the AUC there are few test rows.
    const LARGE_ERROR: f64 = 0.02;
    let (train, default) = (&config.train, default_training(config));
    let mut advice = Vec::new();
    if !is_alike(train, &default) {
        advice.push(format!(
            "train.optimizer, train.embedding_optimizer and both rates left out, for {} in place \
             of {}",
            rates(&default),
            rates(train)
        ));
    }
    if train_rows < FEW_ROWS {
        advice
            .push(format!("more than {} training rows, or more train.epochs", grouped(train_rows)));
    }
    if error.is_some_and(|error| error > LARGE_ERROR) {
        advice.push("more test rows".to_owned());
    }
    advice.push("a look at labels and columns with `trainer scan`".to_owned());
    format!("what usually helps: {}", advice.join("; "))
}

/// The default training settings for this model and data.
fn default_training(config: &Config) -> TrainConfig {
    let mut default = TrainConfig::default();
    default.complete(
        config.model.widest_layer(),
        dialect::schema(config).map_or(1, |schema| schema.n_fields),
    );
    default
}

fn is_alike(train: &TrainConfig, default: &TrainConfig) -> bool {
    // 1e-3: the rates are shown with four decimals.
    let is_near = |rate: f32, default: f32| (rate / default - 1.0).abs() < 1e-3;
    (train.optimizer, train.row_optimizer()) == (default.optimizer, default.row_optimizer())
        && is_near(train.lr(), default.lr())
        && is_near(train.embedding_lr(), default.embedding_lr())
}

fn rates(train: &TrainConfig) -> String {
    let (network, rows) = (train.optimizer.name(), train.row_optimizer().name());
    format!("{network} at {:.4}, rows {rows} at {:.4}", train.lr(), train.embedding_lr())
}

/// The codes of the warnings, for a line of a table.
#[must_use]
pub fn codes(warnings: &[Warning]) -> String {
    warnings.iter().map(|warning| warning.code.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::metrics::Scores;

    fn config(more: &str) -> Config {
        let text =
            format!("[data]\nsynthetic = {{ rows = 700 }}\n[embedding]\ncompression = 100\n{more}");
        Config::parse(&text, Path::new("a.toml"), &[]).expect("a configuration")
    }

    fn quality(rows: impl Iterator<Item = (f32, f32)>) -> Quality {
        let mut scores = Scores::default();
        rows.for_each(|(logit, label)| scores.push(logit, label));
        scores.quality()
    }

    fn found(quality: &Quality) -> Vec<String> {
        not_learned(quality, &config(""), 1_000_000)
            .into_iter()
            .map(|warning| warning.code)
            .collect()
    }

    #[test]
    fn good_model_has_no_warnings() {
        let good = quality(
            (0..1000).map(|k| if k % 3 == 0 { (1.0 + (k % 7) as f32, 1.0) } else { (-1.0, 0.0) }),
        );
        assert_eq!(found(&good), Vec::<String>::new());
    }

    #[test]
    fn chance_constants_and_equal_scores_are_distinguished() {
        // Scores in no relation to the labels, wide enough to cost more than the constant.
        let random = quality(
            (0..5000_u64)
                .map(|k| ((cafe_core::mix64(k, 1) % 64) as f32 / 16.0 - 2.0, (k % 4 == 0).into())),
        );
        assert_eq!(found(&random), ["auc-of-chance", "worse-than-constant"]);
        // The right rate for every row.
        let rate = (0.25_f32 / 0.75).ln();
        let equal = quality((0..5000).map(|k| (rate, (k % 4 == 0).into())));
        assert!(found(&equal).contains(&"equal-scores".to_owned()), "{equal:?}");
        // Right order, wrong level: not chance, and still worse than a constant 25 %.
        let shifted = quality((0..5000).map(|k| if k % 4 == 0 { (9.0, 1.0) } else { (8.0, 0.0) }));
        assert_eq!(found(&shifted), ["worse-than-constant"]);
        // Worse than chance is no better.
        let reversed =
            quality((0..5000).map(|k| if k % 4 == 0 { (-1.2, 1.0) } else { (-1.0, 0.0) }));
        assert!(found(&reversed).contains(&"auc-of-chance".to_owned()));
        assert_eq!(found(&quality((0..100).map(|_| (0.5, 1.0)))), ["one-class"]);
    }

    /// 1,000 runs of random scores: the AUC is within twice the error of 0.5 in about 95 % of them.
    #[test]
    fn chance_error_matches_random_scores() {
        let within = (0..1000_u64).filter(|&run| {
            let score = |k: u64| (cafe_core::mix64(k, run) >> 40) as f32 - 8_388_608.0;
            let quality = quality((0..200).map(|k| (score(k) * 1e-7, (k % 5 == 0).into())));
            let error = chance_error(&quality).expect("two classes");
            (quality.auc.expect("two classes") - 0.5).abs() < 2.0 * error
        });
        let within = within.count();
        assert!((930..=975).contains(&within), "{within}");
    }

    #[test]
    fn advice_starts_with_changed_settings() {
        let random = quality(
            (0..5000_u64)
                .map(|k| ((cafe_core::mix64(k, 1) % 64) as f32 / 64.0, (k % 4 == 0).into())),
        );
        let message =
            |more: &str, rows| not_learned(&random, &config(more), rows)[0].message.clone();
        let sgd = message("[train]\noptimizer = \"sgd\"\n", 1_000_000);
        let expected = "what usually helps: train.optimizer, train.embedding_optimizer and both \
                        rates left out, for adagrad at 0.0049, rows row-wise-adagrad at 0.0196 in \
                        place of sgd at 0.1000, rows sgd at 0.1000; a look at labels and columns \
                        with `trainer scan`";
        assert!(sgd.ends_with(expected), "{sgd}");
        let rows = message("[train]\nembedding_lr = 100.0\n", 1_000_000);
        assert!(
            rows.contains("in place of adagrad at 0.0049, rows row-wise-adagrad at 100.0000; "),
            "{rows}"
        );
        let few = message("", 700);
        let expected = "helps: more than 700 training rows, or more train.epochs; a look at \
                        labels and columns with `trainer scan`";
        assert!(few.ends_with(expected), "{few}");
    }
}
