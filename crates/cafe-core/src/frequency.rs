//! How often features occurred so far, as inputs of a network: a sketch of counts, and an embedding
//! that keeps one.

mod embedding;

use std::borrow::Cow;

use crate::budget::BudgetError;
use crate::feature::FeatureId;
use crate::hash::{mix64, reduce};
use crate::state::{StateError, StateMap, StateView, array, check_len};
use crate::table::sizing::Sizing;

pub use embedding::FrequencyEmbedding;

/// Slots a bucket.
const BUCKET_SLOTS: usize = 4;
/// Bytes of a slot: a count above a fingerprint.
const SLOT_BYTES: u64 = size_of::<u32>() as u64;
/// Bytes of what is known of a field: the mean of its logarithms, and its occurrences.
const FIELD_BYTES: u64 = (size_of::<f32>() + size_of::<u64>()) as u64;
/// The bits of a slot that hold the fingerprint; the count is above.
const FINGERPRINT: u32 = 0xffff;
/// Counts saturate.
const LARGEST: u32 = 0xffff;
/// Occurrences over which a field's mean is taken: the most recent ones.
const MEAN_WINDOW: u64 = 1 << 12;
/// Logarithms are clamped to this and scaled, so that inputs lie in -1.5..=1.5.
const LIMIT: f32 = 3.0;
const SCALE: f32 = 0.5;

/// Sizes of a [`FrequencySketch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrequencyConfig {
    /// Categorical fields.
    pub n_fields: usize,
    /// Buckets of four slots.
    pub n_buckets: usize,
    /// Seeds the hashes.
    pub seed: u64,
}

impl FrequencyConfig {
    /// The largest sketch that fits in a budget, for fields with `features[f]` features. It has at
    /// most 4/3 slots a feature. Of `sizing` neither vectors nor rows matter where the budget is in
    /// bytes.
    ///
    /// # Errors
    /// [`BudgetError::TooSmall`] if there is no room for a bucket.
    pub fn within(sizing: &Sizing<'_>) -> Result<Self, BudgetError> {
        let Sizing { features, seed, .. } = *sizing;
        let (n_fields, budget) = (features.len(), sizing.budget_bytes());
        let of_fields = n_fields as u64 * FIELD_BYTES;
        let bucket_bytes = BUCKET_SLOTS as u64 * SLOT_BYTES;
        // Buckets overflow unevenly, so that a sketch for all features needs some slots to spare.
        let most = features
            .iter()
            .fold(0, |sum: u64, &n| sum.saturating_add(n))
            .div_ceil(BUCKET_SLOTS as u64 - 1);
        let n_buckets = (budget.saturating_sub(of_fields) / bucket_bytes).min(most.max(1));
        if n_buckets == 0 {
            let needed = of_fields + bucket_bytes;
            return Err(BudgetError::TooSmall { budget, needed, what: "a sketch of frequencies" });
        }
        Ok(Self { n_fields, n_buckets: n_buckets as usize, seed })
    }

    /// What the sketch occupies.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.n_buckets * BUCKET_SLOTS) as u64 * SLOT_BYTES + self.n_fields as u64 * FIELD_BYTES
    }
}

/// Counts of the features that occur most, in four bytes each.
///
/// A slot holds 16 bits of a hash in place of the id, and a count that saturates at 65,535. A
/// feature whose bucket is full replaces the one with the lowest count c with a probability of 1 /
/// (c + 1), and starts from 1: rare features do not evict frequent ones. Another feature has the
/// same fingerprint with a probability of 1 / 65,535 for each slot in use.
///
/// Ids hold their field, so one sketch serves all fields.
#[derive(Clone, Debug)]
pub struct FrequencySketch {
    seed: u64,
    /// Counts above fingerprints; 0 is a slot without a feature.
    slots: Vec<u32>,
    /// By field: the mean of ln(1 + count) over its newest occurrences.
    means: Vec<f32>,
    /// By field: occurrences so far.
    n_seen: Vec<u64>,
    /// Of one batch: sums of logarithms and occurrences by field.
    of_batch: Vec<(f64, u32)>,
}

