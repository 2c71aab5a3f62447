//! An MLP as one node of the graph, for the CPU. candle spends a gradient of zeros and an addition
//! on every node, and runs large element-wise operations on a thread pool that all shards would
//! share. `mlp.rs` is the same in plain operations.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, Device, InplaceOp2, Layout, Result, Shape, Tensor,
};

use super::device::{slice, slice_mut};
use super::layer::Layer;

/// What one pass through a [`FusedMlp`] leaves behind: activations of the forward pass, gradients
/// of the backward pass.
#[derive(Clone, Default)]
pub(crate) struct Tape(Arc<Mutex<Records>>);

#[derive(Default)]
struct Records {
    /// Outputs of all layers but the last.
    hidden: Vec<Tensor>,
    /// Gradient of each weight and bias, in the order of the layers; empty before the backward
    /// pass.
    gradients: Vec<Tensor>,
}

impl Tape {
    /// Gradients of the weights and biases: `[weight 0, bias 0, weight 1, ...]`.
    pub(crate) fn take_gradients(&self) -> Vec<Tensor> {
        std::mem::take(&mut self.lock().gradients)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The layers of a stack and the tape of one pass.
///
/// An input that is itself a variable is taken for the dense inputs of the model. candle propagates
/// gradients only towards variables, so it must be one, but its gradient is not used and not
/// computed.
pub(crate) struct FusedMlp {
    layers: Vec<FusedLayer>,
    tape: Tape,
}

/// Detached views of a layer's variables: they share the values and record nothing.
struct FusedLayer {
    weight: Tensor,
    bias: Tensor,
    has_relu: bool,
}

impl FusedMlp {
    pub(crate) fn new(layers: &[Layer], tape: Tape) -> Self {
        let detach = |layer: &Layer| FusedLayer {
            weight: layer.weight.as_detached_tensor(),
            bias: layer.bias.as_detached_tensor(),
            has_relu: layer.has_relu,
        };
        Self { layers: layers.iter().map(detach).collect(), tape }
    }
}

impl CustomOp1 for FusedMlp {
    fn name(&self) -> &'static str {
        "fused-mlp"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut x = Tensor::from_slice(slice(storage, layout)?, layout.shape(), &Device::Cpu)?;
        let mut hidden = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            x = x.matmul(&layer.weight.t()?)?;
            x.inplace_op2(&layer.bias, &AddBias { has_relu: layer.has_relu })?;
            hidden.push(x.clone());
        }
        hidden.pop();
        self.tape.lock().hidden = hidden;
        let values = x.flatten_all()?.to_vec1::<f32>()?;
        Ok((CpuStorage::F32(values), x.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, y_gradient: &Tensor) -> Result<Option<Tensor>> {
        let is_leaf = x.is_variable();
        let (x, y) = (x.detach(), y.detach());
        let mut records = self.tape.lock();
        let hidden = std::mem::take(&mut records.hidden);
        let mut gradient = y_gradient.clone();
        let mut gradients = Vec::with_capacity(2 * self.layers.len());
        for (layer_idx, layer) in self.layers.iter().enumerate().rev() {
            let output = hidden.get(layer_idx).unwrap_or(&y);
            let input = if layer_idx == 0 { &x } else { &hidden[layer_idx - 1] };
            if layer.has_relu {
                gradient = gradient.apply_op2_no_bwd(output, &ReluGradient)?;
            }
            gradients.push(gradient.apply_op1_no_bwd(&ColumnSum)?);
            gradients.push(gradient.t()?.matmul(input)?);
            if layer_idx == 0 && is_leaf {
                break;
            }
            gradient = gradient.matmul(&layer.weight)?;
        }
        gradients.reverse();
        records.gradients = gradients;
        Ok((!is_leaf).then_some(gradient))
    }
}

/// `y += bias` for every row of `y`, then, with `ReLU`, `max(0, y)`.
struct AddBias {
    has_relu: bool,
}

impl InplaceOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        y_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        let (y, bias) = (slice_mut(y, y_layout)?, slice(bias, bias_layout)?);
        for row in y.chunks_exact_mut(bias.len()) {
            if self.has_relu {
                row.iter_mut().zip(bias).for_each(|(y, &bias)| *y = relu(*y + bias));
            } else {
                row.iter_mut().zip(bias).for_each(|(y, &bias)| *y += bias);
            }
        }
        Ok(())
    }
}

/// `max(0, x)`, but NaN stays NaN: `f32::max` would hide it.
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// The gradient where the activation is positive, 0 elsewhere.
struct ReluGradient;

impl CustomOp2 for ReluGradient {
    fn name(&self) -> &'static str {
        "relu-gradient"
    }

    fn cpu_fwd(
        &self,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
        output: &CpuStorage,
        output_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gradient, output) = (slice(gradient, gradient_layout)?, slice(output, output_layout)?);
        let masked = gradient
            .iter()
            .zip(output)
            .map(|(&gradient, &output)| if output > 0.0 { gradient } else { 0.0 });
        Ok((CpuStorage::F32(masked.collect()), gradient_layout.shape().clone()))
    }
}

/// `[B, n]` to `[n]`: the bias gradient.
struct ColumnSum;

impl CustomOp1 for ColumnSum {
    fn name(&self) -> &'static str {
        "column-sum"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let n_columns = layout.dims()[1];
        let mut sums = vec![0f32; n_columns];
        for row in slice(storage, layout)?.chunks_exact(n_columns) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value);
        }
        Ok((CpuStorage::F32(sums), n_columns.into()))
    }
}
