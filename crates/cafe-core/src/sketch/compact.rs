//! A sketch of four bytes a slot: a fingerprint for the id, a short float for the score, and rows
//! by position.

use std::borrow::Cow;

use super::{Buckets, Luck, VictimPolicy, admits};
use crate::batch::cache_hint::prefetch;
use crate::feature::FeatureId;
use crate::hash::mix64;
use crate::state::{StateError, StateMap, StateView, check_len, u32s, u64s};

/// [`HotSketch`](super::HotSketch) in a third of the bytes, at a price:
///
/// * a slot holds 16 bits of a hash in place of the id. A stranger in the same bucket passes for a
///   held feature with a chance of 1 in 65,535 for each slot in use, and then shares its score and
///   its row;
/// * a score is the 16 upper bits of the `f32` below its sign, rounded up or down by chance so that
///   it is right in the mean: increments far below its precision of 1/256 count, if seldom. What
///   many small ones add up to has a standard deviation of about 4 %;
/// * the first slots of a bucket own its rows, one each, and their features keep them until a
///   heavier one of the same bucket comes or until they fade. So row numbers need no bits, but a
///   bucket with more heavy features than rows can't borrow one.
#[derive(Clone, Debug)]
pub(crate) struct CompactSketch {
    buckets: Buckets,
    seed: u64,
    n_slots: usize,
    /// Slots of a bucket that own a row: the first ones.
    n_rows: usize,
    by_chance: bool,
    /// Scores above fingerprints; 0 is a slot without a feature.
    slots: Vec<u32>,
    /// Slots in use that own a row.
    n_owners: usize,
    mass: f64,
}

/// A row that changes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) row: u32,
    /// Whether another feature owned it until now.
    pub(crate) displaced: bool,
}

const FINGERPRINT: u32 = 0xffff;
/// No slot.
const NOWHERE: usize = usize::MAX;

impl CompactSketch {
    /// Bytes of one slot.
    pub(crate) const SLOT_BYTES: usize = size_of::<u32>();

    /// An empty sketch of buckets with `n_slots` slots, of which the first `n_rows` own a row each.
    ///
    /// # Panics
    /// If no slot is left without a row, or none has one, or the policy is not one that spares
    /// owners by score.
    pub(crate) fn new(
        buckets: Buckets,
        (n_slots, n_rows): (usize, usize),
        victim: VictimPolicy,
        seed: u64,
    ) -> Self {
        assert!((1..n_slots).contains(&n_rows), "{n_rows} of {n_slots} slots can't own rows");
        assert!(u32::try_from(buckets.n() * n_rows).is_ok(), "row numbers have 32 bits");
        let by_chance = match victim {
            VictimPolicy::LightestCold => false,
            VictimPolicy::ByChance => true,
            VictimPolicy::Lightest | VictimPolicy::LastSlot => {
                panic!("compact slots spare owners, by score")
            }
        };
        let slots = vec![0; buckets.n() * n_slots];
        Self { buckets, seed, n_slots, n_rows, by_chance, slots, n_owners: 0, mass: 0.0 }
    }

    #[inline]
    pub(crate) fn bucket_idx(&self, id: FeatureId) -> usize {
        self.buckets.of(id)
    }

    #[inline]
    pub(crate) fn prefetch(&self, bucket_idx: usize) {
        prefetch(&self.slots, bucket_idx * self.n_slots, self.n_slots);
    }

    /// The row that `id` owns, `u32::MAX` if none, and its score, 0 if it isn't held.
    #[inline]
    pub(crate) fn row_bits_and_score(&self, bucket_idx: usize, id: FeatureId) -> (u32, f32) {
        let (fingerprint, mut at, mut word) = (self.fingerprint(id), NOWHERE, 0);
        for (idx, &slot) in self.bucket(bucket_idx).iter().enumerate() {
            if slot & FINGERPRINT == fingerprint {
                (at, word) = (idx, slot);
            }
        }
        (if at < self.n_rows { self.row_of(bucket_idx, at) } else { u32::MAX }, score(word))
    }

