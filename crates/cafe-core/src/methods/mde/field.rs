//! One field of mixed dimensions: which row a feature has, and what a step does to rows and
//! projection.

use std::ops::Range;

use crate::batch::by_field::FieldPart;
use crate::batch::coalesce::KeyIndex;
use crate::feature::FeatureId;
use crate::hash::{mix64, reduce};
use crate::table::rows::{RowFormat, RowTable, RowsMut, init_bound};

/// Sizes of one field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    n_rows: usize,
    /// Values a row.
    dim: usize,
    /// Values a vector.
    out_dim: usize,
    /// The first row of the projection.
    first_projected: usize,
    seed: u64,
}

/// What a thread needs for one field at a time.
#[derive(Debug, Default)]
pub(super) struct FieldBuffers {
    pub(super) keys: KeyIndex,
    values: Vec<f32>,
    row_grads: Vec<f32>,
    projection_grad: Vec<f32>,
}

impl FieldBuffers {
    /// Room for `n` values.
    pub(super) fn scratch(&mut self, n: usize) -> &mut [f32] {
        self.values.resize(n.max(self.values.len()), 0.0);
        &mut self.values[..n]
    }
}

/// The projection of a field in a step.
pub(super) struct Projection<'a, 'b> {
    /// As lookup read it.
    pub(super) values: &'a [f32],
    /// To be stepped.
    pub(super) rows: &'a mut RowsMut<'b>,
}

impl Field {
    pub(super) fn new(
        n_features: u64,
        dim: usize,
        out_dim: usize,
        first_projected: usize,
        seed: u64,
    ) -> Self {
        assert!(
            n_features > 0 && u32::try_from(n_features).is_ok(),
            "a field has fewer than 2^32 features"
        );
        Self { n_rows: n_features as usize, dim, out_dim, first_projected, seed }
    }

    pub(super) fn dim(&self) -> usize {
        self.dim
    }

    /// Rows of the projection: none where rows have full length.
    pub(super) fn n_projected(&self) -> usize {
        if self.dim < self.out_dim { self.dim } else { 0 }
    }

    pub(super) fn projected_rows(&self) -> Range<u32> {
        self.first_projected as u32..(self.first_projected + self.n_projected()) as u32
    }

    /// The field's rows, freshly initialised.
    pub(super) fn table(&self, field_idx: u64, format: RowFormat) -> RowTable {
        let mut table = RowTable::new(self.n_rows, self.dim, format);
        for row_idx in 0..self.n_rows as u32 {
            let key = (field_idx << u32::BITS) | u64::from(row_idx);
            table.init(row_idx, key, self.seed, init_bound(self.n_rows as u64));
        }
        table
    }

    /// Initialises the field's part of the projections after Glorot.
    pub(super) fn init_projection(&self, projections: &mut RowTable, seed: u64) {
        let bound = (6.0 / (self.dim + self.out_dim) as f64).sqrt() as f32;
        for row_idx in self.projected_rows() {
            projections.init(row_idx, u64::from(row_idx), mix64(3, seed), bound);
        }
    }

    #[inline]
    pub(super) fn row_idx(&self, id: FeatureId) -> u32 {
        reduce(mix64(id.raw(), self.seed), self.n_rows) as u32
    }

    /// Steps rows and projection with the summed gradients of the rows. With e = v P the gradient
    /// of v is g P^T, that of P is the sum of all v^T g; both are of what lookup read.
    pub(super) fn step(
        &self,
        part: &FieldPart<'_>,
        table: &mut RowTable,
        projection: &mut Projection<'_, '_>,
        buffers: &mut FieldBuffers,
        learning_rate: f32,
    ) {
        let (dim, out_dim) = (self.dim, self.out_dim);
        if self.n_projected() == 0 {
            let mut rows = table.all_mut();
            for (row_idx, grad) in part.iter(out_dim) {
                rows.step(row_idx as u32, grad, learning_rate);
            }
            return;
        }
        let FieldBuffers { values, row_grads, projection_grad, .. } = buffers;
        values.resize(dim.max(values.len()), 0.0);
        let values = &mut values[..dim];
        projection_grad.clear();
        projection_grad.resize(dim * out_dim, 0.0);
        row_grads.clear();
        // Room for the worst batch of this size: later ones then allocate nothing.
        row_grads.reserve(part.occurrences.len() * dim);
        for (row_idx, grad) in part.iter(out_dim) {
            table.read(row_idx as u32, values);
            let rows = projection
                .values
                .chunks_exact(out_dim)
                .zip(projection_grad.chunks_exact_mut(out_dim));
            for (&value, (row, row_grad)) in values.iter().zip(rows) {
                row_grads.push(dot(row, grad));
                add_scaled(row_grad, grad, value);
            }
        }
        let mut rows = table.all_mut();
        for ((row_idx, _), grad) in part.iter(out_dim).zip(row_grads.chunks_exact(dim)) {
            rows.step(row_idx as u32, grad, learning_rate);
        }
        if *part.n_keys > 0 {
            for (row_idx, grad) in (0..).zip(projection_grad.chunks_exact(out_dim)) {
                projection.rows.step(row_idx, grad, learning_rate);
            }
        }
    }
}

/// `sum += scale * row`, elementwise.
#[inline]
pub(super) fn add_scaled(sum: &mut [f32], row: &[f32], scale: f32) {
    // Chunks of a known length compile to a few vector instructions.
    let (sum_chunks, sum_rest) = sum.as_chunks_mut::<8>();
    let (row_chunks, row_rest) = row.as_chunks::<8>();
    for (sum, row) in sum_chunks.iter_mut().zip(row_chunks) {
        for (sum, value) in sum.iter_mut().zip(row) {
            *sum += scale * value;
        }
    }
    for (sum, value) in sum_rest.iter_mut().zip(row_rest) {
        *sum += scale * value;
    }
}

/// The dot product, in eight sums that are added at the end.
#[inline]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<8>();
    let (b_chunks, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
