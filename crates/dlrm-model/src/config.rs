//! The shapes of the models: a few numbers from which every layer size follows. Apart from the networks because the
//! trainer reads them from a file and checks them before anything is allocated.

mod dcn;
mod dcn_v2;
mod deep_fm;
mod dlrm;
mod wide_deep;

pub use dcn::DcnConfig;
pub use dcn_v2::DcnV2Config;
pub use deep_fm::DeepFmConfig;
pub use dlrm::DlrmConfig;
pub use wide_deep::WideDeepConfig;

use crate::error::ConfigError;

/// The shape of a model of any kind.
///
/// ```
/// use dlrm_model::{ModelConfig, WideDeepConfig};
/// let config = ModelConfig::from(WideDeepConfig { n_dense: 13, n_fields: 26, dim: 16, deep: vec![256, 256] });
/// assert_eq!((config.name(), config.n_parameters()), ("wdl", 176_559));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelConfig {
    /// Dot products of all pairs between two stacks of layers.
    Dlrm(DlrmConfig),
    /// A linear model beside a stack of layers.
    WideDeep(WideDeepConfig),
    /// Cross layers with a weight vector beside a stack of layers.
    Dcn(DcnConfig),
    /// Cross layers with a weight matrix beside a stack of layers.
    DcnV2(DcnV2Config),
    /// A factorization machine beside a stack of layers.
    DeepFm(DeepFmConfig),
}

/// Hands a call to the shape of whatever model.
macro_rules! dispatch {
    ($self:ident, $config:ident => $call:expr) => {
        match $self {
            ModelConfig::Dlrm($config) => $call,
            ModelConfig::WideDeep($config) => $call,
            ModelConfig::Dcn($config) => $call,
            ModelConfig::DcnV2($config) => $call,
            ModelConfig::DeepFm($config) => $call,
        }
    };
}

impl ModelConfig {
    /// Its short name: `dlrm`, `wdl`, `dcn`, `dcnv2` or `deepfm`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dlrm(_) => "dlrm",
            Self::WideDeep(_) => "wdl",
            Self::Dcn(_) => "dcn",
            Self::DcnV2(_) => "dcnv2",
            Self::DeepFm(_) => "deepfm",
        }
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// The first rule that is broken, with what was expected.
    pub fn validate(&self) -> Result<(), ConfigError> {
        dispatch!(self, config => config.validate())
    }

    /// Weights and biases in all; embedding rows are not part of the dense model.
    #[must_use]
    pub fn n_parameters(&self) -> usize {
        dispatch!(self, config => config.n_parameters())
    }

    /// Numeric inputs a sample.
    #[must_use]
    pub fn n_dense(&self) -> usize {
        dispatch!(self, config => config.n_dense)
    }

    /// Categorical fields a sample: one embedding row each.
    #[must_use]
    pub fn n_fields(&self) -> usize {
        dispatch!(self, config => config.n_fields)
    }

    /// Length of an embedding row.
    #[must_use]
    pub fn dim(&self) -> usize {
        dispatch!(self, config => config.dim)
    }

    /// Floats that a pass keeps of one sample, about: what each layer saw and made of it. For plans of memory.
    #[must_use]
    pub fn activation_floats(&self) -> usize {
        let x = self.n_dense() + self.row_floats();
        match self {
            Self::Dlrm(config) => {
                let n_vectors = config.n_fields + 1;
                let layers = config.bottom.iter().chain(&config.top).sum::<usize>() + config.top_input();
                layers + 2 * n_vectors * config.dim + n_vectors * n_vectors
            }
            Self::WideDeep(config) => 2 * x + config.deep.iter().sum::<usize>(),
            Self::Dcn(config) => (2 + 2 * config.n_cross) * x + config.deep.iter().sum::<usize>(),
            Self::DcnV2(config) => (2 + 3 * config.n_cross) * x + config.deep.iter().sum::<usize>(),
            Self::DeepFm(config) => 2 * x + 2 * config.dim + config.deep.iter().sum::<usize>(),
        }
    }

    /// Floats of one sample's rows: `n_fields * dim`.
    #[must_use]
    pub fn row_floats(&self) -> usize {
        self.n_fields() * self.dim()
    }
}

