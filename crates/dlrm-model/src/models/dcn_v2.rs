//! The second Deep & Cross Network: cross layers with a weight matrix beside a stack of layers.

use candle_core::{Device, Result, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::dcn::CrossNetwork;
use super::{Architecture, InputSizes, ModelConfig, check_deep, n_mlp_parameters};
use crate::engine::cross_matrix::MatrixCross;
use crate::engine::join::Join;
use crate::engine::layer::Method;
use crate::engine::network::{self, Runner};
use crate::error::ConfigError;
use crate::graph::{Graph, Names, ShardInputs, Tapes};
use crate::init;
use crate::mlp::Mlp as GraphMlp;

/// The shape of the second Deep & Cross Network in its parallel structure.
///
/// ```text
/// dense [B, n_dense] ──────────┬► x_0 ─┬► deep layers, ReLU ─┐
/// rows [B, n_fields · dim] ────┘       └► cross layers ──────┴► cat ► linear ► logits [B]
///
/// x_{l+1} = x_0 ∘ (W_l x_l + b_l) + x_l           or, with a rank,  W_l = U_l V_lᵀ
/// ```
///
/// `∘` is element by element. A full `W_l` is square in the length of `x_0` and has most of the model's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DcnV2Config {
    /// Numeric inputs a sample.
    pub n_dense: usize,
    /// Categorical fields a sample: one embedding row each.
    pub n_fields: usize,
    /// Length of an embedding row.
    pub dim: usize,
    /// Cross layers, at least one.
    pub n_cross: usize,
    /// Columns of `U_l` and `V_l`; `None` for a full matrix. Below half the length of `x_0` it is cheaper than that.
    pub rank: Option<usize>,
    /// Output sizes of the deep layers, at least one.
    pub deep: Vec<usize>,
}

impl DcnV2Config {
    /// Length of what both parts give: the input of the last layer.
    fn logit_input(&self) -> usize {
        self.inputs().x_len() + self.deep.last().copied().unwrap_or(0)
    }
}

impl Architecture for DcnV2Config {
    fn name(&self) -> &'static str {
        "dcnv2"
    }

    fn inputs(&self) -> InputSizes {
        InputSizes { n_dense: self.n_dense, n_fields: self.n_fields, dim: self.dim }
    }

    fn validate(&self) -> std::result::Result<(), ConfigError> {
        if self.n_cross == 0 {
            return Err(ConfigError::NoCrossLayers);
        }
        if self.rank == Some(0) {
            return Err(ConfigError::ZeroRank);
        }
        check_deep(self.n_fields, self.dim, &self.deep)
    }

    fn n_parameters(&self) -> usize {
        let x = self.inputs().x_len();
        let matrix = self.rank.map_or(x * x, |rank| 2 * x * rank);
        self.n_cross * (matrix + x) + n_mlp_parameters(x, &self.deep) + n_mlp_parameters(self.logit_input(), &[1])
    }

    fn activation_floats(&self) -> usize {
        (2 + 3 * self.n_cross) * self.inputs().x_len() + self.deep.iter().sum::<usize>()
    }

    fn graph(&self, seed: u64, device: &Device) -> Result<Box<dyn Graph>> {
        Ok(Box::new(DcnV2Graph::new(self, seed, device)?))
    }

    fn network(&self, seed: u64, method: Method) -> Box<dyn Runner> {
        let join = Join::of(self.inputs());
        let cross = |rng: &mut ChaCha8Rng| MatrixCross::new(rng, join.len(), self.rank, self.n_cross, method);
        network::boxed(CrossNetwork::new(join, &self.deep, seed, method, cross))
    }
}

impl From<DcnV2Config> for ModelConfig {
    fn from(config: DcnV2Config) -> Self {
        Self::of(config)
    }
}

/// Cross layers beside a stack of layers, and a linear layer on both.
struct DcnV2Graph {
    deep: GraphMlp,
    cross: Vec<CrossLayer>,
    logit: GraphMlp,
}

