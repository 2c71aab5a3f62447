//! What an optimizer remembers of rows, and how far it moves them.

use super::byte_sum;
use super::format::{Accumulator, RowOptimizer, Widths};
use super::noise::RoundingNoise;
use crate::batch::by_field::cut;

/// What is remembered of all rows of a table.
#[derive(Clone, Debug)]
pub(super) struct OptimizerState {
    pub(super) squares: Vec<f32>,
    pub(super) means: Vec<f32>,
    pub(super) counts: Vec<u32>,
    /// See [`byte_sum`].
    pub(super) codes: Vec<u8>,
}

impl OptimizerState {
    pub(super) fn new(optimizer: RowOptimizer, n_rows: usize, dim: usize) -> Self {
        let Widths { squares, means, counts, codes } = optimizer.widths(dim);
        Self {
            squares: vec![0.0; n_rows * squares],
            means: vec![0.0; n_rows * means],
            counts: vec![0; n_rows * counts],
            codes: vec![byte_sum::ZERO; n_rows * codes],
        }
    }

    pub(super) fn push_row(&mut self, widths: Widths) {
        self.squares.resize(self.squares.len() + widths.squares, 0.0);
        self.means.resize(self.means.len() + widths.means, 0.0);
        self.counts.resize(self.counts.len() + widths.counts, 0);
        self.codes.resize(self.codes.len() + widths.codes, byte_sum::ZERO);
    }

    pub(super) fn reset(&mut self, row: usize, widths: Widths) {
        self.squares[row * widths.squares..][..widths.squares].fill(0.0);
        self.means[row * widths.means..][..widths.means].fill(0.0);
        self.counts[row * widths.counts..][..widths.counts].fill(0);
        self.codes[row * widths.codes..][..widths.codes].fill(byte_sum::ZERO);
    }

    pub(super) fn bytes(&self) -> u64 {
        let Self { squares, means, counts, codes } = self;
        (size_of_val(&**squares)
            + size_of_val(&**means)
            + size_of_val(&**counts)
            + size_of_val(&**codes)) as u64
    }

    #[inline]
    pub(super) fn as_mut(&mut self) -> OptimizerStateMut<'_> {
        let Self { squares, means, counts, codes } = self;
        OptimizerStateMut { squares, means, counts, codes }
    }
}

/// What is remembered of some rows.
#[derive(Debug)]
pub(super) struct OptimizerStateMut<'a> {
    squares: &'a mut [f32],
    means: &'a mut [f32],
    counts: &'a mut [u32],
    codes: &'a mut [u8],
}

