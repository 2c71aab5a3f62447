//! Settings that come together.

use super::{CafeSettings, Cold, HotRule, SlotLayout};
use crate::{UnifiedSettings, VictimPolicy};

impl CafeSettings {
    /// What came out best of our measurements, for a compression ratio. Not the paper's CAFE: features without a hot row
    /// are sums of signed rows of one table for all fields, hot rows go to the heaviest features of compact buckets, and
    /// chance keeps the long tail out of them.
    #[must_use]
    pub fn best(compression: f64) -> Self {
        Self {
            shared_share: 0.9,
            threshold: 2.0,
            rule: HotRule::Quota { hysteresis: 1.25 },
            slots: 8,
            layout: SlotLayout::Compact { rows_per_bucket: 4 },
            victim: VictimPolicy::ByChance,
            cold: Cold::Unified(UnifiedSettings::default()),
            decay_factor: None,
            ..Self::paper(compression)
        }
    }
}
