//! One slot of a bucket, and the two operations on a bucket that decide how fast the sketch is.
//!
//! Which slot a stream hits next can't be predicted, so neither operation branches on it.
#![allow(clippy::needless_bitwise_bool, reason = "a lazy operator would be a branch")]

use std::hint::select_unpredictable;

use super::{Entry, VictimPolicy};
use crate::feature::FeatureId;
use crate::state::StateError;

/// 12 bytes: `id_low`, then 8 bits of id over 24 bits of row number or marker, then the score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slot {
    pub(crate) id_low: u32,
    pub(crate) id_high_row: u32,
    pub(crate) score: f32,
}

const ROW_BITS: u32 = 24;
/// The part of `id_high_row` that is a row number or a marker.
pub(crate) const ROW_MASK: u32 = (1 << ROW_BITS) - 1;
/// The marker of a slot whose feature owns no row.
pub(crate) const NO_ROW: u32 = ROW_MASK;
/// The marker of a slot without a feature; row numbers are below it.
pub(crate) const EMPTY: u32 = ROW_MASK - 1;

impl Slot {
    pub(crate) const VACANT: Self = Self { id_low: 0, id_high_row: EMPTY, score: 0.0 };

    /// A slot of a feature that owns no row.
    pub(crate) fn new(id: FeatureId, score: f32) -> Self {
        Self { id_low: id.raw() as u32, id_high_row: Self::high_bits(id) | NO_ROW, score }
    }

    pub(crate) fn is_vacant(self) -> bool {
        self.id_high_row & ROW_MASK == EMPTY
    }

    /// The part of the id that shares a word with the row number.
    #[inline]
    fn high_bits(id: FeatureId) -> u32 {
        (id.raw() >> 32 << ROW_BITS) as u32
    }

    #[inline]
    pub(crate) fn holds(self, id: FeatureId) -> bool {
        let row_if_equal = self.id_high_row ^ Self::high_bits(id);
        (self.id_low == id.raw() as u32) & (row_if_equal <= ROW_MASK) & (row_if_equal != EMPTY)
    }

    pub(crate) fn id(self) -> FeatureId {
        FeatureId::from_raw(
            (u64::from(self.id_high_row >> ROW_BITS) << 32) | u64::from(self.id_low),
        )
    }

    #[inline]
    pub(crate) fn row(self) -> Option<u32> {
        let row_idx = self.id_high_row & ROW_MASK;
        (row_idx < EMPTY).then_some(row_idx)
    }

    pub(crate) fn set_row(&mut self, row_idx: Option<u32>) {
        self.id_high_row = (self.id_high_row & !ROW_MASK) | row_idx.unwrap_or(NO_ROW);
    }

    pub(super) fn entry(self) -> Entry {
        Entry { id: self.id(), score: self.score, row: self.row() }
    }

    /// The order in which slots are taken for `id`: its own, then a vacant one, then victims by
    /// score; `NEVER` none.
    #[inline]
    fn order(self, id: FeatureId, spares_owners: bool) -> i32 {
        let row_idx = self.id_high_row & ROW_MASK;
        // Scores are not negative, so their bits order as they do.
        let victim = select_unpredictable(
            spares_owners & (row_idx < EMPTY),
            NEVER,
            self.score.to_bits() as i32,
        );
        let newcomer = select_unpredictable(row_idx == EMPTY, VACANT, victim);
        select_unpredictable(self.holds(id), HELD, newcomer)
    }
}

const HELD: i32 = i32::MIN;
const VACANT: i32 = i32::MIN + 1;
const NEVER: i32 = i32::MAX;

/// What [`find_slot`] found for a feature.
pub(super) struct SlotIndex {
    pub(super) at: usize,
    pub(super) is_held: bool,
}

/// The slot that `id` is in, or else the one that it takes, if any. Of equal scores the first
/// slot's loses.
#[inline(always)]
#[allow(clippy::inline_always, reason = "compiled apart for each policy")]
pub(super) fn find_slot(bucket: &[Slot], id: FeatureId, policy: VictimPolicy) -> Option<SlotIndex> {
    let spares_owners = policy != VictimPolicy::Lightest;
    // Order and number in one integer: their minimum needs no branch.
    let mut least = i64::MAX;
    for (at, slot) in bucket.iter().enumerate() {
        let mut order = slot.order(id, spares_owners);
        if policy == VictimPolicy::LastSlot && at + 1 < bucket.len() && order > VACANT {
            order = NEVER;
        }
        least = least.min((i64::from(order) << 32) | at as i64);
    }
    let order = (least >> 32) as i32;
    (order != NEVER).then_some(SlotIndex { at: least as u32 as usize, is_held: order == HELD })
}

/// Puts `id` where [`find_slot`] said; returns the slot as it was and as it is.
#[inline]
pub(super) fn put(slot: &mut Slot, id: FeatureId, is_held: bool, weight: f32) -> (Slot, Slot) {
    let before = *slot;
    let id_high_row =
        select_unpredictable(is_held, before.id_high_row, Slot::high_bits(id) | NO_ROW);
    let after = Slot { id_low: id.raw() as u32, id_high_row, score: before.score + weight };
    *slot = after;
    (before, after)
}

/// The row number of `id`, `NO_ROW` if it owns none, and its score, 0 if it isn't held.
#[inline]
pub(super) fn probe(bucket: &[Slot], id: FeatureId) -> (u32, f32) {
    let (mut row_idx, mut score_bits) = (NO_ROW, 0);
    for slot in bucket {
        let mask = u32::from(slot.holds(id)).wrapping_neg();
        row_idx &= slot.id_high_row | !mask;
        score_bits |= slot.score.to_bits() & mask;
    }
    (row_idx, f32::from_bits(score_bits))
}

/// Checks restored slots, `n_slots` for each bucket: every feature is in its bucket, once, with a
/// score that a sketch can have.
pub(crate) fn check_slots(
    name: &'static str,
    slots: &[Slot],
    n_slots: usize,
    bucket_of: impl Fn(FeatureId) -> usize,
) -> Result<(), StateError> {
    let damaged = |why: String| Err(StateError::Damaged { name, why });
    for (at, slot) in slots.iter().enumerate() {
        let first = at - at % n_slots;
        if !(slot.score >= 0.0 && slot.score.is_finite()) {
            return damaged(format!("slot {at} has score {}", slot.score));
        }
        if slot.is_vacant() {
            if *slot != Slot::VACANT {
                return damaged(format!("slot {at} is vacant and has a score or id"));
            }
        } else if bucket_of(slot.id()) * n_slots != first {
            return damaged(format!("slot {at} holds {}, which belongs elsewhere", slot.id()));
        } else if slots[first..at].iter().any(|other| other.holds(slot.id())) {
            return damaged(format!("slot {at} holds {} a second time", slot.id()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_twelve_bytes() {
        assert_eq!(size_of::<Slot>(), 12);
        let mut slot = Slot::new(FeatureId::missing(127), 2.0);
        slot.set_row(Some(EMPTY - 1));
        assert_eq!(
            (slot.id(), slot.row(), slot.is_vacant()),
            (FeatureId::missing(127), Some(EMPTY - 1), false)
        );
        assert!(!Slot::VACANT.holds(FeatureId::from_raw(0)) && Slot::VACANT.is_vacant());
    }
}
