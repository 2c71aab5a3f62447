//! The input of a stack of layers on all inputs, `x = dense ‖ rows`, and the backward pass from it
//! to the rows.

use crate::batch::{InputSizes, Inputs};

/// Lengths of the two parts of `x`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Join {
    pub(crate) n_dense: usize,
    /// At least 1.
    pub(crate) row_floats: usize,
}

impl Join {
    /// The lengths for a model with these inputs.
    pub(crate) fn new(inputs: InputSizes) -> Self {
        Self { n_dense: inputs.n_dense, row_floats: inputs.row_floats() }
    }

    /// Length of `x`.
    pub(crate) fn len(self) -> usize {
        self.n_dense + self.row_floats
    }

    /// Dense inputs and rows of each sample side by side, `[n, len]`.
    pub(crate) fn forward(self, inputs: Inputs<'_>, x: &mut Vec<f32>) {
        let n_samples = inputs.rows.len() / self.row_floats;
        x.resize(n_samples * self.len(), 0.0);
        let samples = x.chunks_exact_mut(self.len()).zip(inputs.rows.chunks_exact(self.row_floats));
        for (sample_idx, (x, rows)) in samples.enumerate() {
            let (to_dense, to_rows) = x.split_at_mut(self.n_dense);
            to_dense.copy_from_slice(&inputs.dense[sample_idx * self.n_dense..][..self.n_dense]);
            to_rows.copy_from_slice(rows);
        }
    }

    /// Writes the rows' part of a gradient of `x`, `[n, len]`.
    pub(crate) fn backward(self, gradient: &[f32], row_grads: &mut [f32]) {
        let samples =
            gradient.chunks_exact(self.len()).zip(row_grads.chunks_exact_mut(self.row_floats));
        samples.for_each(|(gradient, to)| to.copy_from_slice(&gradient[self.n_dense..]));
    }

    /// Writes the rows' part of a gradient of `x`, `[n, len]`, plus the gradient of a linear layer
    /// on `x`, `logit_grad · weight`: one pass instead of two.
    pub(crate) fn backward_with_linear(
        self,
        gradient: &[f32],
        logit_grads: &[f32],
        weight: &[f32],
        row_grads: &mut [f32],
    ) {
        let samples =
            gradient.chunks_exact(self.len()).zip(row_grads.chunks_exact_mut(self.row_floats));
        let weight = &weight[self.n_dense..];
        for (&logit_grad, (gradient, to)) in logit_grads.iter().zip(samples) {
            for ((to, gradient), weight) in to.iter_mut().zip(&gradient[self.n_dense..]).zip(weight)
            {
                *to = gradient + logit_grad * weight;
            }
        }
    }
}

/// Writes the two vectors of each of `n_samples` side by side.
pub(crate) fn side_by_side(left: &[f32], right: &[f32], n_samples: usize, to: &mut Vec<f32>) {
    to.resize(left.len() + right.len(), 0.0);
    if n_samples == 0 {
        return;
    }
    let [left_len, right_len] = [left.len() / n_samples, right.len() / n_samples];
    let samples = left.chunks_exact(left_len).zip(right.chunks_exact(right_len));
    for ((left, right), to) in samples.zip(to.chunks_exact_mut(left_len + right_len)) {
        let (to_left, to_right) = to.split_at_mut(left_len);
        to_left.copy_from_slice(left);
        to_right.copy_from_slice(right);
    }
}

/// Writes `logit_grad · weight` for each sample, `[n, len]`: the gradient of the input of a linear
/// layer.
pub(crate) fn outer_product(logit_grads: &[f32], weight: &[f32], to: &mut [f32]) {
    for (logit_grad, to) in logit_grads.iter().zip(to.chunks_exact_mut(weight.len())) {
        to.iter_mut().zip(weight).for_each(|(to, weight)| *to = logit_grad * weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn join_forward_and_backward() {
        let join = Join { n_dense: 1, row_floats: 2 };
        let inputs = Inputs { dense: &[1.0, 2.0], rows: &[3.0, 4.0, 5.0, 6.0], labels: &[] };
        let mut x = vec![f32::NAN; 9];
        join.forward(inputs, &mut x);
        assert_eq!(x, [1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
        let mut row_grads = [f32::NAN; 4];
        join.backward(&x, &mut row_grads);
        assert_eq!(row_grads, inputs.rows);
        join.backward_with_linear(&x, &[1.0, -1.0], &[100.0, 10.0, 20.0], &mut row_grads);
        assert_eq!(row_grads, [13.0, 24.0, -5.0, -14.0]);
    }

    #[test]
    fn join_without_dense_inputs() {
        let join = Join { n_dense: 0, row_floats: 2 };
        let mut x = Vec::new();
        join.forward(Inputs { dense: &[], rows: &[3.0, 4.0, 5.0, 6.0], labels: &[] }, &mut x);
        assert_eq!(x, [3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn outputs_side_by_side() {
        let mut to = vec![f32::NAN; 9];
        side_by_side(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0], 2, &mut to);
        assert_eq!(to, [1.0, 2.0, 5.0, 3.0, 4.0, 6.0]);
        outer_product(&[2.0, -1.0], &[1.0, 10.0, 100.0], &mut to);
        assert_eq!(to, [2.0, 20.0, 200.0, -1.0, -10.0, -100.0]);
        side_by_side(&[], &[], 0, &mut to);
        assert!(to.is_empty());
    }
}
