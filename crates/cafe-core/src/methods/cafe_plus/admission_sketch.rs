//! The sketch of CAFE+: an admission filter in front of a main part that keeps the
//! features that matter.

use std::borrow::Cow;

use super::slot::{probe, rebased_slot};
use crate::batch::cache_hint::prefetch;
use crate::feature::FeatureId;
use crate::hash::{mix64, reduce};
use crate::sketch::slot::{NO_ROW, Slot, check_slots};
use crate::state::{StateError, StateMap, StateView, array, check_len};

/// Buckets of slots, each with the epoch whose unit its scores are in.
#[derive(Clone, Debug)]
struct Part {
    /// Slots a bucket.
    n_slots: usize,
    slots: Vec<Slot>,
    epochs: Vec<u32>,
}

/// Main part and filter.
#[derive(Clone, Debug)]
pub(super) struct AdmissionSketch {
    main: Part,
    filter: Part,
    /// When each slot of the filter was last touched.
    clocks: Vec<u32>,
    /// Counts touches of the filter; it may wrap.
    now: u32,
    /// Scores are observed in the unit of this epoch.
    epoch: u32,
    seed: u64,
}

/// The buckets of a feature.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct BucketPair {
    main: u32,
    filter: u32,
}

/// Scores from which something happens, in the present unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From here on a feature belongs into the main part.
    pub(super) hot: f32,
    /// From here on one that leaves the filter does.
    pub(super) admitted: f32,
}

/// What [`AdmissionSketch::observe`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Observed {
    pub(super) before: f32,
    pub(super) score: f32,
    pub(super) row: Option<u32>,
    /// The row of a feature that was dropped.
    pub(super) freed_row: Option<u32>,
}

impl AdmissionSketch {
    /// Bytes of `n_main` and `n_filter` buckets of `n_slots` slots.
    pub(super) fn bytes_for(n_main: usize, n_filter: usize, n_slots: usize) -> u64 {
        const WORD: usize = size_of::<u32>();
        let main = n_slots * size_of::<Slot>() + WORD;
        let filter = n_slots * (size_of::<Slot>() + WORD) + WORD;
        n_main as u64 * main as u64 + n_filter as u64 * filter as u64
    }

    pub(super) fn new(n_main: usize, n_filter: usize, n_slots: usize, seed: u64) -> Self {
        let n_clocks = n_filter * n_slots;
        let (main, filter) = (Part::new(n_main, n_slots), Part::new(n_filter, n_slots));
        Self { main, filter, clocks: vec![0; n_clocks], now: 0, epoch: 0, seed }
    }

    /// From now on scores come in the unit of `epoch`, which is never an earlier one.
    pub(super) fn set_epoch(&mut self, epoch: u32) {
        self.epoch = epoch;
    }

    #[inline]
    pub(super) fn buckets(&self, id: FeatureId) -> BucketPair {
        let hash = mix64(id.raw(), self.seed);
        // Upper and lower half are independent.
        let (main, filter) =
            (reduce(hash, self.main.n_buckets()), reduce(hash << 32, self.filter.n_buckets()));
        BucketPair { main: main as u32, filter: filter as u32 }
    }

    /// Starts to load the buckets of a feature.
    #[inline]
    pub(super) fn prefetch(&self, buckets: BucketPair) {
        self.main.prefetch(buckets.main);
        self.filter.prefetch(buckets.filter);
    }

    /// The row that `id` owns.
    #[inline]
    pub(super) fn row(&self, buckets: BucketPair, id: FeatureId) -> Option<u32> {
        let row_bits = probe(self.main.bucket(buckets.main), id)
            & probe(self.filter.bucket(buckets.filter), id);
        // Not held is all ones, held without a row the marker.
        (row_bits < NO_ROW).then_some(row_bits)
    }

    /// The slot of `id`, its score in the present unit.
    pub(super) fn get(&self, id: FeatureId) -> Option<Slot> {
        let BucketPair { main, filter } = self.buckets(id);
        let find = |table: &Part, bucket: u32| {
            let slot = table.bucket(bucket).iter().find(|slot| slot.holds(id))?;
            Some(rebased_slot(*slot, self.epoch - table.epochs[bucket as usize]))
        };
        find(&self.main, main).or_else(|| find(&self.filter, filter))
    }

