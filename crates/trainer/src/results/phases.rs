//! Time spent in the phases of training.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time spent in the phases of all training steps so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phases {
    /// Looking up the embedding's rows.
    pub lookup: Duration,
    /// The network: forward and backward pass and its optimizer.
    pub network: Duration,
    /// Updating the embedding.
    pub update: Duration,
}

impl Phases {
    /// The time spent after `earlier`.
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

/// Seconds of the training loop by phase. Their sum lacks the time for progress and metrics.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct PhaseSeconds {
    /// Waiting for a batch to be read.
    pub waiting: f64,
    /// Looking up rows.
    pub lookup: f64,
    /// Stepping the dense network.
    pub network: f64,
    /// Updating the embedding.
    pub update: f64,
}

impl PhaseSeconds {
    /// Converts to seconds.
    #[must_use]
    pub fn new(waiting: Duration, phases: Phases) -> Self {
        let Phases { lookup, network, update } = phases;
        let [waiting, lookup, network, update] =
            [waiting, lookup, network, update].map(|phase| phase.as_secs_f64());
        Self { waiting, lookup, network, update }
    }

    /// The sum, phase by phase.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            waiting: self.waiting + other.waiting,
            lookup: self.lookup + other.lookup,
            network: self.network + other.network,
            update: self.update + other.update,
        }
    }

    /// The share of each phase, in a line.
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
