//! Which hot rows are free, and the score that a feature needs for one.

use std::borrow::Cow;

use super::{CafeConfig, Promotion};
use crate::sketch::HotSketch;
use crate::state::{StateError, StateMap, StateView, array, check_len};
use crate::table::free_rows::FreeRows;

/// The hot rows that features of all fields compete for.
#[derive(Clone, Debug)]
pub(super) struct HotRows {
    n_rows: usize,
    pub(super) free: FreeRows,
    /// `K`.
    threshold: f32,
    promotion: Promotion,
}

impl HotRows {
    pub(super) fn new(config: &CafeConfig) -> Self {
        let promotion = config.settings.promotion;
        let (n_rows, threshold) = (config.n_hot, promotion.threshold());
        Self { n_rows, free: FreeRows::new(n_rows), threshold, promotion }
    }

    /// The score that a feature needs for a row.
    #[inline]
    pub(super) fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Lets the `K` of a quota follow scores that are multiplied by `factor`.
    pub(super) fn decay(&mut self, factor: f32) {
        if let Promotion::Quota { least, .. } = self.promotion {
            self.threshold = (self.threshold * factor).max(least);
        }
    }

    /// Sets the `K` of a quota by the scores as they are now: to that of the last feature that
    /// there is a row for, or lower while rows stay free for want of features that reach it.
    /// Returns the score below which an owner loses its row; `None` without a quota.
    pub(super) fn follow(&mut self, sketch: &HotSketch) -> Option<f32> {
        let Promotion::Quota { least, hysteresis } = self.promotion else { return None };
        let last = sketch.nth_largest_score(self.n_rows);
        // A step down of the root: two scans without new owners lower K by the whole hysteresis.
        let most = if self.free.is_empty() {
            f32::INFINITY
        } else {
            self.threshold / hysteresis.get().sqrt()
        };
        self.threshold = last.min(most).max(least);
        Some(self.threshold / hysteresis.get())
    }

    pub(super) fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        let mut state = vec![self.free.state()];
        if self.promotion.is_quota() {
            let threshold = StateView::F32(Cow::Owned(vec![self.threshold]));
            state.push(("hot_thresholds", threshold));
        }
        state
    }

    /// The rows that [`HotRows::state`] described, beside those that features of `sketch` own.
    pub(super) fn restored(
        &self,
        state: &StateMap<'_>,
        sketch: &HotSketch,
    ) -> Result<Self, StateError> {
        let mut threshold = self.threshold;
        if let Promotion::Quota { least, .. } = self.promotion {
            let saved = array::<f32>(state, "hot_thresholds")?;
            check_len("hot_thresholds", saved.len(), 1)?;
            threshold = saved[0];
            if !(threshold.is_finite() && threshold >= least) {
                let why = format!("it holds {threshold}");
                return Err(StateError::Damaged { name: "hot_thresholds", why });
            }
        }
        let free = self.free.restored(state, sketch.iter().filter_map(|entry| entry.row))?;
        Ok(Self { free, threshold, ..*self })
    }
}
