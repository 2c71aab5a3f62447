//! Products of matrices by the `gemm` crate: `unsafe`, as `simd/avx512.rs` is and no other module
//! of this library. The crate only gets slices of which every index has been checked.
#![allow(
    unsafe_code,
    reason = "the interface of `gemm` is raw pointers; the one call is below, behind assertions"
)]

use std::ops::Range;

/// A matrix inside a slice, with any strides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    n_rows: usize,
    n_columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// A matrix to write, whose rows do not overlap.
#[derive(Debug)]
pub(crate) struct MatrixMut<'a> {
    values: &'a mut [f32],
    n_rows: usize,
    n_columns: usize,
    row_stride: usize,
}

/// What happens to the values that the output holds before a product is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accumulate {
    /// The product replaces them.
    Overwrite,
    /// The product is added to them.
    Add,
}

impl<'a> Matrix<'a> {
    /// All values, in rows of `n_columns`.
    pub(crate) fn new(values: &'a [f32], n_columns: usize) -> Self {
        assert_eq!(values.len() % n_columns, 0, "expected whole rows of {n_columns}");
        Self {
            values,
            n_rows: values.len() / n_columns,
            n_columns,
            row_stride: n_columns,
            column_stride: 1,
        }
    }

    /// Some of the columns.
    pub(crate) fn columns(self, range: &Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.n_columns,
            "columns {range:?} of {}",
            self.n_columns
        );
        let skipped = (range.start * self.column_stride).min(self.values.len());
        Self { values: &self.values[skipped..], n_columns: range.len(), ..self }
    }

    /// The transpose, of the same values.
    pub(crate) fn transposed(self) -> Self {
        let Self { values, n_rows, n_columns, row_stride, column_stride } = self;
        Self {
            values,
            n_rows: n_columns,
            n_columns: n_rows,
            row_stride: column_stride,
            column_stride: row_stride,
        }
    }

    /// Floats that its indices span.
    fn extent(&self) -> usize {
        let Self { n_rows, n_columns, row_stride, column_stride, .. } = *self;
        extent(n_rows, row_stride, n_columns, column_stride)
    }
}

impl<'a> MatrixMut<'a> {
    /// All values, in rows of `n_columns`.
    pub(crate) fn new(values: &'a mut [f32], n_columns: usize) -> Self {
        assert_eq!(values.len() % n_columns, 0, "expected whole rows of {n_columns}");
        Self { n_rows: values.len() / n_columns, values, n_columns, row_stride: n_columns }
    }

    fn extent(&self) -> usize {
        extent(self.n_rows, self.row_stride, self.n_columns, 1)
    }
}

/// One past the last index of a matrix with these strides. Checked arithmetic, because the `unsafe`
/// call below relies on it.
fn extent(n_rows: usize, row_stride: usize, n_columns: usize, column_stride: usize) -> usize {
    if n_rows == 0 || n_columns == 0 {
        return 0;
    }
    let last_row = (n_rows - 1).checked_mul(row_stride);
    let last_column = (n_columns - 1).checked_mul(column_stride);
    let end = || last_row?.checked_add(last_column?)?.checked_add(1);
    end().expect("the indices of a matrix fit in a usize")
}

