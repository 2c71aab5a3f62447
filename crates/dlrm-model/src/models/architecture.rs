//! What the file of a model provides, and what several of them need to compute it.

#[cfg(feature = "candle")]
use candle_core::Device;

use crate::batch::InputSizes;
#[cfg(feature = "candle")]
use crate::candle::graph::Graph;
use crate::error::ConfigError;
use crate::native::layer::LayerOptions;
use crate::native::network::DynNetwork;

/// A kind of model: implemented by the type that is its shape.
pub(crate) trait Architecture {
    /// Its short name, as in configurations.
    fn name(&self) -> &'static str;

    /// Sizes of what a sample consists of.
    fn inputs(&self) -> InputSizes;

    /// Checks that the sizes fit together.
    ///
    /// # Errors
    /// The first rule that is broken, with what was expected.
    fn validate(&self) -> Result<(), ConfigError>;

    /// Weights and biases in all; embedding rows are not part of the dense model.
    fn n_parameters(&self) -> usize;

    /// Floats that a forward pass keeps of one sample, approximately: inputs and outputs of each
    /// layer.
    fn activation_floats(&self) -> usize;

    /// Names of the weights through which numeric inputs reach the logit. Their columns are the
    /// inputs, the numeric ones first.
    fn dense_weights(&self) -> Vec<String>;

    /// The specification, with weights drawn from one generator, each weight before its bias.
    #[cfg(feature = "candle")]
    fn graph(&self, seed: u64, device: &Device) -> candle_core::Result<Box<dyn Graph>>;

    /// The same network for a CPU; the same seed draws the same bits.
    fn network(&self, seed: u64, options: LayerOptions) -> Box<dyn DynNetwork>;
}

/// Checks what every model except DLRM has: `deep` layers on `x = dense ‖ rows`.
///
/// # Errors
/// The first size that is missing or 0.
pub(super) fn validate_deep(inputs: InputSizes, deep: &[usize]) -> Result<(), ConfigError> {
    if inputs.dim == 0 {
        return Err(ConfigError::ZeroDim);
    }
    if inputs.n_fields == 0 {
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

/// Weights and biases of fully connected layers with these output sizes.
pub(super) fn n_mlp_parameters(n_input: usize, sizes: &[usize]) -> usize {
    let inputs = std::iter::once(&n_input).chain(sizes);
    inputs.zip(sizes).map(|(input, output)| input * output + output).sum()
}
