//! The number of distinct tokens of each field: exact within a memory bound, estimated beyond it.

use std::collections::HashSet;

use ahash::RandomState;
use datasketches::hll::{HllSketch, HllType};

/// Maximum bytes per token of an exact set. The hash table has 8/7 to 16/7 buckets per token, of 5
/// bytes each, and while it grows the old table with half as many exists as well.
pub(super) const BYTES_PER_EXACT: u64 = 20;
/// Base-2 logarithm of the number of registers of an estimate, one byte each: a standard error of
/// 0.4 %.
const LG_REGISTERS: u8 = 16;
/// Bytes of an estimate.
pub(super) const BYTES_PER_ESTIMATE: u64 = 1 << LG_REGISTERS;

/// The relative standard error of an estimate: that of `HyperLogLog`, `1.04 / sqrt(registers)`.
pub(super) fn standard_error() -> f64 {
    1.04 / f64::from(1_u32 << LG_REGISTERS).sqrt()
}

/// The distinct tokens of every field.
pub(super) struct Distinct {
    fields: Vec<Tokens>,
    n_exact: usize,
    max_exact: usize,
}

enum Tokens {
    Exact(HashSet<u32, RandomState>),
    Estimated(Box<HllSketch>),
}

/// A number of distinct tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) n: u64,
    pub(super) is_exact: bool,
}

impl Distinct {
    /// Counts up to `max_exact` tokens exactly, over all fields.
    pub(super) fn new(n_fields: usize, max_exact: usize) -> Self {
        // Fixed seeds: the counts do not depend on the hash.
        let empty = || Tokens::Exact(HashSet::with_hasher(RandomState::with_seeds(1, 2, 3, 4)));
        Self { fields: (0..n_fields).map(|_| empty()).collect(), n_exact: 0, max_exact }
    }

    pub(super) fn add(&mut self, field: usize, token: u32) {
        match &mut self.fields[field] {
            Tokens::Estimated(sketch) => sketch.update(token),
            Tokens::Exact(tokens) => {
                if tokens.insert(token) {
                    self.n_exact += 1;
                    if self.n_exact > self.max_exact {
                        self.estimate_largest();
                    }
                }
            }
        }
    }

    /// Switches the field with the most tokens to an estimate.
    #[cold]
    fn estimate_largest(&mut self) {
        let n_exact =
            |tokens: &Tokens| if let Tokens::Exact(tokens) = tokens { tokens.len() } else { 0 };
        let largest = self.fields.iter_mut().max_by_key(|tokens| n_exact(tokens));
        let Some(largest @ Tokens::Exact(_)) = largest else { return };
        let mut sketch =
            HllSketch::new(LG_REGISTERS, HllType::Hll8).expect("a supported number of registers");
        if let Tokens::Exact(tokens) = &*largest {
            for &token in tokens {
                sketch.update(token);
            }
            self.n_exact -= tokens.len();
        }
        *largest = Tokens::Estimated(Box::new(sketch));
    }

    /// The number of distinct tokens of each field.
    pub(super) fn counts(&self) -> impl Iterator<Item = Count> + '_ {
        self.fields.iter().map(|tokens| match tokens {
            Tokens::Exact(tokens) => Count { n: tokens.len() as u64, is_exact: true },
            // The estimate that does not depend on the order of the tokens.
            Tokens::Estimated(sketch) => {
                Count { n: sketch.composite_estimate().round() as u64, is_exact: false }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_fields_are_estimated_first() {
        let mut distinct = Distinct::new(3, 1000);
        for token in 0..200_000_u32 {
            distinct.add(0, token % 7);
            distinct.add(1, token.wrapping_mul(0x9e37_79b9));
            distinct.add(2, token % 300);
            assert!(distinct.n_exact <= 1000);
        }
        let counts: Vec<_> = distinct.counts().collect();
        assert_eq!(counts[0], Count { n: 7, is_exact: true });
        assert_eq!(counts[2], Count { n: 300, is_exact: true });
        let error = counts[1].n as f64 / 200_000.0 - 1.0;
        assert!(!counts[1].is_exact && error.abs() < 4.0 * standard_error(), "{error}");
    }

    #[test]
    fn zero_exact_estimates_all() {
        let mut distinct = Distinct::new(2, 0);
        (0..50).for_each(|token| distinct.add((token % 2) as usize, token));
        assert!(distinct.counts().all(|count| count == Count { n: 25, is_exact: false }));
    }
}
