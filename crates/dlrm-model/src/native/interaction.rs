//! Dot products of all pairs of vectors, forward and backward, sample by sample. A product of 27 x
//! 16 matrices is too small for a library, so these are loops over register blocks that the
//! compiler turns into vector instructions.
#![allow(
    clippy::inline_always,
    reason = "a body is compiled once for each instruction set, inside `dispatch`"
)]

use pulp::{Arch, Simd, WithSimd};

/// Dot products that are summed at a time: as many as the lanes of a 256-bit register.
const BLOCK: usize = 8;

/// The shape of an interaction: the dense vector, if there is one, and the rows, all of one length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interaction {
    /// Whether a dense vector comes before the rows.
    pub(crate) has_dense: bool,
    /// Rows a sample.
    pub(crate) n_rows: usize,
    /// Length of every vector.
    pub(crate) dim: usize,
}

/// Buffers for one sample, made once for each shard.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// `[n, dim]`: the dense vector and the rows.
    vectors: Vec<f32>,
    /// `[dim, padded n]`: the vectors transposed; columns beyond `n` are never used. In the
    /// backward pass, the gradients.
    columns: Vec<f32>,
    /// `[n, n]`: gradient of each pair's dot product, symmetric.
    pairs: Vec<f32>,
}

impl Interaction {
    /// Vectors of a sample.
    fn n_vectors(&self) -> usize {
        self.n_rows + usize::from(self.has_dense)
    }

    /// Length of the dense vector, which comes first in the output.
    fn dense_len(&self) -> usize {
        if self.has_dense { self.dim } else { 0 }
    }

    /// Outputs a sample: the dense vector itself, then the dot products of all pairs of the vectors
    /// `x, row 0, row 1, ...` in the order (1,0), (2,0), (2,1), (3,0), ...
    pub(crate) fn n_outputs(&self) -> usize {
        self.dense_len() + self.n_vectors() * (self.n_vectors() - 1) / 2
    }

    fn padded(&self) -> usize {
        self.n_vectors().next_multiple_of(BLOCK)
    }

    pub(crate) fn scratch(&self) -> Scratch {
        let n = self.n_vectors();
        Scratch {
            vectors: vec![0.0; n * self.dim],
            columns: vec![0.0; self.padded() * self.dim],
            pairs: vec![0.0; n * n],
        }
    }

    /// `dense` `[B, dim]` (or empty) and `rows` `[B, n_rows, dim]` to `outputs` `[B, n_outputs]`.
    pub(crate) fn forward(
        &self,
        dense: &[f32],
        rows: &[f32],
        outputs: &mut [f32],
        scratch: &mut Scratch,
    ) {
        Arch::new().dispatch(Forward { shape: *self, dense, rows, outputs, scratch });
    }

    /// Gradients of the outputs to those of the dense vectors and of the rows.
    pub(crate) fn backward(
        &self,
        values: Values<'_>,
        outputs: &[f32],
        to: Gradients<'_>,
        scratch: &mut Scratch,
    ) {
        Arch::new().dispatch(Backward { shape: *self, values, outputs, to, scratch });
    }

    /// Puts the vectors of a sample side by side.
    #[inline(always)]
    fn gather(self, values: Values<'_>, sample_idx: usize, vectors: &mut [f32]) {
        let (dense_len, row_floats) = (self.dense_len(), self.n_rows * self.dim);
        let (dense, rows) = vectors.split_at_mut(dense_len);
        dense.copy_from_slice(&values.dense[sample_idx * dense_len..][..dense_len]);
        rows.copy_from_slice(&values.rows[sample_idx * row_floats..][..row_floats]);
    }
}

/// What went into an interaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values<'a> {
    /// `[B, dim]`, empty if there is no dense vector.
    pub(crate) dense: &'a [f32],
    /// `[B, n_rows, dim]`
    pub(crate) rows: &'a [f32],
}

/// Where the gradients of [`Values`] go.
#[derive(Debug)]
pub(crate) struct Gradients<'a> {
    pub(crate) dense: &'a mut [f32],
    pub(crate) rows: &'a mut [f32],
}

