//! The models, a file each: the shape, from whose few numbers every layer size follows; the candle
//! graph, which is the specification and what a GPU runs; and the network for a CPU, built from the
//! native blocks with their hand-written backward pass. Nothing else in this crate depends on the
//! kind of a model; [`ModelConfig`] lists the kinds.

mod architecture;
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

use architecture::Architecture;

use crate::batch::InputSizes;
#[cfg(feature = "candle")]
use crate::candle::graph::Graph;
use crate::error::ConfigError;
use crate::native::layer::LayerOptions;
use crate::native::network::DynNetwork;

/// The shape of a model of any kind.
///
/// ```
/// use dlrm_model::{ModelConfig, WideDeepConfig};
/// let shape = WideDeepConfig { n_dense: 13, n_fields: 26, dim: 16, deep: vec![256, 256] };
/// let config = ModelConfig::from(shape);
/// assert_eq!((config.name(), config.n_parameters()), ("wdl", 176_559));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelConfig {
    /// DLRM.
    Dlrm(DlrmConfig),
    /// Wide & Deep.
    WideDeep(WideDeepConfig),
    /// The Deep & Cross Network.
    Dcn(DcnConfig),
    /// The second version of the Deep & Cross Network.
    DcnV2(DcnV2Config),
    /// `DeepFM`.
    DeepFm(DeepFmConfig),
}

macro_rules! from_shapes {
    ($($kind:ident($shape:ty)),+ $(,)?) => {$(
        impl From<$shape> for ModelConfig {
            fn from(shape: $shape) -> Self {
                Self::$kind(shape)
            }
        }
    )+};
}

from_shapes! {
    Dlrm(DlrmConfig), WideDeep(WideDeepConfig), Dcn(DcnConfig), DcnV2(DcnV2Config),
    DeepFm(DeepFmConfig),
}

impl ModelConfig {
    fn architecture(&self) -> &dyn Architecture {
        match self {
            Self::Dlrm(shape) => shape,
            Self::WideDeep(shape) => shape,
            Self::Dcn(shape) => shape,
            Self::DcnV2(shape) => shape,
            Self::DeepFm(shape) => shape,
        }
    }

    /// Its short name: `dlrm`, `wdl`, `dcn`, `dcnv2` or `deepfm`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.architecture().name()
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// The first rule that is broken, with what was expected.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.architecture().validate()
    }

    /// Weights and biases in all; embedding rows are not part of the dense model.
    #[must_use]
    pub fn n_parameters(&self) -> usize {
        self.architecture().n_parameters()
    }

    /// Sizes of what a sample consists of.
    pub(crate) fn inputs(&self) -> InputSizes {
        self.architecture().inputs()
    }

    /// Numeric inputs of a sample.
    #[must_use]
    pub fn n_dense(&self) -> usize {
        self.inputs().n_dense
    }

    /// Categorical fields of a sample: one embedding row each.
    #[must_use]
    pub fn n_fields(&self) -> usize {
        self.inputs().n_fields
    }

    /// Length of an embedding row.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.inputs().dim
    }

    /// Floats of one sample's rows: `n_fields * dim`.
    #[must_use]
    pub fn row_floats(&self) -> usize {
        self.inputs().row_floats()
    }

    /// Floats that a forward pass keeps of one sample, approximately: inputs and outputs of each
    /// layer. For estimates of memory.
    #[must_use]
    pub fn activation_floats(&self) -> usize {
        self.architecture().activation_floats()
    }

    /// Names of the weights through which numeric inputs reach the logit.
    pub(crate) fn dense_weights(&self) -> Vec<String> {
        self.architecture().dense_weights()
    }

    #[cfg(feature = "candle")]
    pub(crate) fn graph(
        &self,
        seed: u64,
        device: &candle_core::Device,
    ) -> candle_core::Result<Box<dyn Graph>> {
        self.architecture().graph(seed, device)
    }

    pub(crate) fn network(&self, seed: u64, options: LayerOptions) -> Box<dyn DynNetwork> {
        self.architecture().network(seed, options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KAGGLE: InputSizes = InputSizes { n_dense: 13, n_fields: 26, dim: 16 };
    const AVAZU: InputSizes = InputSizes { n_dense: 0, n_fields: 22, dim: 16 };
    const SMALL: InputSizes = InputSizes { n_dense: 2, n_fields: 3, dim: 4 };

    fn wdl(inputs: InputSizes, deep: &[usize]) -> ModelConfig {
        let InputSizes { n_dense, n_fields, dim } = inputs;
        WideDeepConfig { n_dense, n_fields, dim, deep: deep.to_vec() }.into()
    }

    fn dcn(inputs: InputSizes, n_cross: usize, deep: &[usize]) -> ModelConfig {
        let InputSizes { n_dense, n_fields, dim } = inputs;
        DcnConfig { n_dense, n_fields, dim, n_cross, deep: deep.to_vec() }.into()
    }

    fn dcn_v2(inputs: InputSizes, rank: Option<usize>, deep: &[usize]) -> ModelConfig {
        let InputSizes { n_dense, n_fields, dim } = inputs;
        DcnV2Config { n_dense, n_fields, dim, n_cross: 2, rank, deep: deep.to_vec() }.into()
    }

    fn deep_fm(inputs: InputSizes, deep: &[usize]) -> ModelConfig {
        let InputSizes { n_dense, n_fields, dim } = inputs;
        DeepFmConfig { n_dense, n_fields, dim, deep: deep.to_vec() }.into()
    }

    #[test]
    fn sizes_of_the_published_models() {
        let deep = 429 * 256 + 256 + 256 * 256 + 256;
        let cases = [
            (wdl(KAGGLE, &[256, 256]), 176_559),
            (dcn(KAGGLE, 3, &[256; 3]), 244_924),
            (dcn_v2(KAGGLE, None, &[256, 256]), 2 * (429 * 429 + 429) + deep + 429 + 256 + 1),
            (
                dcn_v2(KAGGLE, Some(64), &[256, 256]),
                2 * (2 * 429 * 64 + 429) + deep + 429 + 256 + 1,
            ),
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
            (wdl(InputSizes { dim: 0, ..SMALL }, &[4]), "`dim` is 0"),
            (deep_fm(InputSizes { n_fields: 0, ..SMALL }, &[4]), "`n_fields` is 0"),
            (wdl(SMALL, &[]), "`deep` is empty"),
            (dcn(SMALL, 3, &[4, 0]), "`deep[1]` is 0"),
            (dcn(SMALL, 0, &[4]), "`n_cross` is 0"),
            (dcn_v2(SMALL, Some(0), &[4]), "`rank` is 0"),
            (dcn_v2(SMALL, None, &[]), "`deep` is empty"),
        ];
        for (config, expected) in cases {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} should say {expected:?}");
        }
    }

    #[test]
    fn shapes_compare_by_kind_and_sizes() {
        assert_eq!(wdl(SMALL, &[4]), wdl(SMALL, &[4]));
        assert_ne!(wdl(SMALL, &[4]), wdl(SMALL, &[5]));
        assert_ne!(wdl(SMALL, &[4]), deep_fm(SMALL, &[4]), "another kind of the same sizes");
    }
}