    /// Adds `weight` to the score of `id`, making room for it if it isn't held. Whether it now
    /// wants a row that it could have: see [`CompactSketch::claim`].
    ///
    /// # Panics
    /// If `weight` is negative or not finite.
    #[inline]
    pub(crate) fn observe_in(
        &mut self,
        bucket_idx: usize,
        id: FeatureId,
        weight: f32,
        (threshold, hysteresis): (f32, f32),
    ) -> bool {
        assert!(
            weight >= 0.0 && weight.is_finite(),
            "a weight is finite and not negative, got {weight} for {id}"
        );
        self.mass += f64::from(weight);
        let luck = Luck { mass: self.mass, seed: self.seed }.bits(id);
        let (fingerprint, n_rows, by_chance) = (self.fingerprint(id), self.n_rows, self.by_chance);
        let bucket = self.bucket_mut(bucket_idx);
        let (mut at, mut least) = (NOWHERE, u64::MAX);
        for (idx, &slot) in bucket.iter().enumerate() {
            at = if slot & FINGERPRINT == fingerprint { idx } else { at };
            // Score, then number: one minimum finds both, and a vacant slot before any other.
            let order = (u64::from(slot & !FINGERPRINT) << 32) | idx as u64;
            least = if idx >= n_rows { least.min(order) } else { least };
        }
        if at == NOWHERE {
            at = least as u32 as usize;
            if by_chance && !admits(luck, weight, score(bucket[at])) {
                return false;
            }
        }
        let total = score(bucket[at]) + weight;
        bucket[at] = word(total, luck as u32) | fingerprint;
        at >= n_rows && total >= threshold && is_open(&bucket[..n_rows], total, hysteresis)
    }

    /// Gives `id` a row of its bucket if its score is at least `threshold` and a row is free, or
    /// that of the lightest owner if it exceeds that one's score by the factor `hysteresis`. The
    /// displaced feature takes the newcomer's slot.
    pub(crate) fn claim(
        &mut self,
        bucket_idx: usize,
        id: FeatureId,
        (threshold, hysteresis): (f32, f32),
    ) -> Option<Claim> {
        let (fingerprint, n_rows) = (self.fingerprint(id), self.n_rows);
        let bucket = self.bucket_mut(bucket_idx);
        let at = bucket.iter().position(|slot| slot & FINGERPRINT == fingerprint)?;
        let total = score(bucket[at]);
        if at < n_rows || total < threshold || !is_open(&bucket[..n_rows], total, hysteresis) {
            return None;
        }
        let owner = (0..n_rows).min_by_key(|&owner| bucket[owner] & !FINGERPRINT)?;
        bucket.swap(at, owner);
        let displaced = bucket[at] != 0;
        self.n_owners += usize::from(!displaced);
        Some(Claim { row: self.row_of(bucket_idx, owner), displaced })
    }

    /// Multiplies every score by `factor`; who would be left without one is forgotten only by being
    /// replaced.
    pub(crate) fn decay(&mut self, factor: f32) {
        assert!((0.0..=1.0).contains(&factor), "a decay factor is in 0..=1, got {factor}");
        // By chance as everywhere: to the nearest, a score would never fade by less than half of
        // what it can tell.
        let seed = self.seed ^ self.mass.to_bits();
        for (number, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| **slot != 0) {
            let noise = mix64(number as u64, seed) as u32;
            *slot = word(score(*slot) * factor, noise) | (*slot & FINGERPRINT);
        }
    }

    /// Takes the row from every feature whose score is below `threshold` and returns how many those
    /// were. They stay held where a lighter feature or none has a slot for them.
    pub(crate) fn release_below(&mut self, threshold: f32) -> u64 {
        let (n_rows, mut released) = (self.n_rows, 0);
        for bucket in self.slots.chunks_exact_mut(self.n_slots) {
            for owner in 0..n_rows {
                let slot = bucket[owner];
                if slot == 0 || score(slot) >= threshold {
                    continue;
                }
                bucket[owner] = 0;
                released += 1;
                let lightest =
                    bucket[n_rows..].iter_mut().min_by_key(|other| **other & !FINGERPRINT);
                if let Some(other) =
                    lightest.filter(|other| **other & !FINGERPRINT < slot & !FINGERPRINT)
                {
                    *other = slot;
                }
            }
        }
        self.n_owners -= released;
        released as u64
    }

    /// Features that own a row.
    pub(crate) fn n_owners(&self) -> usize {
        self.n_owners
    }

    /// Slots that hold a feature.
    pub(crate) fn n_in_use(&self) -> usize {
        self.slots.iter().filter(|&&slot| slot != 0).count()
    }

    /// The score of each of them.
    pub(crate) fn scores(&self) -> impl Iterator<Item = f32> {
        self.slots.iter().filter(|&&slot| slot != 0).map(|&slot| score(slot))
    }

    /// All weight ever observed.
    pub(crate) fn mass(&self) -> f64 {
        self.mass
    }

    pub(crate) fn bytes(&self) -> u64 {
        size_of_val(self.slots.as_slice()) as u64
    }