impl<'a> OptimizerStateMut<'a> {
    pub(super) fn cut(&mut self, n_rows: usize, widths: Widths) -> OptimizerStateMut<'a> {
        OptimizerStateMut {
            squares: cut(&mut self.squares, n_rows * widths.squares),
            means: cut(&mut self.means, n_rows * widths.means),
            counts: cut(&mut self.counts, n_rows * widths.counts),
            codes: cut(&mut self.codes, n_rows * widths.codes),
        }
    }

    /// What a row's gradient is multiplied by, where that is one number for all values and takes no
    /// noise; then the row's step is counted.
    #[inline]
    pub(super) fn scale(
        &mut self,
        optimizer: RowOptimizer,
        row: usize,
        grad: &[f32],
        rate: f32,
    ) -> Option<f32> {
        match optimizer {
            RowOptimizer::Sgd => Some(rate),
            RowOptimizer::RowWiseAdagrad { epsilon, accumulator: Accumulator::F32 } => {
                let sum = &mut self.squares[row];
                *sum += mean_square(grad);
                Some(rate / (sum.sqrt() + epsilon))
            }
            RowOptimizer::RowWiseAdagrad { accumulator: Accumulator::Byte, .. }
            | RowOptimizer::Adagrad { .. }
            | RowOptimizer::Adam { .. } => None,
        }
    }

    /// The same for row-wise Adagrad with its sum in a byte.
    #[inline]
    pub(super) fn byte_scale(
        &mut self,
        row: usize,
        grad: &[f32],
        rate: f32,
        epsilon: f32,
        noise: RoundingNoise,
    ) -> f32 {
        let code = &mut self.codes[row];
        let sum = byte_sum::decode(*code) + mean_square(grad);
        *code = byte_sum::encode(sum, noise.of_sum());
        rate / (sum.sqrt() + epsilon)
    }

    #[inline]
    pub(super) fn adagrad<'s>(
        &'s mut self,
        row: usize,
        grad: &'s [f32],
        size: StepSize,
    ) -> Normalised<'s> {
        let StepSize { rate, epsilon } = size;
        let squares = &mut self.squares[row * grad.len()..][..grad.len()];
        for (square, g) in squares.iter_mut().zip(grad) {
            *square += g * g;
        }
        Normalised { rate, root_scale: 1.0, epsilon, direction: grad, squares }
    }

    #[inline]
    pub(super) fn adam<'s>(
        &'s mut self,
        row: usize,
        grad: &[f32],
        size: StepSize,
        betas: Betas,
    ) -> Normalised<'s> {
        let StepSize { rate, epsilon } = size;
        let Betas { beta1, beta2 } = betas;
        let count = &mut self.counts[row];
        *count = count.saturating_add(1);
        let means = &mut self.means[row * grad.len()..][..grad.len()];
        let squares = &mut self.squares[row * grad.len()..][..grad.len()];
        for ((mean, square), g) in means.iter_mut().zip(&mut *squares).zip(grad) {
            *mean += (1.0 - beta1) * (g - *mean);
            *square += (1.0 - beta2) * (g * g - *square);
        }
        let missing = |beta: f32| 1.0 - f64::from(beta).powi((*count).min(i32::MAX as u32) as i32);
        Normalised {
            rate: (f64::from(rate) / missing(beta1)) as f32,
            root_scale: (1.0 / missing(beta2).sqrt()) as f32,
            epsilon,
            direction: means,
            squares,
        }
    }
}

/// The learning rate, and what keeps a step finite where a root is zero.
#[derive(Clone, Copy)]
pub(super) struct StepSize {
    pub(super) rate: f32,
    pub(super) epsilon: f32,
}

/// How fast Adam's two means forget.
#[derive(Clone, Copy)]
pub(super) struct Betas {
    pub(super) beta1: f32,
    pub(super) beta2: f32,
}

#[inline]
fn mean_square(grad: &[f32]) -> f32 {
    grad.iter().map(|g| g * g).sum::<f32>() / grad.len() as f32
}

/// How far a row goes.
pub(super) trait Descent {
    /// What is subtracted from `N` values of the row from `at` on; the same however often it is
    /// asked.
    fn delta<const N: usize>(&self, at: usize) -> [f32; N];
}

/// Along the gradient.
pub(super) struct Scaled<'a> {
    pub(super) scale: f32,
    pub(super) grad: &'a [f32],
}

impl Descent for Scaled<'_> {
    #[inline]
    fn delta<const N: usize>(&self, at: usize) -> [f32; N] {
        lanes(self.grad, at).map(|g| self.scale * g)
    }
}

/// Along a direction, each value over a root of its own.
pub(super) struct Normalised<'a> {
    rate: f32,
    root_scale: f32,
    epsilon: f32,
    direction: &'a [f32],
    squares: &'a [f32],
}

impl Descent for Normalised<'_> {
    #[inline]
    fn delta<const N: usize>(&self, at: usize) -> [f32; N] {
        let (direction, squares) = (lanes::<N>(self.direction, at), lanes::<N>(self.squares, at));
        std::array::from_fn(|k| {
            self.rate * direction[k] / (squares[k].sqrt() * self.root_scale + self.epsilon)
        })
    }
}

#[inline]
fn lanes<const N: usize>(values: &[f32], at: usize) -> [f32; N] {
    *values[at..].first_chunk().expect("a row is as long as its gradient")
}
