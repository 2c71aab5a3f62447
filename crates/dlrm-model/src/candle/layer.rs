//! A fully connected layer, in plain candle operations.

use candle_core::{DType, Module, Result, Tensor, Var};
use candle_nn::Linear;

/// `y = activation(x · weightᵀ + bias)`.
pub(crate) struct Layer {
    /// `[n_output, n_input]`
    pub(crate) weight: Var,
    /// `[n_output]`
    pub(crate) bias: Var,
    /// Whether the activation is `max(0, ·)`, else there is none.
    pub(crate) has_relu: bool,
}

impl Layer {
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.as_tensor().clone(), self.bias.as_tensor().clone());
        let y = Linear::new(weight, Some(bias)).forward(x)?;
        if self.has_relu { relu(&y) } else { Ok(y) }
    }
}

/// `max(0, x)` with gradient 0 at 0, as in PyTorch; the gradient of candle's own `relu` is 1 there.
fn relu(x: &Tensor) -> Result<Tensor> {
    let is_positive = x.detach().gt(0f32)?.to_dtype(DType::F32)?;
    x.mul(&is_positive)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device::Cpu;

    #[test]
    fn relu_has_gradient_zero_at_zero_and_keeps_nan() {
        let x = Var::new(&[-2f32, -0.0, 0.0, 3.0], &Cpu).unwrap();
        let y = relu(&x).unwrap();
        assert_eq!(y.to_vec1::<f32>().unwrap(), [0.0, 0.0, 0.0, 3.0]);
        let gradients = y.sum_all().unwrap().backward().unwrap();
        assert_eq!(gradients.get(&x).unwrap().to_vec1::<f32>().unwrap(), [0.0, 0.0, 0.0, 1.0]);
        let nan = relu(&Tensor::new(&[f32::NAN], &Cpu).unwrap()).unwrap();
        assert!(nan.to_vec1::<f32>().unwrap()[0].is_nan());
    }
}
