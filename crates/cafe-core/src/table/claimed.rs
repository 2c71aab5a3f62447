//! Narrow rows that features claim at first sight, in front of a table that all of them share.
//!
//! Where a budget has a few bytes for each feature, collisions are nearly all that compression
//! costs, and four values of a feature's own are worth more than sixteen shared ones
//! (docs/quality.md). A feature that training meets for the first time takes a free slot of its
//! bucket; from then on the first `width` values of its vector are in the slot's row, and the
//! others stay where they were. Features that find their bucket full, and those that training never
//! meets, have the shared vector.
//!
//! ```text
//! bucket   8 fingerprints of a byte, 0 where a slot is free; a feature's hash chooses its bucket
//!          and its fingerprint
//! row      `width` values a slot, with what the optimizer remembers of them
//! ```
//!
//! A feature is taken for another one of its bucket where their fingerprints agree: a probability of 1
//! in 255 for each slot in use, some 3 in 100 for a full bucket. The two then share the row. No
//! slot is ever released: the first feature keeps it, and frequent features come first.

use std::borrow::Cow;

use crate::batch::cache_hint::prefetch;
use crate::embedding::MemoryUsage;
use crate::feature::FeatureId;
use crate::hash::{mix64, reduce};
use crate::state::{StateError, StateMap, StateView, check_len, take_array};
use crate::table::rows::{RowFormat, RowTable, RowsMut};

/// Slots of a bucket: their fingerprints are the bytes of a word.
pub(crate) const SLOTS: u64 = 8;
/// Bytes of a slot beside its row.
const FINGERPRINT_BYTES: u64 = 1;
/// Of the budget; the rest is for the shared table.
const SHARE: f64 = 0.9;
/// Features a slot, at which few buckets overflow.
const LOAD: f64 = 0.9;
/// More slots than that for each feature would stay free; with fewer too many features would be
/// left to a small shared table.
const SLOTS_PER_FEATURE: std::ops::RangeInclusive<f64> = 0.75..=1.25;
/// Fewer values are not worth the fingerprint, the exponent and the accumulator of a slot.
const MIN_WIDTH: usize = 4;

const SLOTS_NAME: &str = "claimed_slots";
const LOWEST: u64 = 0x0101_0101_0101_0101;
const HIGHEST: u64 = LOWEST << 7;

/// How many narrow rows there are, and how narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnRowSizes {
    /// Buckets of eight slots.
    pub n_buckets: u64,
    /// Values of a row.
    pub width: usize,
}

impl OwnRowSizes {
    /// Nine tenths of a budget in rows for `n_features` features: the widest at which all can have
    /// one, up to `dim` values. Where that is fewer than four values, rows of four for those that
    /// come first; `None` where these are fewer than three quarters of all.
    pub(crate) fn within(
        n_features: u64,
        dim: usize,
        budget_bytes: u64,
        format: RowFormat,
    ) -> Option<Self> {
        let bytes = SHARE * budget_bytes as f64;
        let fits =
            |width: usize| n_features as f64 * slot_bytes(width, format) as f64 <= LOAD * bytes;
        let min_width = MIN_WIDTH.min(dim);
        let width = (min_width..=dim).rev().find(|&width| fits(width)).unwrap_or(min_width);
        let (least, most) = (SLOTS_PER_FEATURE.start(), SLOTS_PER_FEATURE.end());
        let n_slots = (bytes / slot_bytes(width, format) as f64).min(most * n_features as f64);
        if n_slots < least * n_features as f64 {
            return None;
        }
        let n_buckets = n_slots as u64 / SLOTS;
        // As many as rows can be numbered.
        (1..(1 << 32) / SLOTS).contains(&n_buckets).then_some(Self { n_buckets, width })
    }

    /// Rows.
    #[must_use]
    pub fn n_slots(&self) -> u64 {
        SLOTS * self.n_buckets
    }

    /// Bytes of rows and fingerprints as a budget counts them.
    #[must_use]
    pub fn bytes(&self, format: RowFormat) -> u64 {
        self.n_slots() * slot_bytes(self.width, format)
    }
}

fn slot_bytes(width: usize, format: RowFormat) -> u64 {
    format.row_bytes(width) + FINGERPRINT_BYTES
}

/// The slots and their rows.
#[derive(Clone, Debug)]
pub(crate) struct ClaimedRows {
    width: usize,
    seed: u64,
    /// The fingerprints of a bucket's slots; the first slot has the lowest byte.
    buckets: Vec<u64>,
    rows: RowTable,
}

