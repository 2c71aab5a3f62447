//! Which features own rows is decided again, rarely: the only place that looks at all statistics.

use super::{AdaEmbedding, NO_ROW, Statistics};
use crate::batch::importance::nth_largest;
use crate::embedding::UpdateStats;
use crate::hash::{mix64, reduce};

impl AdaEmbedding {
    /// Gives rows to the most important features if a sample says that the owners are no longer
    /// those.
    pub(super) fn rebuild_if_changed(&mut self, stats: &mut UpdateStats) {
        let norms = self.field_norms();
        if self.changed_share(&norms) > self.config.changed_share {
            self.rebuild(&norms, stats);
        }
    }

    /// What a field's importances are divided by, to be comparable with other fields': a high
    /// quantile of those that are not zero. 1 for a field without any.
    fn field_norms(&self) -> Vec<f32> {
        self.fields().map(|statistics| norm(statistics, self.config.quantile)).collect()
    }

    /// Of a sample's most important features, as large a share as there are rows, the share that
    /// owns none.
    fn changed_share(&self, norms: &[f32]) -> f64 {
        let n = self.statistics.len();
        let mut sample: Vec<_> = if n <= self.config.n_sampled {
            (0..n).map(|entry| self.sampled(entry, norms)).collect()
        } else {
            let seed = mix64(self.steps, self.config.seed ^ 0x5a3b_1e00);
            let entries = (0..self.config.n_sampled).map(|i| reduce(mix64(i as u64, seed), n));
            entries.map(|entry| self.sampled(entry, norms)).collect()
        };
        let n_top = (sample.len() as f64 * self.config.n_hot as f64 / n as f64).ceil() as usize;
        if n_top < sample.len() {
            // Of equal scores those with a row come first: they are as good as any.
            sample.select_nth_unstable_by(n_top, |a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
            sample.truncate(n_top);
        }
        sample.retain(|&(score, _)| score > 0.0);
        let n_changed = sample.iter().filter(|&&(_, owns)| !owns).count();
        n_changed as f64 / sample.len().max(1) as f64
    }

    /// A feature's score and whether it owns a row.
    fn sampled(&self, entry: usize, norms: &[f32]) -> (f32, bool) {
        let statistics = self.statistics[entry];
        (statistics.score(norms[self.field_of(entry)]), statistics.row != NO_ROW)
    }

    /// Takes the row from every feature that is not among the top, then assigns rows to those of
    /// the top that own none. Importances stay as they are.
    fn rebuild(&mut self, norms: &[f32], stats: &mut UpdateStats) {
        let scores = || {
            self.fields()
                .zip(norms)
                .flat_map(|(field, &norm)| field.iter().map(move |s| s.score(norm)))
        };
        let n_rows = self.config.n_hot as u64;
        let lowest = nth_largest(scores, n_rows).unwrap_or(0.0);
        let n_above = scores().filter(|&score| score > lowest).count() as u64;
        let top = Top { lowest, n_ties: n_rows - n_above };

        let mut members = top.clone();
        for (entry, field) in entries(&self.starts) {
            let statistics = &mut self.statistics[entry];
            if !members.admits(statistics.score(norms[field])) && statistics.row != NO_ROW {
                self.free.push(std::mem::replace(&mut statistics.row, NO_ROW));
                stats.demoted += 1;
            }
        }
        let mut members = top;
        for (entry, field) in entries(&self.starts.clone()) {
            let statistics = self.statistics[entry];
            if members.admits(statistics.score(norms[field])) && statistics.row == NO_ROW {
                let row = self.free.pop().expect("there are no more members than rows");
                self.assign(row, entry);
                stats.promoted += 1;
            }
        }
    }

    /// The statistics of each field.
    fn fields(&self) -> impl Iterator<Item = &[Statistics]> {
        self.starts.windows(2).map(|range| &self.statistics[range[0] as usize..range[1] as usize])
    }
}

/// All entries in order, with their fields.
fn entries(starts: &[u32]) -> impl Iterator<Item = (usize, usize)> {
    starts
        .windows(2)
        .enumerate()
        .flat_map(|(field, range)| (range[0]..range[1]).map(move |at| (at as usize, field)))
}

impl Statistics {
    fn score(self, norm: f32) -> f32 {
        self.importance / norm
    }
}

/// Which features are among the top: asked of every feature in order.
#[derive(Clone)]
struct Top {
    lowest: f32,
    /// How many of exactly the lowest score still have room.
    n_ties: u64,
}

impl Top {
    fn admits(&mut self, score: f32) -> bool {
        let is_tie = score == self.lowest && score > 0.0 && self.n_ties > 0;
        self.n_ties -= u64::from(is_tie);
        score > self.lowest || is_tie
    }
}

fn norm(statistics: &[Statistics], quantile: f64) -> f32 {
    let importances = || statistics.iter().map(|entry| entry.importance);
    let n_positive = importances().filter(|&importance| importance > 0.0).count() as u64;
    // The nearest rank: the smallest value that at least this share does not exceed.
    let n_below = (n_positive as f64 * quantile).ceil() as u64;
    nth_largest(importances, n_positive + 1 - n_below.clamp(1, n_positive.max(1))).unwrap_or(1.0)
}
