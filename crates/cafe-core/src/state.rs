//! Named arrays: the form in which an embedding's state leaves it and comes back.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// One array of a state, borrowed where it lies in that form already.
#[derive(Clone, Debug, PartialEq)]
pub enum StateView<'a> {
    /// Values.
    F32(Cow<'a, [f32]>),
    /// Indices.
    U32(Cow<'a, [u32]>),
    /// Ids, counters and the bits of `f64` accumulators.
    U64(Cow<'a, [u64]>),
}

impl StateView<'_> {
    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(a) => a.len(),
            Self::U32(a) => a.len(),
            Self::U64(a) => a.len(),
        }
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a state can't be taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// An array is not there.
    #[error("the state has no array `{name}`")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// An array has other elements.
    #[error("the state's array `{name}` does not hold {expected}")]
    Kind {
        /// Its name.
        name: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// An array has another length.
    #[error("the state's array `{name}` has {got} elements, expected {expected}: it belongs to another configuration")]
    Length {
        /// Its name.
        name: &'static str,
        /// The length that the configuration asks for.
        expected: usize,
        /// The length found.
        got: usize,
    },
    /// The content contradicts itself.
    #[error("the state's array `{name}` is damaged: {why}")]
    Damaged {
        /// Its name.
        name: &'static str,
        /// What is wrong.
        why: String,
    },
}

/// The arrays that [`crate::Embedding::restore`] reads from.
pub(crate) type StateMap<'a> = BTreeMap<&'a str, StateView<'a>>;

pub(crate) fn f32s<'a>(state: &'a StateMap<'_>, name: &'static str) -> Result<&'a [f32], StateError> {
    match state.get(name).ok_or(StateError::Missing { name })? {
        StateView::F32(a) => Ok(a),
        _ => Err(StateError::Kind { name, expected: "f32" }),
    }
}

pub(crate) fn u32s<'a>(state: &'a StateMap<'_>, name: &'static str) -> Result<&'a [u32], StateError> {
    match state.get(name).ok_or(StateError::Missing { name })? {
        StateView::U32(a) => Ok(a),
        _ => Err(StateError::Kind { name, expected: "u32" }),
    }
}

pub(crate) fn u64s<'a>(state: &'a StateMap<'_>, name: &'static str) -> Result<&'a [u64], StateError> {
    match state.get(name).ok_or(StateError::Missing { name })? {
        StateView::U64(a) => Ok(a),
        _ => Err(StateError::Kind { name, expected: "u64" }),
    }
}

pub(crate) fn check_len(name: &'static str, got: usize, expected: usize) -> Result<(), StateError> {
    if got == expected { Ok(()) } else { Err(StateError::Length { name, expected, got }) }
}