struct Forward<'a> {
    shape: Interaction,
    dense: &'a [f32],
    rows: &'a [f32],
    outputs: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { shape, dense, rows, outputs, scratch } = self;
        let Scratch { vectors, columns, .. } = scratch;
        for (sample_idx, outputs) in outputs.chunks_exact_mut(shape.n_outputs()).enumerate() {
            shape.gather(Values { dense, rows }, sample_idx, vectors);
            for (i, vector) in vectors.chunks_exact(shape.dim).enumerate() {
                for (column, &value) in columns.chunks_exact_mut(shape.padded()).zip(vector) {
                    column[i] = value;
                }
            }
            let (copy, dots) = outputs.split_at_mut(shape.dense_len());
            copy.copy_from_slice(&vectors[..copy.len()]);
            lower_triangle(vectors, columns, shape, dots);
        }
    }
}

/// Each sum runs over the vectors' elements in their order; the sums of a block fill the lanes of a
/// register.
#[inline(always)]
fn lower_triangle(vectors: &[f32], columns: &[f32], shape: Interaction, dots: &mut [f32]) {
    let mut start = 0;
    for (i, vector) in vectors.chunks_exact(shape.dim).enumerate() {
        for j in (0..i).step_by(BLOCK) {
            let mut sums = [0.0; BLOCK];
            for (column, &value) in columns.chunks_exact(shape.padded()).zip(vector) {
                let others = &column[j..j + BLOCK];
                sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += value * other);
            }
            // Sums beyond (i, i - 1) are overwritten by the next row.
            if let Some(block) = dots.get_mut(start + j..start + j + BLOCK) {
                block.copy_from_slice(&sums);
            } else {
                let n_left = BLOCK.min(i - j);
                dots[start + j..start + j + n_left].copy_from_slice(&sums[..n_left]);
            }
        }
        start += i;
    }
}

struct Backward<'a> {
    shape: Interaction,
    values: Values<'a>,
    outputs: &'a [f32],
    to: Gradients<'a>,
    scratch: &'a mut Scratch,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { shape, values, outputs, to, scratch } = self;
        let Scratch { vectors, pairs, columns: gradients } = scratch;
        let (n, dim, dense_len) = (shape.n_vectors(), shape.dim, shape.dense_len());
        let gradients = &mut gradients[..n * dim];
        let row_floats = shape.n_rows * dim;
        for (sample_idx, outputs) in outputs.chunks_exact(shape.n_outputs()).enumerate() {
            shape.gather(values, sample_idx, vectors);
            let (copy, dots) = outputs.split_at(dense_len);
            symmetric(dots, n, pairs);
            // Wide blocks first; a dimension that is no multiple of 8 ends in single elements.
            let start = combine::<16>(pairs, vectors, dim, 0, gradients);
            let start = combine::<8>(pairs, vectors, dim, start, gradients);
            combine::<1>(pairs, vectors, dim, start, gradients);
            let (dense, rows) = gradients.split_at(dense_len);
            to.rows[sample_idx * row_floats..][..row_floats].copy_from_slice(rows);
            let to_dense = &mut to.dense[sample_idx * dense_len..][..dense_len];
            for ((to, through_pairs), through_copy) in to_dense.iter_mut().zip(dense).zip(copy) {
                *to = through_copy + through_pairs;
            }
        }
    }
}

/// From a strict lower triangle, row by row, to the symmetric matrix, whose diagonal is 0 from the
/// start and is never written.
#[inline(always)]
fn symmetric(mut triangle: &[f32], n: usize, pairs: &mut [f32]) {
    for i in 1..n {
        let (row, rest) = triangle.split_at(i);
        pairs[i * n..][..i].copy_from_slice(row);
        for (j, &value) in row.iter().enumerate() {
            pairs[j * n + i] = value;
        }
        triangle = rest;
    }
}