    pub(crate) fn state(&self) -> [(&'static str, StateView<'_>); 2] {
        [
            ("compact_slots", StateView::U32(Cow::Borrowed(&self.slots))),
            ("sketch_mass", StateView::U64(Cow::Owned(vec![self.mass.to_bits()]))),
        ]
    }

    /// The sketch that [`CompactSketch::state`] described, with the settings of `self`.
    pub(crate) fn restored(&self, state: &StateMap<'_>) -> Result<Self, StateError> {
        let slots = u32s(state, "compact_slots")?;
        check_len("compact_slots", slots.len(), self.slots.len())?;
        let mass = u64s(state, "sketch_mass")?;
        check_len("sketch_mass", mass.len(), 1)?;
        let mass = f64::from_bits(mass[0]);
        if !(mass >= 0.0 && mass.is_finite()) {
            return Err(StateError::Damaged { name: "sketch_mass", why: format!("mass {mass}") });
        }
        let mut n_owners = 0;
        for (number, bucket) in slots.chunks_exact(self.n_slots).enumerate() {
            for (at, &slot) in bucket.iter().enumerate().filter(|(_, slot)| **slot != 0) {
                let damaged = |why: &str| {
                    let why = format!("slot {at} of bucket {number} has {why}");
                    Err(StateError::Damaged { name: "compact_slots", why })
                };
                if slot & FINGERPRINT == 0 || slot >> 16 == 0 || slot >> 16 > LARGEST {
                    return damaged("a score or a fingerprint that there can't be");
                }
                if bucket[..at].iter().any(|other| (other ^ slot) & FINGERPRINT == 0) {
                    return damaged("the fingerprint of another");
                }
                n_owners += usize::from(at < self.n_rows);
            }
        }
        Ok(Self { slots: slots.to_vec(), n_owners, mass, buckets: self.buckets.clone(), ..*self })
    }

    /// 1 to 65,535. Independent of the bucket, which the other hash chooses.
    #[inline]
    fn fingerprint(&self, id: FeatureId) -> u32 {
        let hash = (id.raw() ^ self.seed).wrapping_mul(0x9fb2_1c65_1e98_df25);
        let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (((hash >> 32) * u64::from(FINGERPRINT)) >> 32) as u32 + 1
    }

    #[inline]
    fn row_of(&self, bucket_idx: usize, at: usize) -> u32 {
        (bucket_idx * self.n_rows + at) as u32
    }

    #[inline]
    fn bucket(&self, bucket_idx: usize) -> &[u32] {
        &self.slots[bucket_idx * self.n_slots..(bucket_idx + 1) * self.n_slots]
    }

    #[inline]
    fn bucket_mut(&mut self, bucket_idx: usize) -> &mut [u32] {
        &mut self.slots[bucket_idx * self.n_slots..(bucket_idx + 1) * self.n_slots]
    }
}

/// Whether one of the owners' slots is vacant, or its feature lighter than `total` by the factor.
#[inline]
fn is_open(owners: &[u32], total: f32, hysteresis: f32) -> bool {
    let lightest = owners.iter().fold(u32::MAX, |least, &owner| least.min(owner));
    lightest == 0 || total > score(lightest) * hysteresis
}

/// Bits of an `f32` below those that a slot keeps.
const SHIFT: u32 = 15;
/// The upper bits of the largest finite `f32`.
const LARGEST: u32 = f32::MAX.to_bits() >> SHIFT;

#[inline]
fn score(slot: u32) -> f32 {
    f32::from_bits((slot >> 16) << SHIFT)
}

