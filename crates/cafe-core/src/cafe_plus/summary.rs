//! What both parts of the sketch hold at the moment, for whoever inspects a trained embedding.

use super::CafePlusEmbedding;
use super::slot::Slot;
use crate::tier_summary::{by_score, count_by_exponent, count_by_field};
use crate::{HotFeature, TierSummary};

impl CafePlusEmbedding {
    pub(super) fn owners(&self) -> Vec<HotFeature> {
        let owners = self.sketch.iter_rebased().filter(|slot| slot.row().is_some());
        let present = |slot: Slot| HotFeature {
            id: slot.id(),
            score: Some(self.progress.present(slot.score)),
        };
        by_score(owners.map(present).collect())
    }

    pub(super) fn summary(&self) -> TierSummary {
        let owners = self.sketch.iter().filter(|slot| slot.row().is_some()).map(Slot::id);
        let scores = self.sketch.iter_rebased().map(|slot| self.progress.present(slot.score));
        TierSummary {
            max_hot_rows: self.config.n_hot as u64,
            hot_rows: (self.config.n_hot - self.free.len()) as u64,
            hot_rows_by_field: count_by_field(owners, self.config.fields.len()),
            knows_features: true,
            slots: ((self.config.n_main_buckets + self.config.n_filter_buckets)
                * self.config.settings.slots) as u64,
            slots_in_use: self.sketch.iter().count() as u64,
            thresholds: vec![self.progress.threshold],
            score_counts: count_by_exponent(scores),
            // Newer scores weigh more in place of older ones that decay.
            n_decays: Some(0),
            ..TierSummary::default()
        }
    }
}