impl FrequencySketch {
    /// A sketch that has seen nothing.
    ///
    /// # Panics
    /// If it has no bucket.
    #[must_use]
    pub fn new(config: &FrequencyConfig) -> Self {
        let FrequencyConfig { n_fields, n_buckets, seed } = *config;
        assert!(n_buckets > 0, "a sketch of frequencies has at least one bucket");
        Self {
            seed,
            slots: vec![0; n_buckets * BUCKET_SLOTS],
            means: vec![0.0; n_fields],
            n_seen: vec![0; n_fields],
            of_batch: vec![(0.0, 0); n_fields],
        }
    }

    /// What it occupies.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.slots.len() as u64 * SLOT_BYTES + self.means.len() as u64 * FIELD_BYTES
    }

    /// How often a feature occurred, as far as the sketch knows; 0 if it holds no slot.
    #[must_use]
    pub fn count(&self, id: FeatureId) -> u32 {
        let (first, fingerprint) = self.bucket_and_fingerprint(id);
        let bucket = &self.slots[first..first + BUCKET_SLOTS];
        bucket.iter().find(|&&slot| slot & FINGERPRINT == fingerprint).map_or(0, |slot| slot >> 16)
    }

    /// Half of ln(1 + count) of a feature minus the mean of its field, clamped to -1.5..=1.5.
    /// Relative to the field, because counts of all features grow with the rows that training has
    /// seen.
    ///
    /// # Panics
    /// If the id is of a field that there isn't.
    #[must_use]
    pub fn relative(&self, id: FeatureId) -> f32 {
        let log = (self.count(id) as f32).ln_1p();
        SCALE * (log - self.means[id.field()]).clamp(-LIMIT, LIMIT)
    }

    /// Counts the ids of a batch, each occurrence by itself, in their order.
    ///
    /// # Panics
    /// If an id is of a field that there isn't.
    pub fn observe(&mut self, ids: &[FeatureId]) {
        self.of_batch.fill((0.0, 0));
        for &id in ids {
            let count = self.add(id);
            let (sum, n) = &mut self.of_batch[id.field()];
            *sum += f64::from(count).ln_1p();
            *n += 1;
        }
        let fields = self.means.iter_mut().zip(&mut self.n_seen).zip(&self.of_batch);
        for ((mean, n_seen), &(sum, n)) in fields.filter(|(_, (_, n))| *n > 0) {
            *n_seen += u64::from(n);
            let share = f64::from(n) / (*n_seen).min(MEAN_WINDOW).max(u64::from(n)) as f64;
            // In f64: the mean must not leave the range of the logarithms, or its checkpoint would
            // be refused.
            *mean = (share * (sum / f64::from(n)) + (1.0 - share) * f64::from(*mean)) as f32;
        }
    }

    /// Counts an occurrence; returns the count before it.
    fn add(&mut self, id: FeatureId) -> u32 {
        let (first, fingerprint) = self.bucket_and_fingerprint(id);
        // Occurrences of the batch are added to `n_seen` after it.
        let (_, n_in_batch) = self.of_batch[id.field()];
        let luck = mix64(id.raw(), self.seed ^ (self.n_seen[id.field()] + u64::from(n_in_batch)));
        let bucket = &mut self.slots[first..first + BUCKET_SLOTS];
        if let Some(slot) = bucket.iter_mut().find(|slot| **slot & FINGERPRINT == fingerprint) {
            let count = *slot >> 16;
            *slot = (count + 1).min(LARGEST) << 16 | fingerprint;
            return count;
        }
        if let Some(slot) = bucket.iter_mut().min_by_key(|slot| **slot >> 16) {
            // Uniform in 0..=count.
            if reduce(luck, (*slot >> 16) as usize + 1) == 0 {
                *slot = 1 << 16 | fingerprint;
            }
        }
        0
    }

    /// The first slot of its bucket, and a fingerprint from 1 to 65,535 from other bits of the
    /// hash.
    #[inline]
    fn bucket_and_fingerprint(&self, id: FeatureId) -> (usize, u32) {
        let hash = mix64(id.raw(), self.seed);
        let bucket_idx = reduce(hash, self.slots.len() / BUCKET_SLOTS);
        (bucket_idx * BUCKET_SLOTS, hash as u32 % FINGERPRINT + 1)
    }

    fn state(&self) -> [(&'static str, StateView<'_>); 3] {
        [
            (SLOTS, StateView::U32(Cow::Borrowed(&self.slots))),
            (MEANS, StateView::F32(Cow::Borrowed(&self.means))),
            (SEEN, StateView::U64(Cow::Borrowed(&self.n_seen))),
        ]
    }

    /// The sketch that [`FrequencySketch::state`] described, with the sizes of `self`.
    fn restored(&self, state: &StateMap<'_>) -> Result<Self, StateError> {
        let (slots, means, n_seen) =
            (array::<u32>(state, SLOTS)?, array::<f32>(state, MEANS)?, array::<u64>(state, SEEN)?);
        check_len(SLOTS, slots.len(), self.slots.len())?;
        check_len(MEANS, means.len(), self.means.len())?;
        check_len(SEEN, n_seen.len(), self.n_seen.len())?;
        for (bucket_idx, bucket) in slots.chunks_exact(BUCKET_SLOTS).enumerate() {
            let used = || bucket.iter().enumerate().filter(|(_, slot)| **slot != 0);
            let is_bad = |slot: u32| slot >> 16 == 0 || slot & FINGERPRINT == 0;
            let is_twice = |at: usize, slot: u32| {
                bucket[..at].iter().any(|other| (other ^ slot) & FINGERPRINT == 0)
            };
            if let Some((at, _)) = used().find(|&(at, &slot)| is_bad(slot) || is_twice(at, slot)) {
                let why = format!("slot {at} of bucket {bucket_idx} is impossible");
                return Err(StateError::Damaged { name: SLOTS, why });
            }
        }
        // Rounding may exceed the largest logarithm by a little.
        let most = (LARGEST as f32).ln_1p() + 1e-5;
        if let Some(field) = means.iter().position(|mean| !(0.0..=most).contains(mean)) {
            return Err(StateError::Damaged {
                name: MEANS,
                why: format!("field {field} has {}", means[field]),
            });
        }
        let (slots, means, n_seen) = (slots.to_vec(), means.to_vec(), n_seen.to_vec());
        Ok(Self { seed: self.seed, slots, means, n_seen, of_batch: self.of_batch.clone() })
    }
}

