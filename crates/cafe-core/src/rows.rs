//! Rows of equal length with their optimizer state: the memory behind every method.

use std::borrow::Cow;

use crate::by_field::take;
use crate::prefetch::prefetch;
use crate::state::{StateMap, check_len, f32s};
use crate::{StateError, StateView, mix64, unit_f64};

/// How a row follows its gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowOptimizer {
    /// `row -= lr * g`.
    Sgd,
    /// One accumulator a row (4 bytes): `a += mean(g^2)`, `row -= lr * g / (sqrt(a) + epsilon)`.
    RowWiseAdagrad {
        /// Keeps the first step of a row finite.
        epsilon: f32,
    },
}

/// `n_rows` rows of `dim` values in one flat array, and what the optimizer remembers of each.
#[derive(Clone, Debug)]
pub(crate) struct RowTable {
    dim: usize,
    optimizer: RowOptimizer,
    values: Vec<f32>,
    /// One a row under Adagrad, empty under SGD.
    accumulators: Vec<f32>,
}

impl RowTable {
    /// A table of zeros.
    pub(crate) fn new(n_rows: usize, dim: usize, optimizer: RowOptimizer) -> Self {
        assert!(dim > 0, "a row needs at least one value");
        let n_accumulators = match optimizer {
            RowOptimizer::Sgd => 0,
            RowOptimizer::RowWiseAdagrad { .. } => n_rows,
        };
        Self { dim, optimizer, values: vec![0.0; n_rows * dim], accumulators: vec![0.0; n_accumulators] }
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.values.len() / self.dim
    }

    #[inline]
    pub(crate) fn row(&self, row_idx: u32) -> &[f32] {
        let start = row_idx as usize * self.dim;
        &self.values[start..start + self.dim]
    }

    #[inline]
    pub(crate) fn row_mut(&mut self, row_idx: u32) -> &mut [f32] {
        let start = row_idx as usize * self.dim;
        &mut self.values[start..start + self.dim]
    }

    /// Appends a row of zeros and returns its number.
    pub(crate) fn push_row(&mut self) -> u32 {
        let row_idx = u32::try_from(self.n_rows()).expect("a table has fewer than 2^32 rows");
        self.values.resize(self.values.len() + self.dim, 0.0);
        if matches!(self.optimizer, RowOptimizer::RowWiseAdagrad { .. }) {
            self.accumulators.push(0.0);
        }
        row_idx
    }

    /// One optimizer step of one row.
    #[inline]
    pub(crate) fn step(&mut self, row_idx: u32, grad: &[f32], learning_rate: f32) {
        self.all_mut().step(row_idx, grad, learning_rate);
    }

    /// All rows, to be cut up.
    #[inline]
    pub(crate) fn all_mut(&mut self) -> RowsMut<'_> {
        let Self { dim, optimizer, values, accumulators } = self;
        RowsMut { dim: *dim, optimizer: *optimizer, values, accumulators }
    }

    /// Starts to load a row.
    #[inline]
    pub(crate) fn prefetch(&self, row_idx: u32) {
        prefetch(&self.values, row_idx as usize * self.dim, self.dim);
    }

    /// Forgets what the optimizer knew of a row: it changes hands.
    pub(crate) fn reset_optimizer(&mut self, row_idx: u32) {
        if let Some(accumulator) = self.accumulators.get_mut(row_idx as usize) {
            *accumulator = 0.0;
        }
    }

    pub(crate) fn values_bytes(&self) -> u64 {
        size_of_val(self.values.as_slice()) as u64
    }

    pub(crate) fn optimizer_bytes(&self) -> u64 {
        size_of_val(self.accumulators.as_slice()) as u64
    }

    pub(crate) fn state(&self) -> [(&'static str, StateView<'_>); 2] {
        [
            ("rows", StateView::F32(Cow::Borrowed(&self.values))),
            ("row_accumulators", StateView::F32(Cow::Borrowed(&self.accumulators))),
        ]
    }

    /// The table that [`RowTable::state`] described, with `n_rows` rows and the settings of `self`.
    pub(crate) fn restored(&self, n_rows: usize, state: &StateMap<'_>) -> Result<Self, StateError> {
        let fresh = Self { accumulators: Vec::new(), values: Vec::new(), ..*self };
        let values = f32s(state, "rows")?;
        check_len("rows", values.len(), n_rows * self.dim)?;
        let accumulators = f32s(state, "row_accumulators")?;
        let n_accumulators = match self.optimizer {
            RowOptimizer::Sgd => 0,
            RowOptimizer::RowWiseAdagrad { .. } => n_rows,
        };
        check_len("row_accumulators", accumulators.len(), n_accumulators)?;
        let damaged = |name, value: &f32| Err(StateError::Damaged { name, why: format!("it holds {value}") });
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return damaged("rows", value);
        }
        if let Some(value) = accumulators.iter().find(|value| !(value.is_finite() && **value >= 0.0)) {
            return damaged("row_accumulators", value);
        }
        Ok(Self { values: values.to_vec(), accumulators: accumulators.to_vec(), ..fresh })
    }
}

