//! A fully connected layer that owns its weights, their gradient and the optimizer's state, cut
//! into tiles that threads work on at the same time.

use std::ops::Range;

use super::kernels;
use super::product::{Accumulate, Matrix, MatrixMut, multiply};
use super::simd::SimdKernel;
use super::simd::product::Out;
use super::simd::weights::{PackedWeights, PackedWeightsMut, SamplePanels, sum_gradient};
use crate::init::LinearInit;
use crate::optim::{OptimizerKind, Step};

/// The inputs of a tile are a multiple of this. It is itself a multiple of the rows that the
/// micro-kernels of `gemm` compute at once (6 with AVX2), and of the 32 inputs that fill both whole
/// panels of 16 and whole words of two in our own kernel.
const TILE_INPUTS: usize = 96;

/// Least number of weights of a tile: 64 KiB, below which the product is too small to be worth a
/// call, and a thread's turn at the queue.
const TILE_WEIGHTS: usize = 16_384;

/// `y = activation(x · weight + bias)`.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) n_input: usize,
    pub(crate) n_output: usize,
    /// Whether the activation is `max(0, ·)`, else there is none.
    pub(crate) has_relu: bool,
    /// Whether there is a bias, else it is zeros that no step changes.
    pub(crate) has_bias: bool,
    /// `[n_input, n_output]`: the transpose of [`parameters`](Self::parameters). So the forward
    /// pass and the gradient of the weights read and write it row by row, and only the backward
    /// pass has to transpose it, while it packs a block for its cache.
    weight: ParameterGroup,
    bias: ParameterGroup,
    /// The same weights for our own kernel, packed whenever they change; `None` for the `gemm`
    /// crate.
    packed: Option<PackedWeights>,
}

/// Parameters, their gradient, and the optimizer's state: in the first slot Adagrad's sums of
/// squares, or in both Adam's moments. Slots that the optimizer does not use are empty.
#[derive(Debug)]
struct ParameterGroup {
    values: Vec<f32>,
    gradient: Vec<f32>,
    state: [Vec<f32>; 2],
}

/// Consecutive parameters of a [`ParameterGroup`], to be changed by one thread.
#[derive(Debug)]
pub(crate) struct ParameterGroupMut<'a> {
    values: &'a mut [f32],
    gradient: &'a mut [f32],
    state: [&'a mut [f32]; 2],
}

/// The weights of consecutive inputs; the first tile of a layer also has the biases.
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    inputs: Range<usize>,
    n_input: usize,
    n_output: usize,
    weight: ParameterGroupMut<'a>,
    bias: Option<ParameterGroupMut<'a>>,
    packed: Option<PackedWeightsMut<'a>>,
}

/// What a shard of the batch contributes to the gradient of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerRecord<'a> {
    /// `[n, n_input]`
    pub(crate) input: &'a [f32],
    /// `[n, n_output]`: gradient before the activation.
    pub(crate) gradient: &'a [f32],
    /// `[n_output]`: sum of `gradient` over the samples.
    pub(crate) bias_gradient: &'a [f32],
    /// `input` and `gradient` packed for our own kernel.
    pub(crate) panels: &'a SamplePanels,
}

/// How the layers of a model compute and are updated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerOptions {
    pub(crate) optimizer: OptimizerKind,
    /// Our own kernel, or `None` for the `gemm` crate.
    pub(crate) kernel: Option<SimdKernel>,
}

impl ParameterGroup {
    fn new(values: Vec<f32>, optimizer: OptimizerKind) -> Self {
        let n_slots = optimizer.state_suffixes().len();
        let slot = |slot| vec![0.0; if slot < n_slots { values.len() } else { 0 }];
        Self { gradient: vec![0.0; values.len()], state: [slot(0), slot(1)], values }
    }

    fn as_mut(&mut self) -> ParameterGroupMut<'_> {
        let Self { values, gradient, state } = self;
        ParameterGroupMut { values, gradient, state: state.each_mut().map(Vec::as_mut_slice) }
    }
}

