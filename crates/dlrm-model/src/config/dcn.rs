//! The shape of the Deep & Cross Network.

use super::{ModelConfig, check_deep, n_mlp_parameters};
use crate::error::ConfigError;

/// The shape of the Deep & Cross Network: cross layers and a stack of layers on the same input.
///
/// ```text
/// dense [B, n_dense] ──────────┬► x_0 ─┬► deep layers, ReLU ─┐
/// rows [B, n_fields · dim] ────┘       └► cross layers ──────┴► cat ► linear ► logits [B]
///
/// x_{l+1} = x_0 · (x_l · w_l) + b_l + x_l
/// ```
///
/// `w_l` and `b_l` are as long as `x_0`; `x_l · w_l` is one number a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DcnConfig {
    /// Numeric inputs a sample.
    pub n_dense: usize,
    /// Categorical fields a sample: one embedding row each.
    pub n_fields: usize,
    /// Length of an embedding row.
    pub dim: usize,
    /// Cross layers, at least one; 3 in the published experiments.
    pub n_cross: usize,
    /// Output sizes of the deep layers, at least one.
    pub deep: Vec<usize>,
}

impl DcnConfig {
    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// The first rule that is broken, with what was expected.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.n_cross == 0 {
            return Err(ConfigError::NoCrossLayers);
        }
        check_deep(self.n_fields, self.dim, &self.deep)
    }

    /// Length of `x_0`: the dense inputs and the floats of all rows.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.n_dense + self.n_fields * self.dim
    }

    /// Weights and biases; embedding rows are not part of the dense model.
    #[must_use]
    pub fn n_parameters(&self) -> usize {
        let cross = self.n_cross * 2 * self.input_len();
        cross + n_mlp_parameters(self.input_len(), &self.deep) + n_mlp_parameters(self.logit_input(), &[1])
    }

    /// Length of what both parts give: the input of the last layer.
    pub(crate) fn logit_input(&self) -> usize {
        self.input_len() + self.deep.last().copied().unwrap_or(0)
    }
}

impl From<DcnConfig> for ModelConfig {
    fn from(config: DcnConfig) -> Self {
        Self::Dcn(config)
    }
}