    /// Adds `weight` to the score of `id`. A newcomer enters the filter; a hot feature moves to the
    /// main part if there is room, as does one that leaves the filter with a row or an admitted
    /// score.
    pub(super) fn observe(
        &mut self,
        at: BucketPair,
        id: FeatureId,
        weight: f32,
        limits: Limits,
    ) -> Observed {
        assert!(
            weight >= 0.0 && weight.is_finite(),
            "a weight is finite and not negative, got {weight} for {id}"
        );
        let main = self.main.bucket_mut(at.main, self.epoch);
        if let Some(slot) = main.iter_mut().find(|slot| slot.holds(id)) {
            let before = slot.score;
            slot.score += weight;
            return Observed { before, score: slot.score, row: slot.row(), freed_row: None };
        }
        self.now = self.now.wrapping_add(1);
        let start = at.filter as usize * self.filter.n_slots;
        let bucket = self.filter.bucket_mut(at.filter, self.epoch);
        let held = bucket.iter().position(|slot| slot.holds(id));
        let place = held
            .unwrap_or_else(|| oldest(bucket, &self.clocks[start..start + bucket.len()], self.now));
        self.clocks[start + place] = self.now;
        let slot = &mut bucket[place];
        let (before, left) = match held {
            Some(_) => (slot.score, Slot::VACANT),
            None => (0.0, std::mem::replace(slot, Slot::new(id, 0.0))),
        };
        slot.score += weight;
        let slot = *slot;
        let freed_row = self.leave_filter(left, limits);
        if slot.score >= limits.hot && put(self.main.bucket_mut(at.main, self.epoch), slot) {
            self.filter.bucket_mut(at.filter, self.epoch)[place] = Slot::VACANT;
        }
        Observed { before, score: slot.score, row: slot.row(), freed_row }
    }

    /// Moves a slot that the filter has given up to the main part, or drops it; returns the row
    /// that this frees.
    fn leave_filter(&mut self, slot: Slot, limits: Limits) -> Option<u32> {
        if slot.is_vacant() || (slot.score < limits.admitted && slot.row().is_none()) {
            return None;
        }
        let BucketPair { main, .. } = self.buckets(slot.id());
        if put(self.main.bucket_mut(main, self.epoch), slot) { None } else { slot.row() }
    }

    /// Gives `id`, which is held, a row.
    pub(super) fn set_row(&mut self, id: FeatureId, row_idx: u32) {
        let BucketPair { main, filter } = self.buckets(id);
        let slots = self.main.bucket_mut(main, self.epoch).iter_mut();
        let mut slots = slots.chain(self.filter.bucket_mut(filter, self.epoch));
        slots.find(|slot| slot.holds(id)).expect("the feature is held").set_row(Some(row_idx));
    }

    /// Brings all scores to the present unit.
    pub(super) fn rebase(&mut self) {
        for table in [&mut self.main, &mut self.filter] {
            for bucket in 0..table.n_buckets() as u32 {
                table.bucket_mut(bucket, self.epoch);
            }
        }
    }

    /// Every slot in use, the main part's first; scores are in the present unit after
    /// [`AdmissionSketch::rebase`].
    pub(super) fn iter(&self) -> impl Iterator<Item = Slot> {
        self.main.slots.iter().chain(&self.filter.slots).copied().filter(|slot| !slot.is_vacant())
    }

    /// Every slot in use, its score in the present unit.
    pub(super) fn iter_rebased(&self) -> impl Iterator<Item = Slot> {
        self.main
            .rebased(self.epoch)
            .chain(self.filter.rebased(self.epoch))
            .filter(|slot| !slot.is_vacant())
    }

