//! The second order of a factorization machine, forward and backward, sample by sample.
#![allow(
    clippy::inline_always,
    reason = "a body is compiled once for each instruction set, inside `dispatch`"
)]

use pulp::{Arch, Simd, WithSimd};

/// The shape of the rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factorization {
    /// Rows a sample.
    pub(crate) n_rows: usize,
    /// Length of a row.
    pub(crate) dim: usize,
}

impl Factorization {
    /// Adds `0.5 · ((Σ v)² - Σ v²)`, summed over the elements, to the logit of each sample. `sums`
    /// becomes `Σ v`, `[n, dim]`, followed by `dim` floats of scratch space.
    pub(crate) fn forward(self, rows: &[f32], sums: &mut Vec<f32>, logits: &mut [f32]) {
        sums.resize((logits.len() + 1) * self.dim, 0.0);
        let (sums, squares) = sums.split_at_mut(logits.len() * self.dim);
        Arch::new().dispatch(Forward { shape: self, rows, sums, squares, logits });
    }

    /// Adds `logit_grad · (Σ v - v)` to the gradient of each row.
    pub(crate) fn backward(
        self,
        rows: &[f32],
        sums: &[f32],
        logit_grads: &[f32],
        row_grads: &mut [f32],
    ) {
        Arch::new().dispatch(Backward { shape: self, rows, sums, logit_grads, row_grads });
    }

    fn row_floats(self) -> usize {
        self.n_rows * self.dim
    }
}

struct Forward<'a> {
    shape: Factorization,
    rows: &'a [f32],
    sums: &'a mut [f32],
    squares: &'a mut [f32],
    logits: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { shape, rows, sums, squares, logits } = self;
        let samples = rows.chunks_exact(shape.row_floats()).zip(sums.chunks_exact_mut(shape.dim));
        for (logit, (rows, sums)) in logits.iter_mut().zip(samples) {
            sums.fill(0.0);
            squares.fill(0.0);
            for row in rows.chunks_exact(shape.dim) {
                for ((sum, square), value) in sums.iter_mut().zip(&mut *squares).zip(row) {
                    *sum += value;
                    *square += value * value;
                }
            }
            let twice: f32 =
                sums.iter().zip(&*squares).map(|(sum, square)| sum * sum - square).sum();
            *logit += 0.5 * twice;
        }
    }
}

struct Backward<'a> {
    shape: Factorization,
    rows: &'a [f32],
    sums: &'a [f32],
    logit_grads: &'a [f32],
    row_grads: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { shape, rows, sums, logit_grads, row_grads } = self;
        let values = rows.chunks_exact(shape.row_floats()).zip(sums.chunks_exact(shape.dim));
        let samples = values.zip(row_grads.chunks_exact_mut(shape.row_floats()));
        for (&logit_grad, ((rows, sums), row_grads)) in logit_grads.iter().zip(samples) {
            for (row, to) in rows.chunks_exact(shape.dim).zip(row_grads.chunks_exact_mut(shape.dim))
            {
                for ((to, value), sum) in to.iter_mut().zip(row).zip(sums) {
                    *to += logit_grad * (sum - value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows (1, 2), (3, 4), (5, 0) and, in another sample, one row that is not zero.
    #[test]
    fn pairs_by_hand() {
        let shape = Factorization { n_rows: 3, dim: 2 };
        let rows = [1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 0.0, 0.0, 7.0, 7.0, 0.0, 0.0];
        let (mut sums, mut logits, mut row_grads) = (Vec::new(), [0.5, 0.5], [1.0; 12]);
        shape.forward(&rows, &mut sums, &mut logits);
        assert_eq!(logits, [0.5 + 11.0 + 5.0 + 15.0, 0.5]);
        assert_eq!(sums[..4], [9.0, 6.0, 7.0, 7.0]);
        shape.backward(&rows, &sums, &[2.0, -1.0], &mut row_grads);
        assert_eq!(row_grads, [17.0, 9.0, 13.0, 5.0, 9.0, 13.0, -6.0, -6.0, 1.0, 1.0, -6.0, -6.0]);
    }
}
