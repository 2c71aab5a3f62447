//! The second Deep & Cross Network: cross layers with a weight matrix beside a stack of layers.

#[cfg(feature = "candle")]
use candle_core::Device;
use rand_chacha::ChaCha8Rng;

use super::architecture::{Architecture, validate_deep};
#[cfg(feature = "candle")]
use super::dcn::graph::CrossGraph;
use super::dcn::{CrossNetwork, n_deep_and_logit_parameters};
use crate::batch::InputSizes;
#[cfg(feature = "candle")]
use crate::candle::graph::Graph;
use crate::error::ConfigError;
use crate::native::cross_matrix::MatrixCross;
use crate::native::join::Join;
use crate::native::layer::LayerOptions;
use crate::native::network::{self, DynNetwork};

/// The shape of the second Deep & Cross Network in its parallel structure.
///
/// ```text
/// dense [B, n_dense] ──────────┬► x_0 ─┬► deep layers, ReLU ─┐
/// rows [B, n_fields · dim] ────┘       └► cross layers ──────┴► cat ► linear ► logits [B]
///
/// x_{l+1} = x_0 ∘ (W_l x_l + b_l) + x_l           or, with a rank,  W_l = U_l V_lᵀ
/// ```
///
/// `∘` is element by element. A full `W_l` is square in the length of `x_0` and has most of the
/// model's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DcnV2Config {
    /// Numeric inputs of a sample.
    pub n_dense: usize,
    /// Categorical fields of a sample: one embedding row each.
    pub n_fields: usize,
    /// Length of an embedding row.
    pub dim: usize,
    /// Cross layers, at least one.
    pub n_cross: usize,
    /// Columns of `U_l` and `V_l`; `None` for a full matrix. Below half the length of `x_0` it is
    /// cheaper than that.
    pub rank: Option<usize>,
    /// Output sizes of the deep layers, at least one.
    pub deep: Vec<usize>,
}

impl Architecture for DcnV2Config {
    fn name(&self) -> &'static str {
        "dcnv2"
    }

    fn inputs(&self) -> InputSizes {
        InputSizes { n_dense: self.n_dense, n_fields: self.n_fields, dim: self.dim }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if self.n_cross == 0 {
            return Err(ConfigError::NoCrossLayers);
        }
        if self.rank == Some(0) {
            return Err(ConfigError::ZeroRank);
        }
        validate_deep(self.inputs(), &self.deep)
    }

    fn n_parameters(&self) -> usize {
        let x = self.inputs().x_len();
        let matrix = self.rank.map_or(x * x, |rank| 2 * x * rank);
        self.n_cross * (matrix + x) + n_deep_and_logit_parameters(x, &self.deep)
    }

    fn activation_floats(&self) -> usize {
        (2 + 3 * self.n_cross) * self.inputs().x_len() + self.deep.iter().sum::<usize>()
    }

    /// Each cross layer adds its input to its output, so that numeric inputs reach the last layer,
    /// too.
    fn dense_weights(&self) -> Vec<String> {
        let kind = if self.rank.is_some() { "v.weight" } else { "weight" };
        let crosses = (0..self.n_cross).map(|layer_idx| format!("cross.{layer_idx}.{kind}"));
        crosses.chain(["deep.0.weight", "logit.weight"].map(str::to_owned)).collect()
    }

    #[cfg(feature = "candle")]
    fn graph(&self, seed: u64, device: &Device) -> candle_core::Result<Box<dyn Graph>> {
        let layer = graph::MatrixCrossLayer::new;
        let graph = CrossGraph::new(self.inputs(), &self.deep, seed, device, |rng, len| {
            (0..self.n_cross).map(|_| layer(rng, len, self.rank, device)).collect()
        });
        Ok(Box::new(graph?))
    }

    fn network(&self, seed: u64, options: LayerOptions) -> Box<dyn DynNetwork> {
        let join = Join::new(self.inputs());
        let cross = |rng: &mut ChaCha8Rng| {
            MatrixCross::new(rng, join.len(), self.rank, self.n_cross, options)
        };
        network::boxed(CrossNetwork::new(join, &self.deep, seed, options, cross))
    }
}

