//! A stack of fully connected layers: the specification, in plain candle operations.
//! `fused_mlp.rs` computes the same in one node of the graph.

use candle_core::{Device, Result, Tensor, Var};
use rand::Rng;

use super::fused_mlp::{FusedMlp, Tape};
use super::layer::Layer;
use crate::init;

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
            Some(tape) => x.apply_op1(FusedMlp::new(&self.layers, tape.clone())),
            None => self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x)),
        }
    }
}
