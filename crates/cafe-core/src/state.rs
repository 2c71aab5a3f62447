//! Named arrays: the form in which an embedding's state leaves it and comes back.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// The exponent's bits of an IEEE half; all set in what is not finite.
const F16_EXPONENT: u16 = 0x7c00;
/// The exponent of an `i8` row that is not finite.
const NOT_FINITE_EXPONENT: u8 = 0xff;

/// One array of a state, borrowed where it lies in that form already.
#[derive(Clone, Debug, PartialEq)]
pub enum StateView<'a> {
    /// Values.
    F32(Cow<'a, [f32]>),
    /// Values in half precision or bfloat16, as bits.
    U16(Cow<'a, [u16]>),
    /// Codes of values.
    I8(Cow<'a, [i8]>),
    /// Exponents.
    U8(Cow<'a, [u8]>),
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
            Self::U16(a) => a.len(),
            Self::I8(a) => a.len(),
            Self::U8(a) => a.len(),
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

impl StateView<'_> {
    /// Where the first value is that is not finite. Bits of half precision don't say which of the
    /// two formats they are of: what is infinite in the one is 2^121 or more in the other, and
    /// counts.
    #[must_use]
    pub fn first_not_finite(&self) -> Option<usize> {
        match self {
            Self::F32(values) => values.iter().position(|value| !value.is_finite()),
            Self::U16(halves) => halves.iter().position(|bits| bits & F16_EXPONENT == F16_EXPONENT),
            Self::U8(exponents) => {
                exponents.iter().position(|&exponent| exponent == NOT_FINITE_EXPONENT)
            }
            Self::I8(_) | Self::U32(_) | Self::U64(_) => None,
        }
    }
}

/// `$do` with the array of a view of any kind.
macro_rules! any_kind {
    ($view:expr, $array:ident => $do:expr) => {
        match $view {
            StateView::F32($array) => StateView::F32($do),
            StateView::U32($array) => StateView::U32($do),
            StateView::U64($array) => StateView::U64($do),
            StateView::U16($array) => StateView::U16($do),
            StateView::I8($array) => StateView::I8($do),
            StateView::U8($array) => StateView::U8($do),
        }
    };
}

impl StateView<'_> {
    /// The elements `range`; the array has them.
    pub(crate) fn range(&self, range: std::ops::Range<usize>) -> StateView<'_> {
        any_kind!(self, array => Cow::Borrowed(&array[range]))
    }

    /// All elements of arrays of one kind, array after array.
    pub(crate) fn join(views: &[StateView<'_>]) -> StateView<'static> {
        let Some((first, rest)) = views.split_first() else {
            return StateView::F32(Cow::Borrowed(&[]));
        };
        let mut all = any_kind!(first, array => Cow::Owned(array.to_vec()));
        for view in rest {
            all.extend(view);
        }
        all
    }

    fn extend(&mut self, other: &StateView<'_>) {
        match (self, other) {
            (Self::F32(all), StateView::F32(more)) => all.to_mut().extend_from_slice(more),
            (Self::U32(all), StateView::U32(more)) => all.to_mut().extend_from_slice(more),
            (Self::U64(all), StateView::U64(more)) => all.to_mut().extend_from_slice(more),
            (Self::U16(all), StateView::U16(more)) => all.to_mut().extend_from_slice(more),
            (Self::I8(all), StateView::I8(more)) => all.to_mut().extend_from_slice(more),
            (Self::U8(all), StateView::U8(more)) => all.to_mut().extend_from_slice(more),
            _ => unreachable!("arrays of one kind are joined"),
        }
    }
}

/// Why a state is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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
    #[error(
        "the state's array `{name}` has {got} elements, expected {expected}: \
         it belongs to another configuration"
    )]
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

/// The arrays that [`crate::Embedding::restore`] reads from, by name.
pub type StateMap<'a> = BTreeMap<&'a str, StateView<'a>>;

/// An element of a state's arrays.
pub(crate) trait Element: Copy {
    /// As an error names it.
    const NAME: &'static str;

    /// The array of a view, if it is of this kind.
    fn array<'v>(view: &'v StateView<'_>) -> Option<&'v [Self]>;

    /// The array of a view, if it is of this kind.
    fn into_vec(view: StateView<'_>) -> Option<Vec<Self>>;
}

macro_rules! element {
    ($type:ident, $kind:ident) => {
        impl Element for $type {
            const NAME: &'static str = stringify!($type);

            fn array<'v>(view: &'v StateView<'_>) -> Option<&'v [Self]> {
                if let StateView::$kind(array) = view { Some(array) } else { None }
            }

            fn into_vec(view: StateView<'_>) -> Option<Vec<Self>> {
                if let StateView::$kind(array) = view { Some(array.into_owned()) } else { None }
            }
        }
    };
}

element!(f32, F32);
element!(u16, U16);
element!(i8, I8);
element!(u8, U8);
element!(u32, U32);
element!(u64, U64);

/// An array of the state.
pub(crate) fn array<'s, T: Element>(
    state: &'s StateMap<'_>,
    name: &'static str,
) -> Result<&'s [T], StateError> {
    let view = state.get(name).ok_or(StateError::Missing { name })?;
    T::array(view).ok_or(StateError::Kind { name, expected: T::NAME })
}

/// An array of the state, taken out of it.
pub(crate) fn take_array<T: Element>(
    state: &mut StateMap<'_>,
    name: &'static str,
) -> Result<Vec<T>, StateError> {
    let view = state.remove(name).ok_or(StateError::Missing { name })?;
    T::into_vec(view).ok_or(StateError::Kind { name, expected: T::NAME })
}

/// One `f64` by its bits.
pub(crate) fn f64_bits<'a>(value: f64) -> StateView<'a> {
    StateView::U64(Cow::Owned(vec![value.to_bits()]))
}

pub(crate) fn check_len(name: &'static str, got: usize, expected: usize) -> Result<(), StateError> {
    if got == expected { Ok(()) } else { Err(StateError::Length { name, expected, got }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_finite_values_are_found_in_every_kind() {
        let finite = [
            StateView::F32(Cow::Borrowed(&[0.0, -f32::MAX, f32::MIN_POSITIVE])),
            StateView::U16(Cow::Borrowed(&[0, 0x7bff, 0xfbff])),
            StateView::U8(Cow::Borrowed(&[0, 249])),
            StateView::I8(Cow::Borrowed(&[-1])),
            StateView::U32(Cow::Borrowed(&[u32::MAX])),
            StateView::U64(Cow::Borrowed(&[u64::MAX])),
        ];
        assert!(finite.iter().all(|array| array.first_not_finite().is_none()));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(StateView::F32(Cow::Borrowed(&[0.0, bad])).first_not_finite(), Some(1));
        }
        // Infinities and a NaN of IEEE halves, and infinity in bfloat16.
        for bad in [0x7c00, 0xfc00, 0x7e01, 0x7f80] {
            assert_eq!(StateView::U16(Cow::Borrowed(&[0, bad])).first_not_finite(), Some(1));
        }
        assert_eq!(StateView::U8(Cow::Borrowed(&[3, 0xff])).first_not_finite(), Some(1));
    }
}
