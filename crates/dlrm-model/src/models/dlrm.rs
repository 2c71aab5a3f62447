//! DLRM: dot products of all pairs between two stacks of layers.

#[cfg(feature = "candle")]
use candle_core::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::architecture::{Architecture, n_mlp_parameters};
use crate::batch::{InputSizes, Inputs};
#[cfg(feature = "candle")]
use crate::candle::graph::Graph;
use crate::error::ConfigError;
use crate::native::interaction::{Gradients, Interaction, Scratch, Values};
use crate::native::layer::{Layer, LayerOptions, LayerRecord, Tile};
use crate::native::mlp::{Mlp, Tape};
use crate::native::network::{self, DynNetwork, LayerIndex, Network, in_stack};

/// The shape of a DLRM.
///
/// ```text
/// dense [B, n_dense] ─► bottom MLP ─► x [B, dim] ─┬─────────────────────────┐
///                                                 ├► pairwise dot products ─┴► cat ► top MLP ─┐
/// rows [B, n_fields, dim] ────────────────────────┘                              logits [B] ◄─┘
/// ```
///
/// `bottom` and `top` list the output sizes of the layers, without the input: the input of the
/// bottom MLP is `n_dense`, that of the top MLP is [`top_input`](Self::top_input). Data without
/// numeric columns (`n_dense == 0`, such as Avazu) have no bottom MLP, and the rows alone interact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DlrmConfig {
    /// Numeric inputs of a sample.
    pub n_dense: usize,
    /// Categorical fields of a sample: one embedding row each.
    pub n_fields: usize,
    /// Length of an embedding row.
    pub dim: usize,
    /// Output sizes of the bottom MLP; the last equals `dim`. Empty exactly when `n_dense` is 0.
    pub bottom: Vec<usize>,
    /// Output sizes of the top MLP; the last is 1, the logit.
    pub top: Vec<usize>,
}

impl DlrmConfig {
    /// Input size of the top MLP: the dense vector, if there is one, and one dot product for each
    /// pair of vectors.
    #[must_use]
    pub fn top_input(&self) -> usize {
        let dense_vector = if self.has_dense() { self.dim } else { 0 };
        dense_vector + self.n_pairs()
    }

    fn has_dense(&self) -> bool {
        self.n_dense > 0
    }

    fn n_pairs(&self) -> usize {
        let n_vectors = self.n_fields + usize::from(self.has_dense());
        n_vectors * n_vectors.saturating_sub(1) / 2
    }
}

impl Architecture for DlrmConfig {
    fn name(&self) -> &'static str {
        "dlrm"
    }

    fn inputs(&self) -> InputSizes {
        InputSizes { n_dense: self.n_dense, n_fields: self.n_fields, dim: self.dim }
    }

    fn validate(&self) -> Result<(), ConfigError> {
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

    fn n_parameters(&self) -> usize {
        n_mlp_parameters(self.n_dense, &self.bottom) + n_mlp_parameters(self.top_input(), &self.top)
    }

    fn activation_floats(&self) -> usize {
        let n_vectors = self.n_fields + 1;
        let layers = self.bottom.iter().chain(&self.top).sum::<usize>() + self.top_input();
        layers + 2 * n_vectors * self.dim + n_vectors * n_vectors
    }

    fn dense_weights(&self) -> Vec<String> {
        self.has_dense().then(|| "bottom.0.weight".to_owned()).into_iter().collect()
    }

    #[cfg(feature = "candle")]
    fn graph(&self, seed: u64, device: &Device) -> candle_core::Result<Box<dyn Graph>> {
        Ok(Box::new(graph::DlrmGraph::new(self, seed, device)?))
    }

    fn network(&self, seed: u64, options: LayerOptions) -> Box<dyn DynNetwork> {
        network::boxed(DlrmNetwork::new(self, seed, options))
    }
}

#[cfg(feature = "candle")]
mod graph {
    use candle_core::{Device, Result, Tensor};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::DlrmConfig;
    use crate::candle::graph::{Graph, Names, ShardInputs, Tapes};
    use crate::candle::interaction::interact;
    use crate::candle::mlp::Mlp;

    /// The two stacks of layers around the interaction.
    pub(super) struct DlrmGraph {
        /// `None` for data without dense inputs.
        bottom: Option<Mlp>,
        top: Mlp,
    }

    impl DlrmGraph {
        /// Draws bottom before top.
        pub(super) fn new(config: &DlrmConfig, seed: u64, device: &Device) -> Result<Self> {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let bottom = if config.has_dense() {
                Some(Mlp::new(&mut rng, config.n_dense, &config.bottom, true, device)?)
            } else {
                None
            };
            let top = Mlp::new(&mut rng, config.top_input(), &config.top, false, device)?;
            Ok(Self { bottom, top })
        }
    }

