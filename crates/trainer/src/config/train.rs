//! `[train]`: steps, rates, and how often something is reported.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The training loop.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Rows a step.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Passes over the training rows.
    #[serde(default = "default_epochs")]
    pub epochs: u32,
    /// `sgd`, `adagrad` or `adam`, for the network; Adagrad by default.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// `sgd`, `row-wise-adagrad`, `adagrad` or `adam` (lazy: a row steps when it is looked up), for
    /// the embedding rows. By default SGD beside a network with SGD, else row-wise Adagrad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_optimizer: Option<EmbeddingOptimizer>,
    /// Learning rate of the network; by default [`Optimizer::default_rate`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr: Option<f32>,
    /// Learning rate of the embedding rows; by default [`EmbeddingOptimizer::default_rate`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_lr: Option<f32>,
    /// The directory of a run whose model a new one starts from, sketch and optimizer state
    /// included, for logs that come day by day. Seed, model and embedding have to be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
    /// How both rates change during training.
    #[serde(default)]
    pub schedule: Schedule,
    /// Evaluates after this many steps, again and again; 0 for the end only.
    #[serde(default)]
    pub eval_every: u64,
    /// Writes a line of metrics after this many steps, again and again. The rows in between take 4
    /// bytes each.
    #[serde(default = "default_log_every")]
    pub log_every: u64,
    /// Writes what `metrics.jsonl` says to `tensorboard/` as well, as event files. Off by default:
    /// they hold times, so those of equal runs differ, and only `TensorBoard` reads
    /// them.
    #[serde(default)]
    pub tensorboard: bool,
}

/// How parameters follow their gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Plain gradient steps.
    Sgd,
    /// Steps scaled by the gradients seen.
    #[default]
    Adagrad,
    /// Steps along a moving mean of the gradients, scaled by that of their squares.
    Adam,
}

impl Optimizer {
    /// The name in configurations and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::Adagrad => "adagrad",
            Self::Adam => "adam",
        }
    }

    /// The learning rate where a configuration gives none, for a network whose widest layer has
    /// `widest` units. Measured on real data (docs/quality.md); Adagrad's fell with the width, over
    /// 512 to 64 units.
    #[must_use]
    pub fn default_rate(self, widest: usize) -> f32 {
        match self {
            Self::Sgd => SGD_RATE,
            Self::Adagrad => (2.5 / widest.max(1) as f32).min(0.02),
            Self::Adam => ADAM_RATE,
        }
    }
}

/// The rate of the papers' protocols.
const SGD_RATE: f32 = 0.1;
const ADAM_RATE: f32 = 0.001;

/// How embedding rows follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmbeddingOptimizer {
    /// Plain gradient steps.
    Sgd,
    /// One sum of mean squares a row.
    RowWiseAdagrad,
    /// One sum of squares a value.
    Adagrad,
    /// Two moments a value, stepped when the row is.
    Adam,
}

impl EmbeddingOptimizer {
    /// The name in configurations and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::RowWiseAdagrad => "row-wise-adagrad",
            Self::Adagrad => "adagrad",
            Self::Adam => "adam",
        }
    }

    /// The learning rate of the rows of `n_fields` fields where a configuration gives none. A model
    /// adds or multiplies the vectors of all fields, so that a step of all of them at once grows
    /// with their number: hence the root for Adagrad, whose steps are of one size, whatever the
    /// gradient's.
    #[must_use]
    pub fn default_rate(self, n_fields: usize) -> f32 {
        match self {
            Self::Sgd => SGD_RATE,
            Self::RowWiseAdagrad | Self::Adagrad => 0.1 / (n_fields.max(1) as f32).sqrt(),
            Self::Adam => ADAM_RATE,
        }
    }
}

/// Linear warm-up, then the full rate, then a polynomial decay: the schedule of `MLPerf`'s DLRM.
///
/// A step's rate is the learning rate times [`Schedule::factor`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The factor grows from 0 to 1 over this many first steps. By default 500 for new models
    /// with cross layers, whose first full steps often end in NaN, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// The decay begins after this step.
    #[serde(default)]
    pub decay_start: u64,
    /// Length of the decay in steps; 0 is no decay.
    #[serde(default)]
    pub decay_steps: u64,
    /// `((steps left) / decay_steps) ^ power`.
    #[serde(default = "default_power")]
    pub power: f64,
    /// The factor falls no lower.
    #[serde(default)]
    pub floor: f64,
}

