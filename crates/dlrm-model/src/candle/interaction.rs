//! Dot products of all pairs of vectors: the specification in plain candle operations, and one node
//! for the CPU, where candle would multiply 27 × 16 matrices one sample at a time and then scatter
//! their gradients.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::device::slice;

/// `x` `[B, d]` (if there is one) and `rows` `[B, F, d]` to `[B, d + pairs]`: `x` itself, then the
/// dot products of all pairs of the vectors `x, row 0, row 1, ...` in the order (1,0), (2,0),
/// (2,1), (3,0), ...
pub(crate) fn interact(x: Option<&Tensor>, rows: &Tensor, fused: bool) -> Result<Tensor> {
    let pairs =
        if fused { |vectors: &Tensor| vectors.apply_op1(PairwiseDots) } else { pairwise_dots };
    match x {
        Some(x) => {
            let vectors = Tensor::cat(&[&x.unsqueeze(1)?, rows], 1)?;
            Tensor::cat(&[x, &pairs(&vectors)?], 1)
        }
        None => pairs(rows),
    }
}

/// `[B, n, d]` to `[B, n(n-1)/2]`: the strict lower triangle of each sample's matrix of dot
/// products, row by row.
fn pairwise_dots(vectors: &Tensor) -> Result<Tensor> {
    let (n_samples, n_vectors, _) = vectors.dims3()?;
    let products = vectors.matmul(&vectors.transpose(1, 2)?.contiguous()?)?;
    let positions: Vec<u32> =
        triangle(n_vectors).map(|(i, j)| (i * n_vectors + j) as u32).collect();
    let positions = Tensor::new(positions, vectors.device())?;
    products.reshape((n_samples, n_vectors * n_vectors))?.index_select(&positions, 1)
}

/// All `(i, j)` with `j < i < n`, row by row.
fn triangle(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (1..n).flat_map(|i| (0..i).map(move |j| (i, j)))
}

/// [`pairwise_dots`] as one node.
struct PairwiseDots;

impl CustomOp1 for PairwiseDots {
    fn name(&self) -> &'static str {
        "pairwise-dots"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n_samples, n_vectors, dim) = layout.shape().dims3()?;
        let n_pairs = n_vectors * (n_vectors - 1) / 2;
        let mut dots = vec![0f32; n_samples * n_pairs];
        let mut columns = vec![0f32; n_vectors * dim];
        let samples = slice(storage, layout)?.chunks_exact(n_vectors * dim);
        for (vectors, dots) in samples.zip(dots.chunks_exact_mut(n_pairs)) {
            transpose(vectors, dim, &mut columns);
            lower_triangle(&columns, n_vectors, dots);
        }
        Ok((CpuStorage::F32(dots), (n_samples, n_pairs).into()))
    }

    fn bwd(
        &self,
        vectors: &Tensor,
        _dots: &Tensor,
        dots_gradient: &Tensor,
    ) -> Result<Option<Tensor>> {
        dots_gradient.apply_op2_no_bwd(&vectors.detach(), &PairwiseDotsGradient).map(Some)
    }
}

/// `[n, dim]` to `[dim, n]`.
fn transpose(vectors: &[f32], dim: usize, columns: &mut [f32]) {
    let n_vectors = vectors.len() / dim;
    for (i, vector) in vectors.chunks_exact(dim).enumerate() {
        for (k, &value) in vector.iter().enumerate() {
            columns[k * n_vectors + i] = value;
        }
    }
}

/// Adds the dot products to `dots`. The loop over `j` is innermost: its sums are independent, so
/// they fill a vector register, while each sum still runs over `k` in the order of a plain dot
/// product.
fn lower_triangle(columns: &[f32], n_vectors: usize, mut dots: &mut [f32]) {
    for i in 1..n_vectors {
        let (row, rest) = dots.split_at_mut(i);
        for column in columns.chunks_exact(n_vectors) {
            let value = column[i];
            row.iter_mut().zip(column).for_each(|(dot, &other)| *dot += value * other);
        }
        dots = rest;
    }
}

/// Gradients of the dots `[B, pairs]` and the vectors `[B, n, d]` to gradients of the vectors.
struct PairwiseDotsGradient;

impl CustomOp2 for PairwiseDotsGradient {
    fn name(&self) -> &'static str {
        "pairwise-dots-gradient"
    }

    fn cpu_fwd(
        &self,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
        vectors: &CpuStorage,
        vectors_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, n_vectors, dim) = vectors_layout.shape().dims3()?;
        let (gradient, vectors) =
            (slice(gradient, gradient_layout)?, slice(vectors, vectors_layout)?);
        let mut result = vec![0f32; vectors.len()];
        let samples =
            vectors.chunks_exact(n_vectors * dim).zip(result.chunks_exact_mut(n_vectors * dim));
        for (gradient, (vectors, result)) in
            gradient.chunks_exact(n_vectors * (n_vectors - 1) / 2).zip(samples)
        {
            backward_sample(gradient, vectors, dim, result);
        }
        Ok((CpuStorage::F32(result), vectors_layout.shape().clone()))
    }
}

/// `result_i += g_ij · v_j` and `result_j += g_ij · v_i` for every pair.
fn backward_sample(mut gradient: &[f32], vectors: &[f32], dim: usize, result: &mut [f32]) {
    for i in 1..vectors.len() / dim {
        let (row, rest) = gradient.split_at(i);
        let vector = &vectors[i * dim..][..dim];
        let (before, from_i) = result.split_at_mut(i * dim);
        let result_i = &mut from_i[..dim];
        let others = vectors.chunks_exact(dim).zip(before.chunks_exact_mut(dim));
        for (&g, (other, result_j)) in row.iter().zip(others) {
            add_scaled(result_i, g, other);
            add_scaled(result_j, g, vector);
        }
        gradient = rest;
    }
}

fn add_scaled(sum: &mut [f32], factor: f32, values: &[f32]) {
    sum.iter_mut().zip(values).for_each(|(sum, &value)| *sum += factor * value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use proptest::prelude::*;

    fn run(values: &[f32], shape: impl Into<Shape>, fused: bool) -> (Vec<f32>, Vec<f32>) {
        let vectors = Var::from_slice(values, shape.into(), &Device::Cpu).unwrap();
        let dots = interact(None, &vectors, fused).unwrap();
        let gradients = dots.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        (flat(&dots), flat(gradients.get(&vectors).unwrap()))
    }

    #[test]
    fn three_vectors_by_hand() {
        let (x, rows) = ([[1f32, 2.0]], [[[3f32, 5.0], [7.0, 11.0]]]);
        let (x, rows) =
            (Tensor::new(&x, &Device::Cpu).unwrap(), Tensor::new(&rows, &Device::Cpu).unwrap());
        for fused in [false, true] {
            let features = interact(Some(&x), &rows, fused).unwrap();
            assert_eq!(features.to_vec2::<f32>().unwrap(), [[1.0, 2.0, 13.0, 29.0, 76.0]]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn fused_equals_plain(
            (n_samples, n_vectors, dim) in (1usize..5, 2usize..9, 1usize..20),
            pool in proptest::collection::vec(-4i8..=4, 4 * 8 * 19),
        ) {
            let pool = &pool[..n_samples * n_vectors * dim];
            let values: Vec<f32> = pool.iter().map(|&value| f32::from(value)).collect();
            let plain = run(&values, (n_samples, n_vectors, dim), false);
            let fused = run(&values, (n_samples, n_vectors, dim), true);
            prop_assert_eq!(plain, fused, "small integers add without rounding in any order");
        }
    }
}
