//! The models, a file each: the shape, from whose few numbers every layer size follows; the candle
//! graph, which is the specification and what a GPU runs; and the network for a CPU, from the
//! native blocks with their hand-written way back. Nothing else in this crate knows a kind of
//! model.

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

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use candle_core::Device;

use crate::batch::InputSizes;
use crate::candle::graph::Graph;
use crate::error::ConfigError;
use crate::native::layer::Method;
use crate::native::network::Runner;

/// A kind of model: what each file in here provides, for the type that is its shape.
pub(crate) trait Architecture: Any + fmt::Debug + Send + Sync {
    /// Its short name, as in configurations.
    fn name(&self) -> &'static str;

    /// What a sample consists of.
    fn inputs(&self) -> InputSizes;

    /// Checks that the sizes fit together; names the first rule that is broken, with what was
    /// expected.
    fn validate(&self) -> Result<(), ConfigError>;

    /// Weights and biases in all; embedding rows are not part of the dense model.
    fn n_parameters(&self) -> usize;

    /// Floats that a pass keeps of one sample, about: what each layer saw and made of it.
    fn activation_floats(&self) -> usize;

    /// The weights by which numeric inputs reach the logit: their columns are the inputs, the
    /// numeric ones first.
    fn dense_weights(&self) -> Vec<String>;

    /// The specification, with weights drawn from one generator, each weight before its bias.
    fn graph(&self, seed: u64, device: &Device) -> candle_core::Result<Box<dyn Graph>>;

    /// The same for a CPU; the same seed draws the same bits.
    fn network(&self, seed: u64, method: Method) -> Box<dyn Runner>;
}

/// The shape of a model of any kind, made from that of one.
///
/// ```
/// use dlrm_model::{ModelConfig, WideDeepConfig};
/// let config = ModelConfig::from(WideDeepConfig { n_dense: 13, n_fields: 26, dim: 16, deep: vec![256, 256] });
/// assert_eq!((config.name(), config.n_parameters()), ("wdl", 176_559));
/// ```
#[derive(Debug, Clone)]
pub struct ModelConfig(Arc<dyn Architecture>);

impl ModelConfig {
    pub(crate) fn of(shape: impl Architecture) -> Self {
        Self(Arc::new(shape))
    }

    /// The shape of one kind, if it is of that kind.
    ///
    /// ```
    /// use dlrm_model::{DcnConfig, ModelConfig, WideDeepConfig};
    /// let config = ModelConfig::from(WideDeepConfig { n_dense: 13, n_fields: 26, dim: 16, deep: vec![256, 256] });
    /// assert_eq!(config.get::<WideDeepConfig>().map(|shape| shape.deep.len()), Some(2));
    /// assert_eq!(config.get::<DcnConfig>(), None);
    /// ```
    #[must_use]
    pub fn get<T: 'static>(&self) -> Option<&T> {
        let shape: &dyn Any = &*self.0;
        shape.downcast_ref()
    }

    /// Its short name: `dlrm`, `wdl`, `dcn`, `dcnv2` or `deepfm`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.0.name()
    }

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// The first rule that is broken, with what was expected.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.0.validate()
    }

    /// Weights and biases in all; embedding rows are not part of the dense model.
    #[must_use]
    pub fn n_parameters(&self) -> usize {
        self.0.n_parameters()
    }

    /// What a sample consists of.
    pub(crate) fn inputs(&self) -> InputSizes {
        self.0.inputs()
    }

    /// Numeric inputs a sample.
    #[must_use]
    pub fn n_dense(&self) -> usize {
        self.0.inputs().n_dense
    }

    /// Categorical fields a sample: one embedding row each.
    #[must_use]
    pub fn n_fields(&self) -> usize {
        self.0.inputs().n_fields
    }

    /// Length of an embedding row.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.0.inputs().dim
    }

    /// Floats of one sample's rows: `n_fields * dim`.
    #[must_use]
    pub fn row_floats(&self) -> usize {
        self.0.inputs().row_floats()
    }

    /// Floats that a pass keeps of one sample, about: what each layer saw and made of it. For plans
    /// of memory.
    #[must_use]
    pub fn activation_floats(&self) -> usize {
        self.0.activation_floats()
    }

    pub(crate) fn dense_weights(&self) -> Vec<String> {
        self.0.dense_weights()
    }

    pub(crate) fn graph(&self, seed: u64, device: &Device) -> candle_core::Result<Box<dyn Graph>> {
        self.0.graph(seed, device)
    }

    pub(crate) fn network(&self, seed: u64, method: Method) -> Box<dyn Runner> {
        self.0.network(seed, method)
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

    fn dcn(
        (n_dense, n_fields, dim): (usize, usize, usize),
        n_cross: usize,
        deep: &[usize],
    ) -> ModelConfig {
        DcnConfig { n_dense, n_fields, dim, n_cross, deep: deep.to_vec() }.into()
    }

    fn dcn_v2(
        (n_dense, n_fields, dim): (usize, usize, usize),
        rank: Option<usize>,
        deep: &[usize],
    ) -> ModelConfig {
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