impl<'a> ParameterGroupMut<'a> {
    /// Splits off the first `n`.
    fn take(&mut self, n: usize) -> ParameterGroupMut<'a> {
        const INSIDE: &str = "a tile lies inside its layer";
        let [values, gradient] = [&mut self.values, &mut self.gradient]
            .map(|floats| floats.split_off_mut(..n).expect(INSIDE));
        let state = self
            .state
            .each_mut()
            .map(|slot| slot.split_off_mut(..n.min(slot.len())).expect(INSIDE));
        ParameterGroupMut { values, gradient, state }
    }

    fn step(&mut self, step: Step) {
        step.apply(self.values, self.state.each_mut().map(|slot| &mut **slot), self.gradient);
    }
}

impl Layer {
    /// A layer without a bias if that of `init` is empty. A bias of another length than the outputs
    /// is only stored and updated here; the caller adds it outside of [`forward`](Self::forward).
    ///
    /// A layer of one output is a product with a vector, which words and panels do not speed up: it
    /// stays `f32`, with `gemm`.
    pub(crate) fn new(
        init: &LinearInit,
        n_input: usize,
        has_relu: bool,
        options: LayerOptions,
    ) -> Self {
        let LayerOptions { optimizer, kernel } = options;
        let (n_output, has_bias) = (init.weight.len() / n_input, !init.bias.is_empty());
        let kernel = kernel.filter(|_| n_output > 1);
        let packed = kernel
            .map(|kernel| PackedWeights::new(kernel, n_input, n_output, tile_inputs(n_output)));
        let weight = ParameterGroup::new(vec![0.0; n_input * n_output], optimizer);
        let bias = if has_bias { init.bias.clone() } else { vec![0.0; n_output] };
        let group = ParameterGroup::new(vec![0.0; bias.len()], optimizer);
        let mut layer = Self { n_input, n_output, has_relu, has_bias, weight, bias: group, packed };
        layer.set_parameters(&init.weight, &bias);
        layer
    }

    /// Shapes of [`parameters`](Self::parameters).
    pub(crate) fn shapes(&self) -> [Vec<usize>; 2] {
        [vec![self.n_output, self.n_input], vec![self.bias.values.len()]]
    }

    /// `[n_input, n_output]`; with one output a vector of the inputs' weights.
    pub(crate) fn weight(&self) -> &[f32] {
        &self.weight.values
    }

    pub(crate) fn bias(&self) -> &[f32] {
        &self.bias.values
    }

    /// `[n_output, n_input]` and `[n_output]`.
    pub(crate) fn parameters(&self) -> [Vec<f32>; 2] {
        [self.outputs_first(&self.weight.values), self.bias.values.clone()]
    }

    pub(crate) fn set_parameters(&mut self, weight: &[f32], bias: &[f32]) {
        kernels::transpose(weight, self.n_input, &mut self.weight.values);
        self.bias.values.copy_from_slice(bias);
        self.tiles().for_each(|mut tile| tile.pack());
    }

    /// One slot of the optimizer's state, laid out like [`parameters`](Self::parameters).
    pub(crate) fn optimizer_state(&self, slot: usize) -> [Vec<f32>; 2] {
        [self.outputs_first(&self.weight.state[slot]), self.bias.state[slot].clone()]
    }

    pub(crate) fn set_optimizer_state(&mut self, slot: usize, weight: &[f32], bias: &[f32]) {
        kernels::transpose(weight, self.n_input, &mut self.weight.state[slot]);
        self.bias.state[slot].copy_from_slice(bias);
    }

    fn outputs_first(&self, values: &[f32]) -> Vec<f32> {
        let mut swapped = vec![0.0; values.len()];
        kernels::transpose(values, self.n_output, &mut swapped);
        swapped
    }

    /// `[n, n_input]` to `[n, n_output]`; `words` is a buffer.
    pub(crate) fn forward(&self, x: &[f32], y: &mut [f32], words: &mut Vec<u32>) {
        if let Some(packed) = &self.packed {
            return packed.forward(x, &self.bias.values, self.has_relu, y, words);
        }
        let (x, weight) =
            (Matrix::new(x, self.n_input), Matrix::new(&self.weight.values, self.n_output));
        multiply(x, weight, MatrixMut::new(y, self.n_output), Accumulate::Overwrite);
        kernels::add_bias(y, &self.bias.values, self.has_relu);
    }

    /// Packs what the gradient of the weights needs of a shard; nothing for the `gemm` crate.
    pub(crate) fn pack_samples(&self, input: &[f32], gradient: &[f32], to: &mut SamplePanels) {
        if let Some(packed) = &self.packed {
            packed.pack_samples(input, gradient, to);
        }
    }

