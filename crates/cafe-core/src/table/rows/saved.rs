//! A table's state: named arrays out, named arrays in.

use std::borrow::Cow;
use std::fmt::Display;

use super::format::{Accumulator, Widths};
use super::grid::{Bf16, F16, Half, Unit};
use super::noise::Clock;
use super::optimizer::OptimizerState;
use super::values::Owned;
use super::{RowOptimizer, RowPrecision, RowTable, byte_sum};
use crate::state::{Element, StateError, StateMap, StateView, check_len, take_array};

const ROWS: &str = "rows";
const EXPONENTS: &str = "row_exponents";
const ACCUMULATORS: &str = "row_accumulators";
const FIRST_MOMENTS: &str = "row_first_moments";
const SECOND_MOMENTS: &str = "row_second_moments";
const COUNTS: &str = "row_counts";
const UPDATES: &str = "row_updates";

impl RowTable {
    /// The arrays that the format has: values; exponents of `i8` rows; accumulators (`f32`, or a
    /// byte each) or moments; and, where steps are rounded, the number of updates, which the
    /// rounding depends on.
    pub(crate) fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        let floats = |values| StateView::F32(Cow::Borrowed(values));
        let OptimizerState { squares, means, counts, codes } = &self.optimizer_state;
        let mut state = match &self.values {
            Owned::F32(values) => vec![(ROWS, floats(values))],
            Owned::F16(halves) | Owned::Bf16(halves) => {
                vec![(ROWS, StateView::U16(Cow::Borrowed(halves)))]
            }
            Owned::I8(codes, exponents) => {
                vec![
                    (ROWS, StateView::I8(Cow::Borrowed(codes))),
                    (EXPONENTS, StateView::U8(Cow::Borrowed(exponents))),
                ]
            }
        };
        match self.format.optimizer {
            RowOptimizer::Sgd => {}
            RowOptimizer::RowWiseAdagrad { accumulator: Accumulator::Byte, .. } => {
                state.push((ACCUMULATORS, StateView::U8(Cow::Borrowed(codes))));
            }
            RowOptimizer::RowWiseAdagrad { .. } | RowOptimizer::Adagrad { .. } => {
                state.push((ACCUMULATORS, floats(squares)));
            }
            RowOptimizer::Adam { .. } => state.extend([
                (FIRST_MOMENTS, floats(means)),
                (SECOND_MOMENTS, floats(squares)),
                (COUNTS, StateView::U32(Cow::Borrowed(counts))),
            ]),
        }
        if self.format.rounds() {
            state.push((UPDATES, StateView::U64(Cow::Owned(vec![self.clock.updates()]))));
        }
        state
    }

    /// The table that [`RowTable::state`] described, with `n_rows` rows and the settings of `self`.
    pub(crate) fn restored(
        &self,
        n_rows: usize,
        state: &mut StateMap<'_>,
    ) -> Result<Self, StateError> {
        Ok(Self {
            values: restored_values(self.format.precision, n_rows, self.dim, state)?,
            optimizer_state: restored_optimizer(self.format.optimizer, n_rows, self.dim, state)?,
            clock: if self.format.rounds() { restored_clock(state)? } else { Clock::after(0) },
            ..*self
        })
    }
}

fn restored_values(
    precision: RowPrecision,
    n_rows: usize,
    dim: usize,
    state: &mut StateMap<'_>,
) -> Result<Owned, StateError> {
    let n_values = n_rows * dim;
    Ok(match precision {
        RowPrecision::F32 => Owned::F32(checked(state, ROWS, n_values, |v: &f32| v.is_finite())?),
        RowPrecision::F16 => {
            Owned::F16(checked(state, ROWS, n_values, |&bits| is_finite::<F16>(bits))?)
        }
        RowPrecision::Bf16 => {
            Owned::Bf16(checked(state, ROWS, n_values, |&bits| is_finite::<Bf16>(bits))?)
        }
        RowPrecision::I8 => {
            let codes = checked(state, ROWS, n_values, |&code| code != i8::MIN)?;
            let is_possible = |&exponent: &u8| exponent <= Unit::MAX_EXPONENT;
            Owned::I8(codes, checked(state, EXPONENTS, n_rows, is_possible)?)
        }
    })
}

fn restored_optimizer(
    optimizer: RowOptimizer,
    n_rows: usize,
    dim: usize,
    state: &mut StateMap<'_>,
) -> Result<OptimizerState, StateError> {
    let Widths { squares, means, counts, codes } = optimizer.widths(dim);
    let mut squares =
        |name| checked(state, name, n_rows * squares, |v: &f32| v.is_finite() && *v >= 0.0);
    let none = OptimizerState { squares: vec![], means: vec![], counts: vec![], codes: vec![] };
    Ok(match optimizer {
        RowOptimizer::Sgd => none,
        RowOptimizer::RowWiseAdagrad { accumulator: Accumulator::Byte, .. } => {
            let is_possible = |&code: &u8| code <= byte_sum::LARGEST;
            OptimizerState {
                codes: checked(state, ACCUMULATORS, n_rows * codes, is_possible)?,
                ..none
            }
        }
        RowOptimizer::RowWiseAdagrad { .. } | RowOptimizer::Adagrad { .. } => {
            OptimizerState { squares: squares(ACCUMULATORS)?, ..none }
        }
        RowOptimizer::Adam { .. } => OptimizerState {
            squares: squares(SECOND_MOMENTS)?,
            means: checked(state, FIRST_MOMENTS, n_rows * means, |v: &f32| v.is_finite())?,
            counts: checked(state, COUNTS, n_rows * counts, |_| true)?,
            ..none
        },
    })
}

fn restored_clock(state: &mut StateMap<'_>) -> Result<Clock, StateError> {
    let updates = checked(state, UPDATES, 1, |&updates| updates <= Clock::MAX_UPDATES)?;
    Ok(Clock::after(updates[0]))
}

fn is_finite<H: Half>(bits: u16) -> bool {
    bits & H::EXPONENT != H::EXPONENT
}

/// An array of that length, taken out of the state, of which every element is possible.
fn checked<T: Element + Display>(
    state: &mut StateMap<'_>,
    name: &'static str,
    len: usize,
    is_possible: impl Fn(&T) -> bool,
) -> Result<Vec<T>, StateError> {
    let values = take_array(state, name)?;
    check_len(name, values.len(), len)?;
    match values.iter().find(|value| !is_possible(value)) {
        Some(value) => Err(StateError::Damaged { name, why: format!("it holds {value}") }),
        None => Ok(values),
    }
}
