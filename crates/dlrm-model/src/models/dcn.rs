//! The Deep & Cross Network: cross layers with a weight vector beside a stack of layers. Its graph
//! and its network take cross layers of any kind, for `dcn_v2.rs`.

#[cfg(feature = "candle")]
use candle_core::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::architecture::{Architecture, n_mlp_parameters, validate_deep};
use crate::batch::{InputSizes, Inputs};
#[cfg(feature = "candle")]
use crate::candle::graph::Graph;
use crate::error::ConfigError;
use crate::native::cross::{CrossBackward, CrossLayers};
use crate::native::cross_vector::VectorCross;
use crate::native::join::{Join, outer_product, side_by_side};
use crate::native::layer::{Layer, LayerOptions, LayerRecord, Tile};
use crate::native::mlp::{Mlp, Tape};
use crate::native::network::{self, DynNetwork, LayerIndex, Network, in_stack};

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
    /// Numeric inputs of a sample.
    pub n_dense: usize,
    /// Categorical fields of a sample: one embedding row each.
    pub n_fields: usize,
    /// Length of an embedding row.
    pub dim: usize,
    /// Cross layers, at least one; 3 in the published experiments.
    pub n_cross: usize,
    /// Output sizes of the deep layers, at least one.
    pub deep: Vec<usize>,
}

impl Architecture for DcnConfig {
    fn name(&self) -> &'static str {
        "dcn"
    }

    fn inputs(&self) -> InputSizes {
        InputSizes { n_dense: self.n_dense, n_fields: self.n_fields, dim: self.dim }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if self.n_cross == 0 {
            return Err(ConfigError::NoCrossLayers);
        }
        validate_deep(self.inputs(), &self.deep)
    }

    fn n_parameters(&self) -> usize {
        let x = self.inputs().x_len();
        2 * self.n_cross * x + n_deep_and_logit_parameters(x, &self.deep)
    }

    fn activation_floats(&self) -> usize {
        (2 + 2 * self.n_cross) * self.inputs().x_len() + self.deep.iter().sum::<usize>()
    }

    /// Each cross layer adds its input to its output, so that numeric inputs reach the last layer,
    /// too.
    fn dense_weights(&self) -> Vec<String> {
        let crosses = (0..self.n_cross).map(|layer_idx| format!("cross.{layer_idx}.weight"));
        crosses.chain(["deep.0.weight", "logit.weight"].map(str::to_owned)).collect()
    }

    #[cfg(feature = "candle")]
    fn graph(&self, seed: u64, device: &Device) -> candle_core::Result<Box<dyn Graph>> {
        let graph = graph::CrossGraph::new(self.inputs(), &self.deep, seed, device, |rng, len| {
            (0..self.n_cross).map(|_| graph::VectorCrossLayer::new(rng, len, device)).collect()
        });
        Ok(Box::new(graph?))
    }

    fn network(&self, seed: u64, options: LayerOptions) -> Box<dyn DynNetwork> {
        let join = Join::new(self.inputs());
        let cross = |rng: &mut ChaCha8Rng| VectorCross::new(rng, join.len(), self.n_cross, options);
        network::boxed(CrossNetwork::new(join, &self.deep, seed, options, cross))
    }
}

/// Weights and biases of the deep layers, and of the linear layer on their output and that of the
/// cross layers.
pub(super) fn n_deep_and_logit_parameters(x_len: usize, deep: &[usize]) -> usize {
    n_mlp_parameters(x_len, deep) + n_mlp_parameters(logit_input(x_len, deep), &[1])
}

/// Length of what both parts give: the input of the last layer.
fn logit_input(x_len: usize, deep: &[usize]) -> usize {
    x_len + deep.last().copied().unwrap_or(0)
}

#[cfg(feature = "candle")]
pub(super) mod graph {
    use candle_core::{Device, Result, Tensor, Var};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::logit_input;
    use crate::batch::InputSizes;
    use crate::candle::graph::{Graph, Names, ShardInputs, Tapes};
    use crate::candle::mlp::Mlp;
    use crate::init;

    /// A cross layer of a graph.
    pub(in super::super) trait CrossLayer: Send + Sync {
        /// `x_0` and `x_l` `[B, len]` to `x_{l+1}`.
        fn forward(&self, x: &Tensor, input: &Tensor) -> Result<Tensor>;

