//! HotSketch: which features carry the weight of a stream, in a fixed number of bytes.

use std::borrow::Cow;

use crate::state::{StateMap, check_len, u32s, u64s};
use crate::{FeatureId, StateError, StateView, mix64, reduce};

/// Who makes room when a bucket is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VictimPolicy {
    /// The slot of the smallest score, as the CAFE paper describes. If it owns a row, the row is freed.
    Lightest,
    /// The slot of the smallest score among those that own no row; if all do, the newcomer is dropped.
    #[default]
    LightestCold,
    /// As the paper's published code: always the last slot, unless it owns a row (then the newcomer
    /// is dropped); a slot whose score passes its left neighbour's moves up one place.
    LastSlot,
}

/// Sizes and policy of a [`HotSketch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SketchConfig {
    /// Buckets, `w` in the theory.
    pub n_buckets: usize,
    /// Slots a bucket, `c` in the theory.
    pub slots: usize,
    /// Who makes room when a bucket is full.
    pub victim: VictimPolicy,
    /// Seed of the hash that chooses a feature's bucket.
    pub seed: u64,
}

/// A weighted heavy-hitters sketch: `SpaceSaving` inside each of many small buckets.
///
/// A feature hashes to one bucket of a few slots; a slot holds a feature, its score, and
/// optionally the number of a row that the feature owns. [`observe`](HotSketch::observe) adds
/// weight to the feature's slot; a feature without one takes an empty slot, or else that of a
/// victim, whose score it inherits. So there are no pointers, no heap to keep, and one step touches one bucket.
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
/// Models" (SIGMOD 2024); the stream-summary inside a bucket is `SpaceSaving` (Metwally et al. 2005).
#[derive(Clone, Debug)]
pub struct HotSketch {
    config: SketchConfig,
    slots: Vec<Slot>,
    mass: f64,
}

/// 12 bytes: `id_low`, then 8 bits of id over 24 bits of row number or marker, then the score.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slot {
    id_low: u32,
    id_high_row: u32,
    score: f32,
}

const ROW_BITS: u32 = 24;
const ROW_MASK: u32 = (1 << ROW_BITS) - 1;
const NO_ROW: u32 = ROW_MASK;
const EMPTY: u32 = ROW_MASK - 1;

impl Slot {
    const VACANT: Self = Self { id_low: 0, id_high_row: EMPTY, score: 0.0 };

    fn new(id: FeatureId, score: f32) -> Self {
        Self { id_low: id.raw() as u32, id_high_row: (id.raw() >> 32 << ROW_BITS) as u32 | NO_ROW, score }
    }

    fn is_vacant(self) -> bool {
        self.id_high_row & ROW_MASK == EMPTY
    }

    #[inline]
    fn holds(self, id: FeatureId) -> bool {
        self.id_low == id.raw() as u32 && u64::from(self.id_high_row >> ROW_BITS) == id.raw() >> 32 && !self.is_vacant()
    }

    fn id(self) -> FeatureId {
        FeatureId::from_raw((u64::from(self.id_high_row >> ROW_BITS) << 32) | u64::from(self.id_low))
    }

    fn row(self) -> Option<u32> {
        let row_idx = self.id_high_row & ROW_MASK;
        (row_idx != NO_ROW && row_idx != EMPTY).then_some(row_idx)
    }

    fn set_row(&mut self, row_idx: Option<u32>) {
        self.id_high_row = (self.id_high_row & !ROW_MASK) | row_idx.unwrap_or(NO_ROW);
    }
}

/// What the sketch knows of a feature that it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
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
    pub held: Option<Held>,
    /// The row of the victim that made room, now free.
    pub freed_row: Option<u32>,
}

impl HotSketch {
    /// Bytes of one slot.
    pub const SLOT_BYTES: usize = size_of::<Slot>();
    /// Row numbers must be below this.
    pub const MAX_ROWS: usize = EMPTY as usize;

