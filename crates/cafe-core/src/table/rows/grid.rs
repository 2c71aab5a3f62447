//! The numbers that 16 and 8 bits can hold, and how a value gets onto them.
//!
//! Rounding takes 16 bits of noise: a value goes up by one step where the noise exceeds what is
//! missing, so uniform noise rounds without bias and [`NEAREST`], the noise in the middle, rounds
//! to the nearest. All of it is integer arithmetic on the bits of an `f32`, without a branch: the
//! loops around it become vector instructions on any processor.

/// Values in a chunk.
pub(super) const LANES: usize = 8;
/// The noise that rounds to the nearest; ties go away from zero, in `i8` up.
pub(super) const NEAREST: u32 = 1 << (NOISE_BITS - 1);
/// Noise is below `1 << NOISE_BITS`.
pub(super) const NOISE_BITS: u32 = 16;

const SIGN: u32 = 1 << 31;
const MAGNITUDE: u32 = SIGN - 1;
/// The bits of infinity; those of NaN are above.
pub(super) const INFINITE: u32 = 0x7f80_0000;

/// A format of 16 bits.
pub(super) trait Half {
    /// Bits that are all set in what is not finite, and in nothing else.
    const EXPONENT: u16;
    fn decode(bits: u16) -> f32;
    /// Rounds, with noise below `1 << NOISE_BITS`. What is not finite becomes infinite.
    fn encode(value: f32, noise: u32) -> u16;
}

/// bfloat16: the upper half of an `f32`.
pub(super) struct Bf16;

impl Half for Bf16 {
    const EXPONENT: u16 = 0x7f80;

    #[inline]
    fn decode(bits: u16) -> f32 {
        f32::from_bits(u32::from(bits) << 16)
    }

    #[inline]
    fn encode(value: f32, noise: u32) -> u16 {
        let magnitude = ((value.to_bits() & MAGNITUDE) + noise) >> 16;
        with_sign(value, magnitude.min(u32::from(Self::EXPONENT)))
    }
}

/// IEEE half precision.
///
/// From 2^-14 on it has 13 bits of mantissa less than `f32` and another bias of the exponent.
/// Below, its step is 2^-24, which is its step just above 2^-14, too: there a value is moved up by
/// 2^-14, and its code down as far.
pub(super) struct F16;

impl F16 {
    const LEAST_NORMAL: f32 = 1.0 / 16_384.0;
    const DROPPED: u32 = 23 - 10;
    /// Difference of the exponents' biases, at the exponent's place in a code.
    const BIAS: u32 = (127 - 15) << 10;
}

impl Half for F16 {
    const EXPONENT: u16 = 0x7c00;

    #[inline]
    fn decode(bits: u16) -> f32 {
        let magnitude = u32::from(bits & 0x7fff);
        let finite = (magnitude + Self::BIAS) << Self::DROPPED;
        let normal = f32::from_bits(if magnitude >= u32::from(Self::EXPONENT) {
            finite | INFINITE
        } else {
            finite
        });
        let small = f32::from_bits((magnitude + Self::BIAS + (1 << 10)) << Self::DROPPED)
            - Self::LEAST_NORMAL;
        let unsigned = if magnitude < 1 << 10 { small } else { normal };
        f32::from_bits(unsigned.to_bits() | (u32::from(bits & 0x8000) << 16))
    }

    #[inline]
    fn encode(value: f32, noise: u32) -> u16 {
        let unsigned = f32::from_bits(value.to_bits() & MAGNITUDE);
        let is_small = unsigned < Self::LEAST_NORMAL;
        let moved = if is_small { unsigned + Self::LEAST_NORMAL } else { unsigned };
        let bias = if is_small { Self::BIAS + (1 << 10) } else { Self::BIAS };
        let magnitude =
            ((moved.to_bits() + (noise >> (NOISE_BITS - Self::DROPPED))) >> Self::DROPPED) - bias;
        with_sign(value, magnitude.min(u32::from(Self::EXPONENT)))
    }
}

#[inline]
fn with_sign(value: f32, magnitude: u32) -> u16 {
    (((value.to_bits() & SIGN) >> 16) | magnitude) as u16
}

/// The unit of a row of codes from -127 to 127: a power of two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit(f32);

impl Unit {
    /// The exponent of a row that is not finite.
    pub(super) const NOT_FINITE: u8 = 0xff;
    /// The exponent of the unit in a row of the largest `f32`.
    pub(super) const MAX_EXPONENT: u8 = 249;

    /// The exponent of the least unit, no less than 2^-126, of which 127 are no less than the
    /// largest magnitude of a row, given by its bits.
    #[inline]
    pub(super) fn exponent(largest_bits: u32) -> u8 {
        if largest_bits >= INFINITE {
            return Self::NOT_FINITE;
        }
        // 127 = 1.984375 * 2^6. A mantissa above that one carries into the exponent.
        let carry = (1 << 23) - 1 - (127.0_f32.to_bits() & ((1 << 23) - 1));
        ((largest_bits + carry) >> 23).saturating_sub(6).max(1) as u8
    }

    /// The unit of an exponent as an `f32` has it; 0 is the unit of a row of zeros.
    #[inline]
    pub(super) fn new(exponent: u8) -> Self {
        Self(f32::from_bits(u32::from(exponent) << 23))
    }

    #[inline]
    pub(super) fn decode(self, code: i8) -> f32 {
        f32::from(code) * self.0
    }

