//! A batch cut up by field: parts that share no feature and no row but hot ones, so that threads
//! can take one each.

use crate::batch::Batch;
use crate::batch::cache_hint::prefetch;
use crate::batch::coalesce::{FILL, KeyIndex, NOTHING, add};
use crate::feature::FeatureId;

/// Occurrences by field, and the distinct keys of each field with their summed gradients. Refilled
/// for each batch without allocating.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByField {
    dim: usize,
    /// Field f has the occurrences `order[starts[f]..starts[f + 1]]`, and its keys lie from
    /// `starts[f]` on.
    starts: Vec<usize>,
    order: Vec<u32>,
    n_keys: Vec<usize>,
    keys: Vec<u64>,
    firsts: Vec<u32>,
    sums: Vec<f32>,
    in_order: Vec<u32>,
}

/// The part of one field.
pub(crate) struct FieldPart<'a> {
    pub(crate) field: usize,
    /// Indices into the batch, ascending.
    pub(crate) occurrences: &'a [u32],
    /// Distinct keys in order of first appearance; the first `n_keys` are in use.
    pub(crate) keys: &'a mut [u64],
    pub(crate) n_keys: &'a mut usize,
    firsts: &'a mut [u32],
    /// The keys' summed gradients.
    pub(crate) sums: &'a mut [f32],
}

impl ByField {
    pub(crate) fn new(n_fields: usize, dim: usize) -> Self {
        Self { dim, starts: vec![0; n_fields + 1], n_keys: vec![0; n_fields], ..Self::default() }
    }

    /// Sorts the occurrences of a batch by field, stably.
    pub(crate) fn sort(&mut self, ids: &[FeatureId]) {
        self.order.resize(ids.len(), 0);
        self.keys.resize(ids.len(), 0);
        self.firsts.resize(ids.len(), 0);
        self.sums.resize(ids.len() * self.dim, 0.0);
        if is_sample_major(ids, self.n_keys.len()) {
            self.transpose(ids.len() / self.n_keys.len());
        } else {
            self.count_and_sort(ids);
        }
    }

    /// The order of `n_samples` samples that name every field once, in the order of fields.
    fn transpose(&mut self, n_samples: usize) {
        let n_fields = self.n_keys.len();
        for (field, start) in self.starts.iter_mut().enumerate() {
            *start = field * n_samples;
        }
        for (field, order) in self.order.chunks_exact_mut(n_samples.max(1)).enumerate() {
            for (sample, occurrence) in order.iter_mut().enumerate() {
                *occurrence = (sample * n_fields + field) as u32;
            }
        }
    }

    fn count_and_sort(&mut self, ids: &[FeatureId]) {
        let n_fields = self.n_keys.len();
        self.starts.fill(0);
        for id in ids {
            self.starts[id.field() + 1] += 1;
        }
        for field in 0..n_fields {
            self.starts[field + 1] += self.starts[field];
        }
        // `n_keys` says meanwhile where each field's next occurrence goes.
        self.n_keys.copy_from_slice(&self.starts[..n_fields]);
        for (occurrence, id) in ids.iter().enumerate() {
            let at = &mut self.n_keys[id.field()];
            self.order[*at] = occurrence as u32;
            *at += 1;
        }
    }

    /// The parts, field by field.
    pub(crate) fn parts(&mut self) -> impl Iterator<Item = FieldPart<'_>> + Send {
        let Self { dim, starts, order, n_keys, keys, firsts, sums, .. } = self;
        let (mut keys, mut firsts, mut sums) =
            (keys.as_mut_slice(), firsts.as_mut_slice(), sums.as_mut_slice());
        let (starts, order, dim) = (&*starts, &*order, *dim);
        n_keys.iter_mut().enumerate().map(move |(field, n_keys)| {
            let occurrences = &order[starts[field]..starts[field + 1]];
            let n = occurrences.len();
            FieldPart {
                field,
                occurrences,
                keys: cut(&mut keys, n),
                n_keys,
                firsts: cut(&mut firsts, n),
                sums: cut(&mut sums, n * dim),
            }
        })
    }

    pub(crate) fn n_fields(&self) -> usize {
        self.n_keys.len()
    }

    /// The places of a field's keys among all keys.
    pub(crate) fn places(&self, field: usize) -> std::ops::Range<usize> {
        self.starts[field]..self.starts[field] + self.n_keys[field]
    }

    /// The places of all keys in the order in which the batch first names them; [`ByField::order`]
    /// comes before.
    pub(crate) fn in_order(&self) -> &[u32] {
        &self.in_order
    }

    /// Orders the keys of all fields.
    pub(crate) fn order(&mut self) {
        const NO_KEY: u32 = u32::MAX;
        let Self { starts, n_keys, firsts, in_order, .. } = self;
        in_order.clear();
        in_order.resize(firsts.len(), NO_KEY);
        for (&start, &n_keys) in starts.iter().zip(&*n_keys) {
            for place in start..start + n_keys {
                in_order[firsts[place] as usize] = place as u32;
            }
        }
        let mut n = 0;
        for at in 0..in_order.len() {
            let place = in_order[at];
            in_order[n] = place;
            n += usize::from(place != NO_KEY);
        }
        in_order.truncate(n);
    }

    pub(crate) fn key(&self, place: usize) -> u64 {
        self.keys[place]
    }

    pub(crate) fn sum(&self, place: usize) -> &[f32] {
        &self.sums[place * self.dim..(place + 1) * self.dim]
    }

    pub(crate) fn sum_mut(&mut self, place: usize) -> &mut [f32] {
        &mut self.sums[place * self.dim..(place + 1) * self.dim]
    }
}