/// Consecutive rows of a [`RowTable`]; the first has number 0 here.
#[derive(Debug)]
pub(crate) struct RowsMut<'a> {
    dim: usize,
    optimizer: RowOptimizer,
    values: &'a mut [f32],
    accumulators: &'a mut [f32],
}

impl<'a> RowsMut<'a> {
    /// Cuts the first `n_rows` rows off.
    pub(crate) fn take(&mut self, n_rows: usize) -> RowsMut<'a> {
        let n_accumulators = n_rows.min(self.accumulators.len());
        let values = take(&mut self.values, n_rows * self.dim);
        RowsMut { values, accumulators: take(&mut self.accumulators, n_accumulators), ..*self }
    }

    /// One optimizer step of one row.
    #[inline]
    pub(crate) fn step(&mut self, row_idx: u32, grad: &[f32], learning_rate: f32) {
        let scale = match self.optimizer {
            RowOptimizer::Sgd => learning_rate,
            RowOptimizer::RowWiseAdagrad { epsilon } => {
                let accumulator = &mut self.accumulators[row_idx as usize];
                *accumulator += grad.iter().map(|g| g * g).sum::<f32>() / grad.len() as f32;
                learning_rate / (accumulator.sqrt() + epsilon)
            }
        };
        let start = row_idx as usize * self.dim;
        let (row_chunks, row_rest) = self.values[start..start + self.dim].as_chunks_mut::<8>();
        let (grad_chunks, grad_rest) = grad.as_chunks::<8>();
        for (row, grad) in row_chunks.iter_mut().zip(grad_chunks) {
            for (value, g) in row.iter_mut().zip(grad) {
                *value -= scale * g;
            }
        }
        for (value, g) in row_rest.iter_mut().zip(grad_rest) {
            *value -= scale * g;
        }
    }
}

/// Copies a row: chunks of a known length save the call that a copy of any length is.
#[inline]
pub(crate) fn copy(out: &mut [f32], row: &[f32]) {
    let (out_chunks, out_rest) = out.as_chunks_mut::<8>();
    let (row_chunks, row_rest) = row.as_chunks::<8>();
    for (out, row) in out_chunks.iter_mut().zip(row_chunks) {
        *out = *row;
    }
    for (out, value) in out_rest.iter_mut().zip(row_rest) {
        *out = *value;
    }
}

/// Half the width of the uniform distribution that rows of a field with `n_features` start from:
/// U(±sqrt(1/n)), as the reference DLRM.
pub(crate) fn init_bound(n_features: u64) -> f32 {
    (1.0 / n_features.max(1) as f64).sqrt() as f32
}

/// Fills `row` from U(±bound), a function of `key` and `seed` alone: a row that was never stored
/// and the row stored later start equal.
pub(crate) fn init_row(row: &mut [f32], key: u64, seed: u64, bound: f32) {
    let mut hash = mix64(key, seed ^ 0x1517_6a5e_0000_0001);
    for value in row {
        hash = mix64(hash, seed);
        *value = (2.0 * unit_f64(hash) - 1.0) as f32 * bound;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sgd_and_adagrad_follow_their_formulas() {
        let mut sgd = RowTable::new(2, 2, RowOptimizer::Sgd);
        sgd.step(1, &[1.0, -2.0], 0.5);
        assert_eq!(sgd.row(1), [-0.5, 1.0]);
        assert_eq!(sgd.row(0), [0.0, 0.0]);
        assert_eq!(sgd.optimizer_bytes(), 0);

        let mut adagrad = RowTable::new(2, 2, RowOptimizer::RowWiseAdagrad { epsilon: 0.0 });
        adagrad.step(1, &[3.0, 1.0], 0.1); // a = (9 + 1) / 2 = 5
        let scale = 0.1 / 5.0_f32.sqrt();
        assert_eq!(adagrad.row(1), [-3.0 * scale, -scale]);
        adagrad.reset_optimizer(1);
        adagrad.row_mut(1).fill(0.0);
        adagrad.step(1, &[3.0, 1.0], 0.1);
        assert_eq!(adagrad.row(1), [-3.0 * scale, -scale], "a reset row steps as a new one");
        assert_eq!(adagrad.optimizer_bytes(), 8);
    }

    #[test]
    fn initial_rows_are_uniform_and_depend_on_key_and_seed() {
        let mut rows = vec![0.0_f32; 4000 * 4];
        for (key, row) in rows.chunks_exact_mut(4).enumerate() {
            init_row(row, key as u64, 7, 0.5);
        }
        let mean = rows.iter().sum::<f32>() / rows.len() as f32;
        let variance = rows.iter().map(|v| v * v).sum::<f32>() / rows.len() as f32;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance - 0.25 / 3.0).abs() < 0.002, "{variance}");
        assert!(rows.iter().all(|v| v.abs() <= 0.5));
        let (mut same, mut other) = ([0.0; 4], [0.0; 4]);
        init_row(&mut same, 3, 7, 0.5);
        init_row(&mut other, 3, 8, 0.5);
        assert_eq!(same, rows[12..16]);
        assert_ne!(same, other);
    }
}
