//! Cross layers with a weight vector, `x_{l+1} = x_0 · (x_l · w_l) + b_l + x_l`, forward and
//! backward over a shard. Each is a few passes over vectors, so a sample goes through all of them
//! while it is in the nearest cache.
#![allow(
    clippy::inline_always,
    reason = "a body is compiled once for each instruction set, inside `dispatch`"
)]

use pulp::{Arch, Simd, WithSimd};
use rand::Rng;

use super::cross::{CrossBackward, CrossLayers};
use super::layer::{Layer, LayerOptions, LayerRecord, Tile};
use super::simd::weights::SamplePanels;
use crate::init;

/// Sums of a dot product: two registers of the widest kind, so that an addition need not wait for
/// the one before. Part of the order of summation, and so of the results.
const LANES: usize = 32;

/// The layers: a weight with one output, and a bias as long as the input.
#[derive(Debug)]
pub(crate) struct VectorCross {
    layers: Vec<Layer>,
}

/// What one pass over a shard leaves behind, layer by layer.
#[derive(Debug, Default)]
pub(crate) struct VectorCrossTape {
    /// `x_1`, `x_2`, ...: `[n, len]`
    outputs: Vec<Vec<f32>>,
    /// `x_l · w_l`: `[n]`
    dots: Vec<Vec<f32>>,
    /// `[n]`
    dot_gradients: Vec<Vec<f32>>,
    /// `[len]`
    bias_gradients: Vec<Vec<f32>>,
    /// Gradients of a sample: that of a layer's input, and that of `x_0` as the factor of all
    /// layers.
    scratch: [Vec<f32>; 2],
    /// Always empty: layers of one output do not use our own kernel.
    panels: SamplePanels,
}

impl VectorCross {
    /// Draws the layers in order.
    pub(crate) fn new<R: Rng>(
        rng: &mut R,
        len: usize,
        n_layers: usize,
        options: LayerOptions,
    ) -> Self {
        let layer = |_| Layer::new(&init::cross(rng, len), len, false, options);
        Self { layers: (0..n_layers).map(layer).collect() }
    }
}

impl CrossLayers for VectorCross {
    type Tape = VectorCrossTape;

    fn tape(&self) -> VectorCrossTape {
        let none = vec![Vec::new(); self.layers.len()];
        VectorCrossTape {
            bias_gradients: self.layers.iter().map(|layer| vec![0.0; layer.n_input]).collect(),
            outputs: none.clone(),
            dots: none.clone(),
            dot_gradients: none,
            ..VectorCrossTape::default()
        }
    }

    fn forward(&self, x: &[f32], n_samples: usize, tape: &mut VectorCrossTape) {
        let VectorCrossTape { outputs, dots, .. } = tape;
        for (output, dots) in outputs.iter_mut().zip(&mut *dots) {
            output.resize(x.len(), 0.0);
            dots.resize(n_samples, 0.0);
        }
        Arch::new().dispatch(Forward { layers: &self.layers, x, outputs, dots });
    }

    fn output(tape: &VectorCrossTape) -> &[f32] {
        tape.outputs.last().map_or(&[], |output| output)
    }

    fn backward(&self, from: CrossBackward<'_>, tape: &mut VectorCrossTape, to: &mut [f32]) {
        let VectorCrossTape { dots, dot_gradients, bias_gradients, scratch, .. } = tape;
        for (gradients, sums) in dot_gradients.iter_mut().zip(&mut *bias_gradients) {
            gradients.resize(from.logit_grads.len(), 0.0);
            sums.fill(0.0);
        }
        for vector in &mut *scratch {
            vector.resize(from.weight.len(), 0.0);
        }
        Arch::new().dispatch(Backward {
            layers: &self.layers,
            from,
            dots,
            dot_gradients,
            bias_gradients,
            scratch,
            to,
        });
    }

    fn record<'a>(tape: &'a VectorCrossTape, layer_idx: usize, x: &'a [f32]) -> LayerRecord<'a> {
        let input = if layer_idx == 0 { x } else { &tape.outputs[layer_idx - 1] };
        let (gradient, bias_gradient) =
            (&tape.dot_gradients[layer_idx], &tape.bias_gradients[layer_idx]);
        LayerRecord { input, gradient, bias_gradient, panels: &tape.panels }
    }

    fn tiles(&mut self) -> impl Iterator<Item = (usize, Tile<'_>)> + Send {
        let layers = self.layers.iter_mut().enumerate();
        layers.flat_map(|(layer_idx, layer)| layer.tiles().map(move |tile| (layer_idx, tile)))
    }

    /// `name.0`, `name.1`, ...
    fn named_layers(&self, name: &'static str) -> impl Iterator<Item = (String, &Layer)> {
        self.layers
            .iter()
            .enumerate()
            .map(move |(layer_idx, layer)| (format!("{name}.{layer_idx}"), layer))
    }

    fn layers_mut(&mut self) -> impl Iterator<Item = &mut Layer> {
        self.layers.iter_mut()
    }
}

/// A dot product as sums in a fixed number of lanes, which are then added in their order: the same
/// bits for registers of any width.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    for (a, b) in a.zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter_mut().zip(rest).for_each(|(sum, (a, b))| *sum += a * b);
    sums.iter().sum()
}