        /// What follows the layer's name, and the variables.
        fn variables(&self) -> Vec<(&'static str, Var)>;
    }

    /// Cross layers of one kind beside a stack of layers, and a linear layer on both.
    pub(in super::super) struct CrossGraph<L> {
        deep: Mlp,
        cross: Vec<L>,
        logit: Mlp,
    }

    impl<L> CrossGraph<L> {
        /// Draws the deep layers, the cross layers for inputs of a length, and the last one.
        pub(in super::super) fn new(
            inputs: InputSizes,
            deep: &[usize],
            seed: u64,
            device: &Device,
            cross: impl FnOnce(&mut ChaCha8Rng, usize) -> Result<Vec<L>>,
        ) -> Result<Self> {
            let (mut rng, len) = (ChaCha8Rng::seed_from_u64(seed), inputs.x_len());
            let layers = Mlp::new(&mut rng, len, deep, true, device)?;
            let cross = cross(&mut rng, len)?;
            let logit = Mlp::new(&mut rng, logit_input(len, deep), &[1], false, device)?;
            Ok(Self { deep: layers, cross, logit })
        }
    }

    impl<L: CrossLayer> Graph for CrossGraph<L> {
        fn stacks(&self) -> Vec<(Names, &Mlp)> {
            vec![(Names::Numbered("deep"), &self.deep), (Names::Single("logit"), &self.logit)]
        }

        fn variables(&self) -> Vec<(String, Var)> {
            let cross = self.cross.iter().enumerate();
            let named = cross.flat_map(|(layer_idx, layer)| {
                let variables = layer.variables().into_iter();
                variables.map(move |(kind, var)| (format!("cross.{layer_idx}.{kind}"), var))
            });
            named.collect()
        }

        fn forward(&self, inputs: &ShardInputs, tapes: &Tapes) -> Result<Tensor> {
            let x = inputs.join()?;
            let deep = self.deep.forward(&x, tapes.get(0))?;
            let cross =
                self.cross.iter().try_fold(x.clone(), |input, layer| layer.forward(&x, &input))?;
            self.logit.forward(&Tensor::cat(&[&cross, &deep], 1)?, tapes.get(1))?.squeeze(1)
        }
    }

    /// `x_{l+1} = x_0 · (x_l · w) + b + x_l`
    pub(super) struct VectorCrossLayer {
        /// `[1, len]`
        weight: Var,
        /// `[len]`
        bias: Var,
    }

    impl VectorCrossLayer {
        pub(super) fn new<R: Rng>(rng: &mut R, len: usize, device: &Device) -> Result<Self> {
            let init = init::cross(rng, len);
            let weight = Var::from_vec(init.weight, (1, len), device)?;
            Ok(Self { weight, bias: Var::from_vec(init.bias, len, device)? })
        }
    }

    impl CrossLayer for VectorCrossLayer {
        fn forward(&self, x: &Tensor, input: &Tensor) -> Result<Tensor> {
            let dots = input.matmul(&self.weight.t()?)?;
            x.broadcast_mul(&dots)?.broadcast_add(&self.bias)? + input
        }

