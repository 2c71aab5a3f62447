//! HotSketch: which features carry the weight of a stream, in a fixed number of bytes.

pub(crate) mod slot;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::batch::cache_hint::{AHEAD, prefetch};
use crate::batch::importance::nth_largest;
use crate::feature::FeatureId;
use crate::hash::{mix64, reduce, unit_f64};
use crate::state::{StateError, StateMap, StateView, array, check_len};

use slot::{EMPTY, NO_ROW, Slot, SlotIndex, check_slots, find_slot, probe, put};

/// Eviction policy: which slot is evicted when a bucket is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum VictimPolicy {
    /// The slot of the smallest score, as the CAFE paper describes. If it owns a row, the row is
    /// freed.
    Lightest,
    /// The slot of the smallest score among those that own no row; if all do, the newcomer is
    /// dropped.
    #[default]
    LightestCold,
    /// As the paper's published code: always the last slot, unless it owns a row (then the newcomer
    /// is dropped); a slot whose score passes its left neighbour's moves up one place.
    LastSlot,
    /// The slot that `LightestCold` would evict, but a newcomer of weight w takes over a slot of
    /// score m only with the probability w / (m + w), and is dropped otherwise. The long tail then
    /// neither wears slots out nor lifts the scores that newcomers inherit: what is held is held
    /// for its own weight. (Randomised admission: Ben Basat et al. 2017.)
    ByChance,
}

/// Sizes and policy of a [`HotSketch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SketchConfig {
    /// Buckets, `w` in the theory.
    pub n_buckets: usize,
    /// Slots a bucket, `c` in the theory.
    pub slots: usize,
    /// Which slot is evicted when a bucket is full.
    pub victim: VictimPolicy,
    /// Seed of the hash that chooses a feature's bucket.
    pub seed: u64,
}

/// A weighted heavy-hitters sketch: `SpaceSaving` inside each of many small buckets.
///
/// A feature hashes to one bucket of a few slots; a slot holds a feature, its score, and optionally
/// the number of a row that the feature owns. [`observe`](HotSketch::observe) adds weight to the
/// feature's slot; a feature without one takes an empty slot, or else that of a victim, whose score
/// it inherits. So there are no pointers, no heap to keep, and one step touches one bucket.
///
/// ```
/// use cafe_core::{FeatureId, HotSketch, SketchConfig, VictimPolicy};
///
/// let mut sketch = HotSketch::new(SketchConfig {
///     n_buckets: 64, slots: 4, victim: VictimPolicy::Lightest, seed: 1,
/// });
/// for i in 0..10_000_u64 {
///     sketch.observe(FeatureId::from_raw(i), 1.0);      // a long tail
///     sketch.observe(FeatureId::from_raw(i % 10), 5.0); // ten features with 83 % of the weight
/// }
/// let mut top: Vec<_> = sketch.iter().collect();
/// top.sort_by(|a, b| b.score.total_cmp(&a.score));
/// assert!(top[..10].iter().all(|slot| slot.id.raw() < 10));
/// ```
///
/// # Accuracy
/// Under [`VictimPolicy::Lightest`] and without decay, in exact arithmetic: an estimate is never
/// below the true weight; a bucket's scores sum to the weight that was hashed to it; so what a
/// feature is overestimated by is at most the bucket's smallest score. The probability that a
/// feature of a given share of all weight is still held has closed bounds: [`crate::theory`].
/// Scores are `f32`: a weight below 6e-8 of a score no longer moves it.
///
/// # Memory
/// 12 bytes a slot, 48 a bucket of four: 40 bits of id, 24 bits of row number, 32 bits of score.
///
/// Source: "CAFE: Towards Compact, Adaptive, and Fast Embedding for Large-scale Recommendation
/// Models" (SIGMOD 2024); the stream-summary inside a bucket is `SpaceSaving` (Metwally et al.
/// 2005).
#[derive(Clone, Debug)]
pub struct HotSketch {
    config: SketchConfig,
    slots: Vec<Slot>,
    mass: f64,
}

/// What the sketch knows of a feature that it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// The feature.
    pub id: FeatureId,
    /// Its score.
    pub score: f32,
    /// The row that it owns.
    pub row: Option<u32>,
}

/// What [`HotSketch::observe`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    /// The feature after the step, or `None` if it was dropped.
    pub entry: Option<Entry>,
    /// The row of the victim that made room, now free.
    pub freed_row: Option<u32>,
    /// The victim that made room.
    pub victim: Option<FeatureId>,
}

