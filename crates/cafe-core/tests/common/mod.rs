//! What several tests build.

use cafe_core::{CafeSettings, Cold, SlotLayout, UnifiedSettings, VictimPolicy};

/// All of CAFE's options at once: compact slots, a quota, rows that chance guards, a coded cold
/// table.
pub(crate) fn compact_quota(ratio: f64) -> CafeSettings {
    let settings = CafeSettings {
        shared_share: 0.9,
        slots: 8,
        layout: SlotLayout::Compact { rows_per_bucket: 4 },
        victim: VictimPolicy::ByChance,
        cold: Cold::Unified(UnifiedSettings::CODED),
        ..CafeSettings::paper(ratio)
    };
    settings.under_quota()
}