impl ClaimedRows {
    pub(crate) fn new(sizes: OwnRowSizes, format: RowFormat, seed: u64) -> Self {
        Self {
            width: sizes.width,
            // The shared table's hashes have the seeds 1 and 2.
            seed: mix64(3, seed),
            buckets: vec![0; sizes.n_buckets as usize],
            rows: RowTable::new(sizes.n_slots() as usize, sizes.width, format),
        }
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    #[inline]
    fn bucket_and_fingerprint(&self, id: FeatureId) -> (usize, u8) {
        let hash = mix64(id.raw(), self.seed);
        // The upper half chooses the bucket, the lower one of 255 fingerprints.
        let fingerprint = (((hash & u64::from(u32::MAX)) * 255) >> 32) as u8 + 1;
        (reduce(hash, self.buckets.len()), fingerprint)
    }

    /// Starts to load the bucket of a feature.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, id: FeatureId) {
        prefetch(&self.buckets, self.bucket_and_fingerprint(id).0, 1);
    }

    /// Starts to load a row.
    #[inline]
    pub(crate) fn prefetch_row(&self, slot: u32) {
        self.rows.prefetch(slot);
    }

    /// The slot of a feature that has claimed one, or of its double.
    #[inline]
    pub(crate) fn find(&self, id: FeatureId) -> Option<u32> {
        let (bucket_idx, fingerprint) = self.bucket_and_fingerprint(id);
        slot_of(self.buckets[bucket_idx], fingerprint)
            .map(|slot| bucket_idx as u32 * SLOTS as u32 + slot)
    }

    /// A free slot for a feature that has none, whose row starts as `values`; `None` where its
    /// bucket is full.
    pub(crate) fn claim(&mut self, id: FeatureId, values: &[f32]) -> Option<u32> {
        let (bucket_idx, fingerprint) = self.bucket_and_fingerprint(id);
        let free = slot_of(self.buckets[bucket_idx], 0)?;
        self.buckets[bucket_idx] |= u64::from(fingerprint) << (8 * free);
        let slot = bucket_idx as u32 * SLOTS as u32 + free;
        self.rows.write(slot, values);
        Some(slot)
    }

    /// Writes a slot's values.
    #[inline]
    pub(crate) fn read(&self, slot: u32, out: &mut [f32]) {
        self.rows.read(slot, out);
    }

    /// All rows, to be stepped in one update.
    pub(crate) fn rows_mut(&mut self) -> RowsMut<'_> {
        self.rows.all_mut()
    }

    /// Rows, their optimizer's state, and the fingerprints with the rows.
    pub(crate) fn memory(&self) -> MemoryUsage {
        let memory = self.rows.memory();
        MemoryUsage { rows_bytes: memory.rows_bytes + size_of_val(&*self.buckets) as u64, ..memory }
    }

    pub(crate) fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        let mut state = vec![(SLOTS_NAME, StateView::U64(Cow::Borrowed(&self.buckets)))];
        state.extend(self.rows.state().into_iter().map(|(name, view)| (own_name(name), view)));
        state
    }

    /// The rows that [`ClaimedRows::state`] described, with the sizes of `self`.
    pub(crate) fn restored(&self, state: &mut StateMap<'_>) -> Result<Self, StateError> {
        let buckets = take_array(state, SLOTS_NAME)?;
        check_len(SLOTS_NAME, buckets.len(), self.buckets.len())?;
        let mut rows = StateMap::new();
        for (name, _) in self.rows.state() {
            let saved = own_name(name);
            rows.insert(name, state.remove(saved).ok_or(StateError::Missing { name: saved })?);
        }
        let rows = self.rows.restored(self.rows.n_rows(), &mut rows)?;
        Ok(Self { buckets, rows, ..*self })
    }
}

/// The first slot of a bucket with this fingerprint.
#[inline]
fn slot_of(bucket: u64, fingerprint: u8) -> Option<u32> {
    // The lowest byte that is zero here is found exactly; what is above it may be wrong, and is not
    // asked.
    let differences = bucket ^ (LOWEST * u64::from(fingerprint));
    let zeros = differences.wrapping_sub(LOWEST) & !differences & HIGHEST;
    (zeros != 0).then(|| zeros.trailing_zeros() / 8)
}

