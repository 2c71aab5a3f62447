//! Operations on the output of a product and on the parameters: one pass each, for the vector
//! registers that this CPU has. Every sum has one order and no operation is fused, so the bits do
//! not depend on the width of a register.
#![allow(
    clippy::inline_always,
    reason = "a body is compiled once for each instruction set, inside `dispatch`"
)]

use pulp::{Arch, Simd, WithSimd};

use crate::optim::Step;

/// `y += bias` for every row of `y`, then `max(0, y)` if asked; NaN stays NaN.
pub(crate) fn add_bias(y: &mut [f32], bias: &[f32], has_relu: bool) {
    Arch::new().dispatch(AddBias { y, bias, has_relu });
}

struct AddBias<'a> {
    y: &'a mut [f32],
    bias: &'a [f32],
    has_relu: bool,
}

impl WithSimd for AddBias<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.y.chunks_exact_mut(self.bias.len()) {
            if self.has_relu {
                for (y, bias) in row.iter_mut().zip(self.bias) {
                    let sum = *y + bias;
                    *y = if sum < 0.0 { 0.0 } else { sum };
                }
            } else {
                row.iter_mut().zip(self.bias).for_each(|(y, bias)| *y += bias);
            }
        }
    }
}

/// Sets the gradient to 0 where the output of `ReLU` is 0; `sums` becomes the sum of the gradient
/// over the rows, which is the gradient of the bias. Without `outputs` there is no `ReLU`.
pub(crate) fn mask_and_sum(gradient: &mut [f32], outputs: Option<&[f32]>, sums: &mut [f32]) {
    Arch::new().dispatch(MaskAndSum { gradient, outputs, sums });
}

struct MaskAndSum<'a> {
    gradient: &'a mut [f32],
    outputs: Option<&'a [f32]>,
    sums: &'a mut [f32],
}

impl WithSimd for MaskAndSum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let n_columns = self.sums.len();
        self.sums.fill(0.0);
        let rows = self.gradient.chunks_exact_mut(n_columns);
        let Some(outputs) = self.outputs else {
            rows.for_each(|row| {
                self.sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
            });
            return;
        };
        for (row, outputs) in rows.zip(outputs.chunks_exact(n_columns)) {
            for ((value, &output), sum) in row.iter_mut().zip(outputs).zip(&mut *self.sums) {
                *value = if output > 0.0 { *value } else { 0.0 };
                *sum += *value;
            }
        }
    }
}

/// `sums += values`.
pub(crate) fn add(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// Whether all are finite.
pub(crate) fn all_finite(values: &[f32]) -> bool {
    // `&` rather than `all`, which stops early and so cannot be vectorised.
    values.iter().fold(true, |so_far, value| so_far & value.is_finite())
}

impl Step {
    /// One step with the optimizer's state: nothing for SGD, in `state[0]` Adagrad's sums of
    /// squares, or both of Adam's moments.
    pub(crate) fn apply(self, values: &mut [f32], state: [&mut [f32]; 2], gradient: &[f32]) {
        Arch::new().dispatch(ApplyStep { step: self, values, state, gradient });
    }
}

struct ApplyStep<'a> {
    step: Step,
    values: &'a mut [f32],
    state: [&'a mut [f32]; 2],
    gradient: &'a [f32],
}

impl WithSimd for ApplyStep<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { step, values, state: [first, second], gradient } = self;
        match step {
            Step::Sgd { learning_rate } => {
                values
                    .iter_mut()
                    .zip(gradient)
                    .for_each(|(value, gradient)| *value -= learning_rate * gradient);
            }
            Step::Adagrad { learning_rate, epsilon } => {
                for ((value, square), gradient) in values.iter_mut().zip(first).zip(gradient) {
                    *square += gradient * gradient;
                    *value -= learning_rate * gradient / (square.sqrt() + epsilon);
                }
            }
            Step::Adam(adam) => {
                let moments = first.iter_mut().zip(second);
                for ((value, (first, second)), gradient) in
                    values.iter_mut().zip(moments).zip(gradient)
                {
                    adam.apply(value, first, second, *gradient);
                }
            }
        }
    }
}

/// `[n, n_columns]` to `[n_columns, n]`.
pub(crate) fn transpose(from: &[f32], n_columns: usize, to: &mut [f32]) {
    Arch::new().dispatch(Transpose { from, n_columns, to });
}

struct Transpose<'a> {
    from: &'a [f32],
    n_columns: usize,
    to: &'a mut [f32],
}

