//! `DeepFM`: a factorization machine beside a stack of layers.

use candle_core::{Device, Result, Tensor};

use super::wide_deep::{self, WideDeepGraph, WideDeepNetwork};
use super::{Architecture, ModelConfig, check_deep, n_mlp_parameters};
use crate::batch::{InputSizes, Inputs};
use crate::candle::graph::{Graph, Names, ShardInputs, Tapes};
use crate::candle::mlp::Mlp as GraphMlp;
use crate::error::ConfigError;
use crate::native::factorization::Factorization;
use crate::native::join::Join;
use crate::native::layer::{Layer, LayerRecord, Method, Tile};
use crate::native::network::{self, Network, Position, Runner};

/// The shape of `DeepFM`: a factorization machine and a stack of layers on the same rows.
///
/// ```text
/// dense [B, n_dense] ──────┬► x ─┬► deep layers, ReLU ► linear ───┐
/// rows [B, n_fields, dim] ─┤     └► first order: linear ──────────┼► sum: logits [B]
///                          └► second order: sum of all pairs' dots┘
/// ```
///
/// The second order is `0.5 · ((Σ v)² - Σ v²)`, summed over the `dim` elements: the dot products of
/// all pairs of a sample's rows. Numeric inputs have no vectors and take part in the other two
/// alone.
///
/// # The first order
/// The published model has one weight for each feature, which is a second embedding table with rows
/// of length 1. Here a model never sees a table, a feature has one row, and the compressed table's
/// bytes are counted to the last; a second table would need a method and a budget of its own. So
/// the first order is a linear layer with a bias on `x = dense ‖ rows`: a feature's weight is a
/// linear function of its row, with coefficients of its field, and learnt through it. The numeric
/// inputs have a weight each, as published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeepFmConfig {
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

impl DeepFmConfig {
    /// Output sizes of all deep layers.
    fn deep_sizes(&self) -> Vec<usize> {
        [&self.deep[..], &[1]].concat()
    }
}

impl Architecture for DeepFmConfig {
    fn name(&self) -> &'static str {
        "deepfm"
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
        2 * self.inputs().x_len() + 2 * self.dim + self.deep.iter().sum::<usize>()
    }

    fn dense_weights(&self) -> Vec<String> {
        ["linear.weight", "deep.0.weight"].map(str::to_owned).to_vec()
    }

    fn graph(&self, seed: u64, device: &Device) -> Result<Box<dyn Graph>> {
        let (x_len, deep) = (self.inputs().x_len(), self.deep_sizes());
        Ok(Box::new(DeepFmGraph {
            linear_and_deep: WideDeepGraph::new("linear", x_len, &deep, seed, device)?,
        }))
    }

    fn network(&self, seed: u64, method: Method) -> Box<dyn Runner> {
        network::boxed(DeepFmNetwork::new(self, seed, method))
    }
}

impl From<DeepFmConfig> for ModelConfig {
    fn from(config: DeepFmConfig) -> Self {
        Self::of(config)
    }
}

/// A factorization machine beside a stack of layers.
struct DeepFmGraph {
    linear_and_deep: WideDeepGraph,
}

impl Graph for DeepFmGraph {
    fn stacks(&self) -> Vec<(Names, &GraphMlp)> {
        self.linear_and_deep.stacks()
    }

    fn forward(&self, inputs: &ShardInputs, tapes: &Tapes) -> Result<Tensor> {
        self.linear_and_deep.forward(inputs, tapes)? + second_order(&inputs.rows)?
    }
}

/// `[B, F, d]` to `[B]`: `0.5 · ((Σ v)² - Σ v²)`, summed over the elements.
fn second_order(rows: &Tensor) -> Result<Tensor> {
    let twice = (rows.sum(1)?.sqr()? - rows.sqr()?.sum(1)?)?;
    twice.sum(1)? * 0.5
}

/// The network and its parameters.
#[derive(Debug)]
struct DeepFmNetwork {
    linear_and_deep: WideDeepNetwork,
    pairs: Factorization,
}

/// What one pass over a shard leaves behind, and its buffers.
#[derive(Debug)]
struct Pass {
    linear_and_deep: wide_deep::Pass,
    /// Of the rows of each sample.
    sums: Vec<f32>,
}

impl DeepFmNetwork {
    /// Draws the deep layers before the linear one.
    fn new(config: &DeepFmConfig, seed: u64, method: Method) -> Self {
        let join = Join::of(config.inputs());
        let linear_and_deep =
            WideDeepNetwork::with_linear("linear", join, &config.deep_sizes(), seed, method);
        Self { linear_and_deep, pairs: Factorization { n_rows: config.n_fields, dim: config.dim } }
    }
}

impl Network for DeepFmNetwork {
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
        WideDeepNetwork::record(&pass.linear_and_deep, position)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_rows_on_paper() {
        let rows = Tensor::new(&[[[1f32, 2.0], [3.0, 4.0], [5.0, 0.0]]], &Device::Cpu).unwrap();
        assert_eq!(second_order(&rows).unwrap().to_vec1::<f32>().unwrap(), [11.0 + 5.0 + 15.0]);
    }
}