    /// The same to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot> {
        self.main.slots.iter_mut().chain(&mut self.filter.slots).filter(|slot| !slot.is_vacant())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.main.bytes() + self.filter.bytes() + size_of_val(self.clocks.as_slice()) as u64
    }

    /// Slots with scores in the present unit, so that no epochs need to be kept; with the filter's
    /// clocks.
    pub(super) fn state(&self) -> [(&'static str, StateView<'_>); 2] {
        let words = |slot: Slot| [slot.id_low, slot.id_high_row, slot.score.to_bits()];
        let main = self.main.rebased(self.epoch).flat_map(words).collect();
        let filter = self.filter.rebased(self.epoch).zip(&self.clocks);
        let filter =
            filter.flat_map(|(slot, &clock)| words(slot).into_iter().chain([clock])).collect();
        [
            ("sketch_slots", StateView::U32(Cow::Owned(main))),
            ("filter_slots", StateView::U32(Cow::Owned(filter))),
        ]
    }

    /// The sketch that [`AdmissionSketch::state`] described, of the sizes of `self`.
    pub(super) fn restored(
        &self,
        state: &StateMap<'_>,
        epoch: u32,
        now: u32,
    ) -> Result<Self, StateError> {
        let (main, filter) =
            (array::<u32>(state, "sketch_slots")?, array::<u32>(state, "filter_slots")?);
        check_len("sketch_slots", main.len(), 3 * self.main.slots.len())?;
        check_len("filter_slots", filter.len(), 4 * self.filter.slots.len())?;
        let slot = |words: &[u32]| Slot {
            id_low: words[0],
            id_high_row: words[1],
            score: f32::from_bits(words[2]),
        };
        let restored = Self {
            main: self.main.with_slots(main.chunks_exact(3).map(slot).collect(), epoch),
            filter: self.filter.with_slots(filter.chunks_exact(4).map(slot).collect(), epoch),
            clocks: filter.iter().skip(3).step_by(4).copied().collect(),
            now,
            epoch,
            seed: self.seed,
        };
        let Self { main, filter, .. } = &restored;
        let (in_main, in_filter) =
            (|id| restored.buckets(id).main as usize, |id| restored.buckets(id).filter as usize);
        check_slots("sketch_slots", &main.slots, main.n_slots, in_main)?;
        check_slots("filter_slots", &filter.slots, filter.n_slots, in_filter)?;
        let in_main =
            |id| restored.main.bucket(restored.buckets(id).main).iter().any(|slot| slot.holds(id));
        let mut in_filter =
            restored.filter.slots.iter().filter(|slot| !slot.is_vacant()).map(|slot| slot.id());
        match in_filter.find(|&id| in_main(id)) {
            None => Ok(restored),
            Some(id) => Err(StateError::Damaged {
                name: "filter_slots",
                why: format!("{id} is in the main part, too"),
            }),
        }
    }

    pub(super) fn now(&self) -> u32 {
        self.now
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> [Vec<Slot>; 2] {
        [&self.main, &self.filter].map(|table| table.rebased(self.epoch).collect())
    }
}

impl Part {
    fn new(n_buckets: usize, n_slots: usize) -> Self {
        Self { n_slots, slots: vec![Slot::VACANT; n_buckets * n_slots], epochs: vec![0; n_buckets] }
    }

    fn with_slots(&self, slots: Vec<Slot>, epoch: u32) -> Self {
        Self { n_slots: self.n_slots, slots, epochs: vec![epoch; self.epochs.len()] }
    }

    fn n_buckets(&self) -> usize {
        self.epochs.len()
    }

    #[inline]
    fn bucket(&self, bucket: u32) -> &[Slot] {
        let start = bucket as usize * self.n_slots;
        &self.slots[start..start + self.n_slots]
    }

    /// A bucket with its scores in the unit of `epoch`.
    #[inline]
    fn bucket_mut(&mut self, bucket: u32, epoch: u32) -> &mut [Slot] {
        let start = bucket as usize * self.n_slots;
        let (slots, since) =
            (&mut self.slots[start..start + self.n_slots], &mut self.epochs[bucket as usize]);
        if *since != epoch {
            for slot in &mut *slots {
                *slot = rebased_slot(*slot, epoch - *since);
            }
            *since = epoch;
        }
        slots
    }

    #[inline]
    fn prefetch(&self, bucket: u32) {
        prefetch(&self.slots, bucket as usize * self.n_slots, self.n_slots);
    }

    fn rebased(&self, epoch: u32) -> impl Iterator<Item = Slot> {
        let buckets = self.slots.chunks_exact(self.n_slots).zip(&self.epochs);
        buckets.flat_map(move |(slots, &since)| {
            slots.iter().map(move |slot| rebased_slot(*slot, epoch - since))
        })
    }

    fn bytes(&self) -> u64 {
        (size_of_val(self.slots.as_slice()) + size_of_val(self.epochs.as_slice())) as u64
    }
}

/// The place that a newcomer takes: the first vacant one, or else that of the feature not seen for
/// longest.
fn oldest(bucket: &[Slot], clocks: &[u32], now: u32) -> usize {
    let age = |place: usize| {
        if bucket[place].is_vacant() { u32::MAX } else { now.wrapping_sub(clocks[place]) }
    };
    (0..bucket.len()).rev().max_by_key(|&place| age(place)).expect("a bucket has a slot")
}

/// Puts a slot into a vacant one or in place of the lightest that owns no row; `false` if all do.
fn put(bucket: &mut [Slot], slot: Slot) -> bool {
    let lightest = |a: &&mut Slot, b: &&mut Slot| a.score.total_cmp(&b.score);
    let place = match bucket.iter().position(|slot| slot.is_vacant()) {
        Some(vacant) => Some(&mut bucket[vacant]),
        None => bucket.iter_mut().filter(|slot| slot.row().is_none()).min_by(lightest),
    };
    place.map(|place| *place = slot).is_some()
}
