//! The randomness of stochastic rounding: a hash, not a generator whose state threads would have to
//! share.

use super::grid::{LANES, NOISE_BITS};
use crate::hash::{finalise, mix64};

/// Counts a table's updates: noise is a function of the update's number, the row's number and the
/// position in the row.
///
/// So it depends neither on threads nor on the order in which the rows of an update step. What a
/// row is rounded by is new in every update, even where the gradient is the same again: a hash of
/// the new values alone would round a row that was left where it is in the same way for ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    updates: u64,
    seed: u64,
}

impl Clock {
    /// No run makes as many.
    pub(super) const MAX_UPDATES: u64 = 1 << 53;
    /// One for all tables and runs: where a value is rounded to depends on the value, too, and
    /// values differ.
    const SEED: u64 = 0x57_0c4a_5712;

    pub(super) fn after(updates: u64) -> Self {
        Self { updates, seed: mix64(updates, Self::SEED) }
    }

    pub(super) fn updates(self) -> u64 {
        self.updates
    }

    #[inline]
    pub(super) fn tick(&mut self) {
        *self = Self::after(self.updates + 1);
    }

    /// The noise of a row in this update.
    #[inline]
    pub(super) fn row(self, row_number: u32) -> RoundingNoise {
        RoundingNoise(finalise(self.seed ^ u64::from(row_number)))
    }
}

/// The noise of one row in one update.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoundingNoise(u64);

impl RoundingNoise {
    /// Noise for the values from position `at` of the row on: each below `1 << NOISE_BITS`.
    #[inline]
    pub(super) fn chunk(self, at: usize) -> [u32; LANES] {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        const { assert!(NOISE_BITS == u16::BITS && LANES == 8) };
        let start = self.0.wrapping_add((at as u64).wrapping_mul(GOLDEN));
        let words =
            (u128::from(product(start)) << 64) | u128::from(product(start.wrapping_add(GOLDEN)));
        let bytes = words.to_le_bytes();
        let (pairs, _) = bytes.as_chunks::<2>();
        std::array::from_fn(|lane| u32::from(u16::from_le_bytes(pairs[lane])))
    }

    /// Noise of 32 bits for the sum of squares of the row.
    #[inline]
    pub(super) fn of_sum(self) -> u32 {
        // A counter that no chunk of values starts from.
        (product(self.0 ^ 0x5a5a_5a5a_5a5a_5a5a) >> 32) as u32
    }
}

/// 64 bits of a counter by one long product: a step of `wyrand` (Wang Yi), which is cheap and
/// tested.
#[inline]
fn product(counter: u64) -> u64 {
    let product = u128::from(counter) * u128::from(counter ^ 0xe703_7ed1_a0b4_28db);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Correlations between the noises of a row, of its neighbour and of other updates are those of
    /// chance.
    #[test]
    fn noise_is_uniform_and_independent() {
        const N: usize = 20_000;
        let noise = |clock: Clock, row, at| {
            clock.row(row).chunk(at).map(|n| f64::from(n) / f64::from(1_u32 << NOISE_BITS) - 0.5)
        };
        let (mut mean, mut square, mut with) = (0.0, 0.0, [0.0; 6]);
        for row in 0..N as u32 {
            let base = noise(Clock::after(7), row, 0);
            let others = [
                std::array::from_fn(|lane| base[(lane + 1) % LANES]),
                noise(Clock::after(7), row, LANES),
                noise(Clock::after(7), row + 1, 0),
                noise(Clock::after(8), row, 0),
                noise(Clock::after(7 + u64::from(row) + 1), 0, 0),
                [f64::from(Clock::after(7).row(row).of_sum()) / 4_294_967_296.0 - 0.5; LANES],
            ];
            for lane in 0..LANES {
                mean += base[lane];
                square += base[lane] * base[lane];
                for (sum, other) in with.iter_mut().zip(&others) {
                    *sum += base[lane] * other[lane];
                }
            }
        }
        let n = (N * LANES) as f64;
        // Standard errors: sqrt(1 / 12 n) = 0.00072 of the mean, about 0.0002 of the products.
        assert!((mean / n).abs() < 0.003, "{}", mean / n);
        assert!((square / n - 1.0 / 12.0).abs() < 0.001, "{}", square / n);
        assert!(with.iter().all(|sum| (sum / n).abs() < 0.001), "{:?}", with.map(|sum| sum / n));
    }
}