/// `gradient_i = sum over j of pairs_ij · vector_j` for blocks of `WIDTH` elements from `start` on,
/// as long as there are whole ones; returns the first element that is left.
#[inline(always)]
fn combine<const WIDTH: usize>(
    pairs: &[f32],
    vectors: &[f32],
    dim: usize,
    mut start: usize,
    gradients: &mut [f32],
) -> usize {
    let n = vectors.len() / dim;
    while start + WIDTH <= dim {
        // Two at a time: their sums do not wait for each other, and share the vectors that they
        // load.
        for i in (0..n - 1).step_by(2) {
            let (first, second) = (&pairs[i * n..][..n], &pairs[(i + 1) * n..][..n]);
            let mut sums = [[0.0; WIDTH]; 2];
            for ((vector, &a), &b) in vectors.chunks_exact(dim).zip(first).zip(second) {
                let values: &[f32; WIDTH] =
                    vector[start..start + WIDTH].try_into().expect("a block is in the vector");
                for (lane, &value) in values.iter().enumerate() {
                    sums[0][lane] += a * value;
                    sums[1][lane] += b * value;
                }
            }
            gradients[i * dim + start..][..WIDTH].copy_from_slice(&sums[0]);
            gradients[(i + 1) * dim + start..][..WIDTH].copy_from_slice(&sums[1]);
        }
        if n % 2 == 1 {
            let mut sums = [0.0; WIDTH];
            for (vector, &a) in vectors.chunks_exact(dim).zip(&pairs[(n - 1) * n..]) {
                sums.iter_mut()
                    .zip(&vector[start..start + WIDTH])
                    .for_each(|(sum, value)| *sum += a * value);
            }
            gradients[(n - 1) * dim + start..][..WIDTH].copy_from_slice(&sums);
        }
        start += WIDTH;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn three_vectors_by_hand() {
        let shape = Interaction { has_dense: true, n_rows: 2, dim: 2 };
        let (dense, rows) = ([1.0, 2.0], [3.0, 5.0, 7.0, 11.0]);
        let (mut outputs, mut scratch) = ([f32::NAN; 5], shape.scratch());
        shape.forward(&dense, &rows, &mut outputs, &mut scratch);
        assert_eq!(outputs, [1.0, 2.0, 13.0, 29.0, 76.0]);
        let (mut to_dense, mut to_rows) = ([f32::NAN; 2], [f32::NAN; 4]);
        let to = Gradients { dense: &mut to_dense, rows: &mut to_rows };
        shape.backward(
            Values { dense: &dense, rows: &rows },
            &[10.0, 20.0, 1.0, 0.0, 2.0],
            to,
            &mut scratch,
        );
        assert_eq!(to_dense, [13.0, 25.0]);
        assert_eq!(to_rows, [1.0 + 14.0, 2.0 + 22.0, 6.0, 10.0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        /// Small integers add without rounding in any order.
        #[test]
        fn equals_plain_loops(
            (n_samples, n_rows, dim) in (1usize..4, 2usize..28, 1usize..35),
            has_dense in any::<bool>(),
            pool in proptest::collection::vec(-4i8..=4, 3 * 28 * 35 + 3 * 500),
        ) {
            let shape = Interaction { has_dense, n_rows, dim };
            let mut pool = pool.into_iter().map(f32::from);
            let mut draw = |n: usize| pool.by_ref().take(n).collect::<Vec<f32>>();
            let (n, dense_len) = (shape.n_vectors(), shape.dense_len());
            let n_outputs = shape.n_outputs();
            let (dense, rows) = (draw(n_samples * dense_len), draw(n_samples * n_rows * dim));
            let logit_grads = draw(n_samples * n_outputs);
            let mut outputs = vec![f32::NAN; n_samples * n_outputs];
            let mut to_dense = vec![f32::NAN; dense.len()];
            let mut to_rows = vec![f32::NAN; rows.len()];
            let mut scratch = shape.scratch();
            shape.forward(&dense, &rows, &mut outputs, &mut scratch);
            let to = Gradients { dense: &mut to_dense, rows: &mut to_rows };
            shape.backward(Values { dense: &dense, rows: &rows }, &logit_grads, to, &mut scratch);
            for sample in 0..n_samples {
                let own = &dense[sample * dense_len..][..dense_len];
                let vectors = [own, &rows[sample * n_rows * dim..][..n_rows * dim]].concat();
                let vector = |i: usize| &vectors[i * dim..][..dim];
                let logit_grads = &logit_grads[sample * n_outputs..][..n_outputs];
                let (mut expected, mut expected_to) = (own.to_vec(), vec![0.0; n * dim]);
                expected_to[..dense_len].copy_from_slice(&logit_grads[..dense_len]);
                for (i, j) in (1..n).flat_map(|i| (0..i).map(move |j| (i, j))) {
                    let logit_grad = logit_grads[expected.len()];
                    expected.push(dot(vector(i), vector(j)));
                    for k in 0..dim {
                        expected_to[i * dim + k] += logit_grad * vector(j)[k];
                        expected_to[j * dim + k] += logit_grad * vector(i)[k];
                    }
                }
                prop_assert_eq!(&outputs[sample * n_outputs..][..n_outputs], expected);
                let ours = [
                    &to_dense[sample * dense_len..][..dense_len],
                    &to_rows[sample * n_rows * dim..][..n_rows * dim],
                ];
                prop_assert_eq!(ours.concat(), expected_to);
            }
        }
    }
}
