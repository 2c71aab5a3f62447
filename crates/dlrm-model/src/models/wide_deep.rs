//! Wide & Deep: a linear layer beside a stack of layers.

#[cfg(feature = "candle")]
use candle_core::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::architecture::{Architecture, n_mlp_parameters, validate_deep};
use crate::batch::{InputSizes, Inputs};
#[cfg(feature = "candle")]
use crate::candle::graph::Graph;
use crate::error::ConfigError;
use crate::native::join::Join;
use crate::native::layer::{Layer, LayerOptions, LayerRecord, Tile};
use crate::native::mlp::{Mlp, Tape};
use crate::native::network::{self, DynNetwork, LayerIndex, Network, in_stack};

/// The shape of Wide & Deep: a linear model and a stack of layers on the same input.
///
/// ```text
/// dense [B, n_dense] ──────────┬► x ─┬► deep layers, ReLU ► linear ─┐
/// rows [B, n_fields · dim] ────┘     └► wide: linear ───────────────┴► sum: logits [B]
/// ```
///
/// Both linear ends have a bias. Data without numeric columns (`n_dense == 0`) have `x = rows`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WideDeepConfig {
    /// Numeric inputs of a sample.
    pub n_dense: usize,
    /// Categorical fields of a sample: one embedding row each.
    pub n_fields: usize,
    /// Length of an embedding row.
    pub dim: usize,
    /// Output sizes of the hidden deep layers, at least one; the layer that makes a logit of the
    /// last comes on top.
    pub deep: Vec<usize>,
}

impl WideDeepConfig {
    fn linear_and_deep(&self) -> LinearAndDeep<'_> {
        LinearAndDeep { inputs: self.inputs(), hidden: &self.deep, linear_name: "wide" }
    }
}

impl Architecture for WideDeepConfig {
    fn name(&self) -> &'static str {
        "wdl"
    }

    fn inputs(&self) -> InputSizes {
        InputSizes { n_dense: self.n_dense, n_fields: self.n_fields, dim: self.dim }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.linear_and_deep().validate()
    }

    fn n_parameters(&self) -> usize {
        self.linear_and_deep().n_parameters()
    }

    fn activation_floats(&self) -> usize {
        self.linear_and_deep().activation_floats()
    }

    fn dense_weights(&self) -> Vec<String> {
        self.linear_and_deep().dense_weights()
    }

    #[cfg(feature = "candle")]
    fn graph(&self, seed: u64, device: &Device) -> candle_core::Result<Box<dyn Graph>> {
        Ok(Box::new(graph::LinearAndDeepGraph::new(self.linear_and_deep(), seed, device)?))
    }

    fn network(&self, seed: u64, options: LayerOptions) -> Box<dyn DynNetwork> {
        network::boxed(LinearAndDeepNetwork::new(self.linear_and_deep(), seed, options))
    }
}

/// The shape of a linear layer beside a stack of layers, both on `x = dense ‖ rows` and both ending
/// in one number: all of Wide & Deep, and a part of `DeepFM`.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinearAndDeep<'a> {
    pub(super) inputs: InputSizes,
    /// Output sizes of the hidden deep layers, without the last layer of one output.
    pub(super) hidden: &'a [usize],
    /// Name of the linear layer among the parameters, which differs between the two models.
    pub(super) linear_name: &'static str,
}

impl LinearAndDeep<'_> {
    /// Output sizes of all deep layers.
    fn deep_sizes(&self) -> Vec<usize> {
        [self.hidden, &[1]].concat()
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        validate_deep(self.inputs, self.hidden)
    }

    pub(super) fn n_parameters(&self) -> usize {
        let x = self.inputs.x_len();
        n_mlp_parameters(x, &self.deep_sizes()) + n_mlp_parameters(x, &[1])
    }

    pub(super) fn activation_floats(&self) -> usize {
        2 * self.inputs.x_len() + self.hidden.iter().sum::<usize>()
    }

    pub(super) fn dense_weights(&self) -> Vec<String> {
        vec![format!("{}.weight", self.linear_name), "deep.0.weight".to_owned()]
    }
}

#[cfg(feature = "candle")]
pub(super) mod graph {
    use candle_core::{Device, Result, Tensor};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::LinearAndDeep;
    use crate::candle::graph::{Graph, Names, ShardInputs, Tapes};
    use crate::candle::mlp::Mlp;

    /// A linear layer beside a stack of layers.
    pub(in super::super) struct LinearAndDeepGraph {
        deep: Mlp,
        linear: Mlp,
        linear_name: &'static str,
    }

