//! What the sketch holds at the moment, for whoever inspects a trained embedding.

use super::CafeEmbedding;
use super::tracker::Sketch;
use crate::tier_summary::{by_score, count_by_field};
use crate::{HotFeature, HotSketch, TierSummary};

impl CafeEmbedding {
    pub(super) fn owners(&self) -> Vec<HotFeature> {
        // Compact slots don't know their features.
        let held = self.sketch().into_iter().flat_map(HotSketch::iter);
        let owners = held.filter(|held| held.row.is_some());
        by_score(owners.map(|held| HotFeature { id: held.id, score: Some(held.score) }).collect())
    }

    pub(super) fn summary(&self) -> TierSummary {
        let (n_slots_in_use, hot_rows_by_field) = match &self.sketch {
            Sketch::Full(sketch) => {
                let owners = sketch.iter().filter(|held| held.row.is_some()).map(|held| held.id);
                (sketch.iter().count(), count_by_field(owners, self.config.fields.len()))
            }
            Sketch::Compact(sketch) => (sketch.n_in_use(), Vec::new()),
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
            mass: Some(mass),
            mass_since_decay: self.config.decay.map(|_| mass - self.mass_at_decay),
            n_decays: if self.config.decay.is_none() { Some(0) } else { None },
        }
    }
}
