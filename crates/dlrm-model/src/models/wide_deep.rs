//! Wide & Deep: a linear layer beside a stack of layers.

use candle_core::{Device, Result, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Architecture, ModelConfig, check_deep, n_mlp_parameters};
use crate::batch::{InputSizes, Inputs};
use crate::candle::graph::{Graph, Names, ShardInputs, Tapes};
use crate::candle::mlp::Mlp as GraphMlp;
use crate::error::ConfigError;
use crate::native::join::Join;
use crate::native::layer::{Layer, LayerRecord, Method, Tile};
use crate::native::mlp::{Mlp, Tape};
use crate::native::network::{self, Network, Position, Runner, in_stack};

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
    /// Numeric inputs a sample.
    pub n_dense: usize,
    /// Categorical fields a sample: one embedding row each.
    pub n_fields: usize,
    /// Length of an embedding row.
    pub dim: usize,
    /// Output sizes of the hidden deep layers, at least one; the layer that makes a logit of the
    /// last comes on top.
    pub deep: Vec<usize>,
}

impl WideDeepConfig {
    /// Output sizes of all deep layers.
    fn deep_sizes(&self) -> Vec<usize> {
        [&self.deep[..], &[1]].concat()
    }
}

impl Architecture for WideDeepConfig {
    fn name(&self) -> &'static str {
        "wdl"
    }

    fn inputs(&self) -> InputSizes {
        InputSizes { n_dense: self.n_dense, n_fields: self.n_fields, dim: self.dim }
    }

    fn validate(&self) -> std::result::Result<(), ConfigError> {
        check_deep(self.n_fields, self.dim, &self.deep)
    }

    fn n_parameters(&self) -> usize {
        let x = self.inputs().x_len();
        n_mlp_parameters(x, &self.deep_sizes()) + n_mlp_parameters(x, &[1])
    }

    fn activation_floats(&self) -> usize {
        2 * self.inputs().x_len() + self.deep.iter().sum::<usize>()
    }

    fn dense_weights(&self) -> Vec<String> {
        ["wide.weight", "deep.0.weight"].map(str::to_owned).to_vec()
    }

    fn graph(&self, seed: u64, device: &Device) -> Result<Box<dyn Graph>> {
        Ok(Box::new(WideDeepGraph::new(
            "wide",
            self.inputs().x_len(),
            &self.deep_sizes(),
            seed,
            device,
        )?))
    }

    fn network(&self, seed: u64, method: Method) -> Box<dyn Runner> {
        network::boxed(WideDeepNetwork::new(self, seed, method))
    }
}

impl From<WideDeepConfig> for ModelConfig {
    fn from(config: WideDeepConfig) -> Self {
        Self::of(config)
    }
}

/// A linear layer beside a stack of layers.
pub(super) struct WideDeepGraph {
    deep: GraphMlp,
    wide: GraphMlp,
    /// How the wide layer is called.
    wide_name: &'static str,
}

impl WideDeepGraph {
    /// Draws the deep layers before the linear one, which other models call otherwise.
    pub(super) fn new(
        wide_name: &'static str,
        x_len: usize,
        deep: &[usize],
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let deep = GraphMlp::new(&mut rng, x_len, deep, false, device)?;
        let wide = GraphMlp::new(&mut rng, x_len, &[1], false, device)?;
        Ok(Self { deep, wide, wide_name })
    }
}

impl Graph for WideDeepGraph {
    fn stacks(&self) -> Vec<(Names, &GraphMlp)> {
        vec![(Names::Numbered("deep"), &self.deep), (Names::Single(self.wide_name), &self.wide)]
    }

    fn forward(&self, inputs: &ShardInputs, tapes: &Tapes) -> Result<Tensor> {
        let x = inputs.join()?;
        (self.deep.forward(&x, tapes.get(0))? + self.wide.forward(&x, tapes.get(1))?)?.squeeze(1)
    }
}

const DEEP: usize = 0;
const WIDE: usize = 1;

/// The network and its parameters.
#[derive(Debug)]
pub(super) struct WideDeepNetwork {
    join: Join,
    deep: Mlp,
    /// One layer.
    wide: Mlp,
    /// How the wide layer is called.
    wide_name: &'static str,
}

/// What one pass over a shard leaves behind, and its buffers.
#[derive(Debug)]
pub(super) struct Pass {
    x: Vec<f32>,
    /// Through the deep layers alone.
    x_gradient: Vec<f32>,
    deep: Tape,
    wide: Tape,
}

impl WideDeepNetwork {
    /// Draws the deep layers before the wide one.
    fn new(config: &WideDeepConfig, seed: u64, method: Method) -> Self {
        let join = Join::of(config.inputs());
        Self::with_linear("wide", join, &config.deep_sizes(), seed, method)
    }

    /// The same for another model of which it is a part, with a name for the linear layer there.
    pub(super) fn with_linear(
        wide_name: &'static str,
        join: Join,
        deep: &[usize],
        seed: u64,
        method: Method,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let deep = Mlp::new(&mut rng, join.len(), deep, false, method);
        let wide = Mlp::new(&mut rng, join.len(), &[1], false, method);
        Self { join, deep, wide, wide_name }
    }
}

impl Network for WideDeepNetwork {
    type Pass = Pass;

    fn pass(&self) -> Pass {
        Pass {
            x: Vec::new(),
            x_gradient: Vec::new(),
            deep: self.deep.tape(),
            wide: self.wide.tape(),
        }
    }

    fn forward(&self, inputs: Inputs<'_>, logits: &mut [f32], pass: &mut Pass) {
        let Pass { x, deep, wide, .. } = pass;
        self.join.forward(inputs, x);
        self.deep.forward(x, logits.len(), deep);
        self.wide.forward(x, logits.len(), wide);
        for (logit, (deep, wide)) in logits.iter_mut().zip(deep.output().iter().zip(wide.output()))
        {
            *logit = deep + wide;
        }
    }

    fn backward(&self, _: Inputs<'_>, slopes: &[f32], row_grads: &mut [f32], pass: &mut Pass) {
        let Pass { x, x_gradient, deep, wide } = pass;
        x_gradient.resize(x.len(), 0.0);
        for (stack, tape) in [(&self.deep, &mut *deep), (&self.wide, &mut *wide)] {
            stack.prepare_backward(slopes.len(), tape);
            tape.output_gradient_mut().copy_from_slice(slopes);
        }
        self.deep.backward(x, deep, Some(x_gradient));
        self.wide.backward(x, wide, None);
        self.join.backward_with_linear(x_gradient, slopes, self.wide.layers[0].weight(), row_grads);
    }

    fn record(pass: &Pass, Position { stack, layer }: Position) -> LayerRecord<'_> {
        match stack {
            DEEP => pass.deep.record(layer, &pass.x),
            _ => pass.wide.record(layer, &pass.x),
        }
    }

    fn tiles(&mut self) -> impl Iterator<Item = (Position, Tile<'_>)> + Send {
        in_stack(DEEP, self.deep.tiles()).chain(in_stack(WIDE, self.wide.tiles()))
    }

    fn layers(&self) -> Vec<(String, &Layer)> {
        self.deep.named("deep").chain([(self.wide_name.to_owned(), &self.wide.layers[0])]).collect()
    }

    fn layers_mut(&mut self) -> Vec<&mut Layer> {
        self.deep.layers.iter_mut().chain(&mut self.wide.layers).collect()
    }
}