    /// What values are multiplied by before [`encode`].
    #[inline]
    pub(super) fn reciprocal(exponent: u8) -> f32 {
        f32::from_bits((254 - u32::from(exponent.min(254))) << 23)
    }
}

/// Rounds a number of units from -127 to 127.
#[inline]
pub(super) fn encode(units: f32, noise: u32) -> i8 {
    // From 256 to 512 the mantissa of an f32 has 8 bits before the point, and 15 after.
    const AFTER: u32 = 15;
    let fixed = (units + 384.0).to_bits() + (noise >> (NOISE_BITS - AFTER));
    ((fixed >> AFTER) as u8).wrapping_sub(128) as i8
}

/// The larger of `largest` and the value's magnitude, as bits; NaN is largest.
#[inline]
pub(super) fn larger(largest: u32, value: f32) -> u32 {
    largest.max(value.to_bits() & MAGNITUDE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The `half` crate is the oracle, for every code.
    #[test]
    fn codes_mean_what_the_half_crate_says() {
        for bits in 0..=u16::MAX {
            let (f16, bf16) =
                (half::f16::from_bits(bits).to_f32(), half::bf16::from_bits(bits).to_f32());
            for (got, expected) in [(F16::decode(bits), f16), (Bf16::decode(bits), bf16)] {
                assert!(
                    got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan(),
                    "{bits:#x}: {got}"
                );
            }
            for noise in [0, NEAREST, (1 << NOISE_BITS) - 1] {
                if f16.is_finite() {
                    assert_eq!(F16::encode(f16, noise), bits, "{f16} is on the grid");
                }
                if bf16.is_finite() {
                    assert_eq!(Bf16::encode(bf16, noise), bits, "{bf16} is on the grid");
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for value in
            [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN, f32::from_bits(0x7fff_ffff)]
        {
            for noise in [0, NEAREST, (1 << NOISE_BITS) - 1] {
                assert!(!F16::decode(F16::encode(value, noise)).is_finite());
                assert!(!Bf16::decode(Bf16::encode(value, noise)).is_finite());
            }
            let exponent = Unit::exponent(larger(0, value));
            assert!(
                [-127, 0, 127].iter().all(|&code| !Unit::new(exponent).decode(code).is_finite())
            );
        }
        assert_eq!(F16::decode(F16::encode(65_504.0, NEAREST)), 65_504.0);
        assert_eq!(F16::decode(F16::encode(-65_536.0, 0)), f32::NEG_INFINITY);
        assert_eq!(F16::decode(F16::encode(1e30, 0)), f32::INFINITY);
    }

    #[test]
    fn units_are_the_least_that_hold_the_largest() {
        let unit = |largest: f32| Unit::new(Unit::exponent(largest.to_bits())).0;
        assert_eq!(unit(127.0), 1.0);
        assert_eq!(unit(f32::from_bits(127.0_f32.to_bits() + 1)), 2.0);
        assert_eq!(unit(128.0), 2.0);
        assert_eq!(unit(63.5), 0.5);
        assert_eq!(unit(0.01), 1.0 / 8192.0);
        assert_eq!(unit(0.0), f32::MIN_POSITIVE);
        assert_eq!(Unit::exponent(f32::MAX.to_bits()), Unit::MAX_EXPONENT);
    }

    proptest! {
        #[test]
        fn nearest_is_what_the_half_crate_rounds_to(bits in 0_u32..=u32::MAX) {
            let value = f32::from_bits(bits);
            prop_assume!(value.is_finite());
            for (got, expected, up, down) in [
                (
                    F16::decode(F16::encode(value, NEAREST)),
                    half::f16::from_f32(value).to_f32(),
                    F16::decode(F16::encode(value, (1 << NOISE_BITS) - 1)),
                    F16::decode(F16::encode(value, 0)),
                ),
                (
                    Bf16::decode(Bf16::encode(value, NEAREST)),
                    half::bf16::from_f32(value).to_f32(),
                    Bf16::decode(Bf16::encode(value, (1 << NOISE_BITS) - 1)),
                    Bf16::decode(Bf16::encode(value, 0)),
                ),
            ] {
                // Equal but for ties, and for values so near to a tie below 2^-14 that moving them
                // up rounds to it.
                let is_as_near = (f64::from(got) - f64::from(value)).abs()
                    <= (f64::from(expected) - f64::from(value)).abs() + 2_f64.powi(-37);
                prop_assert!(got == expected || is_as_near, "{value}: {got}, not {expected}");
                prop_assert!((down.abs()..=up.abs()).contains(&got.abs())
                    && (down.abs() <= value.abs() || down.is_infinite()));
            }
        }

        #[test]
        fn codes_of_i8_are_within_a_unit(values in prop::collection::vec(-1e3_f32..1e3, 1..20),
            noise in 0_u32..1 << 16) {
            let exponent = Unit::exponent(values.iter().copied().fold(0, larger));
            let unit = Unit::new(exponent);
            for &value in &values {
                let code = encode(value * Unit::reciprocal(exponent), noise);
                prop_assert!(code > i8::MIN);
                prop_assert!((unit.decode(code) - value).abs() <= unit.0, "{value}: {code} of {}",
                    unit.0);
                for noise in [0, noise, (1 << 16) - 1] {
                    prop_assert_eq!(encode(unit.decode(code) * Unit::reciprocal(exponent), noise),
                        code);
                }
                let nearest = unit.decode(encode(value * Unit::reciprocal(exponent), NEAREST));
                prop_assert!((nearest - value).abs() <= unit.0 * 0.500_04);
            }
        }
    }
}