    /// An empty sketch.
    ///
    /// # Panics
    /// If there is no bucket or no slot, or more than `2^32` buckets.
    #[must_use]
    pub fn new(config: SketchConfig) -> Self {
        assert!(config.n_buckets > 0 && config.slots > 0, "a sketch needs a bucket and a slot");
        assert!(config.n_buckets as u64 <= 1 << 32, "a sketch has at most 2^32 buckets");
        Self { config, slots: vec![Slot::VACANT; config.n_buckets * config.slots], mass: 0.0 }
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
    pub fn observe(&mut self, id: FeatureId, weight: f32) -> Observed {
        assert!(weight >= 0.0 && weight.is_finite(), "a weight is finite and not negative, got {weight} for {id}");
        self.mass += f64::from(weight);
        let victim_policy = self.config.victim;
        let bucket = self.bucket_mut(id);
        if let Some(at) = bucket.iter().position(|slot| slot.holds(id)) {
            bucket[at].score += weight;
            let held = bucket[at].held();
            if victim_policy == VictimPolicy::LastSlot && at > 0 && bucket[at].score > bucket[at - 1].score {
                bucket.swap(at, at - 1);
            }
            return Observed { held: Some(held), freed_row: None };
        }
        let Some(at) = room(bucket, victim_policy) else {
            return Observed { held: None, freed_row: None };
        };
        let victim = bucket[at];
        bucket[at] = Slot::new(id, victim.score + weight);
        Observed { held: Some(bucket[at].held()), freed_row: victim.row() }
    }

    /// What is known of `id`, if it is held.
    #[must_use]
    #[inline]
    pub fn get(&self, id: FeatureId) -> Option<Held> {
        self.bucket(id).iter().find(|slot| slot.holds(id)).map(|slot| slot.held())
    }

    /// The score of `id`, zero if it isn't held.
    #[must_use]
    #[inline]
    pub fn estimate(&self, id: FeatureId) -> f32 {
        self.get(id).map_or(0.0, |held| held.score)
    }

    /// What the true weight of `id` can't exceed (under [`VictimPolicy::Lightest`], without decay):
    /// its score, or the smallest score of its bucket if it isn't held.
    #[must_use]
    pub fn upper_bound(&self, id: FeatureId) -> f32 {
        let smallest = || self.bucket(id).iter().map(|slot| slot.score).fold(f32::INFINITY, f32::min);
        self.get(id).map_or_else(smallest, |held| held.score)
    }

    /// Gives `id` a row or takes it away; `false` if it isn't held.
    ///
    /// # Panics
    /// If the row number is not below [`HotSketch::MAX_ROWS`].
    pub fn set_row(&mut self, id: FeatureId, row_idx: Option<u32>) -> bool {
        assert!(row_idx.is_none_or(|r| (r as usize) < Self::MAX_ROWS), "row {row_idx:?} is past the limit");
        let slot = self.bucket_mut(id).iter_mut().find(|slot| slot.holds(id));
        slot.map(|slot| slot.set_row(row_idx)).is_some()
    }

    /// Multiplies every score by `factor`, so that the present outweighs the past.
    ///
    /// # Panics
    /// If `factor` is not in `0..=1`.
    pub fn decay(&mut self, factor: f32) {
        assert!((0.0..=1.0).contains(&factor), "a decay factor is in 0..=1, got {factor}");
        for slot in &mut self.slots {
            slot.score *= factor;
        }
    }

    /// Takes the row from every feature whose score is below `threshold`, telling `freed` of each.
    pub fn release_rows_below(&mut self, threshold: f32, mut freed: impl FnMut(u32)) {
        for slot in self.slots.iter_mut().filter(|slot| slot.score < threshold) {
            if let Some(row_idx) = slot.row() {
                slot.set_row(None);
                freed(row_idx);
            }
        }
    }

    /// Every feature held, bucket by bucket.
    pub fn iter(&self) -> impl Iterator<Item = Held> + '_ {
        self.slots.iter().filter(|slot| !slot.is_vacant()).map(|slot| slot.held())
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
        let words = self.slots.iter().flat_map(|s| [s.id_low, s.id_high_row, s.score.to_bits()]).collect();
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
        let words = u32s(state, "sketch_slots")?;
        check_len("sketch_slots", words.len(), self.slots.len() * 3)?;
        let mass = u64s(state, "sketch_mass")?;
        check_len("sketch_mass", mass.len(), 1)?;
        let mut restored = Self { config: self.config, slots: Vec::new(), mass: f64::from_bits(mass[0]) };
        for words in words.chunks_exact(3) {
            restored.slots.push(Slot { id_low: words[0], id_high_row: words[1], score: f32::from_bits(words[2]) });
        }
        restored.check()?;
        Ok(restored)
    }