/// A newcomer found no room.
const DROPPED: Observed = Observed { entry: None, freed_row: None, victim: None };

impl HotSketch {
    /// Bytes of one slot.
    pub const SLOT_BYTES: usize = size_of::<Slot>();
    /// Row numbers must be below this.
    pub const MAX_ROWS: usize = EMPTY as usize;

    /// Not a row number: what [`HotSketch::row_bits_and_score`] says of a feature that owns none.
    pub(crate) const NO_ROW_BITS: u32 = NO_ROW;

    /// An empty sketch.
    ///
    /// # Panics
    /// If there is no bucket or no slot, or more than `2^32` buckets.
    #[must_use]
    pub fn new(config: SketchConfig) -> Self {
        let SketchConfig { n_buckets, slots, .. } = config;
        assert!(n_buckets > 0 && slots > 0, "a sketch needs a bucket and a slot");
        assert!(n_buckets as u64 <= 1 << 32, "a sketch has at most 2^32 buckets");
        Self { config, slots: vec![Slot::VACANT; n_buckets * slots], mass: 0.0 }
    }

    /// Its sizes and policy.
    #[must_use]
    pub fn config(&self) -> SketchConfig {
        self.config
    }

    /// Adds `weight` to the score of `id`, making room for it if it isn't held.
    ///
    /// # Panics
    /// If `weight` is negative or not finite.
    #[inline]
    pub fn observe(&mut self, id: FeatureId, weight: f32) -> Observed {
        self.observe_in(self.bucket_idx(id), id, weight)
    }

    /// [`HotSketch::observe`] for each pair in turn, with a call of `observed` for each: about
    /// twice as fast in a sketch that the nearest caches don't hold, since buckets are loaded
    /// ahead.
    ///
    /// # Panics
    /// If a weight is negative or not finite.
    pub fn observe_each(&mut self, pairs: &[(FeatureId, f32)], mut observed: impl FnMut(Observed)) {
        let mut buckets = [0; AHEAD];
        for pairs in pairs.chunks(AHEAD) {
            for (bucket_idx, &(id, _)) in buckets.iter_mut().zip(pairs) {
                *bucket_idx = self.bucket_idx(id);
                self.prefetch(*bucket_idx);
            }
            for (&bucket_idx, &(id, weight)) in buckets.iter().zip(pairs) {
                observed(self.observe_in(bucket_idx, id, weight));
            }
        }
    }

