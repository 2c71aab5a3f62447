//! From what the log says to what a model takes: integers to dense values, tokens to ids.

use std::sync::LazyLock;

use cafe_core::FeatureId;

/// Counts below this are looked up, which spares their logarithms.
const N_SMALL: usize = 4096;

/// The dense values of the small counts, as [`logarithm`] gives them, to the bit.
static SMALL: LazyLock<[f32; N_SMALL]> =
    LazyLock::new(|| std::array::from_fn(|count| logarithm(count as i64)));

/// The dense value of an integer: ln(x + 1) where x is positive, else 0, as for a missing one.
///
/// The counts of the logs span six orders of magnitude; the few negative ones (−1 mostly) are
/// codes, not counts.
#[must_use]
pub fn encode_integer(integer: Option<i64>) -> f32 {
    match integer {
        Some(count) => dense_integer(count),
        None => 0.0,
    }
}

/// The same of one that is there.
#[inline]
pub(crate) fn dense_integer(count: i64) -> f32 {
    if count > 0 {
        SMALL.get(count as usize).copied().unwrap_or_else(|| logarithm(count))
    } else {
        0.0
    }
}

/// The same of a number that need not be whole.
pub(crate) fn log1p(number: f64) -> f32 {
    if number > 0.0 { (number + 1.0).ln() as f32 } else { 0.0 }
}

/// In f64, because f32 can't tell neighbouring counts apart past 16 million.
fn logarithm(count: i64) -> f32 {
    log1p(count as f64)
}

/// The feature that a token of `field` is; a missing one is a feature of its own.
#[must_use]
pub fn encode_token(field: usize, token: Option<u32>) -> FeatureId {
    token.map_or_else(|| FeatureId::missing(field), |token| FeatureId::new(field, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_become_logarithms() {
        let cases = [
            (None, 0.0),
            (Some(i64::MIN), 0.0),
            (Some(-1), 0.0),
            (Some(0), 0.0),
            (Some(1), std::f32::consts::LN_2),
            (Some(1_669_366), 14.327_955),
            (Some(i64::MAX), 43.668_274),
        ];
        for (integer, expected) in cases {
            let got = encode_integer(integer);
            assert!((got - expected).abs() <= 1e-5, "{integer:?}: {got} against {expected}");
        }
    }

    #[test]
    fn looked_up_or_not_the_value_is_that_of_the_formula_to_the_bit() {
        for count in (1..3 * N_SMALL as i64).chain((12..63).map(|bit| 1 << bit)) {
            let expected = ((count as f64) + 1.0).ln() as f32;
            assert_eq!(encode_integer(Some(count)).to_bits(), expected.to_bits(), "{count}");
        }
    }

    #[test]
    fn a_missing_token_is_a_feature_of_its_field() {
        assert_eq!(encode_token(3, Some(0)), FeatureId::new(3, 0));
        assert_eq!(encode_token(3, None), FeatureId::missing(3));
        assert_ne!(encode_token(3, None), encode_token(4, None));
    }
}
