//! Wide & Deep from the blocks: a linear layer beside a stack of layers, forward and backward over a shard.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Network, Position, in_stack};
use crate::config::WideDeepConfig;
use crate::engine::join::Join;
use crate::engine::layer::{Layer, LayerRecord, Method, Tile};
use crate::engine::mlp::{Mlp, Tape};
use crate::model::Inputs;

const DEEP: usize = 0;
const WIDE: usize = 1;

/// The network and its parameters.
#[derive(Debug)]
pub(crate) struct WideDeep {
    join: Join,
    deep: Mlp,
    /// One layer.
    wide: Mlp,
    /// How the wide layer is called.
    wide_name: &'static str,
}

/// What one pass over a shard leaves behind, and its buffers.
#[derive(Debug)]
pub(crate) struct Pass {
    x: Vec<f32>,
    /// Through the deep layers alone.
    x_gradient: Vec<f32>,
    deep: Tape,
    wide: Tape,
}

impl WideDeep {
    /// Draws the deep layers before the wide one.
    pub(crate) fn new(config: &WideDeepConfig, seed: u64, method: Method) -> Self {
        let join = Join { n_dense: config.n_dense, row_floats: config.n_fields * config.dim };
        Self::with_linear("wide", join, &config.deep_sizes(), seed, method)
    }

    /// The same for another model of which it is a part, with a name for the linear layer there.
    pub(crate) fn with_linear(wide_name: &'static str, join: Join, deep: &[usize], seed: u64, method: Method) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let deep = Mlp::new(&mut rng, join.len(), deep, false, method);
        let wide = Mlp::new(&mut rng, join.len(), &[1], false, method);
        Self { join, deep, wide, wide_name }
    }
}

impl Network for WideDeep {
    type Pass = Pass;

    fn pass(&self) -> Pass {
        Pass { x: Vec::new(), x_gradient: Vec::new(), deep: self.deep.tape(), wide: self.wide.tape() }
    }

    fn forward(&self, inputs: Inputs<'_>, logits: &mut [f32], pass: &mut Pass) {
        let Pass { x, deep, wide, .. } = pass;
        self.join.forward(inputs, x);
        self.deep.forward(x, logits.len(), deep);
        self.wide.forward(x, logits.len(), wide);
        for (logit, (deep, wide)) in logits.iter_mut().zip(deep.output().iter().zip(wide.output())) {
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