    impl Graph for DlrmGraph {
        /// Top first: there may be no bottom.
        fn stacks(&self) -> Vec<(Names, &Mlp)> {
            let bottom = self.bottom.as_ref().map(|bottom| (Names::Numbered("bottom"), bottom));
            std::iter::once((Names::Numbered("top"), &self.top)).chain(bottom).collect()
        }

        fn forward(&self, inputs: &ShardInputs, tapes: &Tapes) -> Result<Tensor> {
            let x = match (&self.bottom, &inputs.dense) {
                (Some(bottom), Some(dense)) => Some(bottom.forward(dense, tapes.get(1))?),
                _ => None,
            };
            let features = interact(x.as_ref(), &inputs.rows, tapes.is_fused())?;
            self.top.forward(&features, tapes.get(0))?.squeeze(1)
        }
    }
}

const BOTTOM: usize = 0;
const TOP: usize = 1;

/// The network and its parameters.
#[derive(Debug)]
struct DlrmNetwork {
    /// Without layers for data without dense inputs.
    bottom: Mlp,
    interaction: Interaction,
    top: Mlp,
}

/// What one pass over a shard leaves behind, and its buffers.
#[derive(Debug)]
struct Pass {
    /// A copy: the gradient of the first layer needs it when the batch is out of reach.
    dense: Vec<f32>,
    bottom: Tape,
    features: Vec<f32>,
    feature_gradient: Vec<f32>,
    top: Tape,
    scratch: Scratch,
}

impl DlrmNetwork {
    /// Draws bottom before top.
    fn new(config: &DlrmConfig, seed: u64, options: LayerOptions) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let bottom = Mlp::new(&mut rng, config.n_dense, &config.bottom, true, options);
        let top = Mlp::new(&mut rng, config.top_input(), &config.top, false, options);
        let interaction =
            Interaction { has_dense: config.has_dense(), n_rows: config.n_fields, dim: config.dim };
        Self { bottom, interaction, top }
    }
}

impl Network for DlrmNetwork {
    type Pass = Pass;

    fn pass(&self) -> Pass {
        Pass {
            dense: Vec::new(),
            bottom: self.bottom.tape(),
            features: Vec::new(),
            feature_gradient: Vec::new(),
            top: self.top.tape(),
            scratch: self.interaction.scratch(),
        }
    }

    fn forward(&self, inputs: Inputs<'_>, logits: &mut [f32], pass: &mut Pass) {
        let n_samples = logits.len();
        let Pass { bottom, features, top, scratch, .. } = pass;
        self.bottom.forward(inputs.dense, n_samples, bottom);
        features.resize(n_samples * self.interaction.n_outputs(), 0.0);
        self.interaction.forward(bottom.output(), inputs.rows, features, scratch);
        self.top.forward(features, n_samples, top);
        logits.copy_from_slice(top.output());
    }

    fn backward(
        &self,
        inputs: Inputs<'_>,
        logit_grads: &[f32],
        row_grads: &mut [f32],
        pass: &mut Pass,
    ) {
        let Pass { dense, bottom, features, feature_gradient, top, scratch } = pass;
        dense.clear();
        dense.extend_from_slice(inputs.dense);
        self.top.prepare_backward(logit_grads.len(), top);
        self.bottom.prepare_backward(logit_grads.len(), bottom);
        feature_gradient.resize(features.len(), 0.0);

        top.output_gradient_mut().copy_from_slice(logit_grads);
        self.top.backward(features, top, Some(feature_gradient));
        let (x, to_x) = bottom.output_and_gradient_mut();
        let to = Gradients { dense: to_x, rows: row_grads };
        self.interaction.backward(
            Values { dense: x, rows: inputs.rows },
            feature_gradient,
            to,
            scratch,
        );
        self.bottom.backward(dense, bottom, None);
    }

    fn record(pass: &Pass, LayerIndex { stack, layer }: LayerIndex) -> LayerRecord<'_> {
        match stack {
            BOTTOM => pass.bottom.record(layer, &pass.dense),
            _ => pass.top.record(layer, &pass.features),
        }
    }

    fn tiles(&mut self) -> impl Iterator<Item = (LayerIndex, Tile<'_>)> + Send {
        in_stack(TOP, self.top.tiles()).chain(in_stack(BOTTOM, self.bottom.tiles()))
    }

    fn layers(&self) -> Vec<(String, &Layer)> {
        self.bottom.named_layers("bottom").chain(self.top.named_layers("top")).collect()
    }

    fn layers_mut(&mut self) -> Vec<&mut Layer> {
        self.bottom.layers.iter_mut().chain(&mut self.top.layers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(
        n_dense: usize,
        n_fields: usize,
        dim: usize,
        bottom: &[usize],
        top: &[usize],
    ) -> DlrmConfig {
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
