//! A growing sum of positive numbers in one byte.
//!
//! The byte is the sum's logarithm in steps of a quarter of an octave, over 63 octaves: small
//! enough for the squared gradients of a rare feature in a batch of tens of thousands, large enough
//! for the row of a field after a billion steps. Steps of an eighth would leave half the range, and
//! runs with large batches fall out of it.
//!
//! Rounding is random, up with the probability that makes the stored sum right in the mean:
//!
//! ```text
//! P(up) = (sum - lower) / (upper - lower)      E[stored] = sum
//! ```
//!
//! So the mean stays exact over any number of additions, though most of them change nothing: a
//! Morris counter (1978) with base 2^(1/4), whose standard deviation is at most sqrt((2^(1/4) - 1)
//! / 2) = 31 % of the sum; the rate of a row, which goes by its root, is off by about 15 %.

/// No gradient yet: a sum of 0.
pub(super) const ZERO: u8 = 0;
/// The largest sum; larger ones stay there. The code above it is none, so that damaged states are
/// seen.
pub(super) const LARGEST: u8 = 254;

/// Codes an octave.
const STEPS: usize = 4;
/// Code 1 is `2^LEAST`.
const LEAST: i32 = -50;
const MANTISSA_BITS: u32 = 23;
/// The mantissas of 2^0, 2^(1/4), 2^(1/2), 2^(3/4).
const MANTISSAS: [u32; STEPS] = [0, 0x18_37f0, 0x35_04f3, 0x57_44fd];

const SUMS: [f32; 256] = {
    let mut sums = [0.0; 256];
    let mut code = 1;
    while code < sums.len() {
        let exponent = 127 + LEAST + ((code - 1) / STEPS) as i32;
        sums[code] =
            f32::from_bits((exponent as u32) << MANTISSA_BITS | MANTISSAS[(code - 1) % STEPS]);
        code += 1;
    }
    sums
};

/// The sum that a code encodes.
#[inline]
pub(super) fn decode(code: u8) -> f32 {
    SUMS[usize::from(code)]
}

/// The code of a sum, rounded with noise that is uniform over its 32 bits. A sum below the least
/// becomes that one: a row that had a gradient is not taken for one that had none.
#[inline]
pub(super) fn encode(sum: f32, noise: u32) -> u8 {
    if sum < SUMS[1] {
        return u8::from(sum > 0.0);
    }
    let bits = sum.to_bits();
    let octave = (bits >> MANTISSA_BITS) as usize - (127 + LEAST) as usize;
    let mantissa = bits & ((1 << MANTISSA_BITS) - 1);
    let step = MANTISSAS.iter().filter(|&&of_step| of_step <= mantissa).count();
    let lower = octave * STEPS + step;
    if lower >= usize::from(LARGEST) {
        return LARGEST;
    }
    let (from, to) = (SUMS[lower], SUMS[lower + 1]);
    let goes_up = (noise as f32) < (sum - from) / (to - from) * 4_294_967_296.0;
    lower as u8 + u8::from(goes_up)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash::mix64;

    #[test]
    fn codes_are_quarters_of_an_octave() {
        assert_eq!((decode(ZERO), decode(1)), (0.0, 2.0_f32.powi(LEAST)));
        for code in 1..=LARGEST {
            let exact = 2.0_f64.powf(f64::from(LEAST) + f64::from(code - 1) / 4.0);
            assert!(
                (f64::from(decode(code)) / exact - 1.0).abs() < 1e-7,
                "{code}: {}",
                decode(code)
            );
            // What is on the grid stays there, whatever the noise.
            assert!(
                [0, 1 << 31, u32::MAX].iter().all(|&noise| encode(decode(code), noise) == code),
                "{code}"
            );
        }
        assert_eq!(encode(0.0, u32::MAX), ZERO);
        for (tiny, huge) in [(1e-30, 1e6), (f32::MIN_POSITIVE, f32::MAX), (1e-16, f32::INFINITY)] {
            assert_eq!((encode(tiny, u32::MAX), encode(huge, 0)), (1, LARGEST));
        }
    }

    proptest! {
        /// The two neighbours are chosen so that the mean of what is stored is the sum.
        #[test]
        fn rounding_is_right_in_the_mean(log in -49.0_f32..12.0) {
            let sum = log.exp2();
            let lower = encode(sum, u32::MAX);
            // Noise below the threshold goes up: the threshold is the probability.
            let (mut low, mut high) = (0_u64, 1 << 32);
            while low < high {
                let middle = u64::midpoint(low, high);
                if encode(sum, middle.min(u64::from(u32::MAX)) as u32) > lower {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            let p = low as f64 / 4_294_967_296.0;
            let (from, to) = (f64::from(decode(lower)),
                f64::from(decode((lower + 1).min(LARGEST))));
            let mean = from + p * (to - from);
            prop_assert!((mean / f64::from(sum) - 1.0).abs() < 1e-6, "{sum}: {mean}");
        }

        /// Many runs of a row's life, most of whose additions are far below a step of the code: the
        /// mean is the sum, and the spread is that of a Morris counter.
        #[test]
        fn a_sum_of_many_small_parts_is_right_in_the_mean(scale in -40.0_f32..-5.0, seed: u64) {
            const RUNS: u64 = 400;
            let parts: Vec<f32> =
                (0..300_u32).map(|k| scale.exp2() * (0.1 + (k % 7) as f32)).collect();
            let exact: f64 = parts.iter().map(|&part| f64::from(part)).sum();
            let run = |run: u64| {
                let mut code = ZERO;
                for (k, part) in parts.iter().enumerate() {
                    code = encode(decode(code) + part,
                        mix64(k as u64, seed ^ mix64(run, 1)) as u32);
                }
                f64::from(decode(code)) / exact
            };
            let ends: Vec<f64> = (0..RUNS).map(run).collect();
            let mean = ends.iter().sum::<f64>() / RUNS as f64;
            let deviation = (ends.iter().map(|end| (end - mean).powi(2))
                .sum::<f64>() / RUNS as f64).sqrt();
            // The mean of 400 runs has a standard error of 31 % / 20.
            prop_assert!((mean - 1.0).abs() < 0.08, "{mean}");
            prop_assert!((0.15..0.4).contains(&deviation), "{deviation}");
        }
    }
}