/// `out = a · b` or `out += a · b`, on the calling thread.
///
/// # Panics
/// If the shapes do not fit together, or a matrix reaches beyond its slice.
#[allow(clippy::needless_pass_by_value, reason = "a mutable view is made for one product")]
pub(crate) fn multiply(a: Matrix<'_>, b: Matrix<'_>, out: MatrixMut<'_>, accumulate: Accumulate) {
    assert_eq!(
        (a.n_rows, a.n_columns, b.n_columns),
        (out.n_rows, b.n_rows, out.n_columns),
        "shapes of a product"
    );
    assert!(a.extent() <= a.values.len(), "`a` reaches beyond its slice");
    assert!(b.extent() <= b.values.len(), "`b` reaches beyond its slice");
    assert!(out.extent() <= out.values.len(), "`out` reaches beyond its slice");
    assert!(out.n_rows <= 1 || out.row_stride >= out.n_columns, "the rows of `out` overlap");
    // A slice is at most `isize::MAX` bytes, so a stride that is used fits; one that is not is
    // never multiplied. SAFETY: `gemm` reads `a[i, k]` and `b[k, j]` and writes (with `Add` also
    // reads) `out[i, j]` for all `i < n_rows`, `j < n_columns`, `k < a.n_columns`, each at the
    // pointer plus index times stride, columns before rows in its argument list. The assertions say
    // that the largest of these indices lies inside the slice, and none is negative. All values are
    // initialised `f32`. `out` is borrowed mutably, so it overlaps neither `a` nor `b`, and its
    // rows do not overlap each other. With `Parallelism::None` no other thread sees the pointers.
    unsafe {
        gemm::gemm(
            out.n_rows,
            out.n_columns,
            a.n_columns,
            out.values.as_mut_ptr(),
            1,
            out.row_stride as isize,
            accumulate == Accumulate::Add,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Matrix<'_> {
        fn at(&self, row: usize, column: usize) -> f32 {
            self.values[row * self.row_stride + column * self.column_stride]
        }
    }

    impl MatrixMut<'_> {
        /// Some of the columns: rows with a stride of their own.
        fn columns(self, range: &Range<usize>) -> Self {
            assert!(
                range.start <= range.end && range.end <= self.n_columns,
                "columns {range:?} of {}",
                self.n_columns
            );
            let skipped = range.start.min(self.values.len());
            Self { values: &mut self.values[skipped..], n_columns: range.len(), ..self }
        }
    }

    /// The product as plain loops.
    fn multiply_plainly(
        a: Matrix<'_>,
        b: Matrix<'_>,
        out: &mut MatrixMut<'_>,
        accumulate: Accumulate,
    ) {
        for i in 0..out.n_rows {
            for j in 0..out.n_columns {
                let product: f32 = (0..a.n_columns).map(|k| a.at(i, k) * b.at(k, j)).sum();
                let target = &mut out.values[i * out.row_stride + j];
                *target = if accumulate == Accumulate::Add { *target + product } else { product };
            }
        }
    }

    /// Small integers: sums without rounding in any order, so that equal means equal.
    fn integers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 31 % 9) as f32 - 4.0).collect()
    }

    /// A matrix of `n_rows` x `n_columns` that is some columns of a wider one or, transposed, some
    /// rows of a higher one.
    fn columns_of_wider(
        values: &[f32],
        [n_rows, n_columns]: [usize; 2],
        skip: usize,
        transposed: bool,
    ) -> Matrix<'_> {
        if transposed {
            Matrix::new(&values[..n_columns * (n_rows + 5)], n_rows + 5)
                .columns(&(skip..skip + n_rows))
                .transposed()
        } else {
            Matrix::new(&values[..n_rows * (n_columns + 5)], n_columns + 5)
                .columns(&(skip..skip + n_columns))
        }
    }

    const SIZES: [usize; 9] = [1, 2, 7, 13, 16, 64, 129, 130, 367];

    fn size() -> impl Strategy<Value = usize> {
        proptest::sample::select(SIZES.to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn products_equal_plain_loops(
            (m, k, n) in (size(), size(), size()),
            (skip_a, skip_b, skip_out) in (0usize..6, 0usize..6, 0usize..6),
            (a_transposed, b_transposed, sum) in any::<(bool, bool, bool)>(),
            seed in 0usize..1000,
        ) {
            let (a, b) = (integers((m + 5) * (k + 5), seed), integers((k + 5) * (n + 5), seed + 1));
            let a = columns_of_wider(&a, [m, k], skip_a, a_transposed);
            let b = columns_of_wider(&b, [k, n], skip_b, b_transposed);
            let accumulate = if sum { Accumulate::Add } else { Accumulate::Overwrite };
            let mut fast = integers(m * (n + 5), seed + 2);
            let mut plain = fast.clone();
            let columns = skip_out..skip_out + n;
            multiply(a, b, MatrixMut::new(&mut fast, n + 5).columns(&columns), accumulate);
            let mut out = MatrixMut::new(&mut plain, n + 5).columns(&columns);
            multiply_plainly(a, b, &mut out, accumulate);
            prop_assert_eq!(fast, plain, "nothing else is touched either");
        }
    }

    #[test]
    fn overwriting_product_ignores_nan_in_its_output() {
        for (m, n, k) in [(1, 1, 1), (1, 40, 3), (40, 1, 3), (40, 50, 2), (129, 64, 13)] {
            let (a, b, mut out) = (vec![1.0; m * k], vec![1.0; k * n], vec![f32::NAN; m * n]);
            multiply(
                Matrix::new(&a, k),
                Matrix::new(&b, n),
                MatrixMut::new(&mut out, n),
                Accumulate::Overwrite,
            );
            assert!(out.iter().all(|&value| value == k as f32), "{m} x {n} x {k}");
        }
    }

    #[test]
    fn products_of_empty_matrices() {
        let mut out = [7.0; 6];
        multiply(
            Matrix::new(&[], 2),
            Matrix::new(&[1.0; 6], 3),
            MatrixMut::new(&mut [], 3),
            Accumulate::Overwrite,
        );
        let (no_columns, no_rows) =
            (Matrix::new(&[1.0; 4], 2).columns(&(1..1)), Matrix::new(&[], 3));
        multiply(no_columns, no_rows, MatrixMut::new(&mut out, 3), Accumulate::Add);
        assert_eq!(out, [7.0; 6]);
        multiply(no_columns, no_rows, MatrixMut::new(&mut out, 3), Accumulate::Overwrite);
        assert_eq!(out, [0.0; 6]);
    }

    #[test]
    #[should_panic(expected = "shapes of a product")]
    fn mismatched_shapes_are_refused() {
        multiply(
            Matrix::new(&[1.0; 6], 3),
            Matrix::new(&[1.0; 4], 2),
            MatrixMut::new(&mut [0.0; 4], 2),
            Accumulate::Overwrite,
        );
    }

    #[test]
    #[should_panic(expected = "`a` reaches beyond its slice")]
    fn matrix_larger_than_its_slice_is_refused() {
        let a = Matrix { n_rows: 3, ..Matrix::new(&[1.0; 4], 2) };
        multiply(
            a,
            Matrix::new(&[1.0; 4], 2),
            MatrixMut::new(&mut [0.0; 6], 2),
            Accumulate::Overwrite,
        );
    }
}
