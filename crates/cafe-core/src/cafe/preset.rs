//! Settings that come together.

use super::{CafeSettings, HotRule};

impl CafeSettings {
    /// The same with hot rows for the heaviest, as many as there are. The paper's `K` is for a `K`
    /// that stays: as the least one it would keep a quota from using all rows, and a decay that
    /// goes by it would come at another pace.
    #[must_use]
    pub fn under_quota(self) -> Self {
        Self {
            threshold: 2.0,
            rule: HotRule::Quota { hysteresis: 1.25 },
            decay_factor: None,
            ..self
        }
    }
}
