//! The shape of Wide & Deep.

use super::{ModelConfig, check_deep, n_mlp_parameters};
use crate::error::ConfigError;

/// The shape of Wide & Deep: a linear model and a stack of layers on the same input.
///
/// ```text
/// dense [B, n_dense] ──────────┬► x ─┬► deep layers, ReLU ► linear ─┐
/// rows [B, n_fields · dim] ────┘     └► wide: linear ───────────────┴► sum: logits [B]
/// ```
///
/// Both linear ends have a bias. Data without numeric columns (`n_dense == 0`) have `x = rows`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WideDeepConfig {
    /// Numeric inputs a sample.
    pub n_dense: usize,
    /// Categorical fields a sample: one embedding row each.
    pub n_fields: usize,
    /// Length of an embedding row.
    pub dim: usize,
    /// Output sizes of the hidden deep layers, at least one; the layer that makes a logit of the last comes on top.
    pub deep: Vec<usize>,
}

impl WideDeepConfig {
    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// The first rule that is broken, with what was expected.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check_deep(self.n_fields, self.dim, &self.deep)
    }

    /// Length of `x`: the dense inputs and the floats of all rows.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.n_dense + self.n_fields * self.dim
    }

    /// Weights and biases of both parts; embedding rows are not part of the dense model.
    #[must_use]
    pub fn n_parameters(&self) -> usize {
        n_mlp_parameters(self.input_len(), &self.deep_sizes()) + n_mlp_parameters(self.input_len(), &[1])
    }

    /// Output sizes of all deep layers.
    pub(crate) fn deep_sizes(&self) -> Vec<usize> {
        [&self.deep[..], &[1]].concat()
    }
}

impl From<WideDeepConfig> for ModelConfig {
    fn from(config: WideDeepConfig) -> Self {
        Self::WideDeep(config)
    }
}