/// What an array of rows is called where they are these.
fn own_name(name: &'static str) -> &'static str {
    match name {
        "rows" => "claimed_rows",
        "row_exponents" => "claimed_row_exponents",
        "row_accumulators" => "claimed_row_accumulators",
        "row_first_moments" => "claimed_row_first_moments",
        "row_second_moments" => "claimed_row_second_moments",
        "row_counts" => "claimed_row_counts",
        "row_updates" => "claimed_row_updates",
        _ => unreachable!("rows have no array `{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::table::rows::{Accumulator, RowOptimizer, RowPrecision};

    const BYTES: RowFormat = RowFormat {
        precision: RowPrecision::I8,
        optimizer: RowOptimizer::RowWiseAdagrad { epsilon: 1e-10, accumulator: Accumulator::Byte },
        count_optimizer: true,
    };

    /// 16 values in f32 are 64 bytes: at a tenth of that a feature has 6.4.
    #[test]
    fn own_rows_are_as_wide_as_all_features_can_have() {
        let width = |ratio: f64| {
            OwnRowSizes::within(10_000, 16, (640_000.0 / ratio) as u64, BYTES).map(|it| it.width)
        };
        assert_eq!(
            [1.0, 2.0, 5.0, 10.0, 11.0].map(width),
            [Some(16), Some(16), Some(7), Some(4), None]
        );
        for (ratio, least) in [(1.0, 0.9), (3.0, 0.9), (7.0, 0.9), (10.0, 0.82)] {
            let budget = (640_000.0 / ratio) as u64;
            let sizes = OwnRowSizes::within(10_000, 16, budget, BYTES).expect("room");
            let most = if ratio < 10.0 { 10_000.0 / LOAD } else { 10_000.0 * least };
            assert!(
                sizes.n_slots() as f64 >= most - 8.0 && sizes.n_slots() <= 12_500,
                "{ratio}: {sizes:?}"
            );
            assert!(sizes.bytes(BYTES) <= budget * 9 / 10);
            let memory = ClaimedRows::new(sizes, BYTES, 1).memory();
            assert_eq!(
                (memory.embedding_bytes(), memory.total_bytes()),
                (sizes.bytes(BYTES), sizes.bytes(BYTES))
            );
        }
        assert_eq!(OwnRowSizes::within(3, 16, 40, BYTES), None, "not a bucket");
        assert_eq!(
            OwnRowSizes::within(1000, 3, 8000, BYTES).map(|it| it.width),
            Some(3),
            "no wider than the vectors"
        );
    }

    proptest! {
        #[test]
        fn slots_are_found_as_a_loop_finds_them(bucket: u64, fingerprint: u8) {
            let expected = (0..8).find(|&slot| (bucket >> (8 * slot)) as u8 == fingerprint);
            prop_assert_eq!(slot_of(bucket, fingerprint), expected);
        }

        /// The twin is a list of fingerprints for each bucket.
        #[test]
        fn a_slot_stays_with_its_first_feature(tokens in prop::collection::vec(0_u32..400, 1..300),
            seed: u64) {
            let mut claimed = ClaimedRows::new(OwnRowSizes { n_buckets: 9, width: 2 }, BYTES, seed);
            let mut twin = BTreeMap::<usize, Vec<u8>>::new();
            for token in tokens {
                let id = FeatureId::new(token as usize % 3, token);
                let (bucket, fingerprint) = claimed.bucket_and_fingerprint(id);
                let slots = twin.entry(bucket).or_default();
                let at = |slots: &[u8]| slots.iter().position(|&it| it == fingerprint)
                    .map(|at| (8 * bucket + at) as u32);
                prop_assert!(fingerprint > 0);
                prop_assert_eq!(claimed.find(id), at(slots));
                if claimed.find(id).is_none() {
                    let slot = claimed.claim(id, &[1.0, -2.0]);
                    if slots.len() < 8 {
                        slots.push(fingerprint);
                        let mut row = [0.0; 2];
                        claimed.read(slot.expect("room"), &mut row);
                        prop_assert_eq!(row, [1.0, -2.0]);
                    }
                    prop_assert_eq!(slot, at(slots));
                    prop_assert_eq!(claimed.find(id), slot);
                }
            }
        }
    }

    #[test]
    fn most_features_find_a_slot() {
        let sizes = OwnRowSizes { n_buckets: 20_000 / 7, width: 2 };
        let mut claimed = ClaimedRows::new(sizes, BYTES, 7);
        let (mut n_doubles, mut n_full) = (0, 0);
        for token in 0..20_000 {
            let id = FeatureId::new(0, token);
            match claimed.find(id) {
                Some(_) => n_doubles += 1,
                None => n_full += u32::from(claimed.claim(id, &[0.0; 2]).is_none()),
            }
        }
        // With 7 features a bucket of 8: 8 % overflow (Poisson), and 3.4 slots in use are met on
        // the way, of 255 each.
        assert!((1000..2000).contains(&n_full), "{n_full}");
        assert!((150..350).contains(&n_doubles), "{n_doubles}");
    }
}