struct Forward<'a> {
    layers: &'a [Layer],
    x: &'a [f32],
    outputs: &'a mut [Vec<f32>],
    dots: &'a mut [Vec<f32>],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { layers, x, outputs, dots } = self;
        let Some(len) = layers.first().map(|layer| layer.n_input) else { return };
        for (sample_idx, x) in x.chunks_exact(len).enumerate() {
            let sample = sample_idx * len..(sample_idx + 1) * len;
            for (layer_idx, layer) in layers.iter().enumerate() {
                let (before, from_here) = outputs.split_at_mut(layer_idx);
                let input = before.last().map_or(x, |input| &input[sample.clone()]);
                let scale = dot(input, layer.weight());
                dots[layer_idx][sample_idx] = scale;
                let values = x.iter().zip(input).zip(layer.bias());
                for (y, ((x, input), bias)) in from_here[0][sample.clone()].iter_mut().zip(values) {
                    *y = x * scale + bias + input;
                }
            }
        }
    }
}

struct Backward<'a> {
    layers: &'a [Layer],
    from: CrossBackward<'a>,
    dots: &'a [Vec<f32>],
    dot_gradients: &'a mut [Vec<f32>],
    bias_gradients: &'a mut [Vec<f32>],
    scratch: &'a mut [Vec<f32>; 2],
    to: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self {
            layers,
            from: CrossBackward { x, logit_grads, weight },
            dots,
            dot_gradients,
            bias_gradients,
            scratch,
            to,
        } = self;
        let [gradient, factor_gradient] = scratch;
        let samples = x.chunks_exact(weight.len()).zip(to.chunks_exact_mut(weight.len()));
        for (sample_idx, (&logit_grad, (x, to))) in logit_grads.iter().zip(samples).enumerate() {
            gradient
                .iter_mut()
                .zip(weight)
                .for_each(|(gradient, weight)| *gradient = logit_grad * weight);
            factor_gradient.fill(0.0);
            for (layer_idx, layer) in layers.iter().enumerate().rev() {
                let dot_gradient = dot(gradient, x);
                dot_gradients[layer_idx][sample_idx] = dot_gradient;
                let scale = dots[layer_idx][sample_idx];
                let sums = factor_gradient.iter_mut().zip(&mut bias_gradients[layer_idx]);
                for ((gradient, weight), (factor_gradient, sum)) in
                    gradient.iter_mut().zip(layer.weight()).zip(sums)
                {
                    *factor_gradient += scale * *gradient;
                    *sum += *gradient;
                    *gradient += dot_gradient * weight;
                }
            }
            for ((to, gradient), factor_gradient) in
                to.iter_mut().zip(&*gradient).zip(&*factor_gradient)
            {
                *to += gradient + factor_gradient;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::LinearInit;
    use crate::optim::OptimizerKind;

    /// `x_0 = (1, 2)`, `w_0 = (3, -1)`, `b_0 = (10, 20)`, `w_1 = (0, 1)`, `b_1 = (0, 0)`.
    #[test]
    fn two_layers_by_hand() {
        let init = |weight: [f32; 2], bias: [f32; 2]| LinearInit {
            weight: weight.to_vec(),
            bias: bias.to_vec(),
        };
        let options = LayerOptions { optimizer: OptimizerKind::Sgd, kernel: None };
        let layers = [init([3.0, -1.0], [10.0, 20.0]), init([0.0, 1.0], [0.0, 0.0])];
        let cross = VectorCross {
            layers: layers.iter().map(|init| Layer::new(init, 2, false, options)).collect(),
        };
        let (x, mut tape, mut to) = ([1.0, 2.0], cross.tape(), [100.0, 200.0]);
        cross.forward(&x, 1, &mut tape);
        // x_0 · w_0 = 1: x_1 = (1 + 10 + 1, 2 + 20 + 2); x_1 · w_1 = 24: x_2 = (24 + 12, 48 + 24).
        assert_eq!(
            (&tape.outputs[0][..], VectorCross::output(&tape)),
            (&[12.0, 24.0][..], &[36.0, 72.0][..])
        );
        cross.backward(
            CrossBackward { x: &x, logit_grads: &[2.0], weight: &[1.0, 0.5] },
            &mut tape,
            &mut to,
        );
        // Backward from (2, 1): by the dot 2 · 1 + 1 · 2 = 4, so (2, 1 + 4) and, for x_0 as a
        // factor, 24 · (2, 1). Then by the dot 2 · 1 + 5 · 2 = 12, so (2 + 36, 5 - 12) and, for x_0
        // as a factor, 1 · (2, 5).
        assert_eq!(tape.dot_gradients, [[12.0], [4.0]]);
        assert_eq!(tape.bias_gradients, [[2.0, 5.0], [2.0, 1.0]]);
        assert_eq!(to, [100.0 + 38.0 + 48.0 + 2.0, 200.0 - 7.0 + 24.0 + 5.0]);
    }

    #[test]
    fn dot_product_takes_all_elements() {
        for len in [0, 1, 31, 32, 33, 100] {
            let (a, b): (Vec<f32>, Vec<f32>) =
                (0..len).map(|idx| (idx as f32, (idx % 3) as f32)).unzip();
            assert_eq!(dot(&a, &b), (0..len).map(|idx| (idx * (idx % 3)) as f32).sum::<f32>());
        }
    }
}