    fn check(&self) -> Result<(), StateError> {
        let damaged = |why: String| Err(StateError::Damaged { name: "sketch_slots", why });
        if !(self.mass >= 0.0 && self.mass.is_finite()) {
            return Err(StateError::Damaged { name: "sketch_mass", why: format!("mass {}", self.mass) });
        }
        for (at, slot) in self.slots.iter().enumerate() {
            if !(slot.score >= 0.0 && slot.score.is_finite()) {
                return damaged(format!("slot {at} has score {}", slot.score));
            }
            let bucket = at - at % self.config.slots;
            if slot.is_vacant() {
                if slot.score != 0.0 {
                    return damaged(format!("slot {at} is vacant and has a score"));
                }
            } else if self.bucket_start(slot.id()) != bucket {
                return damaged(format!("slot {at} holds {}, which belongs elsewhere", slot.id()));
            } else if self.slots[bucket..at].iter().any(|other| other.holds(slot.id())) {
                return damaged(format!("slot {at} holds {} a second time", slot.id()));
            }
        }
        Ok(())
    }

    fn bucket_start(&self, id: FeatureId) -> usize {
        reduce(mix64(id.raw(), self.config.seed), self.config.n_buckets) * self.config.slots
    }

    #[inline]
    fn bucket(&self, id: FeatureId) -> &[Slot] {
        let start = self.bucket_start(id);
        &self.slots[start..start + self.config.slots]
    }

    #[inline]
    fn bucket_mut(&mut self, id: FeatureId) -> &mut [Slot] {
        let start = self.bucket_start(id);
        &mut self.slots[start..start + self.config.slots]
    }
}

impl Slot {
    fn held(self) -> Held {
        Held { id: self.id(), score: self.score, row: self.row() }
    }
}