/// A slot's upper half: the score, rounded up with the chance that `noise` gives what is cut off.
/// Never 0, which would be nobody's.
#[inline]
fn word(score: f32, noise: u32) -> u32 {
    let kept = (score.to_bits() + (noise & ((1 << SHIFT) - 1))) >> SHIFT;
    kept.clamp(1, LARGEST) << 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(n_buckets: usize, shape: (usize, usize), victim: VictimPolicy) -> CompactSketch {
        CompactSketch::new(Buckets::new(5, n_buckets, &[]), shape, victim, 5)
    }

    fn id(raw: u64) -> FeatureId {
        FeatureId::from_raw(raw)
    }

    const NEVER: (f32, f32) = (f32::INFINITY, f32::INFINITY);

    fn seen(sketch: &CompactSketch, raw: u64) -> (u32, f32) {
        sketch.row_bits_and_score(sketch.bucket_idx(id(raw)), id(raw))
    }

    /// Steps far below a score's precision add up in the mean.
    #[test]
    fn scores_are_right_in_the_mean() {
        let mut total = 0.0;
        for raw in 0..200 {
            let mut s = sketch(1, (2, 1), VictimPolicy::LightestCold);
            for _ in 0..3000 {
                s.observe_in(0, id(raw), 1.0, NEVER);
            }
            total += f64::from(seen(&s, raw).1) / 3000.0;
        }
        // 4.4 % each at most: 0.3 % for the mean of 200.
        assert!((total / 200.0 - 1.0).abs() < 0.01, "{}", total / 200.0);
    }

    #[test]
    fn every_score_comes_back_within_its_precision() {
        for noise in [0, 1 << (SHIFT - 1), (1 << SHIFT) - 1] {
            for value in [1e-30, 0.1, 1.0, 1.003, 500.0, 1e9, f32::MAX] {
                let back = score(word(value, noise));
                assert!((back / value - 1.0).abs() <= 1.0 / 256.0, "{value} -> {back}");
            }
        }
        assert!(score(word(0.0, 0)) > 0.0 && score(word(0.0, 0)) < 1e-38);
    }

    /// Two rows and two slots without: the first two get rows, the third must be heavier by the
    /// factor.
    #[test]
    fn a_newcomer_must_outweigh_the_lightest_owner() {
        let rule = (4.0, 1.5);
        let mut s = sketch(1, (4, 2), VictimPolicy::LightestCold);
        assert!(!s.observe_in(0, id(1), 3.0, rule), "below the threshold");
        for (raw, weight, row) in [(1, 5.0, 0), (2, 16.0, 1)] {
            assert!(s.observe_in(0, id(raw), weight, rule));
            assert_eq!(s.claim(0, id(raw), rule), Some(Claim { row, displaced: false }));
            assert_eq!(seen(&s, raw).0, row);
        }
        assert!(!s.observe_in(0, id(3), 12.0, rule), "8 x 1.5 is not exceeded");
        assert_eq!(s.claim(0, id(3), rule), None);
        assert!(s.observe_in(0, id(3), 0.5, rule));
        assert_eq!(s.claim(0, id(3), rule), Some(Claim { row: 0, displaced: true }));
        assert_eq!((seen(&s, 1), seen(&s, 3).0, s.n_owners()), ((u32::MAX, 8.0), 0, 2));
        assert_eq!(s.claim(0, id(3), rule), None, "it has one");
    }

    #[test]
    fn owners_are_spared_and_fade() {
        let rule = (4.0, f32::INFINITY);
        let mut s = sketch(1, (2, 1), VictimPolicy::LightestCold);
        s.observe_in(0, id(1), 8.0, rule);
        s.claim(0, id(1), rule);
        for raw in 2..50 {
            assert!(!s.observe_in(0, id(raw), 8.0, rule), "no row is open");
        }
        assert_eq!(seen(&s, 1), (0, 8.0));
        s.decay(0.5);
        assert_eq!((s.release_below(4.0), s.release_below(4.5)), (0, 1));
        assert_eq!(
            (s.n_owners(), seen(&s, 1)),
            (0, (u32::MAX, 0.0)),
            "the other slot's feature is heavier"
        );
    }

    /// The tail takes a slot over in the share of its weight, so that whoever comes often stays.
    #[test]
    fn chance_keeps_the_heavy_where_the_lightest_would_not() {
        let held = |victim| {
            let mut s = sketch(1, (5, 1), victim);
            let mut present = 0;
            for round in 0..2000_u64 {
                for other in 0..20 {
                    s.observe_in(0, id(1000 + round * 20 + other), 1.0, NEVER);
                }
                present += u32::from(seen(&s, 7).1 > 0.0);
                s.observe_in(0, id(7), 5.0, NEVER);
            }
            (present, s.mass())
        };
        let (lightest, by_chance) =
            (held(VictimPolicy::LightestCold), held(VictimPolicy::ByChance));
        assert_eq!((lightest.1, by_chance.1), (50_000.0, 50_000.0));
        assert!(lightest.0 < 1500 && by_chance.0 > 1900, "{lightest:?} {by_chance:?}");
    }

    #[test]
    fn strangers_are_rarely_taken_for_others() {
        let mut s = sketch(1, (16, 4), VictimPolicy::LightestCold);
        for raw in 0..16 {
            s.observe_in(0, id(raw), 1.0, (0.5, 1.0));
            s.claim(0, id(raw), (0.5, 1.0));
        }
        let confused = (16..300_016).filter(|&raw| seen(&s, raw).1 > 0.0).count();
        // 13 slots hold a feature, since nobody displaces an equal: 60 expected, give or take 8.
        assert!((20..110).contains(&confused), "{confused}");
    }
}
