//! DLRM from the blocks: two stacks of layers around the interaction, forward and backward over a shard.
//! Another model would be another file like this one.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::interaction::{Gradients, Interaction, Scratch, Values};
use super::kernels;
use super::layer::{Layer, LayerRecord, Method, Tile};
use super::mlp::{Mlp, Tape};
use crate::config::DlrmConfig;
use crate::loss::logit_gradients;
use crate::model::Inputs;
use crate::shard::Shard;

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
    /// Whether all row gradients of the shard are.
    pub(crate) is_finite: bool,
}

/// A layer's place in the network.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Position {
    Bottom(usize),
    Top(usize),
}

impl Dlrm {
    /// Draws all layers from one generator, in the order of the candle graph: the same seed, the same bits.
    pub(crate) fn new(config: &DlrmConfig, seed: u64, method: Method) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let bottom = Mlp::new(&mut rng, config.n_dense, &config.bottom, true, method);
        let top = Mlp::new(&mut rng, config.top_input(), &config.top, false, method);
        let interaction = Interaction { has_dense: config.has_dense(), n_rows: config.n_fields, dim: config.dim };
        Self { bottom, interaction, top }
    }

    /// Makes sure that there are buffers for so many shards, of any size.
    pub(crate) fn prepare(&self, passes: &mut Vec<Pass>, n_shards: usize) {
        while passes.len() < n_shards {
            passes.push(self.pass());
        }
    }

    fn pass(&self) -> Pass {
        Pass {
            dense: Vec::new(),
            bottom: self.bottom.tape(),
            features: Vec::new(),
            feature_gradient: Vec::new(),
            top: self.top.tape(),
            scratch: self.interaction.scratch(),
            is_finite: true,
        }
    }

    /// Writes the logits of a shard.
    pub(crate) fn forward(&self, inputs: Inputs<'_>, logits: &mut [f32], pass: &mut Pass) {
        let n_samples = logits.len();
        let Pass { bottom, features, top, scratch, .. } = pass;
        self.bottom.forward(inputs.dense, n_samples, bottom);
        features.resize(n_samples * self.interaction.n_outputs(), 0.0);
        self.interaction.forward(bottom.output(), inputs.rows, features, scratch);
        self.top.forward(features, n_samples, top);
        logits.copy_from_slice(top.output());
    }

    /// Forward and backward over a shard of a batch of `n_samples`: logits and row gradients; the gradients of the
    /// parameters wait in the pass.
    pub(crate) fn backward(&self, shard: Shard<'_>, n_samples: usize, pass: &mut Pass) {
        let Shard { inputs, outputs } = shard;
        self.forward(inputs, outputs.logits, pass);
        let n_of_shard = outputs.logits.len();
        let Pass { dense, bottom, features, feature_gradient, top, scratch, is_finite } = pass;
        dense.clear();
        dense.extend_from_slice(inputs.dense);
        self.top.prepare_backward(n_of_shard, top);
        self.bottom.prepare_backward(n_of_shard, bottom);
        feature_gradient.resize(features.len(), 0.0);

        logit_gradients(outputs.logits, inputs.labels, n_samples, top.output_gradient_mut());
        self.top.backward(features, top, Some(feature_gradient));
        let (x, to_x) = bottom.output_and_gradient_mut();
        let to = Gradients { dense: to_x, rows: &mut *outputs.row_grads };
        self.interaction.backward(Values { dense: x, rows: inputs.rows }, feature_gradient, to, scratch);
        self.bottom.backward(dense, bottom, None);
        *is_finite = kernels::all_finite(outputs.row_grads);
    }

    /// All parameters in tiles, which threads may work on at the same time.
    pub(crate) fn tiles(&mut self) -> impl Iterator<Item = (Position, Tile<'_>)> + Send {
        let bottom = self.bottom.tiles().map(|(layer_idx, tile)| (Position::Bottom(layer_idx), tile));
        let top = self.top.tiles().map(|(layer_idx, tile)| (Position::Top(layer_idx), tile));
        top.chain(bottom)
    }

    /// The layers with their names, bottom before top.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (String, &Layer)> {
        let bottom = self.bottom.layers.iter().enumerate().map(|(idx, layer)| (format!("bottom.{idx}"), layer));
        bottom.chain(self.top.layers.iter().enumerate().map(|(idx, layer)| (format!("top.{idx}"), layer)))
    }

    /// The layers in the order of [`layers`](Self::layers).
    pub(crate) fn layers_mut(&mut self) -> impl Iterator<Item = &mut Layer> {
        self.bottom.layers.iter_mut().chain(&mut self.top.layers)
    }
}

impl Pass {
    /// What the pass says about the gradient of a layer.
    pub(crate) fn record(&self, position: Position) -> LayerRecord<'_> {
        match position {
            Position::Bottom(layer_idx) => self.bottom.record(layer_idx, &self.dense),
            Position::Top(layer_idx) => self.top.record(layer_idx, &self.features),
        }
    }
}
