//! DLRM from the blocks: two stacks of layers around the interaction, forward and backward over a shard.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Network, Position, in_stack};
use crate::config::DlrmConfig;
use crate::engine::interaction::{Gradients, Interaction, Scratch, Values};
use crate::engine::layer::{Layer, LayerRecord, Method, Tile};
use crate::engine::mlp::{Mlp, Tape};
use crate::model::Inputs;

const BOTTOM: usize = 0;
const TOP: usize = 1;

/// The network and its parameters.
#[derive(Debug)]
pub(crate) struct Dlrm {
    /// Without layers for data without dense inputs.
    bottom: Mlp,
    interaction: Interaction,
    top: Mlp,
}

/// What one pass over a shard leaves behind, and its buffers.
#[derive(Debug)]
pub(crate) struct Pass {
    /// A copy: the gradient of the first layer needs it when the batch is out of reach.
    dense: Vec<f32>,
    bottom: Tape,
    features: Vec<f32>,
    feature_gradient: Vec<f32>,
    top: Tape,
    scratch: Scratch,
}

impl Dlrm {
    /// Draws bottom before top.
    pub(crate) fn new(config: &DlrmConfig, seed: u64, method: Method) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let bottom = Mlp::new(&mut rng, config.n_dense, &config.bottom, true, method);
        let top = Mlp::new(&mut rng, config.top_input(), &config.top, false, method);
        let interaction = Interaction { has_dense: config.has_dense(), n_rows: config.n_fields, dim: config.dim };
        Self { bottom, interaction, top }
    }
}

impl Network for Dlrm {
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

    fn backward(&self, inputs: Inputs<'_>, slopes: &[f32], row_grads: &mut [f32], pass: &mut Pass) {
        let Pass { dense, bottom, features, feature_gradient, top, scratch } = pass;
        dense.clear();
        dense.extend_from_slice(inputs.dense);
        self.top.prepare_backward(slopes.len(), top);
        self.bottom.prepare_backward(slopes.len(), bottom);
        feature_gradient.resize(features.len(), 0.0);

        top.output_gradient_mut().copy_from_slice(slopes);
        self.top.backward(features, top, Some(feature_gradient));
        let (x, to_x) = bottom.output_and_gradient_mut();
        let to = Gradients { dense: to_x, rows: row_grads };
        self.interaction.backward(Values { dense: x, rows: inputs.rows }, feature_gradient, to, scratch);
        self.bottom.backward(dense, bottom, None);
    }

    fn record(pass: &Pass, Position { stack, layer }: Position) -> LayerRecord<'_> {
        match stack {
            BOTTOM => pass.bottom.record(layer, &pass.dense),
            _ => pass.top.record(layer, &pass.features),
        }
    }

    fn tiles(&mut self) -> impl Iterator<Item = (Position, Tile<'_>)> + Send {
        in_stack(TOP, self.top.tiles()).chain(in_stack(BOTTOM, self.bottom.tiles()))
    }

    fn layers(&self) -> Vec<(String, &Layer)> {
        self.bottom.named("bottom").chain(self.top.named("top")).collect()
    }

    fn layers_mut(&mut self) -> Vec<&mut Layer> {
        self.bottom.layers.iter_mut().chain(&mut self.top.layers).collect()
    }
}
