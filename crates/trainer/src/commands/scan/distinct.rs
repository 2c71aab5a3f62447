//! How many different tokens each field has: counted exactly within a bound of memory, estimated
//! beyond it.

use std::collections::HashSet;

use ahash::RandomState;
use datasketches::hll::{HllSketch, HllType};

/// Bytes that a token of an exact set takes at most. The table of a set has 8/7 to 16/7 buckets of
/// 5 bytes a token, and half as many more of them stand beside it while it grows.
pub(super) const BYTES_PER_EXACT: u64 = 20;
/// Registers of an estimate: 2 to this power, a byte each.
const LG_REGISTERS: u8 = 16;
/// Bytes of an estimate.
pub(super) const BYTES_PER_ESTIMATE: u64 = 1 << LG_REGISTERS;

/// The relative standard error of an estimate from registers alone.
pub(super) fn standard_error() -> f64 {
    1.04 / f64::from(1_u32 << LG_REGISTERS).sqrt()
}

/// The different tokens of every field.
pub(super) struct Distinct {
    fields: Vec<Tokens>,
    n_exact: usize,
    max_exact: usize,
}

enum Tokens {
    Exact(HashSet<u32, RandomState>),
    Estimated(Box<HllSketch>),
}

/// A number of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) n: u64,
    pub(super) is_exact: bool,
}

impl Distinct {
    /// Holds up to `max_exact` tokens, over all fields.
    pub(super) fn new(n_fields: usize, max_exact: usize) -> Self {
        // What comes out does not depend on the hash.
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
                        self.give_up_largest();
                    }
                }
            }
        }
    }

    /// From here on, the field of the most tokens is estimated.
    #[cold]
    fn give_up_largest(&mut self) {
        let n_exact =
            |tokens: &Tokens| if let Tokens::Exact(tokens) = tokens { tokens.len() } else { 0 };
        let largest = self.fields.iter_mut().max_by_key(|tokens| n_exact(tokens));
        let Some(largest @ Tokens::Exact(_)) = largest else { return };
        let mut sketch =
            HllSketch::new(LG_REGISTERS, HllType::Hll8).expect("as many registers as are possible");
        if let Tokens::Exact(tokens) = &*largest {
            for &token in tokens {
                sketch.update(token);
            }
            self.n_exact -= tokens.len();
        }
        *largest = Tokens::Estimated(Box::new(sketch));
    }

    /// Tokens of each field.
    pub(super) fn counts(&self) -> impl Iterator<Item = Count> + '_ {
        self.fields.iter().map(|tokens| match tokens {
            Tokens::Exact(tokens) => Count { n: tokens.len() as u64, is_exact: true },
            // Of the two estimates the one that does not depend on the order of the tokens.
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
    fn the_largest_fields_are_given_up_first() {
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
    fn without_room_all_are_estimated() {
        let mut distinct = Distinct::new(2, 0);
        (0..50).for_each(|token| distinct.add((token % 2) as usize, token));
        assert!(distinct.counts().all(|count| count == Count { n: 25, is_exact: false }));
    }
}