    /// From the gradient before the activation, `[n, n_output]`, to that of the input,
    /// `[n, n_input]`; `words` is a buffer.
    pub(crate) fn input_gradient(&self, gradient: &[f32], to: &mut [f32], words: &mut Vec<u32>) {
        if let Some(packed) = &self.packed {
            return packed.input_gradient(gradient, to, words);
        }
        let gradient = Matrix::new(gradient, self.n_output);
        let weight = Matrix::new(&self.weight.values, self.n_output).transposed();
        multiply(gradient, weight, MatrixMut::new(to, self.n_input), Accumulate::Overwrite);
    }

    /// All parameters, cut by the shape of the layer alone.
    pub(crate) fn tiles(&mut self) -> impl Iterator<Item = Tile<'_>> + Send {
        let (n_input, n_output, step) = (self.n_input, self.n_output, tile_inputs(self.n_output));
        let (mut weight, mut bias) =
            (self.weight.as_mut(), self.has_bias.then(|| self.bias.as_mut()));
        let mut packed = self.packed.as_mut().map(PackedWeights::as_mut);
        (0..n_input).step_by(step).map(move |start| {
            let inputs = start..n_input.min(start + step);
            let weight = weight.take(inputs.len() * n_output);
            let packed = packed.as_mut().map(|packed| packed.take(inputs.len()));
            Tile { inputs, n_input, n_output, weight, bias: bias.take(), packed }
        })
    }
}

/// Inputs of each tile but the last.
fn tile_inputs(n_output: usize) -> usize {
    TILE_WEIGHTS.div_ceil(n_output).next_multiple_of(TILE_INPUTS)
}

