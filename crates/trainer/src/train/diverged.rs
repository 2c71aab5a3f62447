//! Errors of a run that diverged (a loss, logit, gradient or parameter that is NaN or infinite):
//! place, cause and advice. Apart from the training loop, because it is mostly wording.

use std::ops::RangeInclusive;

use anyhow::Error;
use dlrm_model::ModelError;

use crate::config::{Config, dialect};
use crate::data::names;
use crate::exit::{self, ExitCode};
use crate::train::step::{Learner, NotFiniteArray};

/// A logit, a gradient or something stored that is not finite. Exit code 70.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotFinite(String);

impl ExitCode for NotFinite {
    fn exit_code(&self) -> u8 {
        exit::NOT_FINITE
    }
}

/// The position of a batch in a run.
pub struct BatchPlace<'a> {
    /// The experiment.
    pub config: &'a Config,
    /// What was trained.
    pub learner: &'a Learner,
    /// The step, from 1.
    pub step: u64,
    /// The rows of the batch among the training rows of this epoch, from 1.
    pub rows: RangeInclusive<u64>,
    /// The step of the newest checkpoint, which holds finite numbers only.
    pub last_checkpoint: Option<u64>,
}

impl BatchPlace<'_> {
    /// The error of this step with its place, and with advice where training diverged.
    #[must_use]
    pub fn explain(&self, error: Error) -> Error {
        let Self { step, rows, .. } = self;
        let (first, last) = (rows.start(), rows.end());
        let place = format!("step {step}, training rows {first} to {last} of this epoch");
        let row = |sample_idx: &usize| {
            format!("row {} (sample {sample_idx} of the batch)", first + *sample_idx as u64)
        };
        let what = match error.downcast_ref::<ModelError>() {
            Some(ModelError::NonFiniteLogit { sample_idx, logit, .. }) => {
                format!(
                    "`logits`: expected finite numbers, got {logit} for {}{}",
                    row(sample_idx),
                    self.stored()
                )
            }
            Some(ModelError::NonFiniteGradient { sample_idx, value_idx, value }) => {
                let (field, row) = (self.field(*value_idx), row(sample_idx));
                format!(
                    "`row gradient`: expected finite numbers, got {value} for field {field} of {row}"
                )
            }
            _ => match error.downcast_ref::<NotFiniteArray>() {
                Some(array) => array.to_string(),
                None => return error.context(place),
            },
        };
        NotFinite(format!("{place}: {what}; {}", self.advice())).into()
    }

    /// The name of the field to which a value of a sample's rows belongs.
    fn field(&self, value_idx: usize) -> String {
        let field = value_idx / self.config.model.dim;
        let names = dialect::dialect(self.config)
            .map(|dialect| names::fields(&dialect))
            .unwrap_or_default();
        names.into_iter().nth(field).unwrap_or_else(|| (field + 1).to_string())
    }

    /// What an earlier step left behind, where the logits have it from there.
    fn stored(&self) -> String {
        self.learner
            .check_finite()
            .err()
            .map_or_else(String::new, |error| format!(", as {error:#} since an earlier step"))
    }

    fn advice(&self) -> String {
        let kept = match self.last_checkpoint {
            Some(step) => format!("the checkpoint of step {step} stays"),
            None => "nothing was saved before it".to_owned(),
        };
        let (lr, of_rows) = (self.config.train.lr(), self.config.train.embedding_lr());
        format!(
            "{kept}; a new run with train.lr below {lr:?} and train.embedding_lr below {of_rows:?}, or with \
             train.schedule.warmup_steps, usually helps"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cafe_core::FeatureId;

    use super::*;
    use crate::build;
    use crate::data::DataSet;

    const DATA: &str = "threads = 1\n[data]\nsynthetic = { rows = 70 }\n[model]\ndim = 4\nbottom = [4]\n\
                        top = [1]\n[embedding]\nmethod = \"hash\"\ncompression = 1000\n[train]\noptimizer = \"sgd\"\n";

    fn parse(text: &str) -> Config {
        Config::parse(text, Path::new("a.toml"), &[]).expect("valid")
    }

    fn learner(config: &Config) -> Learner {
        let plan = build::plan_embedding(config).expect("it fits");
        let embedding =
            build::build_embedding(&plan, config, &DataSet::open(config).expect("rows"));
        let model = build::build_model(config).expect("a model");
        Learner::new(embedding.expect("no pass"), model, 1).expect("a thread")
    }

    #[test]
    fn steps_rows_tensors_and_fields_are_named() {
        let config = parse(DATA);
        let learner = learner(&config);
        let explain = |error: Error, last_checkpoint| {
            let place = BatchPlace {
                config: &config,
                learner: &learner,
                step: 12,
                rows: 129..=256,
                last_checkpoint,
            };
            format!("{:#}", place.explain(error))
        };
        let gradient = ModelError::NonFiniteGradient {
            sample_idx: 3,
            value_idx: 4 * 5 + 1,
            value: f32::INFINITY,
        };
        assert_eq!(
            explain(gradient.into(), None),
            "step 12, training rows 129 to 256 of this epoch: `row gradient`: expected finite numbers, got inf for field \
             C6 of row 132 (sample 3 of the batch); nothing was saved before it; a new run with train.lr below 0.1 and \
             train.embedding_lr below 0.1, or with train.schedule.warmup_steps, usually helps"
        );
        let logit = ModelError::NonFiniteLogit { sample_idx: 0, logit: f32::NAN, label: Some(1.0) };
        assert_eq!(
            explain(logit.into(), Some(10)),
            "step 12, training rows 129 to 256 of this epoch: `logits`: expected finite numbers, got NaN for row 129 \
             (sample 0 of the batch); the checkpoint of step 10 stays; a new run with train.lr below 0.1 and \
             train.embedding_lr below 0.1, or with train.schedule.warmup_steps, usually helps"
        );
        let array = NotFiniteArray { name: "top.0.weight".to_owned(), position: 7 };
        assert!(
            explain(array.into(), None)
                .contains(": `top.0.weight` is not finite at position 7; nothing was saved")
        );
        let other = explain(Error::msg("the disk is full"), None);
        assert_eq!(other, "step 12, training rows 129 to 256 of this epoch: the disk is full");
    }

    #[test]
    fn fields_go_by_the_names_of_their_columns() {
        let described = DATA.replace(
            "synthetic = { rows = 70 }",
            "path = \"a\"\nformat = \"delimited\"\ncolumns = { label = { column = \"y\" }, numeric = [\"n\"], \
             categorical = [\"city\", \"item\"], features = [50_000, 50_000] }",
        );
        let (config, built) = (parse(&described), learner(&parse(DATA)));
        let place = BatchPlace {
            config: &config,
            learner: &built,
            step: 1,
            rows: 1..=2,
            last_checkpoint: None,
        };
        assert_eq!(
            [0, 3, 4, 7, 8].map(|value_idx| place.field(value_idx)),
            ["city", "city", "item", "item", "3"]
        );
    }

    #[test]
    fn what_overflowed_in_a_step_is_found_before_it_is_saved() {
        let config = parse(DATA);
        let mut learner = learner(&config);
        learner.check_finite().expect("a fresh model");
        learner.embedding.update(&[FeatureId::new(0, 1)], &[1e30; 4], 1e30);
        let error = learner.check_finite().expect_err("a row is infinite");
        let NotFiniteArray { name, .. } = error.downcast_ref().expect("an array");
        assert_eq!(name, "embedding.rows");
        // Where logits got it from an array, the message of the logits names that.
        let place = BatchPlace {
            config: &config,
            learner: &learner,
            step: 2,
            rows: 1..=2,
            last_checkpoint: None,
        };
        let logit = ModelError::NonFiniteLogit { sample_idx: 0, logit: f32::NAN, label: Some(1.0) };
        let message = place.explain(logit.into()).to_string();
        assert!(message.contains(", as `embedding.rows` is not finite at position "), "{message}");
        assert!(message.contains(" since an earlier step; "), "{message}");
    }
}
