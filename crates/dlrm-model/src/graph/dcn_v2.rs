//! The second Deep & Cross Network as a candle graph.

use candle_core::{Device, Result, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Graph, Names, ShardInputs, Tapes};
use crate::config::DcnV2Config;
use crate::init;
use crate::mlp::Mlp;

/// Cross layers beside a stack of layers, and a linear layer on both.
pub(crate) struct DcnV2 {
    deep: Mlp,
    cross: Vec<CrossLayer>,
    logit: Mlp,
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

impl DcnV2 {
    /// Draws the deep layers, the cross layers and the last one.
    pub(crate) fn new(config: &DcnV2Config, seed: u64, device: &Device) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let len = config.input_len();
        let deep = Mlp::new(&mut rng, len, &config.deep, true, device)?;
        let cross = (0..config.n_cross).map(|_| CrossLayer::new(&mut rng, len, config.rank, device));
        let cross = cross.collect::<Result<_>>()?;
        let logit = Mlp::new(&mut rng, config.logit_input(), &[1], false, device)?;
        Ok(Self { deep, cross, logit })
    }
}

impl Graph for DcnV2 {
    fn stacks(&self) -> Vec<(Names, &Mlp)> {
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
