//! Seeded 64-bit mixing. Row indices and buckets in saved states depend on it, so its output
//! is fixed by test vectors: changing it is a change of format.

/// Mixes `value` under `seed` into 64 well-spread bits.
///
/// Two rounds of the `SplitMix64` finaliser (Steele, Lea, Flood 2014), the seed entering before
/// each. For one seed it is a bijection: different values never collide in all 64 bits.
#[must_use]
#[inline]
pub fn mix64(value: u64, seed: u64) -> u64 {
    finalise(finalise(value ^ seed).wrapping_add(seed).wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// Maps a mixed hash evenly onto `0..n` by multiplication (Lemire 2016), without a division.
///
/// `n` must be positive and at most `2^32`: the upper 32 bits of the hash choose.
#[must_use]
#[inline]
pub fn reduce(hash: u64, n: usize) -> usize {
    debug_assert!(n > 0 && n as u64 <= 1 << 32);
    (((hash >> 32) * n as u64) >> 32) as usize
}

/// Maps the upper 53 bits of a mixed hash onto `[0, 1)`.
#[must_use]
#[inline]
pub fn unit_f64(hash: u64) -> f64 {
    (hash >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
}

/// The last stage of `SplitMix64`: a bijection.
#[inline]
pub(crate) fn finalise(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These values are part of the state format; see the module's first lines.
    #[test]
    fn vectors_are_fixed() {
        let got = [mix64(0, 0), mix64(1, 0), mix64(0, 1), mix64(u64::MAX, 42)];
        assert_eq!(got, VECTORS, "got {got:#018x?}");
    }

    const VECTORS: [u64; 4] = [
        0xe220_a839_7b1d_cdaf,
        0xbfef_8030_ddc2_d772,
        0x9504_1e21_3fd8_0dfa,
        0x1ea6_6d4e_1071_b9c5,
    ];

    #[test]
    fn reduction_is_even_and_in_range() {
        const N: usize = 7;
        let mut counts = [0_u32; N];
        for value in 0..70_000 {
            counts[reduce(mix64(value, 3), N)] += 1;
        }
        // 10,000 expected; four standard deviations are 370.
        assert!(counts.iter().all(|&c| c.abs_diff(10_000) < 370), "{counts:?}");
    }

    #[test]
    fn one_flipped_bit_flips_half_of_the_output() {
        let mut flipped = 0_u32;
        for value in 0..1000_u64 {
            for bit in 0..64 {
                flipped += (mix64(value, 9) ^ mix64(value ^ (1 << bit), 9)).count_ones();
            }
        }
        let mean = f64::from(flipped) / 64_000.0;
        assert!((mean - 32.0).abs() < 0.1, "{mean}");
    }

    #[test]
    fn unit_interval_excludes_one() {
        assert!(unit_f64(u64::MAX) < 1.0);
        assert!(unit_f64(0).abs() < f64::EPSILON);
    }
}
