//! What a run or an evaluation that came to its end still has to warn of: signs that the model has not learned.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Optimizer, TrainConfig};
use crate::metrics::Quality;
use crate::report::grouped;

/// A warning as `report.json` holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// Which: stays the same from version to version.
    pub code: String,
    /// The same for a person, with what usually helps.
    pub message: String,
    /// The numbers that it comes from.
    pub values: BTreeMap<String, f64>,
}

/// So many standard errors from 0.5 an AUC is not told apart from that of random scores.
const ERRORS_OF_CHANCE: f64 = 2.0;

/// The standard error of the AUC of random scores (Mann and Whitney): `sqrt((n + 1) / (12 p (n - p)))` for `p` positives
/// among `n` rows. `None` if all labels are equal.
fn chance_error(quality: &Quality) -> Option<f64> {
    let (rows, positives) = (quality.rows as f64, quality.positives as f64);
    let pairs = positives * (rows - positives);
    (pairs > 0.0).then(|| ((rows + 1.0) / (12.0 * pairs)).sqrt())
}

/// Signs that a model of `quality` on test rows has learned nothing that helps there.
#[must_use]
pub fn not_learned(quality: &Quality, config: &Config, train_rows: u64) -> Vec<Warning> {
    let advice = advice(config, train_rows);
    let warning = |code: &str, what: String, values: &[(&str, f64)]| Warning {
        code: code.to_owned(),
        message: format!("{what}; {advice}"),
        values: values.iter().map(|&(name, value)| (name.to_owned(), value)).collect(),
    };
    let mut warnings = Vec::new();
    if let (Some(auc), Some(error)) = (quality.auc, chance_error(quality)) {
        let values = [("auc", auc), ("standard_error", error)];
        if quality.equal_scores && quality.rows > 1 {
            let what = "all test rows have the same score: the model does not tell them apart".to_owned();
            warnings.push(warning("equal-scores", what, &values));
        } else if auc < 0.5 + ERRORS_OF_CHANCE * error {
            let what = format!(
                "the test AUC of {auc:.4} is not above 0.5, that of random scores, by more than twice its standard error \
                 of {error:.4}"
            );
            warnings.push(warning("auc-of-chance", what, &values));
        }
    }
    if let Some(normalised) = quality.normalised_entropy.filter(|normalised| *normalised >= 1.0) {
        let constant = quality.logloss / normalised;
        let what = format!(
            "the test log-loss of {:.4} is not below {constant:.4}, that of the share of positives as the score of every row",
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

/// What usually helps.
fn advice(config: &Config, train_rows: u64) -> String {
    /// Below that a network of the published sizes has hardly moved.
    const FEW_ROWS: u64 = 50_000;
    let (train, widest) = (&config.train, config.model.widest_layer());
    let mut advice = Vec::new();
    if !has_default_rates(train, widest) {
        let rate = Optimizer::Adagrad.default_rate(widest);
        advice.push(format!(
            "train.optimizer, train.lr and train.embedding_lr left out, for adagrad at {rate:.4} in place of {} at {}",
            train.optimizer.name(),
            train.lr()
        ));
    }
    if train_rows < FEW_ROWS {
        advice.push(format!("more than {} training rows, or more train.epochs", grouped(train_rows)));
    }
    advice.push("a look at labels and columns with `trainer scan`".to_owned());
    format!("what usually helps: {}", advice.join("; "))
}

/// Whether network and rows learn as where nothing is said.
fn has_default_rates(train: &TrainConfig, widest: usize) -> bool {
    let default = TrainConfig::default().optimizer;
    let is_near = |rate: f32, default: f32| (rate / default - 1.0).abs() < 1e-3;
    train.optimizer == default && is_near(train.lr(), default.default_rate(widest))
}

/// The codes, for a line of a table.
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
        let text = format!("[data]\nsynthetic = {{ rows = 700 }}\n[embedding]\ncompression = 100\n{more}");
        Config::parse(&text, Path::new("a.toml"), &[]).expect("a configuration")
    }

    fn quality(rows: impl Iterator<Item = (f32, f32)>) -> Quality {
        let mut scores = Scores::default();
        rows.for_each(|(logit, label)| scores.push(logit, label));
        scores.quality()
    }

    fn found(quality: &Quality) -> Vec<String> {
        not_learned(quality, &config(""), 1_000_000).into_iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn a_model_that_tells_rows_apart_is_not_warned_of() {
        let good = quality((0..1000).map(|k| if k % 3 == 0 { (1.0 + (k % 7) as f32, 1.0) } else { (-1.0, 0.0) }));
        assert_eq!(found(&good), Vec::<String>::new());
    }

    #[test]
    fn chance_constants_and_equal_scores_are_told_apart() {
        // Scores in no relation to the labels, wide enough to cost more than the constant.
        let random =
            quality((0..5000_u64).map(|k| ((cafe_core::mix64(k, 1) % 64) as f32 / 16.0 - 2.0, (k % 4 == 0).into())));
        assert_eq!(found(&random), ["auc-of-chance", "worse-than-constant"]);
        // The right rate for everybody.
        let rate = (0.25_f32 / 0.75).ln();
        let equal = quality((0..5000).map(|k| (rate, (k % 4 == 0).into())));
        assert!(found(&equal).contains(&"equal-scores".to_owned()), "{equal:?}");
        // Right order, wrong level: not chance, and still worse than saying 25 %.
        let shifted = quality((0..5000).map(|k| if k % 4 == 0 { (9.0, 1.0) } else { (8.0, 0.0) }));
        assert_eq!(found(&shifted), ["worse-than-constant"]);
        // Worse than chance is no better.
        let reversed = quality((0..5000).map(|k| if k % 4 == 0 { (-1.2, 1.0) } else { (-1.0, 0.0) }));
        assert!(found(&reversed).contains(&"auc-of-chance".to_owned()));
        // A single label has no AUC, which the report says anyway.
        assert_eq!(found(&quality((0..100).map(|_| (0.5, 1.0)))), Vec::<String>::new());
    }

    /// 1,000 runs of random scores: the AUC is within twice the error of 0.5 in about 95 % of them.
    #[test]
    fn the_error_is_that_of_random_scores() {
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
    fn advice_starts_with_what_was_changed() {
        let random = quality((0..5000_u64).map(|k| ((cafe_core::mix64(k, 1) % 64) as f32 / 64.0, (k % 4 == 0).into())));
        let message = |more: &str, rows| not_learned(&random, &config(more), rows)[0].message.clone();
        let sgd = message("[train]\noptimizer = \"sgd\"\n", 1_000_000);
        let expected = "what usually helps: train.optimizer, train.lr and train.embedding_lr left out, for adagrad at 0.0049 \
                        in place of sgd at 0.1; a look at labels and columns with `trainer scan`";
        assert!(sgd.ends_with(expected), "{sgd}");
        let few = message("", 700);
        assert!(few.ends_with("helps: more than 700 training rows, or more train.epochs; a look at labels and columns with `trainer scan`"), "{few}");
    }
}