    impl LinearAndDeepGraph {
        /// Draws the deep layers before the linear one.
        pub(in super::super) fn new(
            shape: LinearAndDeep<'_>,
            seed: u64,
            device: &Device,
        ) -> Result<Self> {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let x_len = shape.inputs.x_len();
            let deep = Mlp::new(&mut rng, x_len, &shape.deep_sizes(), false, device)?;
            let linear = Mlp::new(&mut rng, x_len, &[1], false, device)?;
            Ok(Self { deep, linear, linear_name: shape.linear_name })
        }
    }

    impl Graph for LinearAndDeepGraph {
        fn stacks(&self) -> Vec<(Names, &Mlp)> {
            vec![
                (Names::Numbered("deep"), &self.deep),
                (Names::Single(self.linear_name), &self.linear),
            ]
        }

        fn forward(&self, inputs: &ShardInputs, tapes: &Tapes) -> Result<Tensor> {
            let x = inputs.join()?;
            let deep = self.deep.forward(&x, tapes.get(0))?;
            (deep + self.linear.forward(&x, tapes.get(1))?)?.squeeze(1)
        }
    }
}

const DEEP: usize = 0;
const LINEAR: usize = 1;

/// The network and its parameters.
#[derive(Debug)]
pub(super) struct LinearAndDeepNetwork {
    join: Join,
    deep: Mlp,
    /// One layer.
    linear: Mlp,
    linear_name: &'static str,
}

/// What one pass over a shard leaves behind, and its buffers.
#[derive(Debug)]
pub(super) struct Pass {
    x: Vec<f32>,
    /// Gradient of `x` through the deep layers alone.
    x_gradient: Vec<f32>,
    deep: Tape,
    linear: Tape,
}

impl LinearAndDeepNetwork {
    /// Draws the deep layers before the linear one.
    pub(super) fn new(shape: LinearAndDeep<'_>, seed: u64, options: LayerOptions) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let join = Join::new(shape.inputs);
        let deep = Mlp::new(&mut rng, join.len(), &shape.deep_sizes(), false, options);
        let linear = Mlp::new(&mut rng, join.len(), &[1], false, options);
        Self { join, deep, linear, linear_name: shape.linear_name }
    }
}

impl Network for LinearAndDeepNetwork {
    type Pass = Pass;

    fn pass(&self) -> Pass {
        Pass {
            x: Vec::new(),
            x_gradient: Vec::new(),
            deep: self.deep.tape(),
            linear: self.linear.tape(),
        }
    }

    fn forward(&self, inputs: Inputs<'_>, logits: &mut [f32], pass: &mut Pass) {
        let Pass { x, deep, linear, .. } = pass;
        self.join.forward(inputs, x);
        self.deep.forward(x, logits.len(), deep);
        self.linear.forward(x, logits.len(), linear);
        for (logit, (deep, linear)) in
            logits.iter_mut().zip(deep.output().iter().zip(linear.output()))
        {
            *logit = deep + linear;
        }
    }

    fn backward(&self, _: Inputs<'_>, logit_grads: &[f32], row_grads: &mut [f32], pass: &mut Pass) {
        let Pass { x, x_gradient, deep, linear } = pass;
        x_gradient.resize(x.len(), 0.0);
        for (stack, tape) in [(&self.deep, &mut *deep), (&self.linear, &mut *linear)] {
            stack.prepare_backward(logit_grads.len(), tape);
            tape.output_gradient_mut().copy_from_slice(logit_grads);
        }
        self.deep.backward(x, deep, Some(x_gradient));
        self.linear.backward(x, linear, None);
        self.join.backward_with_linear(
            x_gradient,
            logit_grads,
            self.linear.layers[0].weight(),
            row_grads,
        );
    }

    fn record(pass: &Pass, LayerIndex { stack, layer }: LayerIndex) -> LayerRecord<'_> {
        match stack {
            DEEP => pass.deep.record(layer, &pass.x),
            _ => pass.linear.record(layer, &pass.x),
        }
    }

    fn tiles(&mut self) -> impl Iterator<Item = (LayerIndex, Tile<'_>)> + Send {
        in_stack(DEEP, self.deep.tiles()).chain(in_stack(LINEAR, self.linear.tiles()))
    }

    fn layers(&self) -> Vec<(String, &Layer)> {
        self.deep
            .named_layers("deep")
            .chain([(self.linear_name.to_owned(), &self.linear.layers[0])])
            .collect()
    }

    fn layers_mut(&mut self) -> Vec<&mut Layer> {
        self.deep.layers.iter_mut().chain(&mut self.linear.layers).collect()
    }
}
