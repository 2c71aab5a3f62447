//! What several tests build.
#![allow(dead_code, reason = "no test needs all of it")]

use cafe_core::methods::{CafeSettings, Hysteresis, Promotion, Shared};
use cafe_core::table::UnifiedSettings;
use cafe_core::{Budget, RowFormat, Sizing, VictimPolicy};

/// Bytes for rows in a format.
pub(crate) fn sizing(features: &[u64], dim: usize, bytes: u64, format: RowFormat) -> Sizing<'_> {
    Sizing { features, dim, budget: Budget::Bytes(bytes), format, seed: 3 }
}

/// A quota of hot rows, none below a score of `least`.
pub(crate) fn quota(least: f32) -> Promotion {
    Promotion::Quota { least, hysteresis: Hysteresis::default() }
}

/// All of CAFE's options at once: a quota, randomised eviction, a coded shared table.
pub(crate) fn quota_coded(ratio: f64) -> CafeSettings {
    let settings = CafeSettings {
        shared_share: 0.9,
        slots: 8,
        victim: VictimPolicy::ByChance,
        shared: Shared::Table(UnifiedSettings::CODED),
        ..CafeSettings::paper(ratio)
    };
    settings.under_quota()
}
