//! `exp` and `ln` from IEEE additions and multiplications alone. The standard library leaves these
//! two to the platform, and a generated row must not depend on the platform.

use std::f64::consts::{LN_2, LOG2_E, SQRT_2};

/// The exponential of `x`, to about 1e-14 relative.
///
/// `x` must lie within ±700, where the result is a normal number.
pub(super) fn exp(x: f64) -> f64 {
    debug_assert!(x.abs() <= 700.0, "exp of {x} leaves the normal numbers");
    let n_halvings = (x * LOG2_E + 0.5).floor();
    let r = x - n_halvings * LN_2;
    // Horner's scheme for the Taylor series; |r| <= 0.35, so the next term is below 1e-14.
    let mut sum = 1.0;
    for reciprocal in RECIPROCALS {
        sum = sum * r * reciprocal + 1.0;
    }
    // 2^n, by its exponent bits.
    sum * f64::from_bits(((1023 + n_halvings as i64) as u64) << 52)
}

/// The natural logarithm of a positive normal number, to about 1e-11 absolute.
pub(super) fn ln(x: f64) -> f64 {
    debug_assert!(x.is_normal() && x > 0.0, "ln of {x}");
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    // A mantissa within [√½, √2] keeps |t| of the series below 0.172.
    if mantissa > SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    exponent as f64 * LN_2 + ln_ratio((mantissa - 1.0) / (mantissa + 1.0))
}

/// The logistic function of a logit within ±700.
pub(super) fn logistic(logit: f64) -> f64 {
    1.0 / (1.0 + exp(-logit))
}

/// `ln((1 + t) / (1 - t))` by its odd series, for `|t|` up to about 0.34.
pub(super) fn ln_ratio(t: f64) -> f64 {
    let t2 = t * t;
    let mut sum = 0.0;
    for odd in ODD_RECIPROCALS {
        sum = sum * t2 + odd;
    }
    2.0 * t * sum
}

/// 1/k for k from 11 down to 1: the quotients of neighbouring terms of the exponential series.
const RECIPROCALS: [f64; 11] = [
    1.0 / 11.0,
    1.0 / 10.0,
    1.0 / 9.0,
    1.0 / 8.0,
    1.0 / 7.0,
    1.0 / 6.0,
    1.0 / 5.0,
    1.0 / 4.0,
    1.0 / 3.0,
    1.0 / 2.0,
    1.0,
];

/// Coefficients of the odd series of ln((1 + t)/(1 − t))/2t, highest first.
const ODD_RECIPROCALS: [f64; 7] =
    [1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_ln_agree_with_the_standard_library() {
        for step in -600..600 {
            let x = f64::from(step) * 0.037;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-13, "exp({x})");
            let y = x.exp();
            assert!((ln(y) - x).abs() < 1e-10, "ln({y})");
        }
    }

    #[test]
    fn ln_of_one_is_zero() {
        assert!(ln(1.0).abs() < f64::EPSILON);
    }
}