impl Transpose<'_> {
    /// Squares of this many rows and columns stay in registers and in a few cache lines.
    const SIDE: usize = 8;

    #[inline(always)]
    fn square(&mut self, row: usize, column: usize) {
        let n_rows = self.from.len() / self.n_columns;
        let mut square = [[0.0; Self::SIDE]; Self::SIDE];
        for (i, line) in square.iter_mut().enumerate() {
            line.copy_from_slice(&self.from[(row + i) * self.n_columns + column..][..Self::SIDE]);
        }
        for j in 0..Self::SIDE {
            let line = square.map(|line| line[j]);
            self.to[(column + j) * n_rows + row..][..Self::SIDE].copy_from_slice(&line);
        }
    }

    #[inline(always)]
    fn one_by_one(&mut self, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) {
        let n_rows = self.from.len() / self.n_columns;
        for row in rows {
            for column in columns.clone() {
                self.to[column * n_rows + row] = self.from[row * self.n_columns + column];
            }
        }
    }
}

impl WithSimd for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        let n_rows = self.from.len() / self.n_columns;
        let whole = |n: usize| n / Self::SIDE * Self::SIDE;
        for row in (0..whole(n_rows)).step_by(Self::SIDE) {
            for column in (0..whole(self.n_columns)).step_by(Self::SIDE) {
                self.square(row, column);
            }
        }
        self.one_by_one(0..whole(n_rows), whole(self.n_columns)..self.n_columns);
        self.one_by_one(whole(n_rows)..n_rows, 0..self.n_columns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::OptimizerKind;

    #[test]
    fn bias_and_relu_by_hand() {
        let with = |has_relu| {
            let mut y = [1.0, -3.0, f32::NAN, 0.0, 1.0, 5.0];
            add_bias(&mut y, &[0.5, 1.0, -6.0], has_relu);
            y.map(|value| if value.is_nan() { 99.0 } else { value })
        };
        assert_eq!(with(false), [1.5, -2.0, 99.0, 0.5, 2.0, -1.0]);
        assert_eq!(with(true), [1.5, 0.0, 99.0, 0.5, 2.0, 0.0]);
    }

    #[test]
    fn gradient_is_zero_where_relu_is() {
        let (mut gradient, mut sums) = ([1.0, 2.0, 3.0, 4.0], [9.0, 9.0]);
        mask_and_sum(&mut gradient, Some(&[0.0, 1.0, 0.5, f32::NAN]), &mut sums);
        assert_eq!((gradient, sums), ([0.0, 2.0, 3.0, 0.0], [3.0, 2.0]));
        mask_and_sum(&mut gradient, None, &mut sums);
        assert_eq!((gradient, sums), ([0.0, 2.0, 3.0, 0.0], [3.0, 2.0]));
    }

    #[test]
    fn steps_by_hand() {
        let gradient = [0.75, 0.0, 2.0];
        let (mut values, mut squares) = ([1.0, -2.0, 0.5], [0.0; 3]);
        OptimizerKind::Sgd.step(0.5, 0).apply(&mut values, [&mut [], &mut []], &gradient);
        assert_eq!(values, [0.625, -2.0, -0.5]);
        let adagrad = OptimizerKind::Adagrad { epsilon: 1e-10 };
        adagrad.step(0.5, 0).apply(&mut values, [&mut squares, &mut []], &gradient);
        assert_eq!((values, squares), ([0.125, -2.0, -1.0], [0.5625, 0.0, 4.0]));
        let (mut first, mut second) = ([0.0; 3], [0.0; 3]);
        let adam = OptimizerKind::Adam { beta1: 0.5, beta2: 0.75, epsilon: 0.25 };
        adam.step(0.5, 0).apply(&mut values, [&mut first, &mut second], &gradient);
        assert_eq!(values, [0.125 - 0.5 * 0.75, -2.0, -1.0 - 0.5 * 2.0 / 2.25]);
        assert_eq!((first, second), ([0.375, 0.0, 1.0], [0.140_625, 0.0, 1.0]));
    }

    #[test]
    fn transpose_swaps_rows_and_columns() {
        for (n_rows, n_columns) in [(1, 1), (1, 9), (8, 8), (7, 13), (24, 16), (19, 33)] {
            let from: Vec<f32> = (0..n_rows * n_columns).map(|value| value as f32).collect();
            let mut to = vec![0.0; from.len()];
            transpose(&from, n_columns, &mut to);
            for (idx, &value) in to.iter().enumerate() {
                assert_eq!(value, from[idx % n_rows * n_columns + idx / n_rows]);
            }
        }
    }

    #[test]
    fn all_finite_finds_a_single_bad_value() {
        assert!(all_finite(&[]) && all_finite(&[f32::MAX; 9]));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!all_finite(&[1.0, bad, 1.0]));
        }
    }
}
