//! The weights of a layer as both right sides of its products, and the panels of the samples.

use std::ops::Range;

use super::SimdKernel;
use super::lanes::{LANES, Line};
use super::pack;
use super::product::{Left, Out, Panels, Rows, Start, multiply};
use crate::native::product::Accumulate;

/// Weights `[n_input, n_output]`, packed for the forward pass and for the backward pass.
///
/// Both are cut along the inputs, tile by tile: the lines of a tile are consecutive, so that one
/// thread can pack them.
#[derive(Debug)]
pub(crate) struct PackedWeights {
    kernel: SimdKernel,
    n_input: usize,
    n_output: usize,
    /// Inputs of each tile but the last: a multiple of the lanes and of what a word holds.
    tile_inputs: usize,
    /// For each tile panels of 16 outputs, along its inputs.
    forward: Vec<Line>,
    /// Panels of 16 inputs, along the outputs.
    backward: Vec<Line>,
}

/// Consecutive tiles of [`PackedWeights`], to be packed by one thread.
#[derive(Debug)]
pub(crate) struct PackedWeightsMut<'a> {
    kernel: SimdKernel,
    n_output: usize,
    forward: &'a mut [Line],
    backward: &'a mut [Line],
}

/// Inputs of a layer in a shard, and its gradient, in panels along the samples.
#[derive(Debug, Default)]
pub(crate) struct SamplePanels {
    input: Vec<Line>,
    gradient: Vec<Line>,
    n_samples: usize,
}

impl PackedWeights {
    /// Weights that are all zero.
    pub(crate) fn new(
        kernel: SimdKernel,
        n_input: usize,
        n_output: usize,
        tile_inputs: usize,
    ) -> Self {
        assert_eq!(tile_inputs % (2 * LANES), 0, "whole panels and whole words a tile");
        let forward = vec![Line::ZERO; pack::panel_lines(kernel, n_input, n_output)];
        let backward = vec![Line::ZERO; pack::panel_lines(kernel, n_output, n_input)];
        Self { kernel, n_input, n_output, tile_inputs, forward, backward }
    }

    /// `max(0, x · weight + bias)`, or without the `max`; `x` `[n, n_input]`.
    pub(crate) fn forward(
        &self,
        x: &[f32],
        bias: &[f32],
        has_relu: bool,
        y: &mut [f32],
        words: &mut Vec<u32>,
    ) {
        let out = Out { values: y, n_columns: self.n_output };
        if self.kernel.per_word() == 1 {
            let all = Rows { words: x, stride: self.n_input, start: 0, depth: self.n_input };
            return multiply(
                self.kernel,
                self.forward_parts(all),
                Start::Bias(bias),
                has_relu,
                out,
            );
        }
        let all = pack_rows(self.kernel, x, self.n_input, words);
        multiply(self.kernel, self.forward_parts(all), Start::Bias(bias), has_relu, out);
    }

    /// From the gradient before the activation, `[n, n_output]`, to that of the input,
    /// `[n, n_input]`.
    pub(crate) fn input_gradient(&self, gradient: &[f32], to: &mut [f32], words: &mut Vec<u32>) {
        let out = Out { values: to, n_columns: self.n_input };
        let right =
            Panels { lines: &self.backward, depth: pack::n_words(self.kernel, self.n_output) };
        if self.kernel.per_word() == 1 {
            let left =
                Rows { words: gradient, stride: self.n_output, start: 0, depth: self.n_output };
            return multiply(self.kernel, std::iter::once((left, right)), Start::Zero, false, out);
        }
        let left = pack_rows(self.kernel, gradient, self.n_output, words);
        multiply(self.kernel, std::iter::once((left, right)), Start::Zero, false, out);
    }