        fn variables(&self) -> Vec<(&'static str, Var)> {
            vec![("weight", self.weight.clone()), ("bias", self.bias.clone())]
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_cross_layer_on_paper() {
            let weight = Var::new(&[[3f32, -1.0]], &Device::Cpu).unwrap();
            let layer =
                VectorCrossLayer { weight, bias: Var::new(&[10f32, 20.0], &Device::Cpu).unwrap() };
            let (x, input) = ([[1f32, 2.0]], [[2f32, 1.0]]);
            let [x, input] = [x, input].map(|values| Tensor::new(&values, &Device::Cpu).unwrap());
            // x_l · w = 5
            assert_eq!(
                layer.forward(&x, &input).unwrap().to_vec2::<f32>().unwrap(),
                [[5.0 + 10.0 + 2.0, 10.0 + 20.0 + 1.0]]
            );
        }
    }
}

const DEEP: usize = 0;
const CROSS: usize = 1;
const LOGIT: usize = 2;

/// The network and its parameters.
#[derive(Debug)]
pub(super) struct CrossNetwork<C> {
    join: Join,
    deep: Mlp,
    cross: C,
    /// One layer.
    logit: Mlp,
}

/// What one pass over a shard leaves behind, and its buffers.
#[derive(Debug)]
pub(crate) struct Pass<T> {
    x: Vec<f32>,
    x_gradient: Vec<f32>,
    deep: Tape,
    cross: T,
    /// Outputs of the cross and the deep layers, side by side.
    features: Vec<f32>,
    logit: Tape,
}

impl<C: CrossLayers> CrossNetwork<C> {
    /// Draws the deep layers, the cross layers and the last one.
    pub(super) fn new(
        join: Join,
        deep: &[usize],
        seed: u64,
        options: LayerOptions,
        cross: impl FnOnce(&mut ChaCha8Rng) -> C,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let layers = Mlp::new(&mut rng, join.len(), deep, true, options);
        let cross = cross(&mut rng);
        let logit = Mlp::new(&mut rng, logit_input(join.len(), deep), &[1], false, options);
        Self { join, deep: layers, cross, logit }
    }
}

impl<C: CrossLayers> Network for CrossNetwork<C> {
    type Pass = Pass<C::Tape>;

    fn pass(&self) -> Self::Pass {
        let (deep, cross, logit) = (self.deep.tape(), self.cross.tape(), self.logit.tape());
        Pass { x: Vec::new(), x_gradient: Vec::new(), deep, cross, features: Vec::new(), logit }
    }

    fn forward(&self, inputs: Inputs<'_>, logits: &mut [f32], pass: &mut Self::Pass) {
        let Pass { x, deep, cross, features, logit, .. } = pass;
        self.join.forward(inputs, x);
        self.deep.forward(x, logits.len(), deep);
        self.cross.forward(x, logits.len(), cross);
        side_by_side(C::output(cross), deep.output(), logits.len(), features);
        self.logit.forward(features, logits.len(), logit);
        logits.copy_from_slice(logit.output());
    }

    fn backward(
        &self,
        _: Inputs<'_>,
        logit_grads: &[f32],
        row_grads: &mut [f32],
        pass: &mut Self::Pass,
    ) {
        let Pass { x, x_gradient, deep, cross, features, logit } = pass;
        self.logit.prepare_backward(logit_grads.len(), logit);
        logit.output_gradient_mut().copy_from_slice(logit_grads);
        self.logit.backward(features, logit, None);

        let (to_cross, to_deep) = self.logit.layers[0].weight().split_at(self.join.len());
        x_gradient.resize(x.len(), 0.0);
        self.deep.prepare_backward(logit_grads.len(), deep);
        outer_product(logit_grads, to_deep, deep.output_gradient_mut());
        self.deep.backward(x, deep, Some(x_gradient));
        self.cross.backward(CrossBackward { x, logit_grads, weight: to_cross }, cross, x_gradient);
        self.join.backward(x_gradient, row_grads);
    }

    fn record(pass: &Self::Pass, LayerIndex { stack, layer }: LayerIndex) -> LayerRecord<'_> {
        match stack {
            DEEP => pass.deep.record(layer, &pass.x),
            CROSS => C::record(&pass.cross, layer, &pass.x),
            _ => pass.logit.record(layer, &pass.features),
        }
    }

    fn tiles(&mut self) -> impl Iterator<Item = (LayerIndex, Tile<'_>)> + Send {
        let (deep, cross) =
            (in_stack(DEEP, self.deep.tiles()), in_stack(CROSS, self.cross.tiles()));
        deep.chain(cross).chain(in_stack(LOGIT, self.logit.tiles()))
    }

    fn layers(&self) -> Vec<(String, &Layer)> {
        let logit = ("logit".to_owned(), &self.logit.layers[0]);
        self.deep
            .named_layers("deep")
            .chain(self.cross.named_layers("cross"))
            .chain([logit])
            .collect()
    }

    fn layers_mut(&mut self) -> Vec<&mut Layer> {
        self.deep
            .layers
            .iter_mut()
            .chain(self.cross.layers_mut())
            .chain(&mut self.logit.layers)
            .collect()
    }
}