#[cfg(feature = "candle")]
mod graph {
    use candle_core::{Device, Result, Tensor, Var};
    use rand::Rng;

    use crate::init;
    use crate::models::dcn::graph::CrossLayer;

    /// `x_{l+1} = x_0 ∘ (W x_l + b) + x_l`
    pub(super) struct MatrixCrossLayer {
        matrix: Matrix,
        /// `[len]`
        bias: Var,
    }

    /// `W`, each matrix `[n_output, n_input]`.
    enum Matrix {
        Full(Var),
        /// `W = U Vᵀ`
        LowRank {
            /// `Vᵀ`: `[rank, len]`
            v: Var,
            /// `[len, rank]`
            u: Var,
        },
    }

    impl MatrixCrossLayer {
        /// Draws `W`, or `V` before `U`, and then the bias.
        pub(super) fn new<R: Rng>(
            rng: &mut R,
            len: usize,
            rank: Option<usize>,
            device: &Device,
        ) -> Result<Self> {
            let v = match rank {
                Some(rank) => {
                    Some(Var::from_vec(init::matrix(rng, len, rank), (rank, len), device)?)
                }
                None => None,
            };
            let n_input = rank.unwrap_or(len);
            let init = init::linear(rng, n_input, len);
            let (weight, bias) = (
                Var::from_vec(init.weight, (len, n_input), device)?,
                Var::from_vec(init.bias, len, device)?,
            );
            let matrix = match v {
                Some(v) => Matrix::LowRank { v, u: weight },
                None => Matrix::Full(weight),
            };
            Ok(Self { matrix, bias })
        }
    }

    impl CrossLayer for MatrixCrossLayer {
        fn forward(&self, x: &Tensor, input: &Tensor) -> Result<Tensor> {
            let product = match &self.matrix {
                Matrix::Full(weight) => input.matmul(&weight.t()?)?,
                Matrix::LowRank { v, u } => input.matmul(&v.t()?)?.matmul(&u.t()?)?,
            };
            x.mul(&product.broadcast_add(&self.bias)?)? + input
        }

        fn variables(&self) -> Vec<(&'static str, Var)> {
            match &self.matrix {
                Matrix::Full(weight) => {
                    vec![("weight", weight.clone()), ("bias", self.bias.clone())]
                }
                Matrix::LowRank { v, u } => {
                    vec![
                        ("v.weight", v.clone()),
                        ("u.weight", u.clone()),
                        ("u.bias", self.bias.clone()),
                    ]
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use candle_core::Device::Cpu;

        use super::*;

        #[test]
        fn cross_layers_on_paper() {
            let var = |values: &[f32], shape: (usize, usize)| {
                Var::from_slice(values, shape, &Cpu).unwrap()
            };
            let full = Matrix::Full(var(&[3.0, -1.0, 0.0, 2.0], (2, 2)));
            // U Vᵀ = (1 2)ᵀ (3 -1) = (3 -1; 6 -2)
            let low_rank =
                Matrix::LowRank { v: var(&[3.0, -1.0], (1, 2)), u: var(&[1.0, 2.0], (2, 1)) };
            let x = Tensor::new(&[[1f32, 2.0]], &Cpu).unwrap();
            let input = Tensor::new(&[[2f32, 1.0]], &Cpu).unwrap();
            for (matrix, expected) in
                [(full, [15.0 + 2.0, 44.0 + 1.0]), (low_rank, [15.0 + 2.0, 60.0 + 1.0])]
            {
                let layer =
                    MatrixCrossLayer { matrix, bias: Var::new(&[10f32, 20.0], &Cpu).unwrap() };
                assert_eq!(
                    layer.forward(&x, &input).unwrap().to_vec2::<f32>().unwrap(),
                    [expected]
                );
            }
        }
    }
}