impl FieldPart<'_> {
    /// Sums the gradients by key; `added` is called for each occurrence with its number within
    /// the field and the position of its key.
    pub(crate) fn coalesce(
        &mut self,
        index: &mut KeyIndex,
        batch: Batch<'_>,
        key: impl Fn(FeatureId) -> u64,
        mut added: impl FnMut(usize, usize),
    ) {
        let Batch { ids, grads, dim } = batch;
        index.clear(self.occurrences.len());
        let (n_sums, mut n_filled) = (self.occurrences.len(), 0);
        for (number, &occurrence) in self.occurrences.iter().enumerate() {
            let at = occurrence as usize;
            // A field's gradients lie a sample apart: too far for the processor to see a stream.
            if let Some(&ahead) = self.occurrences.get(number + 16) {
                prefetch(grads, ahead as usize * dim, dim);
            }
            let n_before = index.n_keys();
            if n_before == n_filled {
                n_filled = n_sums.min(n_filled + FILL);
                self.sums[n_before * dim..n_filled * dim].fill(NOTHING);
            }
            let key = key(ids[at]);
            let position = index.index_of(key);
            // Written again where it is known: cheaper than to ask.
            self.keys[position] = key;
            // An occurrence that is not a first one writes past the keys, where the next first one
            // will.
            self.firsts[n_before] = occurrence;
            add(
                &mut self.sums[position * dim..(position + 1) * dim],
                &grads[at * dim..(at + 1) * dim],
            );
            added(number, position);
        }
        *self.n_keys = index.n_keys();
    }

    /// The distinct keys with their summed gradients.
    pub(crate) fn iter(&self, dim: usize) -> impl Iterator<Item = (u64, &[f32])> {
        self.keys[..*self.n_keys].iter().copied().zip(self.sums.chunks_exact(dim))
    }
}

/// Cuts the first `n` elements off.
///
/// # Panics
/// If there are fewer.
#[allow(clippy::mut_mut, reason = "the slice itself gets shorter")]
pub(crate) fn cut<'a, T>(slice: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    slice.split_off_mut(..n).expect("a slice is cut within its length")
}

/// Whether sample after sample names every field once, in order: as batches of samples do.
fn is_sample_major(ids: &[FeatureId], n_fields: usize) -> bool {
    let samples = ids.chunks_exact(n_fields.max(1));
    let is_whole = samples.remainder().is_empty();
    // Without an early end a sample is compared in a few vector instructions.
    let in_order = |sample: &[FeatureId]| {
        sample.iter().enumerate().fold(true, |all, (field, id)| all & (id.field() == field))
    };
    is_whole && n_fields > 0 && samples.into_iter().all(in_order)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_sorts_agree(n_samples in 0_usize..20, n_fields in 1_usize..8) {
            let ids: Vec<_> = (0..n_samples * n_fields)
                .map(|i| FeatureId::new(i % n_fields, i as u32 / 3)).collect();
            let mut sorted = ByField::new(n_fields, 1);
            sorted.sort(&ids);
            let mut counted = sorted.clone();
            counted.count_and_sort(&ids);
            prop_assert!(is_sample_major(&ids, n_fields));
            prop_assert_eq!((&sorted.order, &sorted.starts), (&counted.order, &counted.starts));
        }

        #[test]
        fn parts_hold_what_the_batch_holds(batch in prop::collection::vec((0_usize..4, 0_u32..6),
            0..80)) {
            let ids: Vec<_> = batch.iter().map(|&(field, token)| FeatureId::new(field, token))
                .collect();
            let grads: Vec<_> = (0..ids.len()).map(|i| i as f32).collect();
            let (mut by_field, mut index) = (ByField::new(4, 1), KeyIndex::default());
            by_field.sort(&ids);
            for mut part in by_field.parts() {
                part.coalesce(&mut index, Batch::new(&ids, &grads, 1), FeatureId::raw, |_, _| ());
            }
            by_field.order();
            let mut expected: Vec<(u64, f32)> = Vec::new();
            for (id, grad) in ids.iter().zip(&grads) {
                match expected.iter_mut().find(|(key, _)| *key == id.raw()) {
                    Some((_, sum)) => *sum += grad,
                    None => expected.push((id.raw(), *grad)),
                }
            }
            let got = by_field.in_order().iter()
                .map(|&at| (by_field.key(at as usize), by_field.sum(at as usize)[0]));
            prop_assert_eq!(got.collect::<Vec<_>>(), expected);
        }
    }
}
