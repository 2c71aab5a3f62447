//! Where the threshold no longer fits, it is set again and rows go to the features above it.

use super::CafePlusEmbedding;
use crate::batch::importance::nth_largest;
use crate::embedding::UpdateStats;
use crate::table::rows::RowTable;

impl CafePlusEmbedding {
    pub(super) fn reassign_if_due(&mut self, vector: &mut [f32], stats: &mut UpdateStats) {
        let is_overfull = self.is_overfull();
        if self.progress.rows_stay_free(self.free.len(), &self.config) || is_overfull {
            self.reassign(vector, stats);
        }
    }

    /// Whether more features reach the threshold or own a row than there should be: as many own a
    /// row that have faded, as others wait for one. They are counted only when enough have reached
    /// it since they were last counted, so that counting costs nothing much in each step.
    fn is_overfull(&mut self) -> bool {
        let (n_hot, overfull) = (self.config.n_hot as f64, self.config.settings.overfull);
        if self.progress.n_crossed as f64 <= (overfull - 1.0) * n_hot {
            return false;
        }
        self.progress.n_crossed = 0;
        self.sketch.rebase();
        let hot = self.progress.limits(0.0).hot;
        let ask = self.sketch.iter().filter(|slot| slot.score >= hot || slot.row().is_some());
        ask.count() as f64 > overfull * n_hot
    }

    /// Makes the `H`-th largest score the threshold, but not less than its minimum, and gives rows
    /// to the top `H - 1`.
    fn reassign(&mut self, vector: &mut [f32], stats: &mut UpdateStats) {
        self.sketch.rebase();
        self.progress.n_crossed = 0;
        let n_hot = self.config.n_hot as u64;
        let nth = nth_largest(|| self.sketch.iter().map(|slot| slot.score), n_hot).unwrap_or(0.0);
        self.progress.threshold = self.config.settings.min_threshold;
        let lowest = nth.max(self.progress.limits(0.0).hot);
        if lowest == nth {
            self.progress.threshold =
                self.progress.present(nth).max(self.config.settings.min_threshold);
        }
        let n_above = self.sketch.iter().filter(|slot| slot.score > lowest).count() as u64;
        // Of equal scores those that own a row already come first.
        let mut n_ties = n_hot - 1 - n_above;
        let mut is_top = |score: f32| {
            let is_tie = score == lowest && n_ties > 0;
            n_ties -= u64::from(is_tie);
            score > lowest || is_tie
        };
        let Self { sketch, rows, cold, free, .. } = self;
        for slot in sketch.iter_mut() {
            if let Some(row_idx) = slot.row()
                && !is_top(slot.score)
            {
                slot.set_row(None);
                free.push(row_idx);
                stats.demoted += 1;
            }
        }
        for slot in sketch.iter_mut() {
            if slot.row().is_none() && is_top(slot.score) {
                let row_idx = free.pop().expect("there are no more at the top than rows");
                start_row(rows, cold.shared_row(slot.id()), row_idx, vector);
                slot.set_row(Some(row_idx));
                stats.promoted += 1;
            }
        }
    }
}

/// Makes the row `hot` a copy of the row `shared`, its optimizer's state empty.
pub(super) fn start_row(rows: &mut RowTable, shared: u32, hot: u32, vector: &mut [f32]) {
    rows.read(shared, vector);
    rows.write(hot, vector);
    rows.reset_optimizer(hot);
}
