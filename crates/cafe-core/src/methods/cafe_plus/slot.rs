//! What CAFE+ does with the slots of a sketch beside what [`Slot`] has: scores change their unit.

use crate::feature::FeatureId;
use crate::sketch::slot::{ROW_MASK, Slot};

/// The slot with its score in the unit of `n_epochs` epochs later.
pub(super) fn rebased_slot(slot: Slot, n_epochs: u32) -> Slot {
    Slot { score: rebased(slot.score, n_epochs), ..slot }
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
    fn tiny_scores_survive_in_their_own_epoch() {
        let tiny = f32::from_bits(95);
        let slot = Slot::new(FeatureId::missing(0), tiny);
        assert_eq!(rebased_slot(slot, 0), slot);
        assert_eq!(rebased_slot(slot, 1).score, 0.0);
    }

    proptest! {
        #[test]
        fn rebasing_twice_is_rebasing_once(score in prop_oneof![0.0_f32..1e30, 0.0_f32..1e-30],
            one in 0_u32..12, two in 0_u32..12) {
            prop_assert_eq!(rebased(rebased(score, one), two).to_bits(),
                rebased(score, one + two).to_bits());
            prop_assert_eq!(rebased(score, u32::MAX), 0.0);
            prop_assert_eq!(rebased(score.max(1.0), 1) * 65_536.0, score.max(1.0));
        }
    }
}