const SLOTS: &str = "frequency_slots";
const MEANS: &str = "frequency_means";
const SEEN: &str = "frequency_seen";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::table::rows::RowFormat;

    fn within(features: &[u64], bytes: u64) -> Result<FrequencyConfig, BudgetError> {
        let (budget, format) = (Budget::Bytes(bytes), RowFormat::default());
        FrequencyConfig::within(&Sizing { features, dim: 4, budget, format, seed: 7 })
    }

    fn sketch(n_buckets: usize) -> FrequencySketch {
        FrequencySketch::new(&FrequencyConfig { n_fields: 2, n_buckets, seed: 7 })
    }

    #[test]
    fn counts_are_exact_with_a_slot_each() {
        let config = within(&[40, 10], 1 << 20).expect("fits");
        // As large as 50 features can fill, however much is given.
        assert_eq!((config.n_buckets, config.bytes()), (17, 17 * 16 + 24));
        let mut sketch = FrequencySketch::new(&FrequencyConfig { n_buckets: 1000, ..config });
        let id = |k: u64| FeatureId::new((k % 2) as usize, k as u32);
        for k in 0..20 {
            assert_eq!(sketch.count(id(k)), 0);
            let occurrences = vec![id(k); 1 + 3 * k as usize];
            occurrences.chunks(4).for_each(|batch| sketch.observe(batch));
        }
        assert!((0..20).all(|k| sketch.count(id(k)) == 1 + 3 * k as u32));
        sketch.observe(&vec![id(1); 70_000]);
        assert_eq!(sketch.count(id(1)), LARGEST);
    }

    /// 30 features that occur 400 times each among 12,000 that occur once, with slots for 200.
    #[test]
    fn frequent_features_keep_their_slots() {
        let mut sketch = sketch(50);
        let frequent = |k: u32| FeatureId::new(0, k);
        for round in 0..400 {
            let seldom = (0..30).map(|k| FeatureId::new(1, round * 30 + k));
            let ids: Vec<_> = (0..30).map(frequent).chain(seldom).collect();
            sketch.observe(&ids);
        }
        let counts: Vec<_> = (0..30).map(|k| sketch.count(frequent(k))).collect();
        assert!(counts.iter().all(|&count| count > 300 && count <= 400), "{counts:?}");
        let held = (0..12_000).filter(|&k| sketch.count(FeatureId::new(1, k)) > 0).count();
        assert!((100..=171).contains(&held), "{held}");
    }

    #[test]
    fn inputs_are_relative_to_the_field() {
        let mut sketch = sketch(1000);
        // Field 0 has features of one frequency, field 1 one that is nine in ten.
        let ids: Vec<_> = (0..100)
            .map(|k| {
                if k % 2 == 0 {
                    FeatureId::new(0, k % 20)
                } else {
                    FeatureId::new(1, u32::from(k % 20 == 1))
                }
            })
            .collect();
        let inputs = |sketch: &FrequencySketch| {
            [(0, 2), (1, 0), (1, 1), (0, 999)]
                .map(|(field, token)| sketch.relative(FeatureId::new(field, token)))
        };
        assert_eq!(inputs(&sketch), [0.0; 4]);
        let mut last = [0.0; 4];
        for round in 0..1200 {
            sketch.observe(&ids);
            if round == 600 {
                last = inputs(&sketch);
            }
        }
        let [even, often, seldom, unseen] = inputs(&sketch);
        assert!(
            even.abs() < 0.1 && (0.0..0.3).contains(&often) && seldom < -0.7,
            "{even} {often} {seldom}"
        );
        assert_eq!(unseen, -LIMIT * SCALE);
        for (now, before) in inputs(&sketch).iter().zip(last) {
            assert!((now - before).abs() < 0.15, "{now} after {before}");
        }
    }

    /// A field with one feature: its count and its mean reach their limits, and the state stays
    /// sound.
    #[test]
    fn saturated_counts_can_be_restored() {
        let mut sketch = sketch(2);
        for n in [1, 3, 50, 700, 5000].into_iter().cycle().take(200) {
            sketch.observe(&vec![FeatureId::new(1, 7); n]);
            sketch.restored(&sketch.state().into_iter().collect()).expect("sound");
        }
        assert_eq!(sketch.count(FeatureId::new(1, 7)), LARGEST);
        assert!(sketch.relative(FeatureId::new(1, 7)).abs() < 1e-5, "{}", sketch.means[1]);
    }

    #[test]
    fn an_impossible_state_is_refused() {
        let mut sketch = sketch(2);
        sketch.observe(&[FeatureId::new(0, 1), FeatureId::new(1, 1)]);
        let state = || sketch.state().into_iter().collect::<StateMap<'_>>();
        let again = sketch.restored(&state()).expect("sound");
        assert_eq!(
            (&again.slots, &again.means, &again.n_seen),
            (&sketch.slots, &sketch.means, &sketch.n_seen)
        );
        for (name, array) in [
            (SLOTS, StateView::U32(Cow::Owned(vec![1; 8]))),
            (SLOTS, StateView::U32(Cow::Owned(vec![0x1_0001; 8]))),
            (SLOTS, StateView::U32(Cow::Owned(vec![0; 4]))),
            (MEANS, StateView::F32(Cow::Owned(vec![f32::NAN, 0.0]))),
            (MEANS, StateView::F32(Cow::Owned(vec![0.0, 40.0]))),
            (SEEN, StateView::U64(Cow::Owned(vec![0]))),
        ] {
            let mut state = state();
            state.insert(name, array);
            assert!(sketch.restored(&state).is_err(), "{name}");
        }
    }

    #[test]
    fn too_small_a_budget_names_the_bytes_needed() {
        let error = within(&[10, 10, 10], 51).expect_err("a byte less");
        assert!(error.to_string().contains("needs at least 52 bytes"), "{error}");
        assert_eq!(within(&[10, 10, 10], 52).expect("fits").bytes(), 52);
    }
}
