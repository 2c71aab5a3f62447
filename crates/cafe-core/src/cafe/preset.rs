//! Settings that come together.

use super::{CafeSettings, Cold, HotRule, SlotLayout};
use crate::{RowFormat, RowPrecision, UnifiedSettings, VictimPolicy};

/// Beyond this ratio a budget is small: between 100 and 1,000, where we measured, in the middle of their logarithms.
const SMALL_BUDGET_BEYOND: f64 = 316.0;

impl CafeSettings {
    /// What came out best of our measurements at the compression ratio of `paper`, which are the paper's settings: these
    /// themselves where rows are plenty, and [`small_budget`](CafeSettings::small_budget) with rows in `i8` where they are
    /// not.
    #[must_use]
    pub fn best(paper: Self, compression: f64) -> Self {
        if compression <= SMALL_BUDGET_BEYOND {
            return paper;
        }
        let format = RowFormat { precision: RowPrecision::I8, ..paper.format };
        Self { format, ..Self::small_budget(compression) }
    }

    /// For ratios of a thousand and more. Not the paper's CAFE: features without a hot row are sums of signed rows of one
    /// table for all fields, hot rows go to the heaviest features of compact buckets, and chance keeps the long tail out of
    /// them.
    #[must_use]
    pub fn small_budget(compression: f64) -> Self {
        let settings = Self {
            shared_share: 0.9,
            slots: 8,
            layout: SlotLayout::Compact { rows_per_bucket: 4 },
            victim: VictimPolicy::ByChance,
            cold: Cold::Unified(UnifiedSettings::default()),
            ..Self::paper(compression)
        };
        settings.under_quota()
    }

    /// The same with hot rows for the heaviest, as many as there are. The paper's `K` is for a `K` that stays: as the least one
    /// it would keep a quota from using all rows, and a decay that goes by it would come at another pace.
    #[must_use]
    pub fn under_quota(self) -> Self {
        Self { threshold: 2.0, rule: HotRule::Quota { hysteresis: 1.25 }, decay_factor: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_settings_follow_the_ratio() {
        for ratio in [2.0, 10.0, 100.0, 300.0] {
            let paper = CafeSettings { shared_share: 0.77, ..CafeSettings::paper(ratio) };
            assert_eq!(CafeSettings::best(paper.clone(), ratio), paper);
        }
        for ratio in [1000.0, 10_000.0, 1e6] {
            let best = CafeSettings::best(CafeSettings::paper(ratio), ratio);
            assert_eq!(best.format.precision, RowPrecision::I8);
            assert_eq!(CafeSettings { format: RowFormat::default(), ..best }, CafeSettings::small_budget(ratio));
        }
    }
}
