//! What the sketch holds at the moment, for whoever inspects a trained embedding.

use super::CafeEmbedding;
use super::tracker::Sketch;
use crate::tier_summary::{by_score, count_by_exponent, count_by_field};
use crate::{HotFeature, HotSketch, TierSummary};

impl CafeEmbedding {
    pub(super) fn owners(&self) -> Vec<HotFeature> {
        // Compact slots don't know their features.
        let held = self.sketch().into_iter().flat_map(HotSketch::iter);
        let owners = held.filter(|held| held.row.is_some());
        by_score(owners.map(|held| HotFeature { id: held.id, score: Some(held.score) }).collect())
    }

    pub(super) fn summary(&self) -> TierSummary {
        let (n_slots_in_use, hot_rows_by_field, score_counts) = match &self.sketch {
            Sketch::Full(sketch) => {
                let owners = sketch.iter().filter(|held| held.row.is_some()).map(|held| held.id);
                let scores = sketch.iter().map(|held| held.score);
                let by_field = count_by_field(owners, self.config.fields.len());
                (sketch.iter().count(), by_field, count_by_exponent(scores))
            }
            Sketch::Compact(sketch) => {
                (sketch.n_in_use(), Vec::new(), count_by_exponent(sketch.scores()))
            }
        };
        let mass = self.sketch.mass();
        TierSummary {
            max_hot_rows: self.config.n_hot as u64,
            hot_rows: self.hot_rows(),
            hot_rows_by_field,
            knows_features: matches!(self.sketch, Sketch::Full(_)),
            slots: (self.config.n_buckets * self.config.slots) as u64,
            slots_in_use: n_slots_in_use as u64,
            thresholds: (0..self.pools.n()).map(|pool| self.pools.part(pool).1).collect(),
            score_counts,
            mass: Some(mass),
            mass_since_decay: self.config.decay.map(|_| mass - self.mass_at_decay),
            n_decays: if self.config.decay.is_none() { Some(0) } else { None },
        }
    }
}
