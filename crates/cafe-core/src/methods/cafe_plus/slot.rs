//! One slot of a bucket: a feature, its score, the row that it owns.

use crate::feature::FeatureId;

/// 12 bytes: `id_low`, then 8 bits of id over 24 bits of row number or marker, then the score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slot {
    pub(super) id_low: u32,
    pub(super) id_high_row: u32,
    pub(super) score: f32,
}

const ROW_BITS: u32 = 24;
const ROW_MASK: u32 = (1 << ROW_BITS) - 1;
/// Marks a slot whose feature owns no row.
pub(super) const NO_ROW: u32 = ROW_MASK;
/// Marks a slot without a feature; row numbers are below it.
const EMPTY: u32 = ROW_MASK - 1;

impl Slot {
    pub(super) const VACANT: Self = Self { id_low: 0, id_high_row: EMPTY, score: 0.0 };

    /// A slot of a feature that owns no row.
    pub(super) fn new(id: FeatureId, score: f32) -> Self {
        Self { id_low: id.raw() as u32, id_high_row: high_bits(id) | NO_ROW, score }
    }

    pub(super) fn is_vacant(self) -> bool {
        self.id_high_row & ROW_MASK == EMPTY
    }

    #[inline]
    #[allow(
        clippy::needless_bitwise_bool,
        reason = "a lazy operator would be a branch that nothing foresees"
    )]
    pub(super) fn holds(self, id: FeatureId) -> bool {
        let row_if_equal = self.id_high_row ^ high_bits(id);
        (self.id_low == id.raw() as u32) & (row_if_equal <= ROW_MASK) & (row_if_equal != EMPTY)
    }

    pub(super) fn id(self) -> FeatureId {
        FeatureId::from_raw(
            (u64::from(self.id_high_row >> ROW_BITS) << 32) | u64::from(self.id_low),
        )
    }

    #[inline]
    pub(super) fn row(self) -> Option<u32> {
        let row_idx = self.id_high_row & ROW_MASK;
        (row_idx < EMPTY).then_some(row_idx)
    }

    pub(super) fn set_row(&mut self, row_idx: Option<u32>) {
        self.id_high_row = (self.id_high_row & !ROW_MASK) | row_idx.unwrap_or(NO_ROW);
    }

    /// The slot with its score in the unit of `n_epochs` epochs later.
    pub(super) fn rebased(self, n_epochs: u32) -> Self {
        Self { score: rebased(self.score, n_epochs), ..self }
    }
}

/// The part of the id that shares a word with the row number.
#[inline]
fn high_bits(id: FeatureId) -> u32 {
    (id.raw() >> 32 << ROW_BITS) as u32
}

/// The binary logarithm of what weights are divided by from one epoch to the next.
pub(super) const EPOCH_SHIFT: u32 = 16;

/// A score in the unit of `n_epochs` epochs later. A power of two changes no digit; what becomes
/// too small for all digits is nothing, so that two re-basings are the same as both at once.
fn rebased(score: f32, n_epochs: u32) -> f32 {
    // Even the least score is saved and comes back as it is.
    if n_epochs == 0 {
        return score;
    }
    let shift = EPOCH_SHIFT.saturating_mul(n_epochs).min(1000);
    let rebased = f64::from(score) * f64::from_bits(u64::from(1023 - shift) << 52);
    if rebased < f64::from(f32::MIN_POSITIVE) { 0.0 } else { rebased as f32 }
}

/// The row number of `id`, all ones if it owns none; as an operand of `&`, so that two buckets take
/// no branch.
#[inline]
pub(super) fn probe(bucket: &[Slot], id: FeatureId) -> u32 {
    bucket.iter().fold(u32::MAX, |row_bits, slot| {
        let mask = u32::from(slot.holds(id)).wrapping_neg();
        row_bits & ((slot.id_high_row & ROW_MASK) | !mask)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn a_tiny_score_is_not_lost_when_it_is_saved_in_its_own_epoch() {
        let tiny = f32::from_bits(95);
        let slot = Slot::new(FeatureId::missing(0), tiny);
        assert_eq!(slot.rebased(0), slot);
        assert_eq!(slot.rebased(1).score, 0.0);
    }

    proptest! {
        #[test]
        fn rebasing_twice_is_rebasing_once(score in prop_oneof![0.0_f32..1e30, 0.0_f32..1e-30], one in 0_u32..12, two in 0_u32..12) {
            prop_assert_eq!(rebased(rebased(score, one), two).to_bits(), rebased(score, one + two).to_bits());
            prop_assert_eq!(rebased(score, u32::MAX), 0.0);
            prop_assert_eq!(rebased(score.max(1.0), 1) * 65_536.0, score.max(1.0));
        }
    }
}