impl Schedule {
    /// Steps of the warm-up.
    #[must_use]
    pub fn warmup_steps(&self) -> u64 {
        self.warmup_steps.unwrap_or_default()
    }

    /// What the rates are multiplied by in a step, counted from 1.
    #[must_use]
    pub fn factor(&self, step: u64) -> f64 {
        let warmup_steps = self.warmup_steps();
        if step < warmup_steps {
            return step as f64 / warmup_steps as f64;
        }
        if self.decay_steps == 0 || step <= self.decay_start {
            return 1.0;
        }
        let left = self.decay_steps.saturating_sub(step - self.decay_start);
        (left as f64 / self.decay_steps as f64).powf(self.power).max(self.floor)
    }
}

impl TrainConfig {
    /// The optimizer of the embedding rows. Not Adam beside a network with Adam: where features
    /// share rows each collision moves a row by a full step of it.
    #[must_use]
    pub fn row_optimizer(&self) -> EmbeddingOptimizer {
        self.embedding_optimizer.unwrap_or(match self.optimizer {
            Optimizer::Sgd => EmbeddingOptimizer::Sgd,
            Optimizer::Adagrad | Optimizer::Adam => EmbeddingOptimizer::RowWiseAdagrad,
        })
    }

    /// Fills in what is not given, for a network whose widest layer has `widest` units, and
    /// `n_fields` fields. Beside a network with the same SGD or Adam rows take its rate: the
    /// papers' and the reference DLRM's one rate for both.
    pub(crate) fn complete(&mut self, widest: usize, n_fields: usize) {
        let rows = self.row_optimizer();
        self.embedding_optimizer = Some(rows);
        let lr = *self.lr.get_or_insert(self.optimizer.default_rate(widest));
        let is_the_networks =
            rows.name() == self.optimizer.name() && rows != EmbeddingOptimizer::Adagrad;
        let of_rows = if is_the_networks { lr } else { rows.default_rate(n_fields) };
        self.embedding_lr.get_or_insert(of_rows);
    }

    /// Learning rate of the network. A loaded configuration has one.
    #[must_use]
    pub fn lr(&self) -> f32 {
        self.lr.unwrap_or_else(|| self.optimizer.default_rate(1))
    }

    /// Learning rate of the embedding rows. A loaded configuration has one.
    #[must_use]
    pub fn embedding_lr(&self) -> f32 {
        self.embedding_lr.unwrap_or_else(|| self.row_optimizer().default_rate(1))
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            warmup_steps: None,
            decay_start: 0,
            decay_steps: 0,
            power: default_power(),
            floor: 0.0,
        }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            batch: default_batch(),
            epochs: default_epochs(),
            optimizer: Optimizer::default(),
            embedding_optimizer: None,
            lr: None,
            embedding_lr: None,
            init: None,
            schedule: Schedule::default(),
            eval_every: 0,
            log_every: default_log_every(),
            tensorboard: false,
        }
    }
}

fn default_batch() -> usize {
    128
}

fn default_epochs() -> u32 {
    1
}

fn default_power() -> f64 {
    2.0
}

fn default_log_every() -> u64 {
    1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_settings_the_rate_stays() {
        let schedule = Schedule::default();
        assert!([1, 2, 1_000_000].iter().all(|&step| schedule.factor(step) == 1.0));
    }

    #[test]
    fn the_rate_warms_up_stays_and_decays() {
        let schedule = Schedule {
            warmup_steps: Some(4),
            decay_start: 10,
            decay_steps: 10,
            power: 2.0,
            floor: 0.01,
        };
        let expected = [
            (1, 0.25),
            (3, 0.75),
            (4, 1.0),
            (10, 1.0),
            (15, 0.25),
            (18, 0.04),
            (19, 0.01),
            (20, 0.01),
        ];
        for (step, factor) in expected {
            assert!(
                (schedule.factor(step) - factor).abs() < 1e-12,
                "step {step}: {}",
                schedule.factor(step)
            );
        }
        assert_eq!(schedule.factor(1_000_000), 0.01);
    }
}
