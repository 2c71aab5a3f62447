//! Cross layers with a weight matrix, `x_{l+1} = x_0 ∘ (W_l x_l + b_l) + x_l`, forward and backward
//! over a shard: products, and between them single passes over their results.
#![allow(
    clippy::inline_always,
    reason = "a body is compiled once for each instruction set, inside `dispatch`"
)]

use pulp::{Arch, Simd, WithSimd};
use rand::Rng;

use super::cross::{CrossBackward, CrossLayers};
use super::join::outer_product;
use super::layer::{Layer, LayerOptions, LayerRecord, Tile};
use super::mlp::{Mlp, Tape};
use crate::init::{self, LinearInit};

/// For each layer the matrix and its bias, or two matrices of low rank of which the second has the
/// bias.
#[derive(Debug)]
pub(crate) struct MatrixCross {
    products: Vec<Mlp>,
}

/// What one pass over a shard leaves behind, layer by layer.
#[derive(Debug)]
pub(crate) struct MatrixCrossTape {
    /// `W_l x_l + b_l`: `[n, len]`
    products: Vec<Tape>,
    /// `x_1`, `x_2`, ...: `[n, len]`
    outputs: Vec<Vec<f32>>,
    /// Gradient of a layer's output, and the part of its input's gradient that comes through the
    /// product: `[n, len]`
    gradient: Vec<f32>,
    through_product: Vec<f32>,
}

impl MatrixCross {
    /// Draws the layers in order: `W`, or `V` before `U`, and then the bias.
    pub(crate) fn new<R: Rng>(
        rng: &mut R,
        len: usize,
        rank: Option<usize>,
        n_layers: usize,
        options: LayerOptions,
    ) -> Self {
        let layer = |n_input, init: LinearInit| Layer::new(&init, n_input, false, options);
        let mut product = |_: usize| {
            let layers = match rank {
                None => vec![layer(len, init::linear(rng, len, len))],
                Some(rank) => {
                    let v = LinearInit { weight: init::matrix(rng, len, rank), bias: Vec::new() };
                    vec![layer(len, v), layer(rank, init::linear(rng, rank, len))]
                }
            };
            Mlp { layers }
        };
        Self { products: (0..n_layers).map(&mut product).collect() }
    }
}

impl CrossLayers for MatrixCross {
    type Tape = MatrixCrossTape;

    fn tape(&self) -> MatrixCrossTape {
        MatrixCrossTape {
            products: self.products.iter().map(Mlp::tape).collect(),
            outputs: vec![Vec::new(); self.products.len()],
            gradient: Vec::new(),
            through_product: Vec::new(),
        }
    }

    fn forward(&self, x: &[f32], n_samples: usize, tape: &mut MatrixCrossTape) {
        for (layer_idx, (product, record)) in
            self.products.iter().zip(&mut tape.products).enumerate()
        {
            let (before, from_here) = tape.outputs.split_at_mut(layer_idx);
            let (input, output) = (before.last().map_or(x, |input| input), &mut from_here[0]);
            product.forward(input, n_samples, record);
            output.resize(x.len(), 0.0);
            Arch::new().dispatch(CrossForward { x, product: record.output(), input, output });
        }
    }

    fn output(tape: &MatrixCrossTape) -> &[f32] {
        tape.outputs.last().map_or(&[], |output| output)
    }

    fn backward(&self, from: CrossBackward<'_>, tape: &mut MatrixCrossTape, to: &mut [f32]) {
        let MatrixCrossTape { products, outputs, gradient, through_product } = tape;
        let CrossBackward { x, logit_grads, weight } = from;
        gradient.resize(x.len(), 0.0);
        through_product.resize(x.len(), 0.0);
        outer_product(logit_grads, weight, gradient);
        for (layer_idx, (product, record)) in self.products.iter().zip(products).enumerate().rev() {
            let input = if layer_idx == 0 { x } else { &outputs[layer_idx - 1] };
            product.prepare_backward(logit_grads.len(), record);
            let (value, to_product) = record.output_and_gradient_mut();
            Arch::new().dispatch(ProductBackward { x, product: value, gradient, to_product, to });
            product.backward(input, record, Some(through_product));
            Arch::new().dispatch(Add { sums: gradient, values: through_product });
        }
        Arch::new().dispatch(Add { sums: to, values: gradient });
    }

