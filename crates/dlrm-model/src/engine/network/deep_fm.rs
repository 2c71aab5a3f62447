//! `DeepFM` from the blocks: Wide & Deep, whose linear layer is the first order of a factorization machine, and the
//! second order of it.

use super::wide_deep::{self, WideDeep};
use super::{Network, Position};
use crate::config::DeepFmConfig;
use crate::engine::factorization::Factorization;
use crate::engine::join::Join;
use crate::engine::layer::{Layer, LayerRecord, Method, Tile};
use crate::model::Inputs;

/// The network and its parameters.
#[derive(Debug)]
pub(crate) struct DeepFm {
    linear_and_deep: WideDeep,
    pairs: Factorization,
}

/// What one pass over a shard leaves behind, and its buffers.
#[derive(Debug)]
pub(crate) struct Pass {
    linear_and_deep: wide_deep::Pass,
    /// Of the rows of each sample.
    sums: Vec<f32>,
}

impl DeepFm {
    /// Draws the deep layers before the linear one.
    pub(crate) fn new(config: &DeepFmConfig, seed: u64, method: Method) -> Self {
        let join = Join { n_dense: config.n_dense, row_floats: config.n_fields * config.dim };
        let linear_and_deep = WideDeep::with_linear("linear", join, &config.deep_sizes(), seed, method);
        Self { linear_and_deep, pairs: Factorization { n_rows: config.n_fields, dim: config.dim } }
    }
}

impl Network for DeepFm {
    type Pass = Pass;

    fn pass(&self) -> Pass {
        Pass { linear_and_deep: self.linear_and_deep.pass(), sums: Vec::new() }
    }

    fn forward(&self, inputs: Inputs<'_>, logits: &mut [f32], pass: &mut Pass) {
        self.linear_and_deep.forward(inputs, logits, &mut pass.linear_and_deep);
        self.pairs.forward(inputs.rows, &mut pass.sums, logits);
    }

    fn backward(&self, inputs: Inputs<'_>, slopes: &[f32], row_grads: &mut [f32], pass: &mut Pass) {
        self.linear_and_deep.backward(inputs, slopes, row_grads, &mut pass.linear_and_deep);
        self.pairs.backward(inputs.rows, &pass.sums, slopes, row_grads);
    }

    fn record(pass: &Pass, position: Position) -> LayerRecord<'_> {
        WideDeep::record(&pass.linear_and_deep, position)
    }

    fn tiles(&mut self) -> impl Iterator<Item = (Position, Tile<'_>)> + Send {
        self.linear_and_deep.tiles()
    }

    fn layers(&self) -> Vec<(String, &Layer)> {
        self.linear_and_deep.layers()
    }

    fn layers_mut(&mut self) -> Vec<&mut Layer> {
        self.linear_and_deep.layers_mut()
    }
}
