//! Where the time of training went.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the time of all training steps so far went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phases {
    /// The embedding's rows.
    pub lookup: Duration,
    /// The network, forward, backward and its optimizer.
    pub network: Duration,
    /// The embedding's step.
    pub update: Duration,
}

impl Phases {
    /// What came after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        let Self { lookup, network, update } = self;
        Self {
            lookup: lookup.saturating_sub(earlier.lookup),
            network: network.saturating_sub(earlier.network),
            update: update.saturating_sub(earlier.update),
        }
    }
}

/// Seconds of the training loop, by what it did. What is missing from their sum is progress and
/// metrics.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct PhaseSeconds {
    /// No batch was ready yet.
    pub waiting: f64,
    /// Rows looked up.
    pub lookup: f64,
    /// The dense network stepped.
    pub network: f64,
    /// The embedding stepped.
    pub update: f64,
}

impl PhaseSeconds {
    /// In seconds.
    #[must_use]
    pub fn new(waiting: Duration, Phases { lookup, network, update }: Phases) -> Self {
        let [waiting, lookup, network, update] =
            [waiting, lookup, network, update].map(|phase| phase.as_secs_f64());
        Self { waiting, lookup, network, update }
    }

    /// Both times, part by part.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            waiting: self.waiting + other.waiting,
            lookup: self.lookup + other.lookup,
            network: self.network + other.network,
            update: self.update + other.update,
        }
    }

    /// Shares of the whole.
    #[must_use]
    pub fn line(self) -> String {
        let Self { waiting, lookup, network, update } = self;
        let percent = |part: f64| 100.0 * part / (waiting + lookup + network + update);
        format!(
            "network {:.0} %, lookup {:.0} %, update {:.0} %, waiting for rows {:.0} %",
            percent(network),
            percent(lookup),
            percent(update),
            percent(waiting)
        )
    }
}