    /// The tiles of `x`, whose words `all` holds, and of the weights.
    fn forward_parts<'a, T>(
        &'a self,
        all: Rows<'a, T>,
    ) -> impl Iterator<Item = (Rows<'a, T>, Panels<'a>)> + Clone
    where
        Rows<'a, T>: Left,
    {
        let (step, n_panels) =
            (self.tile_inputs / self.kernel.per_word(), self.n_output.div_ceil(LANES));
        (0..all.depth).step_by(step).map(move |start| {
            let depth = step.min(all.depth - start);
            let lines = &self.forward[start * n_panels..][..depth * n_panels];
            (Rows { start, depth, ..all }, Panels { lines, depth })
        })
    }

    /// Packs the inputs of a layer and its gradient, for the gradient of the weights.
    pub(crate) fn pack_samples(&self, input: &[f32], gradient: &[f32], to: &mut SamplePanels) {
        let Self { kernel, n_input, n_output, .. } = *self;
        to.n_samples = gradient.len() / n_output;
        to.input.resize(pack::panel_lines(kernel, to.n_samples, n_input), Line::ZERO);
        to.gradient.resize(pack::panel_lines(kernel, to.n_samples, n_output), Line::ZERO);
        pack::panels(kernel, input, n_input, &mut to.input);
        pack::panels(kernel, gradient, n_output, &mut to.gradient);
    }

    pub(crate) fn as_mut(&mut self) -> PackedWeightsMut<'_> {
        let Self { kernel, n_output, forward, backward, .. } = self;
        PackedWeightsMut { kernel: *kernel, n_output: *n_output, forward, backward }
    }
}

impl<'a> PackedWeightsMut<'a> {
    /// Splits off the first tile, of `n_inputs`.
    pub(crate) fn take(&mut self, n_inputs: usize) -> PackedWeightsMut<'a> {
        let Self { kernel, n_output, forward, backward } = self;
        let [forward, backward] = [
            (forward, pack::panel_lines(*kernel, n_inputs, *n_output)),
            (backward, pack::panel_lines(*kernel, *n_output, n_inputs)),
        ]
        .map(|(lines, n)| lines.split_off_mut(..n).expect("a tile lies inside its layer"));
        PackedWeightsMut { kernel: *kernel, n_output: *n_output, forward, backward }
    }

    /// Packs the weights of the tile for both passes.
    pub(crate) fn pack(&mut self, weight: &[f32]) {
        pack::panels(self.kernel, weight, self.n_output, self.forward);
        pack::transposed_panels(self.kernel, weight, self.n_output, self.backward);
    }

    /// The kernel that they are packed for.
    pub(crate) fn kernel(&self) -> SimdKernel {
        self.kernel
    }
}

/// The gradient of the weights of the inputs `inputs`, the first of which begins a tile, summed
/// over the shards in their order.
pub(crate) fn sum_gradient<'a>(
    kernel: SimdKernel,
    shards: impl Iterator<Item = &'a SamplePanels> + Clone,
    inputs: &Range<usize>,
    out: Out<'_>,
    accumulate: Accumulate,
) {
    let panels = inputs.start / LANES..inputs.end.div_ceil(LANES);
    let parts = shards.map(|shard| {
        let depth = pack::n_words(kernel, shard.n_samples);
        let input = Panels { lines: &shard.input[panels.start * depth..panels.end * depth], depth };
        (input, Panels { lines: &shard.gradient, depth })
    });
    let start = match accumulate {
        Accumulate::Overwrite => Start::Zero,
        Accumulate::Add => Start::Sum,
    };
    multiply(kernel, parts, start, false, out);
}

/// Packs rows of words into a buffer that is kept.
fn pack_rows<'a>(
    kernel: SimdKernel,
    from: &[f32],
    n_columns: usize,
    words: &'a mut Vec<u32>,
) -> Rows<'a, u32> {
    let depth = pack::n_words(kernel, n_columns);
    words.resize(from.len() / n_columns * depth, 0);
    pack::rows(kernel, from, n_columns, words);
    Rows { words, stride: depth, start: 0, depth }
}
