//! A stack of layers, forward and backward over a shard. The inputs of each layer and its gradient
//! stay on a tape, from which the gradients of the weights are computed later, tile by tile.

use rand::Rng;

use super::kernels;
use super::layer::{Layer, LayerOptions, LayerRecord, Tile};
use super::simd::weights::SamplePanels;
use crate::init;

/// A stack of layers; without any, it has neither inputs nor outputs.
#[derive(Debug)]
pub(crate) struct Mlp {
    pub(crate) layers: Vec<Layer>,
}

/// What one pass over a shard leaves behind, layer by layer. The buffers are kept for the next
/// pass.
#[derive(Debug)]
pub(crate) struct Tape {
    /// After the activation, `[n, n_output]`.
    outputs: Vec<Vec<f32>>,
    /// Before the activation, `[n, n_output]`.
    gradients: Vec<Vec<f32>>,
    /// `[n_output]`
    bias_gradients: Vec<Vec<f32>>,
    /// Inputs and gradients for the gradients of the weights, where our own kernel computes them.
    panels: Vec<SamplePanels>,
    /// Operands of the current product, where our own kernel computes it.
    words: Vec<u32>,
}

impl Mlp {
    /// Draws the layers in order. `relu_at_end` is for a stack whose output feeds another one.
    pub(crate) fn new<R: Rng>(
        rng: &mut R,
        n_input: usize,
        sizes: &[usize],
        relu_at_end: bool,
        options: LayerOptions,
    ) -> Self {
        let inputs = std::iter::once(&n_input).chain(sizes);
        let layers = inputs.zip(sizes).enumerate().map(|(layer_idx, (&n_input, &n_output))| {
            let has_relu = relu_at_end || layer_idx + 1 < sizes.len();
            Layer::new(&init::linear(rng, n_input, n_output), n_input, has_relu, options)
        });
        Self { layers: layers.collect() }
    }

    /// A tape for passes over shards of any size.
    pub(crate) fn tape(&self) -> Tape {
        let bias_gradients = self.layers.iter().map(|layer| vec![0.0; layer.n_output]).collect();
        Tape {
            outputs: vec![Vec::new(); self.layers.len()],
            gradients: vec![Vec::new(); self.layers.len()],
            bias_gradients,
            panels: self.layers.iter().map(|_| SamplePanels::default()).collect(),
            words: Vec::new(),
        }
    }

    /// `[n_samples, n_input]` to [`Tape::output`].
    pub(crate) fn forward(&self, x: &[f32], n_samples: usize, tape: &mut Tape) {
        for (layer_idx, layer) in self.layers.iter().enumerate() {
            let (before, from_here) = tape.outputs.split_at_mut(layer_idx);
            let y = &mut from_here[0];
            y.resize(n_samples * layer.n_output, 0.0);
            layer.forward(before.last().map_or(x, |x| x), y, &mut tape.words);
        }
    }

    /// Makes room for the gradients of `n_samples`.
    pub(crate) fn prepare_backward(&self, n_samples: usize, tape: &mut Tape) {
        for (layer, gradient) in self.layers.iter().zip(&mut tape.gradients) {
            gradient.resize(n_samples * layer.n_output, 0.0);
        }
    }

    /// From [`Tape::output_gradient_mut`], after the last activation, back to the input `x`; writes
    /// the gradient of `x` only where there is room for it.
    pub(crate) fn backward(
        &self,
        x: &[f32],
        tape: &mut Tape,
        mut input_gradient: Option<&mut [f32]>,
    ) {
        let Tape { outputs, gradients, bias_gradients, panels, words } = tape;
        for (layer_idx, layer) in self.layers.iter().enumerate().rev() {
            let (before, from_here) = gradients.split_at_mut(layer_idx);
            let gradient = &mut from_here[0];
            let mask = layer.has_relu.then_some(&*outputs[layer_idx]);
            kernels::mask_and_sum(gradient, mask, &mut bias_gradients[layer_idx]);
            let input = if layer_idx == 0 { x } else { &outputs[layer_idx - 1] };
            layer.pack_samples(input, gradient, &mut panels[layer_idx]);
            let to = before.last_mut().map(Vec::as_mut_slice);
            if let Some(to) = to.or_else(|| input_gradient.take()) {
                layer.input_gradient(gradient, to, words);
            }
        }
    }

    /// The layers as `name.0`, `name.1`, ...
    pub(crate) fn named_layers(
        &self,
        name: &'static str,
    ) -> impl Iterator<Item = (String, &Layer)> {
        self.layers
            .iter()
            .enumerate()
            .map(move |(layer_idx, layer)| (format!("{name}.{layer_idx}"), layer))
    }

    /// All parameters, with the index of their layer.
    pub(crate) fn tiles(&mut self) -> impl Iterator<Item = (usize, Tile<'_>)> + Send {
        let layers = self.layers.iter_mut().enumerate();
        layers.flat_map(|(layer_idx, layer)| layer.tiles().map(move |tile| (layer_idx, tile)))
    }
}

impl Tape {
    pub(crate) fn n_layers(&self) -> usize {
        self.outputs.len()
    }

    /// Output of the last layer; nothing without layers.
    pub(crate) fn output(&self) -> &[f32] {
        self.outputs.last().map_or(&[], |output| output)
    }

    /// Gradient of the output, to be filled; nothing without layers.
    pub(crate) fn output_gradient_mut(&mut self) -> &mut [f32] {
        self.gradients.last_mut().map_or(&mut [], |gradient| gradient)
    }

    /// Output of the last layer, and its gradient to be filled; nothing without layers.
    pub(crate) fn output_and_gradient_mut(&mut self) -> (&[f32], &mut [f32]) {
        let output = self.outputs.last().map_or(&[][..], |output| output);
        (output, self.gradients.last_mut().map_or(&mut [], |gradient| gradient))
    }

    /// What the pass contributes to the gradient of a layer; `x` is the input of the first one.
    pub(crate) fn record<'a>(&'a self, layer_idx: usize, x: &'a [f32]) -> LayerRecord<'a> {
        let input = if layer_idx == 0 { x } else { &self.outputs[layer_idx - 1] };
        let (gradient, bias_gradient) =
            (&self.gradients[layer_idx], &self.bias_gradients[layer_idx]);
        LayerRecord { input, gradient, bias_gradient, panels: &self.panels[layer_idx] }
    }
}
