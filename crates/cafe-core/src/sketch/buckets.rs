//! Which bucket a feature belongs to: one of all, or one of its field's.

use crate::feature::FeatureId;
use crate::hash::{mix64, reduce};

/// The hash from features to buckets.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    seed: u64,
    n: usize,
    /// First bucket and number of buckets of each field; empty where all fields share all.
    parts: Vec<(u32, u32)>,
}

impl Buckets {
    /// `n` buckets; with `by_field` the first field's features use its first number of buckets
    /// only, and so on. A field without buckets is never asked for, and may be named all the same.
    ///
    /// # Panics
    /// If there is no bucket, more than 2^32, or more in the fields than there are.
    pub(crate) fn new(seed: u64, n: usize, by_field: &[usize]) -> Self {
        assert!(n > 0, "a sketch needs a bucket and a slot");
        assert!(n as u64 <= 1 << 32, "a sketch has at most 2^32 buckets");
        assert!(by_field.iter().sum::<usize>() <= n, "the fields' buckets are more than there are");
        let mut start = 0;
        let parts = by_field.iter().map(|&n| {
            start += n;
            if n == 0 { (0, 1) } else { ((start - n) as u32, n as u32) }
        });
        Self { seed, n, parts: parts.collect() }
    }

    pub(crate) fn n(&self) -> usize {
        self.n
    }

    /// Whether `id` is of a field that there is.
    pub(crate) fn knows(&self, id: FeatureId) -> bool {
        self.parts.is_empty() || id.field() < self.parts.len()
    }

    /// The bucket of `id`.
    #[inline]
    pub(crate) fn of(&self, id: FeatureId) -> usize {
        let hash = mix64(id.raw(), self.seed);
        if self.parts.is_empty() {
            return reduce(hash, self.n);
        }
        self.of_part(id, hash)
    }

    /// Out of the way of the usual case.
    #[cold]
    fn of_part(&self, id: FeatureId, hash: u64) -> usize {
        let (start, n) = self.parts[id.field()];
        start as usize + reduce(hash, n as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_to_their_buckets() {
        let buckets = Buckets::new(3, 11, &[4, 0, 7]);
        let mut counts = [[0; 11]; 3];
        for token in 0..1000 {
            for (field, counts) in counts.iter_mut().enumerate() {
                counts[buckets.of(FeatureId::new(field, token))] += 1;
            }
        }
        assert!(counts[0][..4].iter().all(|&n| n > 150) && counts[0][4..] == [0; 7]);
        assert!(counts[2][..4] == [0; 4] && counts[2][4..].iter().all(|&n| n > 90));
    }
}
