//! Single products for `benches/step.rs`, behind the feature `bench`: no part of the API of this
//! library.

use pulp::{Arch, Simd, WithSimd};

use super::layer::{Layer, LayerOptions, LayerRecord};
use super::product::Accumulate;
use super::simd::weights::SamplePanels;
use super::simd::{SimdKernel, product};
use crate::init::LinearInit;
use crate::optim::OptimizerKind;
use crate::precision::{Kernel, Precision, PrecisionError};

/// The three products of a layer and a shard, repeatedly on the same numbers.
#[derive(Debug)]
pub struct LayerProducts {
    layer: Layer,
    x: Vec<f32>,
    y: Vec<f32>,
    gradient: Vec<f32>,
    input_gradient: Vec<f32>,
    bias_gradient: Vec<f32>,
    panels: SamplePanels,
    words: Vec<u32>,
}

impl LayerProducts {
    /// A layer and a shard with numbers that neither vanish nor overflow.
    ///
    /// # Errors
    /// A precision that this CPU does not have.
    pub fn new(
        precision: Precision,
        n_samples: usize,
        n_input: usize,
        n_output: usize,
    ) -> Result<Self, PrecisionError> {
        let draw = |n: usize| {
            (0..n).map(|idx| (idx * 7919 % 1009) as f32 / 504.5 - 1.0).collect::<Vec<f32>>()
        };
        let init = LinearInit { weight: draw(n_input * n_output), bias: draw(n_output) };
        let options =
            LayerOptions { optimizer: OptimizerKind::Sgd, kernel: SimdKernel::choose(precision)? };
        let layer = Layer::new(&init, n_input, true, options);
        let (x, gradient) = (draw(n_samples * n_input), draw(n_samples * n_output));
        let mut panels = SamplePanels::default();
        layer.pack_samples(&x, &gradient, &mut panels);
        let (y, input_gradient) = (gradient.clone(), x.clone());
        let (bias_gradient, words) = (init.bias, Vec::new());
        Ok(Self { layer, x, y, gradient, input_gradient, bias_gradient, panels, words })
    }

    /// With bias and `ReLU`, and with the rounding of the inputs.
    pub fn forward(&mut self) {
        self.layer.forward(&self.x, &mut self.y, &mut self.words);
    }

    /// From the gradient of the outputs to that of the inputs, with the rounding of the gradients.
    pub fn backward(&mut self) {
        self.layer.input_gradient(&self.gradient, &mut self.input_gradient, &mut self.words);
    }

    /// The gradient of the weights, in all tiles; the operands of our own kernel are packed
    /// already.
    pub fn gradient(&mut self) {
        let Self { layer, x, gradient, bias_gradient, panels, .. } = self;
        let record = LayerRecord { input: x, gradient, bias_gradient, panels };
        layer
            .tiles()
            .for_each(|mut tile| tile.accumulate(std::iter::once(record), Accumulate::Overwrite));
    }
}

/// Multiplications and additions on registers alone: the limit of one core. Returns how many.
///
/// # Errors
/// A precision that this CPU does not have.
pub fn peak(precision: Precision, n_rounds: usize) -> Result<(Kernel, usize), PrecisionError> {
    let Some(kernel) = SimdKernel::choose(precision)? else {
        Arch::new().dispatch(Peak { n_rounds });
        return Ok((Kernel::Gemm, 2 * n_rounds * Peak::SUMS * Peak::LANES));
    };
    Ok((kernel.name(), product::peak(kernel, n_rounds)))
}

/// The loop for the registers that `pulp` finds. Twelve sums hide the latency of two units.
struct Peak {
    n_rounds: usize,
}

impl Peak {
    const SUMS: usize = 12;
    const LANES: usize = 8;
}

impl WithSimd for Peak {
    type Output = ();

    #[allow(
        clippy::inline_always,
        reason = "compiled once for each instruction set, inside `dispatch`"
    )]
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (a, b) = std::hint::black_box(([0.5f32; Self::LANES], [0.25f32; Self::LANES]));
        let mut sums = [[0.0; Self::LANES]; Self::SUMS];
        for _ in 0..self.n_rounds {
            for sum in &mut sums {
                for (lane, sum) in sum.iter_mut().enumerate() {
                    *sum = a[lane].mul_add(b[lane], *sum);
                }
            }
        }
        std::hint::black_box(sums);
    }
}