impl Tile<'_> {
    /// Sums the gradient over the shards in their order, in place of what it holds or on top.
    pub(crate) fn accumulate<'r>(
        &mut self,
        shards: impl Iterator<Item = LayerRecord<'r>> + Clone,
        accumulate: Accumulate,
    ) {
        let of_shard = |shard_idx| if shard_idx == 0 { accumulate } else { Accumulate::Add };
        if let Some(packed) = &self.packed {
            let panels = shards.clone().map(|shard| shard.panels);
            let out = Out { values: self.weight.gradient, n_columns: self.n_output };
            sum_gradient(packed.kernel(), panels, &self.inputs, out, accumulate);
        } else {
            for (shard_idx, LayerRecord { input, gradient, .. }) in shards.clone().enumerate() {
                let input = Matrix::new(input, self.n_input).columns(&self.inputs).transposed();
                let sum = MatrixMut::new(self.weight.gradient, self.n_output);
                multiply(input, Matrix::new(gradient, self.n_output), sum, of_shard(shard_idx));
            }
        }
        let Some(bias) = &mut self.bias else { return };
        for (shard_idx, LayerRecord { bias_gradient, .. }) in shards.enumerate() {
            match of_shard(shard_idx) {
                Accumulate::Overwrite => bias.gradient.copy_from_slice(bias_gradient),
                Accumulate::Add => kernels::add(bias.gradient, bias_gradient),
            }
        }
    }

    /// One step along the gradient.
    pub(crate) fn step(&mut self, step: Step) {
        self.weight.step(step);
        if let Some(bias) = &mut self.bias {
            bias.step(step);
        }
        self.pack();
    }

    /// Packs the weights for our own kernel.
    fn pack(&mut self) {
        if let Some(packed) = &mut self.packed {
            packed.pack(self.weight.values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(optimizer: OptimizerKind, kernel: Option<SimdKernel>) -> LayerOptions {
        LayerOptions { optimizer, kernel }
    }

    /// Two samples through `y = relu(x · weightᵀ + bias)` with two inputs, three outputs: numbers
    /// that bf16 holds.
    #[test]
    fn forward_backward_and_step_on_paper() {
        let init =
            LinearInit { weight: vec![1.0, 2.0, -1.0, 0.0, 0.5, 0.5], bias: vec![0.0, 1.0, -2.0] };
        for kernel in std::iter::once(None).chain(SimdKernel::all_here().map(Some)) {
            let mut layer = Layer::new(&init, 2, true, options(OptimizerKind::Sgd, kernel));
            let (x, mut y, mut words) = ([1.0, 2.0, 3.0, 4.0], [f32::NAN; 6], Vec::new());
            layer.forward(&x, &mut y, &mut words);
            assert_eq!(y, [5.0, 0.0, 0.0, 11.0, 0.0, 1.5], "{kernel:?}");
            let (gradient, mut to) = ([1.0, 0.0, 0.0, 2.0, 0.0, 4.0], [f32::NAN; 4]);
            layer.input_gradient(&gradient, &mut to, &mut words);
            assert_eq!(to, [1.0, 2.0, 4.0, 6.0], "{kernel:?}");
            let shards = [
                (&x[..2], &gradient[..3], [1.0, 0.0, 0.0]),
                (&x[2..], &gradient[3..], [2.0, 0.0, 4.0]),
            ];
            let mut panels = [SamplePanels::default(), SamplePanels::default()];
            for ((input, gradient, _), panels) in shards.iter().zip(&mut panels) {
                layer.pack_samples(input, gradient, panels);
            }
            for mut tile in layer.tiles() {
                let records =
                    shards.iter().zip(&panels).map(|((input, gradient, bias_gradient), panels)| {
                        LayerRecord { input, gradient, bias_gradient, panels }
                    });
                tile.accumulate(records, Accumulate::Overwrite);
                tile.step(OptimizerKind::Sgd.step(0.5, 0));
            }
            assert_eq!(
                layer.parameters(),
                [vec![-2.5, -3.0, -1.0, 0.0, -5.5, -7.5], vec![-1.5, 1.0, -4.0]]
            );
            layer.input_gradient(&gradient, &mut to, &mut words);
            assert_eq!(
                to,
                [-2.5, -3.0, -27.0, -36.0],
                "{kernel:?}: the backward pass reads the new weights"
            );
        }
    }

    /// Weights and biases are updated independently of each other.
    #[test]
    fn bias_may_be_missing_or_longer_than_the_outputs() {
        for (weight, bias, n_biases) in
            [(vec![1.0, 2.0, 3.0, 4.0], vec![], 0), (vec![1.0, 2.0], vec![5.0, 6.0, 7.0], 3)]
        {
            let init = LinearInit { weight, bias };
            let mut layer = Layer::new(&init, 2, false, options(OptimizerKind::Sgd, None));
            assert_eq!((layer.n_output, layer.has_bias), (init.weight.len() / 2, n_biases > 0));
            let gradient = vec![1.0; layer.n_output];
            let panels = SamplePanels::default();
            let (input, bias_gradient) = (&[1.0, -1.0][..], &[2.0; 3][..n_biases]);
            for mut tile in layer.tiles() {
                let record =
                    LayerRecord { input, gradient: &gradient, bias_gradient, panels: &panels };
                tile.accumulate(std::iter::once(record), Accumulate::Overwrite);
                tile.step(OptimizerKind::Sgd.step(1.0, 0));
            }
            let [weight, bias] = layer.parameters();
            let moved: Vec<f32> =
                init.weight.chunks(2).flat_map(|row| [row[0] - 1.0, row[1] + 1.0]).collect();
            assert_eq!(weight, moved);
            let zeros = vec![0.0; 2 * usize::from(n_biases == 0)];
            assert_eq!(
                bias,
                init.bias.iter().map(|value| value - 2.0).chain(zeros).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn tiles_cover_the_layer_in_order() {
        for (n_input, n_output) in
            [(1, 1), (13, 512), (367, 512), (512, 256), (300, 64), (20_000, 1)]
        {
            let init =
                LinearInit { weight: vec![0.5; n_input * n_output], bias: vec![0.0; n_output] };
            let adam = OptimizerKind::Adam { beta1: 0.9, beta2: 0.999, epsilon: 0.0 };
            let mut layer = Layer::new(&init, n_input, false, options(adam, None));
            let (mut next, mut n_biases) = (0, 0);
            for tile in layer.tiles() {
                assert_eq!(tile.inputs.start, next);
                assert_eq!(tile.weight.values.len(), tile.inputs.len() * n_output);
                tile.weight
                    .state
                    .iter()
                    .for_each(|slot| assert_eq!(slot.len(), tile.weight.values.len()));
                (next, n_biases) =
                    (tile.inputs.end, n_biases + tile.bias.map_or(0, |bias| bias.values.len()));
            }
            assert_eq!((next, n_biases), (n_input, n_output));
        }
    }
}
