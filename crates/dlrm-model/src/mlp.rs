//! Fully connected layers: the specification, in plain candle operations.
//! `fused_mlp.rs` computes the same in one node of the graph.

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::Linear;
use rand::Rng;

use crate::fused_mlp::{FusedMlp, Tape};
use crate::init;

/// `y = activation(x · weightᵀ + bias)`.
pub(crate) struct Layer {
    /// `[n_output, n_input]`
    pub(crate) weight: Var,
    /// `[n_output]`
    pub(crate) bias: Var,
    /// Whether the activation is `max(0, ·)`, else there is none.
    pub(crate) has_relu: bool,
}

/// A stack of layers.
pub(crate) struct Mlp {
    pub(crate) layers: Vec<Layer>,
}

impl Mlp {
    /// Draws the layers in order. `relu_at_end` is for a stack whose output feeds another one.
    pub(crate) fn new<R: Rng>(
        rng: &mut R,
        n_input: usize,
        sizes: &[usize],
        relu_at_end: bool,
        device: &Device,
    ) -> Result<Self> {
        let inputs = std::iter::once(&n_input).chain(sizes);
        let mut layers = Vec::with_capacity(sizes.len());
        for (layer_idx, (&n_input, &n_output)) in inputs.zip(sizes).enumerate() {
            let init = init::linear(rng, n_input, n_output);
            layers.push(Layer {
                weight: Var::from_vec(init.weight, (n_output, n_input), device)?,
                bias: Var::from_vec(init.bias, n_output, device)?,
                has_relu: relu_at_end || layer_idx + 1 < sizes.len(),
            });
        }
        Ok(Self { layers })
    }

    /// `[B, n_input]` to `[B, n_output]`. With a tape, as one fused node that leaves its gradients
    /// there.
    pub(crate) fn forward(&self, x: &Tensor, tape: Option<&Tape>) -> Result<Tensor> {
        match tape {
            Some(tape) => x.apply_op1(FusedMlp::new(self, tape.clone())),
            None => self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x)),
        }
    }
}

impl Layer {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.as_tensor().clone(), self.bias.as_tensor().clone());
        let y = Linear::new(weight, Some(bias)).forward(x)?;
        if self.has_relu { relu(&y) } else { Ok(y) }
    }
}

/// `max(0, x)` with slope 0 at 0, as PyTorch has it; the slope of candle's own is 1 there.
fn relu(x: &Tensor) -> Result<Tensor> {
    let is_positive = x.detach().gt(0f32)?.to_dtype(DType::F32)?;
    x.mul(&is_positive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device::Cpu;

    #[test]
    fn relu_has_slope_zero_at_zero_and_keeps_nan() {
        let x = Var::new(&[-2f32, -0.0, 0.0, 3.0], &Cpu).unwrap();
        let y = relu(&x).unwrap();
        assert_eq!(y.to_vec1::<f32>().unwrap(), [0.0, 0.0, 0.0, 3.0]);
        let gradients = y.sum_all().unwrap().backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().to_vec1::<f32>().unwrap(), [0.0, 0.0, 0.0, 1.0]);
        let nan = relu(&Tensor::new(&[f32::NAN], &Cpu).unwrap()).unwrap();
        assert!(nan.to_vec1::<f32>().unwrap()[0].is_nan());
    }
}
