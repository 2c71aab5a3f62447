//! The Deep & Cross Network as a candle graph.

use candle_core::{Device, Result, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Graph, Names, ShardInputs, Tapes};
use crate::config::DcnConfig;
use crate::init;
use crate::mlp::Mlp;

/// Cross layers beside a stack of layers, and a linear layer on both.
pub(crate) struct Dcn {
    deep: Mlp,
    cross: Vec<CrossLayer>,
    logit: Mlp,
}

/// `x_{l+1} = x_0 · (x_l · w) + b + x_l`
struct CrossLayer {
    /// `[1, len]`
    weight: Var,
    /// `[len]`
    bias: Var,
}

impl CrossLayer {
    fn new<R: Rng>(rng: &mut R, len: usize, device: &Device) -> Result<Self> {
        let init = init::cross(rng, len);
        let weight = Var::from_vec(init.weight, (1, len), device)?;
        Ok(Self { weight, bias: Var::from_vec(init.bias, len, device)? })
    }

    /// `x_0` and `x_l` `[B, len]` to `x_{l+1}`.
    fn forward(&self, x: &Tensor, input: &Tensor) -> Result<Tensor> {
        let dots = input.matmul(&self.weight.t()?)?;
        x.broadcast_mul(&dots)?.broadcast_add(&self.bias)? + input
    }
}

impl Dcn {
    /// Draws the deep layers, the cross layers and the last one.
    pub(crate) fn new(config: &DcnConfig, seed: u64, device: &Device) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let len = config.input_len();
        let deep = Mlp::new(&mut rng, len, &config.deep, true, device)?;
        let cross = (0..config.n_cross).map(|_| CrossLayer::new(&mut rng, len, device)).collect::<Result<_>>()?;
        let logit = Mlp::new(&mut rng, config.logit_input(), &[1], false, device)?;
        Ok(Self { deep, cross, logit })
    }
}

impl Graph for Dcn {
    fn stacks(&self) -> Vec<(Names, &Mlp)> {
        vec![(Names::Numbered("deep"), &self.deep), (Names::Single("logit"), &self.logit)]
    }

    fn variables(&self) -> Vec<(String, Var)> {
        let cross = self.cross.iter().enumerate();
        let named = cross.flat_map(|(layer_idx, CrossLayer { weight, bias })| {
            let name = |kind: &str| format!("cross.{layer_idx}.{kind}");
            [(name("weight"), weight.clone()), (name("bias"), bias.clone())]
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

    #[test]
    fn a_cross_layer_on_paper() {
        let weight = Var::new(&[[3f32, -1.0]], &Device::Cpu).unwrap();
        let layer = CrossLayer { weight, bias: Var::new(&[10f32, 20.0], &Device::Cpu).unwrap() };
        let (x, input) = ([[1f32, 2.0]], [[2f32, 1.0]]);
        let [x, input] = [x, input].map(|values| Tensor::new(&values, &Device::Cpu).unwrap());
        // x_l · w = 5
        assert_eq!(
            layer.forward(&x, &input).unwrap().to_vec2::<f32>().unwrap(),
            [[5.0 + 10.0 + 2.0, 10.0 + 20.0 + 1.0]]
        );
    }
}