    /// [`HotSketch::observe`] where the bucket is known.
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "a quarter faster: what the caller doesn't ask for isn't made"
    )]
    pub(crate) fn observe_in(&mut self, bucket_idx: usize, id: FeatureId, weight: f32) -> Observed {
        assert!(
            weight >= 0.0 && weight.is_finite(),
            "a weight is finite and not negative, got {weight} for {id}"
        );
        self.mass += f64::from(weight);
        let (policy, luck) =
            (self.config.victim, StreamRng { mass: self.mass, seed: self.config.seed });
        let bucket = self.bucket_mut(bucket_idx);
        let Some(found) = slot_for(bucket, id, policy) else { return DROPPED };
        if policy == VictimPolicy::ByChance
            && !found.is_held
            && !luck.admits(id, weight, bucket[found.at].score)
        {
            return DROPPED;
        }
        let (before, after) = put(&mut bucket[found.at], id, found.is_held, weight);
        if policy == VictimPolicy::LastSlot && found.is_held && found.at > 0 {
            let left = found.at - 1;
            if after.score > bucket[left].score {
                bucket.swap(left, found.at);
            }
        }
        // A slot that is held keeps its row.
        let freed_row = if found.is_held { None } else { before.row() };
        let victim = (!found.is_held && !before.is_vacant()).then(|| before.id());
        Observed {
            entry: Some(Entry { id, score: after.score, row: after.row() }),
            freed_row,
            victim,
        }
    }

    /// What is known of `id`, if it is held.
    #[must_use]
    #[inline]
    pub fn get(&self, id: FeatureId) -> Option<Entry> {
        self.bucket(self.bucket_idx(id)).iter().find(|slot| slot.holds(id)).map(|slot| slot.entry())
    }

    /// The row that `id` owns and its score, zero if it isn't held, where its bucket is known.
    #[inline]
    pub(crate) fn row_and_score(&self, bucket_idx: usize, id: FeatureId) -> (Option<u32>, f32) {
        let (row_bits, score) = self.row_bits_and_score(bucket_idx, id);
        ((row_bits != NO_ROW).then_some(row_bits), score)
    }

    /// The row that `id` owns, `NO_ROW_BITS` if it owns none, and its score, zero if it is not
    /// held, where its bucket is known.
    #[inline]
    pub(crate) fn row_bits_and_score(&self, bucket_idx: usize, id: FeatureId) -> (u32, f32) {
        let bucket = self.bucket(bucket_idx);
        match <&[Slot; 4]>::try_from(bucket) {
            Ok(bucket) => probe(bucket, id),
            Err(_) => probe(bucket, id),
        }
    }

    /// The score of `id`, zero if it isn't held.
    #[must_use]
    #[inline]
    pub fn estimate(&self, id: FeatureId) -> f32 {
        self.row_and_score(self.bucket_idx(id), id).1
    }

    /// [`HotSketch::estimate`] for each id: faster as [`HotSketch::observe_each`] is.
    ///
    /// # Panics
    /// If `scores` and `ids` are not of equal length.
    pub fn estimate_each(&self, ids: &[FeatureId], scores: &mut [f32]) {
        assert_eq!(ids.len(), scores.len(), "there is a score for each id");
        let mut buckets = [0; AHEAD];
        for (ids, scores) in ids.chunks(AHEAD).zip(scores.chunks_mut(AHEAD)) {
            for (bucket_idx, &id) in buckets.iter_mut().zip(ids) {
                *bucket_idx = self.bucket_idx(id);
                self.prefetch(*bucket_idx);
            }
            for ((&bucket_idx, &id), score) in buckets.iter().zip(ids).zip(scores) {
                *score = self.row_and_score(bucket_idx, id).1;
            }
        }
    }

    /// What the true weight of `id` can't exceed (under [`VictimPolicy::Lightest`], without decay):
    /// its score, or the smallest score of its bucket if it isn't held.
    #[must_use]
    pub fn upper_bound(&self, id: FeatureId) -> f32 {
        let smallest = || {
            self.bucket(self.bucket_idx(id))
                .iter()
                .map(|slot| slot.score)
                .fold(f32::INFINITY, f32::min)
        };
        self.get(id).map_or_else(smallest, |held| held.score)
    }

    /// Gives `id` a row or takes it away; `false` if it isn't held.
    ///
    /// # Panics
    /// If the row number is not below [`HotSketch::MAX_ROWS`].
    pub fn set_row(&mut self, id: FeatureId, row_idx: Option<u32>) -> bool {
        assert!(
            row_idx.is_none_or(|r| (r as usize) < Self::MAX_ROWS),
            "row {row_idx:?} is past the limit"
        );
        let slot = self.bucket_mut(self.bucket_idx(id)).iter_mut().find(|slot| slot.holds(id));
        slot.map(|slot| slot.set_row(row_idx)).is_some()
    }

    /// Multiplies every score by `factor`, so that the present outweighs the past.
    ///
    /// # Panics
    /// If `factor` is not in `0..=1`.
    pub fn decay(&mut self, factor: f32) {
        assert!((0.0..=1.0).contains(&factor), "a decay factor is in 0..=1, got {factor}");
        // A factor of -0 would make scores negative zeros, whose bits don't order as numbers.
        let factor = factor.abs();
        for slot in &mut self.slots {
            slot.score *= factor;
        }
    }

    /// Takes the row from every feature whose score is below `threshold`, and calls `freed` with
    /// each of these rows.
    pub fn release_rows_below(&mut self, threshold: f32, mut freed: impl FnMut(u32)) {
        for slot in self.slots.iter_mut().filter(|slot| slot.score < threshold) {
            if let Some(row_idx) = slot.row() {
                slot.set_row(None);
                freed(row_idx);
            }
        }
    }

    /// The `n`-th largest score, 0 if fewer features are held; `n` counts from 1.
    pub(crate) fn nth_largest_score(&self, n: usize) -> f32 {
        // A vacant slot has no score, and 0 is none either.
        nth_largest(|| self.slots.iter().map(|slot| slot.score), n as u64).unwrap_or(0.0)
    }

    /// Every feature held, bucket by bucket.
    pub fn iter(&self) -> impl Iterator<Item = Entry> + '_ {
        self.slots.iter().filter(|slot| !slot.is_vacant()).map(|slot| slot.entry())
    }

    /// All weight ever observed, whatever was dropped or decayed since.
    #[must_use]
    pub fn mass(&self) -> f64 {
        self.mass
    }

    /// Bytes of all slots.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        size_of_val(self.slots.as_slice()) as u64
    }

    /// The full state as named arrays; the settings are the caller's to keep.
    #[must_use]
    pub fn state(&self) -> [(&'static str, StateView<'_>); 2] {
        let words =
            self.slots.iter().flat_map(|s| [s.id_low, s.id_high_row, s.score.to_bits()]).collect();
        [
            ("sketch_slots", StateView::U32(Cow::Owned(words))),
            ("sketch_mass", StateView::U64(Cow::Owned(vec![self.mass.to_bits()]))),
        ]
    }

    /// The sketch that [`HotSketch::state`] described, with the settings of `self`.
    ///
    /// # Errors
    /// If an array is missing, of another length, or holds what no sketch can hold.
    pub fn restored(&self, state: &StateMap<'_>) -> Result<Self, StateError> {
        let words = array::<u32>(state, "sketch_slots")?;
        check_len("sketch_slots", words.len(), self.slots.len() * 3)?;
        let mass = array::<u64>(state, "sketch_mass")?;
        check_len("sketch_mass", mass.len(), 1)?;
        let mass = f64::from_bits(mass[0]);
        let mut restored =
            Self { config: self.config, slots: Vec::with_capacity(self.slots.len()), mass };
        for words in words.chunks_exact(3) {
            restored.slots.push(Slot {
                id_low: words[0],
                id_high_row: words[1],
                score: f32::from_bits(words[2]),
            });
        }
        restored.check()?;
        Ok(restored)
    }

    fn check(&self) -> Result<(), StateError> {
        if !(self.mass >= 0.0 && self.mass.is_finite()) {
            return Err(StateError::Damaged {
                name: "sketch_mass",
                why: format!("mass {}", self.mass),
            });
        }
        let bucket_of = |id| self.bucket_idx(id);
        check_slots("sketch_slots", &self.slots, self.config.slots, bucket_of)
    }

    /// The bucket of `id`.
    #[inline]
    pub(crate) fn bucket_idx(&self, id: FeatureId) -> usize {
        reduce(mix64(id.raw(), self.config.seed), self.config.n_buckets)
    }

    /// Starts to load a bucket.
    #[inline]
    pub(crate) fn prefetch(&self, bucket_idx: usize) {
        prefetch(&self.slots, bucket_idx * self.config.slots, self.config.slots);
    }

    #[inline]
    fn bucket(&self, bucket_idx: usize) -> &[Slot] {
        let start = bucket_idx * self.config.slots;
        &self.slots[start..start + self.config.slots]
    }

    #[inline]
    fn bucket_mut(&mut self, bucket_idx: usize) -> &mut [Slot] {
        let start = bucket_idx * self.config.slots;
        &mut self.slots[start..start + self.config.slots]
    }
}

