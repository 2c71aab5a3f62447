//! The shape of `DeepFM`.

use super::{ModelConfig, check_deep, n_mlp_parameters};
use crate::error::ConfigError;

/// The shape of `DeepFM`: a factorization machine and a stack of layers on the same rows.
///
/// ```text
/// dense [B, n_dense] ──────┬► x ─┬► deep layers, ReLU ► linear ───┐
/// rows [B, n_fields, dim] ─┤     └► first order: linear ──────────┼► sum: logits [B]
///                          └► second order: sum of all pairs' dots┘
/// ```
///
/// The second order is `0.5 · ((Σ v)² - Σ v²)`, summed over the `dim` elements: the dot products of all pairs of a
/// sample's rows. Numeric inputs have no vectors and take part in the other two alone.
///
/// # The first order
/// The published model has one weight for each feature, which is a second embedding table with rows of length 1. Here
/// a model never sees a table, a feature has one row, and the compressed table's bytes are counted to the last; a
/// second table would need a method and a budget of its own. So the first order is a linear layer with a bias on
/// `x = dense ‖ rows`: a feature's weight is a linear function of its row, with coefficients of its field, and learnt
/// through it. The numeric inputs have a weight each, as published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeepFmConfig {
    /// Numeric inputs a sample.
    pub n_dense: usize,
    /// Categorical fields a sample: one embedding row each.
    pub n_fields: usize,
    /// Length of an embedding row.
    pub dim: usize,
    /// Output sizes of the hidden deep layers, at least one; the layer that makes a logit of the last comes on top.
    pub deep: Vec<usize>,
}

impl DeepFmConfig {
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

    /// Weights and biases of the layers and the first order; the second has none.
    #[must_use]
    pub fn n_parameters(&self) -> usize {
        n_mlp_parameters(self.input_len(), &self.deep_sizes()) + n_mlp_parameters(self.input_len(), &[1])
    }

    /// Output sizes of all deep layers.
    pub(crate) fn deep_sizes(&self) -> Vec<usize> {
        [&self.deep[..], &[1]].concat()
    }
}

impl From<DeepFmConfig> for ModelConfig {
    fn from(config: DeepFmConfig) -> Self {
        Self::DeepFm(config)
    }
}
