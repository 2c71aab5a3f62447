//! From the values of a log to the inputs of a model: integers to dense values, tokens to ids.

use std::sync::LazyLock;

use cafe_core::FeatureId;

/// Counts below this are looked up, which saves their logarithms: nearly all counts of the logs, in
/// a table of 16 KiB.
const N_SMALL: usize = 4096;

/// The dense values of the small counts, the same bits as those of [`logarithm`].
static SMALL: LazyLock<[f32; N_SMALL]> =
    LazyLock::new(|| std::array::from_fn(|count| logarithm(count as i64)));

/// The dense value of an integer: ln(x + 1) where x is positive, else 0, as for a missing one.
///
/// The counts of the logs span six orders of magnitude. The few negative ones, mostly −1, are codes
/// and not counts.
#[must_use]
pub fn encode_integer(integer: Option<i64>) -> f32 {
    match integer {
        Some(count) => dense_integer(count),
        None => 0.0,
    }
}

/// The dense value of an integer that is present: ln(x + 1) where x is positive, else 0.
#[inline]
pub(crate) fn dense_integer(count: i64) -> f32 {
    if count > 0 {
        SMALL.get(count as usize).copied().unwrap_or_else(|| logarithm(count))
    } else {
        0.0
    }
}

/// The dense value of any number: ln(x + 1) where x is positive, else 0.
pub(crate) fn log1p(number: f64) -> f32 {
    if number > 0.0 { (number + 1.0).ln() as f32 } else { 0.0 }
}

/// In f64, because f32 does not distinguish neighbouring counts above 2^24.
fn logarithm(count: i64) -> f32 {
    log1p(count as f64)
}

/// The feature id of a token in field number `field`, from 0. A missing token is a feature of its
/// own.
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
    fn looked_up_values_equal_the_formula_to_the_bit() {
        for count in (1..3 * N_SMALL as i64).chain((12..63).map(|bit| 1 << bit)) {
            let expected = ((count as f64) + 1.0).ln() as f32;
            assert_eq!(encode_integer(Some(count)).to_bits(), expected.to_bits(), "{count}");
        }
    }

    #[test]
    fn missing_token_is_a_feature_of_its_field() {
        assert_eq!(encode_token(3, Some(0)), FeatureId::new(3, 0));
        assert_eq!(encode_token(3, None), FeatureId::missing(3));
        assert_ne!(encode_token(3, None), encode_token(4, None));
    }
}