/// The slot that a newcomer takes, if any.
fn room(bucket: &[Slot], policy: VictimPolicy) -> Option<usize> {
    if let Some(at) = bucket.iter().position(|slot| slot.is_vacant()) {
        return Some(at);
    }
    let lightest = |slots: &mut dyn Iterator<Item = (usize, &Slot)>| {
        slots.min_by(|(_, a), (_, b)| a.score.total_cmp(&b.score)).map(|(at, _)| at)
    };
    match policy {
        VictimPolicy::Lightest => lightest(&mut bucket.iter().enumerate()),
        VictimPolicy::LightestCold => lightest(&mut bucket.iter().enumerate().filter(|(_, slot)| slot.row().is_none())),
        VictimPolicy::LastSlot => {
            let last = bucket.len() - 1;
            bucket[last].row().is_none().then_some(last)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn sketch(n_buckets: usize, slots: usize, victim: VictimPolicy) -> HotSketch {
        HotSketch::new(SketchConfig { n_buckets, slots, victim, seed: 5 })
    }

    fn id(raw: u64) -> FeatureId {
        FeatureId::from_raw(raw)
    }

    /// The example to check on paper: one bucket of two slots.
    #[test]
    fn a_newcomer_inherits_the_victims_score() {
        let mut s = sketch(1, 2, VictimPolicy::Lightest);
        s.observe(id(1), 3.0);
        s.observe(id(2), 5.0);
        s.set_row(id(1), Some(9));
        let observed = s.observe(id(3), 1.0);
        assert_eq!(observed.freed_row, Some(9));
        assert_eq!(observed.held, Some(Held { id: id(3), score: 4.0, row: None }));
        assert_eq!((s.estimate(id(1)), s.estimate(id(2)), s.estimate(id(3))), (0.0, 5.0, 4.0));
        assert_eq!((s.upper_bound(id(1)), s.upper_bound(id(2))), (4.0, 5.0));
        assert!((s.mass() - 9.0).abs() < 1e-12);
    }

    #[test]
    fn settled_slots_are_spared_by_the_other_policies() {
        for policy in [VictimPolicy::LightestCold, VictimPolicy::LastSlot] {
            let mut s = sketch(1, 2, policy);
            s.observe(id(1), 5.0);
            s.observe(id(2), 3.0);
            s.set_row(id(2), Some(0));
            let expected = if policy == VictimPolicy::LastSlot { None } else { Some(6.0) };
            assert_eq!(s.observe(id(3), 1.0).held.map(|h| h.score), expected, "{policy:?}");
            assert_eq!(s.get(id(2)).and_then(|h| h.row), Some(0));
        }
    }

    #[test]
    fn last_slot_moves_up_one_place_per_hit() {
        let mut s = sketch(1, 3, VictimPolicy::LastSlot);
        for raw in 1..=3 {
            s.observe(id(raw), 1.0);
        }
        s.observe(id(3), 5.0);
        assert_eq!(s.iter().map(|h| h.id.raw()).collect::<Vec<_>>(), [1, 3, 2]);
        s.observe(id(4), 0.5); // takes over the last slot, which held 2
        assert_eq!((s.estimate(id(2)), s.estimate(id(4))), (0.0, 1.5));
    }

    #[test]
    fn zero_and_the_largest_id_are_ordinary() {
        let mut s = sketch(1, 2, VictimPolicy::Lightest);
        let largest = (1 << FeatureId::BITS) - 1;
        assert_eq!(s.get(id(0)), None);
        s.observe(id(0), 1.0);
        s.observe(id(largest), 2.0);
        assert_eq!((s.estimate(id(0)), s.estimate(id(largest))), (1.0, 2.0));
        assert!(s.set_row(id(largest), Some(HotSketch::MAX_ROWS as u32 - 1)));
        assert_eq!(s.get(id(largest)).and_then(|h| h.row), Some(HotSketch::MAX_ROWS as u32 - 1));
    }

    #[test]
    fn decay_then_release_frees_what_fell_below() {
        let mut s = sketch(8, 4, VictimPolicy::Lightest);
        for raw in 0..8 {
            s.observe(id(raw), 10.0 + raw as f32);
            s.set_row(id(raw), Some(raw as u32));
        }
        s.decay(0.5);
        let mut freed = Vec::new();
        s.release_rows_below(6.0, |row| freed.push(row));
        freed.sort_unstable();
        assert_eq!(freed, [0, 1]);
        assert_eq!(s.get(id(2)).map(|h| (h.score, h.row)), Some((6.0, Some(2))));
    }

    #[test]
    #[should_panic(expected = "finite and not negative")]
    fn nan_is_refused() {
        sketch(1, 1, VictimPolicy::Lightest).observe(id(1), f32::NAN);
    }

    #[test]
    #[should_panic(expected = "finite and not negative")]
    fn a_negative_weight_is_refused() {
        sketch(1, 1, VictimPolicy::Lightest).observe(id(1), -1.0);
    }

    #[test]
    fn a_slot_has_twelve_bytes() {
        assert_eq!(HotSketch::SLOT_BYTES, 12);
        assert_eq!(sketch(1736, 4, VictimPolicy::Lightest).bytes(), 83_328);
    }

    #[test]
    fn damage_is_named() {
        let mut s = sketch(4, 2, VictimPolicy::Lightest);
        s.observe(id(7), 1.0);
        let state = s.state();
        let StateView::U32(words) = &state[0].1 else { unreachable!() };
        let at = words.iter().position(|&w| w == 7).expect("the id is there");
        let mut broken = words.to_vec();
        broken[at] ^= 0x40; // another id, in a bucket that isn't its own
        let with = |words: Vec<u32>| BTreeMap::from([("sketch_slots", StateView::U32(words.into())), state[1].clone()]);
        assert!(matches!(s.restored(&with(broken)), Err(StateError::Damaged { .. })));
        assert!(matches!(s.restored(&with(vec![0; 3])), Err(StateError::Length { expected: 24, got: 3, .. })));
        assert!(matches!(s.restored(&BTreeMap::new()), Err(StateError::Missing { name: "sketch_slots" })));
        assert!(s.restored(&with(words.to_vec())).is_ok());
    }

    /// The same structure, written to be obvious: a list of (id, score, row) per bucket.
    #[derive(Default)]
    struct Twin(BTreeMap<usize, Vec<(u64, f32, Option<u32>)>>);

    impl Twin {
        fn observe(&mut self, bucket: usize, c: usize, policy: VictimPolicy, raw: u64, weight: f32) {
            let slots = self.0.entry(bucket).or_default();
            if let Some(i) = slots.iter().position(|s| s.0 == raw) {
                slots[i].1 += weight;
                if policy == VictimPolicy::LastSlot && i > 0 && slots[i].1 > slots[i - 1].1 {
                    slots.swap(i, i - 1);
                }
            } else if slots.len() < c {
                slots.push((raw, weight, None));
            } else {
                let mut victim: Option<usize> = None;
                for i in 0..c {
                    let allowed = match policy {
                        VictimPolicy::Lightest => true,
                        VictimPolicy::LightestCold => slots[i].2.is_none(),
                        VictimPolicy::LastSlot => i == c - 1 && slots[i].2.is_none(),
                    };
                    if allowed && victim.is_none_or(|v| slots[i].1 < slots[v].1) {
                        victim = Some(i);
                    }
                }
                if let Some(v) = victim {
                    slots[v] = (raw, slots[v].1 + weight, None);
                }
            }
        }
    }

    fn policies() -> impl Strategy<Value = VictimPolicy> {
        prop_oneof![Just(VictimPolicy::Lightest), Just(VictimPolicy::LightestCold), Just(VictimPolicy::LastSlot)]
    }

    proptest! {
        #[test]
        fn behaves_as_its_twin(
            policy in policies(), n_buckets in 1_usize..4, c in 1_usize..5,
            steps in prop::collection::vec((0_u64..24, 0_u8..8, 0_u8..6), 0..400),
        ) {
            let mut s = sketch(n_buckets, c, policy);
            let mut twin = Twin::default();
            for (step, (raw, weight, action)) in steps.into_iter().enumerate() {
                let bucket = s.bucket_start(id(raw)) / c;
                if action == 0 {
                    let row = (step % 3 > 0).then_some(step as u32);
                    s.set_row(id(raw), row);
                    let slots = twin.0.entry(bucket).or_default();
                    slots.iter_mut().filter(|slot| slot.0 == raw).for_each(|slot| slot.2 = row);
                } else {
                    s.observe(id(raw), f32::from(weight));
                    twin.observe(bucket, c, policy, raw, f32::from(weight));
                }
            }
            let expected: Vec<_> = (0..n_buckets).flat_map(|b| twin.0.remove(&b).unwrap_or_default()).collect();
            let got: Vec<_> = s.iter().map(|h| (h.id.raw(), h.score, h.row)).collect();
            prop_assert_eq!(got, expected);
        }

        /// Against an exact counter: whole weights, so `f32` sums are exact.
        #[test]
        fn bounds_hold_against_an_exact_counter(
            n_buckets in 1_usize..6, c in 1_usize..5,
            stream in prop::collection::vec((0_u64..60, 0_u8..10), 0..600),
        ) {
            let mut s = sketch(n_buckets, c, VictimPolicy::Lightest);
            let (mut exact, mut per_bucket) = (BTreeMap::<u64, f32>::new(), vec![0.0_f32; n_buckets]);
            for (raw, weight) in stream {
                s.observe(id(raw), f32::from(weight));
                *exact.entry(raw).or_default() += f32::from(weight);
                per_bucket[s.bucket_start(id(raw)) / c] += f32::from(weight);
            }
            for (&raw, &weight) in &exact {
                prop_assert!(s.upper_bound(id(raw)) >= weight);
                let smallest = s.bucket(id(raw)).iter().map(|slot| slot.score).fold(f32::INFINITY, f32::min);
                if let Some(held) = s.get(id(raw)) {
                    prop_assert!(held.score >= weight && held.score - weight <= smallest);
                }
            }
            for (bucket, &weight) in per_bucket.iter().enumerate() {
                let sum: f32 = s.slots[bucket * c..(bucket + 1) * c].iter().map(|slot| slot.score).sum();
                prop_assert_eq!(sum, weight);
            }
        }

        #[test]
        fn a_restored_sketch_is_the_same(
            policy in policies(), stream in prop::collection::vec((0_u64..60, 0_u8..10), 0..200),
        ) {
            let mut s = sketch(5, 3, policy);
            for &(raw, weight) in &stream {
                s.observe(id(raw), f32::from(weight));
                if weight == 9 {
                    s.set_row(id(raw), Some(raw as u32));
                }
            }
            let restored = sketch(5, 3, policy).restored(&BTreeMap::from(s.state())).expect("own state");
            prop_assert_eq!(&restored.slots, &s.slots);
            prop_assert_eq!(restored.mass.to_bits(), s.mass.to_bits());
        }
    }
}
