//! How often each feature occurs, exactly: what an oracle knows beforehand.

use std::cmp::Reverse;
use std::collections::HashMap;

use ahash::RandomState;

use crate::feature::FeatureId;

/// Exact counts of features, for the first of two passes over the training rows.
///
/// It grows with the features that it has seen: about 20 to 40 bytes each. For the largest data,
/// where that is too much, a [`crate::HotSketch`] finds nearly the same features in bytes that are
/// fixed.
///
/// ```
/// use cafe_core::FeatureId;
/// use cafe_core::methods::FeatureCounts;
///
/// let [a, b, c] = [1, 2, 3].map(|token| FeatureId::new(0, token));
/// let mut counts = FeatureCounts::default();
/// counts.add_all(&[c, a, b, a, b, a]);
/// assert_eq!(counts.top(2), [a, b]);
/// assert_eq!(counts.count(c), 1);
/// ```
#[derive(Clone, Debug)]
pub struct FeatureCounts {
    counts: HashMap<FeatureId, u64, RandomState>,
}

impl Default for FeatureCounts {
    fn default() -> Self {
        // No result depends on the map's order; the seed is fixed so that runs cost the same.
        Self { counts: HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4)) }
    }
}

impl FeatureCounts {
    /// Counts one occurrence of each of `ids`.
    pub fn add_all(&mut self, ids: &[FeatureId]) {
        for &id in ids {
            *self.counts.entry(id).or_default() += 1;
        }
    }

    /// Occurrences of `id`.
    #[must_use]
    pub fn count(&self, id: FeatureId) -> u64 {
        self.counts.get(&id).copied().unwrap_or(0)
    }

    /// Different features.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The `n` most frequent features, or as many as there are, the most frequent first; of equally
    /// frequent ones the smaller id comes first.
    #[must_use]
    pub fn top(&self, n: usize) -> Vec<FeatureId> {
        self.top_where(n, |_| true)
    }

    /// [`FeatureCounts::top`] among the features that `keep` accepts.
    #[must_use]
    pub fn top_where(&self, n: usize, keep: impl Fn(FeatureId) -> bool) -> Vec<FeatureId> {
        let kept = self.counts.iter().filter(|&(&id, _)| keep(id));
        let mut ranked: Vec<_> = kept.map(|(&id, &count)| (Reverse(count), id)).collect();
        if n < ranked.len() {
            ranked.select_nth_unstable(n);
            ranked.truncate(n);
        }
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, id)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_top_is_that_of_a_sorted_list(tokens in prop::collection::vec(0_u32..30, 0..200),
            n in 0_usize..40) {
            let ids: Vec<_> = tokens.iter()
                .map(|&token| FeatureId::new(token as usize % 2, token)).collect();
            let mut counts = FeatureCounts::default();
            ids.chunks(7).for_each(|ids| counts.add_all(ids));
            let mut plain = BTreeMap::<FeatureId, u64>::new();
            for &id in &ids {
                *plain.entry(id).or_default() += 1;
            }
            prop_assert_eq!((counts.len(), counts.is_empty()), (plain.len(), ids.is_empty()));
            prop_assert!(plain.iter().all(|(&id, &count)| counts.count(id) == count));
            let mut ranked: Vec<_> = plain.into_iter().collect();
            ranked.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
            let all: Vec<_> = ranked.iter().map(|&(id, _)| id).collect();
            prop_assert_eq!(counts.top(n), &all[..n.min(all.len())]);
            let odd: Vec<_> = all.into_iter().filter(|id| id.field() == 1).take(n).collect();
            prop_assert_eq!(counts.top_where(n, |id| id.field() == 1), odd);
        }
    }
}