/// What is the same in every model but DLRM: `deep` layers on `x = dense ‖ rows`.
fn check_deep(n_fields: usize, dim: usize, deep: &[usize]) -> Result<(), ConfigError> {
    if dim == 0 {
        return Err(ConfigError::ZeroDim);
    }
    if n_fields == 0 {
        return Err(ConfigError::NoFields);
    }
    if deep.is_empty() {
        return Err(ConfigError::NoDeepLayers);
    }
    match deep.iter().position(|&size| size == 0) {
        Some(layer_idx) => Err(ConfigError::ZeroLayer { name: "deep", layer_idx }),
        None => Ok(()),
    }
}

fn n_mlp_parameters(n_input: usize, sizes: &[usize]) -> usize {
    let inputs = std::iter::once(&n_input).chain(sizes);
    inputs.zip(sizes).map(|(input, output)| input * output + output).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (dense, fields, dim) of Criteo Kaggle and of Avazu.
    const KAGGLE: (usize, usize, usize) = (13, 26, 16);
    const AVAZU: (usize, usize, usize) = (0, 22, 16);

    fn wdl((n_dense, n_fields, dim): (usize, usize, usize), deep: &[usize]) -> ModelConfig {
        WideDeepConfig { n_dense, n_fields, dim, deep: deep.to_vec() }.into()
    }

    fn dcn((n_dense, n_fields, dim): (usize, usize, usize), n_cross: usize, deep: &[usize]) -> ModelConfig {
        DcnConfig { n_dense, n_fields, dim, n_cross, deep: deep.to_vec() }.into()
    }

    fn dcn_v2((n_dense, n_fields, dim): (usize, usize, usize), rank: Option<usize>, deep: &[usize]) -> ModelConfig {
        DcnV2Config { n_dense, n_fields, dim, n_cross: 2, rank, deep: deep.to_vec() }.into()
    }

    fn deep_fm((n_dense, n_fields, dim): (usize, usize, usize), deep: &[usize]) -> ModelConfig {
        DeepFmConfig { n_dense, n_fields, dim, deep: deep.to_vec() }.into()
    }

    #[test]
    fn sizes_of_the_published_models() {
        let deep = 429 * 256 + 256 + 256 * 256 + 256;
        let cases = [
            (wdl(KAGGLE, &[256, 256]), 176_559),
            (dcn(KAGGLE, 3, &[256; 3]), 244_924),
            (dcn_v2(KAGGLE, None, &[256, 256]), 2 * (429 * 429 + 429) + deep + 429 + 256 + 1),
            (dcn_v2(KAGGLE, Some(64), &[256, 256]), 2 * (2 * 429 * 64 + 429) + deep + 429 + 256 + 1),
            (deep_fm(KAGGLE, &[256, 256]), 176_559),
            (wdl(AVAZU, &[256, 256]), 352 * 256 + 256 + 256 * 256 + 256 + 256 + 1 + 352 + 1),
        ];
        for (config, n_parameters) in cases {
            config.validate().unwrap();
            assert_eq!(config.n_parameters(), n_parameters, "{config:?}");
        }
    }

    #[test]
    fn every_broken_rule_has_its_message() {
        let cases = [
            (wdl((2, 3, 0), &[4]), "`dim` is 0"),
            (deep_fm((2, 0, 4), &[4]), "`n_fields` is 0"),
            (wdl((2, 3, 4), &[]), "`deep` is empty"),
            (dcn((2, 3, 4), 3, &[4, 0]), "`deep[1]` is 0"),
            (dcn((2, 3, 4), 0, &[4]), "`n_cross` is 0"),
            (dcn_v2((2, 3, 4), Some(0), &[4]), "`rank` is 0"),
            (dcn_v2((2, 3, 4), None, &[]), "`deep` is empty"),
        ];
        for (config, expected) in cases {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should say {expected:?}");
        }
    }
}
