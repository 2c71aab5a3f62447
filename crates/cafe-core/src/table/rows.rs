//! Rows of equal length with their optimizer state: the memory behind every method.

mod byte_sum;
mod format;
mod grid;
mod noise;
mod optimizer;
mod saved;
#[cfg(test)]
mod tests;
mod values;

use noise::Clock;
use optimizer::{Betas, OptimizerState, OptimizerStateMut, Scaled, StepSize};
use values::{LentMut, Owned, copy, descend, row_of, row_of_mut};

use crate::batch::cache_hint::prefetch;
use crate::batch::coalesce::add;
use crate::embedding::MemoryUsage;
use crate::hash::{mix64, unit_f64};

pub use format::{Accumulator, RowFormat, RowOptimizer, RowPrecision};

/// `n_rows` rows of `dim` values in one flat array, and what the optimizer remembers of each.
#[derive(Clone, Debug)]
pub(crate) struct RowTable {
    dim: usize,
    format: RowFormat,
    values: Owned,
    optimizer_state: OptimizerState,
    /// Not advanced where nothing is rounded.
    clock: Clock,
}

impl RowTable {
    /// A table of zeros.
    pub(crate) fn new(n_rows: usize, dim: usize, format: RowFormat) -> Self {
        assert!(dim > 0, "a row needs at least one value");
        Self {
            dim,
            format,
            values: Owned::zeros(format.precision, n_rows, dim),
            optimizer_state: OptimizerState::new(format.optimizer, n_rows, dim),
            clock: Clock::after(0),
        }
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.values.lent().len() / self.dim
    }

    /// Writes a row's values to `out`.
    #[inline]
    pub(crate) fn read(&self, row_idx: u32, out: &mut [f32]) {
        match &self.values {
            Owned::F32(values) => copy(out, row_of(values, row_idx as usize, self.dim)),
            narrow => narrow.lent().read(row_idx as usize, out),
        }
    }

    /// Adds a row's values to `out`.
    #[inline]
    pub(crate) fn add_to(&self, row_idx: u32, out: &mut [f32]) {
        match &self.values {
            Owned::F32(values) => add(out, row_of(values, row_idx as usize, self.dim)),
            narrow => narrow.lent().add_to(row_idx as usize, out),
        }
    }

    /// Replaces a row's values, rounded to the nearest; what the optimizer remembers stays.
    pub(crate) fn write(&mut self, row_idx: u32, values: &[f32]) {
        assert_eq!(values.len(), self.dim, "a row has dim values");
        self.values.lent_mut().write(row_idx as usize, self.dim, values.iter().copied());
    }

    /// Fills a row with what [`RowTable::initial`] says.
    pub(crate) fn init(&mut self, row_idx: u32, key: u64, seed: u64, bound: f32) {
        self.values.lent_mut().write(row_idx as usize, self.dim, initial_values(key, seed, bound));
    }

    /// Fills `out` from U(±bound), rounded as in a row: a function of `key` and `seed` alone, so
    /// that a row that was never stored and the row stored later start equal.
    pub(crate) fn initial(&self, key: u64, seed: u64, bound: f32, out: &mut [f32]) {
        init_row(out, key, seed, bound);
        values::round(self.format.precision, out);
    }

    /// Appends a row of zeros and returns its number.
    pub(crate) fn push_row(&mut self) -> u32 {
        let row_idx = u32::try_from(self.n_rows()).expect("a table has fewer than 2^32 rows");
        self.values.push_row(self.dim);
        self.optimizer_state.push_row(self.format.optimizer.widths(self.dim));
        row_idx
    }

    /// One optimizer step of one row, as an update of its own.
    #[inline]
    pub(crate) fn step(&mut self, row_idx: u32, grad: &[f32], learning_rate: f32) {
        let Self { dim, format, values, optimizer_state, .. } = self;
        if let Owned::F32(values) = values
            && let Some(scale) = optimizer_state.as_mut().scale(
                format.optimizer,
                row_idx as usize,
                grad,
                learning_rate,
            )
        {
            return descend(row_of_mut(values, row_idx as usize, *dim), scale, grad);
        }
        self.all_mut().step_any(row_idx, grad, learning_rate);
    }