/// Randomness that is a function of the stream so far: the same calls give the same sketch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamRng {
    /// All weight observed, with the observation in question.
    mass: f64,
    seed: u64,
}

impl StreamRng {
    /// 64 mixed bits.
    #[inline]
    fn bits(self, id: FeatureId) -> u64 {
        // Another seed than that of the buckets, so that a bucket says nothing of the outcome.
        mix64(self.mass.to_bits() ^ id.raw(), self.seed ^ 0x1ad_c4a2ce)
    }

    /// Whether a newcomer takes over a slot of this score: with its share of the new score as the
    /// probability.
    #[inline]
    fn admits(self, id: FeatureId, weight: f32, score: f32) -> bool {
        admits(self.bits(id), weight, score)
    }
}

#[inline]
fn admits(bits: u64, weight: f32, score: f32) -> bool {
    unit_f64(bits) * (f64::from(score) + f64::from(weight)) <= f64::from(weight)
}

/// [`find_slot`], compiled apart for each policy and for four slots, whose loop is unrolled then.
#[inline]
fn slot_for(bucket: &[Slot], id: FeatureId, policy: VictimPolicy) -> Option<SlotIndex> {
    match (policy, <&[Slot; 4]>::try_from(bucket)) {
        (VictimPolicy::LightestCold, Ok(bucket)) => {
            find_slot(bucket, id, VictimPolicy::LightestCold)
        }
        (VictimPolicy::Lightest, Ok(bucket)) => find_slot(bucket, id, VictimPolicy::Lightest),
        (VictimPolicy::ByChance, Ok(bucket)) => find_slot(bucket, id, VictimPolicy::ByChance),
        _ => find_slot_in_any(bucket, id, policy),
    }
}

#[inline(never)]
fn find_slot_in_any(bucket: &[Slot], id: FeatureId, policy: VictimPolicy) -> Option<SlotIndex> {
    find_slot(bucket, id, policy)
}
