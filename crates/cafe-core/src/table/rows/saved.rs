//! A table's state: named arrays out, named arrays in.

use std::borrow::Cow;

use super::format::{Accumulator, Widths};
use super::grid::{Bf16, F16, Half, Unit};
use super::noise::Clock;
use super::optimizer::Memories;
use super::values::Owned;
use super::{RowOptimizer, RowPrecision, RowTable, byte_sum};
use crate::state::{StateError, StateMap, StateView, check_len, take};

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
        let f32s = |values| StateView::F32(Cow::Borrowed(values));
        let Memories { squares, means, counts, codes } = &self.memories;
        let mut state = match &self.values {
            Owned::F32(values) => vec![(ROWS, f32s(values))],
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
                state.push((ACCUMULATORS, f32s(squares)));
            }
            RowOptimizer::Adam { .. } => state.extend([
                (FIRST_MOMENTS, f32s(means)),
                (SECOND_MOMENTS, f32s(squares)),
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
            memories: restored_memories(self.format.optimizer, n_rows, self.dim, state)?,
            clock: if self.format.rounds() { restored_clock(state)? } else { Clock::at(0) },
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
        RowPrecision::F32 => {
            Owned::F32(checked(ROWS, take!(state, ROWS, f32s, F32), n_values, |v| v.is_finite())?)
        }
        RowPrecision::F16 => {
            Owned::F16(checked(ROWS, take!(state, ROWS, u16s, U16), n_values, |&bits| {
                is_finite::<F16>(bits)
            })?)
        }
        RowPrecision::Bf16 => {
            Owned::Bf16(checked(ROWS, take!(state, ROWS, u16s, U16), n_values, |&bits| {
                is_finite::<Bf16>(bits)
            })?)
        }
        RowPrecision::I8 => {
            let codes =
                checked(ROWS, take!(state, ROWS, i8s, I8), n_values, |&code| code != i8::MIN)?;
            let is_possible = |&exponent: &u8| exponent <= Unit::MAX_EXPONENT;
            Owned::I8(
                codes,
                checked(EXPONENTS, take!(state, EXPONENTS, u8s, U8), n_rows, is_possible)?,
            )
        }
    })
}

fn restored_memories(
    optimizer: RowOptimizer,
    n_rows: usize,
    dim: usize,
    state: &mut StateMap<'_>,
) -> Result<Memories, StateError> {
    let Widths { squares, means, counts, codes } = optimizer.widths(dim);
    let mut squares = |name| {
        checked(name, take!(state, name, f32s, F32), n_rows * squares, |v| {
            v.is_finite() && *v >= 0.0
        })
    };
    let none = Memories { squares: vec![], means: vec![], counts: vec![], codes: vec![] };
    Ok(match optimizer {
        RowOptimizer::Sgd => none,
        RowOptimizer::RowWiseAdagrad { accumulator: Accumulator::Byte, .. } => {
            let saved = take!(state, ACCUMULATORS, u8s, U8);
            Memories {
                codes: checked(ACCUMULATORS, saved, n_rows * codes, |&code| {
                    code <= byte_sum::LARGEST
                })?,
                ..none
            }
        }
        RowOptimizer::RowWiseAdagrad { .. } | RowOptimizer::Adagrad { .. } => {
            Memories { squares: squares(ACCUMULATORS)?, ..none }
        }
        RowOptimizer::Adam { .. } => Memories {
            squares: squares(SECOND_MOMENTS)?,
            means: checked(
                FIRST_MOMENTS,
                take!(state, FIRST_MOMENTS, f32s, F32),
                n_rows * means,
                |v| v.is_finite(),
            )?,
            counts: checked(COUNTS, take!(state, COUNTS, u32s, U32), n_rows * counts, |_| true)?,
            ..none
        },
    })
}

fn restored_clock(state: &mut StateMap<'_>) -> Result<Clock, StateError> {
    let updates = checked(UPDATES, take!(state, UPDATES, u64s, U64), 1, |&updates| {
        updates <= Clock::MAX_UPDATES
    })?;
    Ok(Clock::at(updates[0]))
}

fn is_finite<H: Half>(bits: u16) -> bool {
    bits & H::EXPONENT != H::EXPONENT
}

/// An array of that length of which every element is possible.
fn checked<T: Copy + std::fmt::Display>(
    name: &'static str,
    values: Vec<T>,
    len: usize,
    is_possible: impl Fn(&T) -> bool,
) -> Result<Vec<T>, StateError> {
    check_len(name, values.len(), len)?;
    match values.iter().find(|value| !is_possible(value)) {
        Some(value) => Err(StateError::Damaged { name, why: format!("it holds {value}") }),
        None => Ok(values),
    }
}