    /// All rows, to be cut up for an update: for the noise of rounding every call begins a new one.
    #[inline]
    pub(crate) fn all_mut(&mut self) -> RowsMut<'_> {
        if self.format.rounds() {
            self.clock.tick();
        }
        let Self { dim, format, values, optimizer_state, clock } = self;
        RowsMut {
            dim: *dim,
            optimizer: format.optimizer,
            first_row: 0,
            clock: *clock,
            values: values.lent_mut(),
            optimizer_state: optimizer_state.as_mut(),
        }
    }

    /// Starts to load a row.
    #[inline]
    pub(crate) fn prefetch(&self, row_idx: u32) {
        match &self.values {
            Owned::F32(values) => prefetch(values, row_idx as usize * self.dim, self.dim),
            narrow => narrow.lent().prefetch(row_idx as usize, self.dim),
        }
    }

    /// Forgets what the optimizer knew of a row: it changes hands.
    pub(crate) fn reset_optimizer(&mut self, row_idx: u32) {
        self.optimizer_state.reset(row_idx as usize, self.format.optimizer.widths(self.dim));
    }

    /// The rows and what the optimizer remembers of them.
    pub(crate) fn memory(&self) -> MemoryUsage {
        MemoryUsage {
            rows_bytes: self.values.lent().bytes(),
            optimizer_bytes: self.optimizer_state.bytes(),
            optimizer_is_counted: self.format.count_optimizer,
            ..MemoryUsage::default()
        }
    }
}

/// Consecutive rows of a [`RowTable`]; the first has number 0 here.
#[derive(Debug)]
pub(crate) struct RowsMut<'a> {
    dim: usize,
    optimizer: RowOptimizer,
    /// The first row's number in the table.
    first_row: u32,
    clock: Clock,
    values: LentMut<'a>,
    optimizer_state: OptimizerStateMut<'a>,
}

impl<'a> RowsMut<'a> {
    /// Cuts the first `n_rows` rows off.
    pub(crate) fn cut(&mut self, n_rows: usize) -> RowsMut<'a> {
        let widths = self.optimizer.widths(self.dim);
        let (values, optimizer_state) =
            (self.values.cut(n_rows, self.dim), self.optimizer_state.cut(n_rows, widths));
        let first_row = self.first_row;
        self.first_row += n_rows as u32;
        RowsMut { first_row, values, optimizer_state, ..*self }
    }

    /// One optimizer step of one row.
    #[inline]
    pub(crate) fn step(&mut self, row_idx: u32, grad: &[f32], learning_rate: f32) {
        if let LentMut::F32(values) = &mut self.values
            && let Some(scale) =
                self.optimizer_state.scale(self.optimizer, row_idx as usize, grad, learning_rate)
        {
            return descend(row_of_mut(values, row_idx as usize, self.dim), scale, grad);
        }
        self.step_any(row_idx, grad, learning_rate);
    }

    /// The same for what is not the common case: apart, so that loops over `step` stay as small as
    /// that one is.
    #[inline(never)]
    fn step_any(&mut self, row_idx: u32, grad: &[f32], learning_rate: f32) {
        let Self { dim, optimizer, first_row, clock, values, optimizer_state } = self;
        let (row, dim) = (row_idx as usize, *dim);
        let noise = || clock.row(*first_row + row_idx);
        match *optimizer {
            RowOptimizer::RowWiseAdagrad { epsilon, accumulator: Accumulator::Byte } => {
                let scale = optimizer_state.byte_scale(row, grad, learning_rate, epsilon, noise());
                values.step(row, dim, noise, &Scaled { scale, grad });
            }
            RowOptimizer::Sgd | RowOptimizer::RowWiseAdagrad { .. } => {
                let scale = optimizer_state
                    .scale(*optimizer, row, grad, learning_rate)
                    .unwrap_or(learning_rate);
                values.step(row, dim, noise, &Scaled { scale, grad });
            }
            RowOptimizer::Adagrad { epsilon } => {
                let size = StepSize { rate: learning_rate, epsilon };
                values.step(row, dim, noise, &optimizer_state.adagrad(row, grad, size));
            }
            RowOptimizer::Adam { beta1, beta2, epsilon } => {
                let size = StepSize { rate: learning_rate, epsilon };
                let descent = optimizer_state.adam(row, grad, size, Betas { beta1, beta2 });
                values.step(row, dim, noise, &descent);
            }
        }
    }
}

/// Half the width of the uniform distribution that rows of a field with `n_features` start from:
/// U(±sqrt(1/n)), as the reference DLRM.
pub(crate) fn init_bound(n_features: u64) -> f32 {
    (1.0 / n_features.max(1) as f64).sqrt() as f32
}

fn init_row(row: &mut [f32], key: u64, seed: u64, bound: f32) {
    row.iter_mut()
        .zip(initial_values(key, seed, bound))
        .for_each(|(value, initial)| *value = initial);
}

/// Values from U(±bound) without an end.
fn initial_values(key: u64, seed: u64, bound: f32) -> impl Iterator<Item = f32> + Clone {
    // Keeps initial values independent of the hashes that choose rows by the same seed. Saved runs
    // depend on the constant.
    let mut hash = mix64(key, seed ^ 0x1517_6a5e_0000_0001);
    std::iter::repeat_with(move || {
        hash = mix64(hash, seed);
        (2.0 * unit_f64(hash) - 1.0) as f32 * bound
    })
}
