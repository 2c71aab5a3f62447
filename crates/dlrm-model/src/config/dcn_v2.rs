//! The shape of the second Deep & Cross Network.

use super::{ModelConfig, check_deep, n_mlp_parameters};
use crate::error::ConfigError;

/// The shape of the second Deep & Cross Network in its parallel structure.
///
/// ```text
/// dense [B, n_dense] ──────────┬► x_0 ─┬► deep layers, ReLU ─┐
/// rows [B, n_fields · dim] ────┘       └► cross layers ──────┴► cat ► linear ► logits [B]
///
/// x_{l+1} = x_0 ∘ (W_l x_l + b_l) + x_l           or, with a rank,  W_l = U_l V_lᵀ
/// ```
///
/// `∘` is element by element. A full `W_l` is square in the length of `x_0` and has most of the model's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DcnV2Config {
    /// Numeric inputs a sample.
    pub n_dense: usize,
    /// Categorical fields a sample: one embedding row each.
    pub n_fields: usize,
    /// Length of an embedding row.
    pub dim: usize,
    /// Cross layers, at least one.
    pub n_cross: usize,
    /// Columns of `U_l` and `V_l`; `None` for a full matrix. Below half the length of `x_0` it is cheaper than that.
    pub rank: Option<usize>,
    /// Output sizes of the deep layers, at least one.
    pub deep: Vec<usize>,
}

impl DcnV2Config {
    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// The first rule that is broken, with what was expected.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.n_cross == 0 {
            return Err(ConfigError::NoCrossLayers);
        }
        if self.rank == Some(0) {
            return Err(ConfigError::ZeroRank);
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
        let n = self.input_len();
        let matrix = self.rank.map_or(n * n, |rank| 2 * n * rank);
        self.n_cross * (matrix + n) + n_mlp_parameters(n, &self.deep) + n_mlp_parameters(self.logit_input(), &[1])
    }

    /// Length of what both parts give: the input of the last layer.
    pub(crate) fn logit_input(&self) -> usize {
        self.input_len() + self.deep.last().copied().unwrap_or(0)
    }
}

impl From<DcnV2Config> for ModelConfig {
    fn from(config: DcnV2Config) -> Self {
        Self::DcnV2(config)
    }
}