/// `x_{l+1} = x_0 ∘ (W x_l + b) + x_l`
struct CrossLayer {
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

impl CrossLayer {
    /// Draws `W`, or `V` before `U`, and then the bias.
    fn new<R: Rng>(rng: &mut R, len: usize, rank: Option<usize>, device: &Device) -> Result<Self> {
        let v = match rank {
            Some(rank) => Some(Var::from_vec(init::matrix(rng, len, rank), (rank, len), device)?),
            None => None,
        };
        let n_input = rank.unwrap_or(len);
        let init = init::linear(rng, n_input, len);
        let (weight, bias) =
            (Var::from_vec(init.weight, (len, n_input), device)?, Var::from_vec(init.bias, len, device)?);
        let matrix = match v {
            Some(v) => Matrix::LowRank { v, u: weight },
            None => Matrix::Full(weight),
        };
        Ok(Self { matrix, bias })
    }

    /// `x_0` and `x_l` `[B, len]` to `x_{l+1}`.
    fn forward(&self, x: &Tensor, input: &Tensor) -> Result<Tensor> {
        let product = match &self.matrix {
            Matrix::Full(weight) => input.matmul(&weight.t()?)?,
            Matrix::LowRank { v, u } => input.matmul(&v.t()?)?.matmul(&u.t()?)?,
        };
        x.mul(&product.broadcast_add(&self.bias)?)? + input
    }

    /// What follows the layer's name, and the variables.
    fn variables(&self) -> Vec<(&'static str, Var)> {
        match &self.matrix {
            Matrix::Full(weight) => vec![("weight", weight.clone()), ("bias", self.bias.clone())],
            Matrix::LowRank { v, u } => {
                vec![("v.weight", v.clone()), ("u.weight", u.clone()), ("u.bias", self.bias.clone())]
            }
        }
    }
}

impl DcnV2Graph {
    /// Draws the deep layers, the cross layers and the last one.
    fn new(config: &DcnV2Config, seed: u64, device: &Device) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let len = config.inputs().x_len();
        let deep = GraphMlp::new(&mut rng, len, &config.deep, true, device)?;
        let cross = (0..config.n_cross).map(|_| CrossLayer::new(&mut rng, len, config.rank, device));
        let cross = cross.collect::<Result<_>>()?;
        let logit = GraphMlp::new(&mut rng, config.logit_input(), &[1], false, device)?;
        Ok(Self { deep, cross, logit })
    }
}

impl Graph for DcnV2Graph {
    fn stacks(&self) -> Vec<(Names, &GraphMlp)> {
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
        let cross = self.cross.iter().try_fold(x.clone(), |input, layer| layer.forward(&x, &input))?;
        self.logit.forward(&Tensor::cat(&[&cross, &deep], 1)?, tapes.get(1))?.squeeze(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device::Cpu;

    #[test]
    fn cross_layers_on_paper() {
        let var = |values: &[f32], shape: (usize, usize)| Var::from_slice(values, shape, &Cpu).unwrap();
        let full = Matrix::Full(var(&[3.0, -1.0, 0.0, 2.0], (2, 2)));
        // U Vᵀ = (1 2)ᵀ (3 -1) = (3 -1; 6 -2)
        let low_rank = Matrix::LowRank { v: var(&[3.0, -1.0], (1, 2)), u: var(&[1.0, 2.0], (2, 1)) };
        let x = Tensor::new(&[[1f32, 2.0]], &Cpu).unwrap();
        let input = Tensor::new(&[[2f32, 1.0]], &Cpu).unwrap();
        for (matrix, expected) in [(full, [15.0 + 2.0, 44.0 + 1.0]), (low_rank, [15.0 + 2.0, 60.0 + 1.0])] {
            let layer = CrossLayer { matrix, bias: Var::new(&[10f32, 20.0], &Cpu).unwrap() };
            assert_eq!(layer.forward(&x, &input).unwrap().to_vec2::<f32>().unwrap(), [expected]);
        }
    }
}