    fn record<'a>(tape: &'a MatrixCrossTape, layer_idx: usize, x: &'a [f32]) -> LayerRecord<'a> {
        let n_matrices = tape.products[0].n_layers();
        let (product_idx, matrix_idx) = (layer_idx / n_matrices, layer_idx % n_matrices);
        let input = if product_idx == 0 { x } else { &tape.outputs[product_idx - 1] };
        tape.products[product_idx].record(matrix_idx, input)
    }

    fn tiles(&mut self) -> impl Iterator<Item = (usize, Tile<'_>)> + Send {
        let layers = self.products.iter_mut().flat_map(|product| &mut product.layers).enumerate();
        layers.flat_map(|(layer_idx, layer)| layer.tiles().map(move |tile| (layer_idx, tile)))
    }

    /// `name.0`, `name.1`, ..., or `name.0.v`, `name.0.u`, ... of low rank.
    fn named_layers(&self, name: &'static str) -> impl Iterator<Item = (String, &Layer)> {
        self.products.iter().enumerate().flat_map(move |(product_idx, product)| {
            let suffixes: &[&str] = if product.layers.len() == 1 { &[""] } else { &[".v", ".u"] };
            let layers = suffixes.iter().zip(&product.layers);
            layers.map(move |(suffix, layer)| (format!("{name}.{product_idx}{suffix}"), layer))
        })
    }

    fn layers_mut(&mut self) -> impl Iterator<Item = &mut Layer> {
        self.products.iter_mut().flat_map(|product| &mut product.layers)
    }
}

/// `output = x ∘ product + input`.
struct CrossForward<'a> {
    x: &'a [f32],
    product: &'a [f32],
    input: &'a [f32],
    output: &'a mut [f32],
}

impl WithSimd for CrossForward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let values = self.x.iter().zip(self.product).zip(self.input);
        for (output, ((x, product), input)) in self.output.iter_mut().zip(values) {
            *output = x * product + input;
        }
    }
}

/// `to_product = gradient ∘ x; to += gradient ∘ product`.
struct ProductBackward<'a> {
    x: &'a [f32],
    product: &'a [f32],
    gradient: &'a [f32],
    to_product: &'a mut [f32],
    to: &'a mut [f32],
}

impl WithSimd for ProductBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let values = self.x.iter().zip(self.product).zip(self.gradient);
        let targets = self.to_product.iter_mut().zip(self.to);
        for ((to_product, to), ((x, product), gradient)) in targets.zip(values) {
            *to_product = gradient * x;
            *to += gradient * product;
        }
    }
}

/// `sums += values`.
struct Add<'a> {
    sums: &'a mut [f32],
    values: &'a [f32],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.sums.iter_mut().zip(self.values).for_each(|(sum, value)| *sum += value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::OptimizerKind;

    /// `x_0 = (1, 2)`, `W_0 = (3 -1; 0 2)`, `b_0 = (10, 20)`, the same again as `W_1`, `b_1`.
    #[test]
    fn two_layers_by_hand() {
        let init = LinearInit { weight: vec![3.0, -1.0, 0.0, 2.0], bias: vec![10.0, 20.0] };
        let options = LayerOptions { optimizer: OptimizerKind::Sgd, kernel: None };
        let product = || Mlp { layers: vec![Layer::new(&init, 2, false, options)] };
        let cross = MatrixCross { products: vec![product(), product()] };
        let (x, mut tape, mut to) = ([1.0, 2.0], cross.tape(), [100.0, 200.0]);
        cross.forward(&x, 1, &mut tape);
        // W x_0 + b = (11, 24): x_1 = (11 + 1, 48 + 2). W x_1 + b = (-4, 120):
        // x_2 = (-4 + 12, 240 + 50).
        assert_eq!(
            (&tape.outputs[0][..], MatrixCross::output(&tape)),
            (&[12.0, 50.0][..], &[8.0, 290.0][..])
        );
        cross.backward(
            CrossBackward { x: &x, logit_grads: &[2.0], weight: &[1.0, 0.5] },
            &mut tape,
            &mut to,
        );
        // Backward from (2, 1): by the product (2, 2), so (2 + 6, 1 - 2 + 4) and, for x_0 as a
        // factor, (2 · -4, 120). Then by the product (8, 6), so (8 + 24, 3 - 8 + 12) and, for x_0
        // as a factor, (8 · 11, 3 · 24).
        assert_eq!(MatrixCross::record(&tape, 1, &x).gradient, [2.0, 2.0]);
        assert_eq!(MatrixCross::record(&tape, 0, &x).bias_gradient, [8.0, 6.0]);
        assert_eq!(to, [100.0 + 32.0 - 8.0 + 88.0, 200.0 + 7.0 + 120.0 + 72.0]);
    }
}
