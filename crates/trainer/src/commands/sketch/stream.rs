//! Zipf streams in memory, and their most frequent features.

use anyhow::Result;
use cafe_core::{FeatureId, mix64};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Zipf;

/// Streams that differ by their seeds only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    /// Exponent of the Zipf distribution.
    pub(super) skew: f64,
    pub(super) features: u64,
    pub(super) observations: u64,
    /// Number of streams; the seeds are 0, 1, 2, ...
    pub(super) n_seeds: u64,
}

/// The feature of a rank, for a seed.
pub(super) fn feature_id(rank: u64, seed: u64) -> FeatureId {
    FeatureId::from_raw(mix64(rank, seed) >> (u64::BITS - FeatureId::BITS))
}

impl Streams {
    /// The distribution of ranks; rank 1 is the most frequent.
    pub(super) fn distribution(&self) -> Result<Zipf<f64>> {
        Ok(Zipf::new(self.features as f64, self.skew)?)
    }

    /// The ranks of a seed's stream, counted from 0 so that 2^32 of them fit into `u32`.
    pub(super) fn ranks(&self, seed: u64) -> Result<Vec<u32>> {
        let (zipf, mut rng) = (self.distribution()?, ChaCha8Rng::seed_from_u64(seed));
        Ok((0..self.observations).map(|_| (rng.sample(zipf) as u64 - 1) as u32).collect())
    }

    /// The probability of a rank, counted from 1.
    pub(super) fn share(&self, rank: u64) -> f64 {
        (rank as f64).powf(-self.skew) / zeta(self.features, self.skew)
    }
}

/// `1^-z + 2^-z + ... + n^-z`.
fn zeta(n: u64, z: f64) -> f64 {
    /// Terms that are added one by one; the rest is an integral.
    const ONE_BY_ONE: u64 = 1_000_000;
    let last = n.min(ONE_BY_ONE);
    let head: f64 = (1..=last).rev().map(|rank| (rank as f64).powf(-z)).sum();
    if n == last {
        return head;
    }
    // The Euler-Maclaurin formula: the error is of the order of last^(-z - 1).
    let (from, to) = (last as f64, n as f64);
    let integral = match 1.0 - z {
        0.0 => (to / from).ln(),
        power => (to.powf(power) - from.powf(power)) / power,
    };
    head + integral + 0.5 * (to.powf(-z) - from.powf(-z))
}

/// The `n` most frequent ranks, sorted by descending count and then by rank; fewer if fewer occur.
pub(super) fn top(ranks: &[u32], n: usize) -> Vec<u32> {
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    let mut counts: Vec<_> = sorted
        .chunk_by(|a, b| a == b)
        .map(|same| (std::cmp::Reverse(same.len()), same[0]))
        .collect();
    counts.sort_unstable();
    counts.truncate(n);
    counts.into_iter().map(|(_, rank)| rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_is_sorted_by_count_then_rank() {
        assert_eq!(top(&[7, 3, 7, 5, 3, 9], 3), [3, 7, 5]);
        assert_eq!(top(&[2, 2], 3), [2]);
        assert!(top(&[], 3).is_empty());
    }

    #[test]
    fn shares_match_the_streams() {
        let streams = Streams { skew: 1.2, features: 1000, observations: 200_000, n_seeds: 1 };
        let ranks = streams.ranks(0).expect("a distribution");
        for rank in [1, 2, 10, 100] {
            let expected = streams.share(rank) * streams.observations as f64;
            let found = ranks.iter().filter(|&&other| u64::from(other) + 1 == rank).count() as f64;
            assert!(
                (found - expected).abs() < 5.0 * expected.sqrt(),
                "{rank}: {found}, not {expected}"
            );
        }
        let total: f64 = (1..=1000).map(|rank| streams.share(rank)).sum();
        assert!((total - 1.0).abs() < 1e-12, "{total}");
    }

    /// Beyond a million terms the sum is approximated by an integral.
    #[test]
    fn zeta_matches_the_sum() {
        for z in [0.5, 1.0, 1.1, 3.0] {
            let sum: f64 = (1..=3_000_000_u64).rev().map(|rank| (rank as f64).powf(-z)).sum();
            assert!(
                (zeta(3_000_000, z) / sum - 1.0).abs() < 1e-12,
                "{z}: {} {sum}",
                zeta(3_000_000, z)
            );
        }
    }
}
