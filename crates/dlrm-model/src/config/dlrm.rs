//! The shape of a DLRM: five numbers from which every layer size follows.

use super::{ModelConfig, n_mlp_parameters};
use crate::error::ConfigError;

/// The shape of a DLRM.
///
/// ```text
/// dense [B, n_dense] ──bottom MLP──► x [B, dim] ──┬─────────────────────────────┐
///                                                 ├► pairwise dot products ► cat ► top MLP ► logits [B]
/// rows [B, n_fields, dim] ────────────────────────┘
/// ```
///
/// `bottom` and `top` list the output sizes of the layers, without the input: the input of the bottom MLP is
/// `n_dense`, that of the top MLP is [`top_input`](Self::top_input). Data without numeric columns (`n_dense == 0`,
/// such as Avazu) have no bottom MLP, and the rows alone interact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DlrmConfig {
    /// Numeric inputs a sample.
    pub n_dense: usize,
    /// Categorical fields a sample: one embedding row each.
    pub n_fields: usize,
    /// Length of an embedding row.
    pub dim: usize,
    /// Output sizes of the bottom MLP; the last equals `dim`. Empty exactly when `n_dense` is 0.
    pub bottom: Vec<usize>,
    /// Output sizes of the top MLP; the last is 1, the logit.
    pub top: Vec<usize>,
}

impl DlrmConfig {
    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// The first rule that is broken, with what was expected.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Self { n_dense, n_fields, dim, bottom, top } = self;
        if *dim == 0 {
            return Err(ConfigError::ZeroDim);
        }
        if self.n_pairs() == 0 {
            return Err(ConfigError::NoPairs { n_fields: *n_fields });
        }
        for (name, sizes) in [("bottom", bottom), ("top", top)] {
            if let Some(layer_idx) = sizes.iter().position(|&size| size == 0) {
                return Err(ConfigError::ZeroLayer { name, layer_idx });
            }
        }
        match (n_dense, bottom.last()) {
            (0, Some(_)) => return Err(ConfigError::BottomWithoutDense { bottom: bottom.clone() }),
            (0, None) => {}
            (_, last) if last == Some(dim) => {}
            (_, last) => return Err(ConfigError::BottomEnd { last: last.copied(), dim: *dim }),
        }
        match top.last() {
            Some(1) => Ok(()),
            last => Err(ConfigError::TopEnd { last: last.copied() }),
        }
    }

    /// Input size of the top MLP: the dense vector, if there is one, and one dot product for each pair of vectors.
    #[must_use]
    pub fn top_input(&self) -> usize {
        let dense_vector = if self.has_dense() { self.dim } else { 0 };
        dense_vector + self.n_pairs()
    }

    /// Weights and biases of both MLPs; embedding rows are not part of the dense model.
    #[must_use]
    pub fn n_parameters(&self) -> usize {
        n_mlp_parameters(self.n_dense, &self.bottom) + n_mlp_parameters(self.top_input(), &self.top)
    }

    /// Floats of one sample's rows: `n_fields * dim`.
    #[must_use]
    pub fn row_floats(&self) -> usize {
        self.n_fields * self.dim
    }

    pub(crate) fn has_dense(&self) -> bool {
        self.n_dense > 0
    }

    fn n_pairs(&self) -> usize {
        let n_vectors = self.n_fields + usize::from(self.has_dense());
        n_vectors * n_vectors.saturating_sub(1) / 2
    }
}

impl From<DlrmConfig> for ModelConfig {
    fn from(config: DlrmConfig) -> Self {
        Self::Dlrm(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(n_dense: usize, n_fields: usize, dim: usize, bottom: &[usize], top: &[usize]) -> DlrmConfig {
        DlrmConfig { n_dense, n_fields, dim, bottom: bottom.to_vec(), top: top.to_vec() }
    }

    #[test]
    fn sizes_of_the_published_models() {
        let kaggle = config(13, 26, 16, &[512, 256, 64, 16], &[512, 256, 1]);
        let terabyte = config(13, 26, 128, &[512, 256, 128], &[1024, 1024, 512, 256, 1]);
        let avazu = config(0, 22, 16, &[], &[512, 256, 1]);
        let kdd12 = config(0, 11, 64, &[], &[512, 256, 1]);
        for (config, top_input) in [(&kaggle, 367), (&terabyte, 479), (&avazu, 231), (&kdd12, 55)] {
            config.validate().unwrap();
            assert_eq!(config.top_input(), top_input);
        }
        assert_eq!(kaggle.n_parameters(), 475_985);
        assert_eq!(avazu.n_parameters(), 250_369);
        assert_eq!(kdd12.n_parameters(), 160_257);
    }

    #[test]
    fn every_broken_rule_has_its_message() {
        let cases = [
            (config(2, 3, 0, &[4], &[1]), "`dim` is 0"),
            (config(0, 1, 4, &[], &[1]), "nothing to interact"),
            (config(2, 0, 4, &[4], &[1]), "nothing to interact"),
            (config(2, 3, 4, &[0, 4], &[1]), "`bottom[0]` is 0"),
            (config(2, 3, 4, &[4], &[3, 0, 1]), "`top[1]` is 0"),
            (config(0, 3, 4, &[4], &[1]), "`n_dense` is 0"),
            (config(2, 3, 4, &[8], &[1]), "ends in 8"),
            (config(2, 3, 4, &[], &[1]), "`bottom` is empty"),
            (config(2, 3, 4, &[4], &[2]), "ends in 2"),
            (config(2, 3, 4, &[4], &[]), "`top` is empty"),
        ];
        for (config, expected) in cases {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should say {expected:?}");
        }
    }
}
