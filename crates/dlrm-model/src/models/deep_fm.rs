//! `DeepFM`: a factorization machine beside a stack of layers.

#[cfg(feature = "candle")]
use candle_core::Device;

use super::architecture::Architecture;
use super::wide_deep::{self, LinearAndDeep, LinearAndDeepNetwork};
use crate::batch::{InputSizes, Inputs};
#[cfg(feature = "candle")]
use crate::candle::graph::Graph;
use crate::error::ConfigError;
use crate::native::factorization::Factorization;
use crate::native::layer::{Layer, LayerOptions, LayerRecord, Tile};
use crate::native::network::{self, DynNetwork, LayerIndex, Network};

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
/// bytes are all counted; a second table would need a method and a budget of its own. So
/// the first order is a linear layer with a bias on `x = dense ‖ rows`: a feature's weight is a
/// linear function of its row, with coefficients of its field, and learnt through it. The numeric
/// inputs have a weight each, as published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeepFmConfig {
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

impl DeepFmConfig {
    fn linear_and_deep(&self) -> LinearAndDeep<'_> {
        LinearAndDeep { inputs: self.inputs(), hidden: &self.deep, linear_name: "linear" }
    }
}

impl Architecture for DeepFmConfig {
    fn name(&self) -> &'static str {
        "deepfm"
    }

    fn inputs(&self) -> InputSizes {
        InputSizes { n_dense: self.n_dense, n_fields: self.n_fields, dim: self.dim }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.linear_and_deep().validate()
    }

    /// The factorization machine has no parameters other than the embedding rows.
    fn n_parameters(&self) -> usize {
        self.linear_and_deep().n_parameters()
    }

    fn activation_floats(&self) -> usize {
        self.linear_and_deep().activation_floats() + 2 * self.dim
    }

    fn dense_weights(&self) -> Vec<String> {
        self.linear_and_deep().dense_weights()
    }

    #[cfg(feature = "candle")]
    fn graph(&self, seed: u64, device: &Device) -> candle_core::Result<Box<dyn Graph>> {
        let linear_and_deep =
            wide_deep::graph::LinearAndDeepGraph::new(self.linear_and_deep(), seed, device)?;
        Ok(Box::new(graph::DeepFmGraph { linear_and_deep }))
    }

    fn network(&self, seed: u64, options: LayerOptions) -> Box<dyn DynNetwork> {
        network::boxed(DeepFmNetwork {
            linear_and_deep: LinearAndDeepNetwork::new(self.linear_and_deep(), seed, options),
            pairs: Factorization { n_rows: self.n_fields, dim: self.dim },
        })
    }
}

#[cfg(feature = "candle")]
mod graph {
    use candle_core::{Result, Tensor};

    use crate::candle::graph::{Graph, Names, ShardInputs, Tapes};
    use crate::candle::mlp::Mlp;
    use crate::models::wide_deep::graph::LinearAndDeepGraph;

    /// A factorization machine beside a stack of layers.
    pub(super) struct DeepFmGraph {
        pub(super) linear_and_deep: LinearAndDeepGraph,
    }

    impl Graph for DeepFmGraph {
        fn stacks(&self) -> Vec<(Names, &Mlp)> {
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

    #[cfg(test)]
    mod tests {
        use candle_core::Device;

        use super::*;

        #[test]
        fn three_rows_on_paper() {
            let rows = Tensor::new(&[[[1f32, 2.0], [3.0, 4.0], [5.0, 0.0]]], &Device::Cpu).unwrap();
            assert_eq!(second_order(&rows).unwrap().to_vec1::<f32>().unwrap(), [11.0 + 5.0 + 15.0]);
        }
    }
}

/// The network and its parameters.
#[derive(Debug)]
struct DeepFmNetwork {
    linear_and_deep: LinearAndDeepNetwork,
    pairs: Factorization,
}

/// What one pass over a shard leaves behind, and its buffers.
#[derive(Debug)]
struct Pass {
    linear_and_deep: wide_deep::Pass,
    /// Of the rows of each sample.
    sums: Vec<f32>,
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

    fn backward(
        &self,
        inputs: Inputs<'_>,
        logit_grads: &[f32],
        row_grads: &mut [f32],
        pass: &mut Pass,
    ) {
        self.linear_and_deep.backward(inputs, logit_grads, row_grads, &mut pass.linear_and_deep);
        self.pairs.backward(inputs.rows, &pass.sums, logit_grads, row_grads);
    }

    fn record(pass: &Pass, index: LayerIndex) -> LayerRecord<'_> {
        LinearAndDeepNetwork::record(&pass.linear_and_deep, index)
    }

    fn tiles(&mut self) -> impl Iterator<Item = (LayerIndex, Tile<'_>)> + Send {
        self.linear_and_deep.tiles()
    }

    fn layers(&self) -> Vec<(String, &Layer)> {
        self.linear_and_deep.layers()
    }

    fn layers_mut(&mut self) -> Vec<&mut Layer> {
        self.linear_and_deep.layers_mut()
    }
}
