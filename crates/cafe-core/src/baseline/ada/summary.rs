//! What the statistics hold at the moment, for whoever inspects a trained embedding.

use super::{AdaEmbedding, NO_ROW};
use crate::TierSummary;
use crate::tier_summary::count_by_exponent;

impl AdaEmbedding {
    /// Tokens that meet in an entry are one feature, so entries have no ids, but their fields are
    /// known.
    pub(super) fn summary(&self) -> TierSummary {
        let fields =
            self.starts.windows(2).map(|ends| &self.statistics[ends[0] as usize..ends[1] as usize]);
        let by_field =
            fields.map(|field| field.iter().filter(|entry| entry.row != NO_ROW).count() as u64);
        let used =
            self.statistics.iter().filter(|entry| entry.importance > 0.0 || entry.row != NO_ROW);
        TierSummary {
            max_hot_rows: self.config.n_rows as u64,
            hot_rows: (self.config.n_rows - self.free.len()) as u64,
            hot_rows_by_field: by_field.collect(),
            slots: self.statistics.len() as u64,
            slots_in_use: used.count() as u64,
            score_counts: count_by_exponent(self.statistics.iter().map(|entry| entry.importance)),
            n_decays: Some(self.steps / self.config.decay_every),
            ..TierSummary::default()
        }
    }
}
