//! Lanes as arrays: the definition of every operation, and the emulation of bf16.
#![allow(
    clippy::inline_always,
    reason = "compiled once for each instruction set, inside `dispatch`"
)]

use super::lanes::{LANES, Lanes, Line};

/// 16 `f32`.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(super) struct F32;

/// 16 `f32`, or 32 bf16 in pairs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bf16;

/// The upper half of an `f32`, rounded to nearest even; a denormal becomes a zero of its sign, and
/// NaN a quiet one.
#[inline(always)]
pub(super) fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    // All but the sign.
    let magnitude = bits & 0x7fff_ffff;
    // Above the bits of infinity are those of NaN; bit 6 of a bf16 makes it quiet.
    if magnitude > 0x7f80_0000 {
        bits >> 16 | 0x40
    // Below the smallest normal number only the sign stays.
    } else if magnitude < 0x0080_0000 {
        bits >> 16 & 0x8000
    // Half of the last place that stays, less one where that place is even: ties go to even.
    } else {
        (bits + 0x7fff + (bits >> 16 & 1)) >> 16
    }
}

/// A denormal becomes a zero of its sign.
#[inline(always)]
fn flush(value: f32) -> f32 {
    if value.abs() < f32::MIN_POSITIVE { 0f32.copysign(value) } else { value }
}

/// What `vdpbf16ps` computes in a lane: both halves of the words, the higher one first.
#[inline(always)]
fn dot_bf16(sum: f32, a: f32, b: f32) -> f32 {
    let high = |word: f32| f32::from_bits(word.to_bits() & 0xffff_0000);
    let low = |word: f32| f32::from_bits(word.to_bits() << 16);
    let sum = flush(high(a).mul_add(high(b), flush(sum)));
    flush(low(a).mul_add(low(b), sum))
}

/// What both have in common.
macro_rules! arrays {
    () => {
        type Vector = [f32; LANES];

        #[inline(always)]
        fn zero(self) -> [f32; LANES] {
            [0.0; LANES]
        }

        #[inline(always)]
        fn load(self, floats: &[f32; LANES]) -> [f32; LANES] {
            *floats
        }

        #[inline(always)]
        fn store(self, vector: [f32; LANES], floats: &mut [f32; LANES]) {
            *floats = vector;
        }

        #[inline(always)]
        fn load_words(self, line: &Line) -> [f32; LANES] {
            line.0.map(f32::from_bits)
        }

        #[inline(always)]
        fn store_words(self, vector: [f32; LANES], words: &mut [u32; LANES]) {
            *words = vector.map(f32::to_bits);
        }

        #[inline(always)]
        fn splat(self, word: u32) -> [f32; LANES] {
            [f32::from_bits(word); LANES]
        }

        #[inline(always)]
        fn relu(self, x: [f32; LANES]) -> [f32; LANES] {
            x.map(|value| if value < 0.0 { 0.0 } else { value })
        }
    };
}

#[cfg(test)]
impl Lanes for F32 {
    const PER_WORD: usize = 1;

    arrays!();

    #[inline(always)]
    fn dot(self, mut sum: [f32; LANES], a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        for lane in 0..LANES {
            sum[lane] = a[lane].mul_add(b[lane], sum[lane]);
        }
        sum
    }

    #[inline(always)]
    fn pack(self, first: [f32; LANES], _: [f32; LANES]) -> [f32; LANES] {
        first
    }

    #[inline(always)]
    fn pack_along(self, first: [f32; LANES], _: [f32; LANES]) -> [f32; LANES] {
        first
    }
}

impl Lanes for Bf16 {
    const PER_WORD: usize = 2;

    arrays!();

    #[inline(always)]
    fn dot(self, mut sum: [f32; LANES], a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        for lane in 0..LANES {
            sum[lane] = dot_bf16(sum[lane], a[lane], b[lane]);
        }
        sum
    }

    #[inline(always)]
    fn pack(self, first: [f32; LANES], second: [f32; LANES]) -> [f32; LANES] {
        let mut words = [0.0; LANES];
        for lane in 0..LANES {
            words[lane] = f32::from_bits(round(first[lane]) | round(second[lane]) << 16);
        }
        words
    }

    #[inline(always)]
    fn pack_along(self, first: [f32; LANES], second: [f32; LANES]) -> [f32; LANES] {
        let mut words = [0.0; LANES];
        for pair in 0..LANES / 2 {
            words[pair] = f32::from_bits(round(first[2 * pair]) | round(first[2 * pair + 1]) << 16);
            words[LANES / 2 + pair] =
                f32::from_bits(round(second[2 * pair]) | round(second[2 * pair + 1]) << 16);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_bf16_by_hand() {
        let cases = [
            (0x3f80_0000, 0x3f80), // 1
            (0x3f80_8000, 0x3f80), // a tie goes to the even one
            (0x3f81_8000, 0x3f82),
            (0x3f80_8001, 0x3f81), // more than a tie goes up
            (0xbf80_7fff, 0xbf80),
            (0x7f7f_ffff, 0x7f80), // the largest f32 is beyond the largest bf16
            (0xff80_0000, 0xff80), // infinities stay
            (0x7f80_0001, 0x7fc0), // NaN stays NaN
            (0x8000_0001, 0x8000), // denormals are zeros with a sign
            (0x007f_ffff, 0x0000),
            (0x0080_0000, 0x0080), // the smallest normal number stays
        ];
        for (bits, expected) in cases {
            assert_eq!(round(f32::from_bits(bits)), expected, "{bits:#x}");
        }
    }

    #[test]
    fn dot_product_takes_the_higher_half_first() {
        let word = |low: f32, high: f32| f32::from_bits(round(low) | round(high) << 16);
        let big = 2f32.powi(24);
        // big + 1 is big; then -big leaves 0. In the other order 1 would be left.
        assert_eq!(dot_bf16(big, word(-big, 1.0), word(1.0, 1.0)), 0.0);
        assert_eq!(dot_bf16(big, word(1.0, -big), word(1.0, 1.0)), 1.0);
        let tiny = f32::MIN_POSITIVE;
        assert_eq!(dot_bf16(0.0, word(tiny, 0.0), word(0.5, 0.0)), 0.0);
        assert_eq!(dot_bf16(tiny / 2.0, 0.0, 0.0), 0.0);
    }
}
