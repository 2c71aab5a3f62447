//! Quality during training (progressive validation): each batch is scored before the model learns
//! from it, over a window of steps and over each day of the data. Rows are sorted by day: a day
//! ends where the next row has a different one.
//!
//! In a second epoch the model has already learned from the rows, so its figures are too good.

use crate::metrics::line::{Counters, DayLine, TrainLine};
use crate::metrics::{Predictions, Scores};

/// Collects the predictions of training steps, in 4 bytes per row of the window and 4 per row of
/// the day.
#[derive(Debug, Default)]
pub struct Online {
    /// Scores of the current window.
    pub window: Scores,
    /// Scores of the current day.
    pub day_scores: Scores,
    /// The current day, and the counters after its last row so far.
    pub day: Option<(u32, Counters)>,
}

impl Online {
    /// Adds a batch and returns the lines of the days that ended before its last row.
    ///
    /// `days` has the day of each row, or is empty if the data have no days. `counters` are those
    /// after the step.
    ///
    /// # Panics
    /// If `days` is neither empty nor as long as the batch.
    pub fn add(
        &mut self,
        batch: Predictions<'_>,
        days: &[u32],
        counters: Counters,
    ) -> Vec<DayLine> {
        assert!(
            days.is_empty() || days.len() == batch.len(),
            "{} days of {} rows",
            days.len(),
            batch.len()
        );
        self.window.add(batch);
        let (mut ended, mut start) = (Vec::new(), 0);
        let rows_before = counters.rows - batch.len() as u64;
        for same in days.chunk_by(|a, b| a == b) {
            let (day, end) = (same[0], start + same.len());
            if self.day.is_some_and(|(current, _)| current != day) {
                ended.extend(self.end_day());
            }
            self.day_scores.add(if same.len() == batch.len() {
                batch
            } else {
                batch.part(start..end)
            });
            self.day = Some((day, Counters { rows: rows_before + end as u64, ..counters }));
            start = end;
        }
        ended
    }

    /// Ends the window; returns its line, or `None` if it is empty.
    pub fn end_window(&mut self, counters: Counters) -> Option<TrainLine> {
        (!self.window.is_empty()).then(|| TrainLine::new(counters, &self.window.take_quality()))
    }

    /// Ends the day; returns its line, or `None` if rows have no days.
    pub fn end_day(&mut self) -> Option<DayLine> {
        let (day, counters) = self.day.take()?;
        let quality = self.day_scores.take_quality();
        Some(DayLine { day, day_rows: quality.rows, line: TrainLine::new(counters, &quality) })
    }
}

#[cfg(test)]
mod tests {
    use dlrm_model::{logit_loss, sigmoid};
    use proptest::prelude::*;

    use super::*;

    /// A row in its batch: day, logit, label.
    type Row = (u32, f32, f32);

    /// Steps through `rows` in batches of `size`; returns the collector, the days that ended and
    /// the final counters.
    fn train(rows: &[Row], size: usize, has_days: bool) -> (Online, Vec<DayLine>, Counters) {
        let (mut online, mut ended, mut counters) =
            (Online::default(), Vec::new(), Counters::default());
        for batch in rows.chunks(size) {
            let (logits, labels): (Vec<_>, Vec<_>) =
                batch.iter().map(|&(_, logit, label)| (logit, label)).unzip();
            let days: Vec<_> = batch.iter().filter(|_| has_days).map(|row| row.0).collect();
            let loss_sum =
                logits.iter().zip(&labels).map(|(&logit, &label)| logit_loss(logit, label)).sum();
            counters.step += 1;
            counters.rows += batch.len() as u64;
            counters.hot_rows = 10 * counters.step;
            ended.extend(online.add(
                Predictions::with_loss_sum(&logits, &labels, loss_sum),
                &days,
                counters,
            ));
        }
        (online, ended, counters)
    }

    /// The share of pairs in the right order, counted one by one.
    fn auc_of_pairs(rows: &[Row]) -> Option<f64> {
        let (mut won, mut pairs) = (0.0, 0.0);
        for p in rows.iter().filter(|row| row.2 > 0.5) {
            for n in rows.iter().filter(|row| row.2 < 0.5) {
                pairs += 1.0;
                won += if p.1 > n.1 {
                    1.0
                } else if p.1 < n.1 {
                    0.0
                } else {
                    0.5
                };
            }
        }
        (pairs > 0.0).then(|| won / pairs)
    }

    /// Checks a line against plain sums over its rows.
    fn check(line: &TrainLine, rows: &[Row]) {
        let n_rows = rows.len() as f64;
        let close = |found: Option<f64>, expected: Option<f64>| match (found, expected) {
            (Some(found), Some(expected)) => {
                assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
            }
            _ => assert_eq!(found, expected),
        };
        let logloss = rows.iter().map(|row| logit_loss(row.1, row.2)).sum::<f64>() / n_rows;
        let predicted = rows.iter().map(|row| sigmoid(row.1)).sum::<f64>() / n_rows;
        let clicked = rows.iter().filter(|row| row.2 > 0.5).count() as f64 / n_rows;
        let has_both = clicked > 0.0 && clicked < 1.0;
        let entropy = -clicked * clicked.ln() - (1.0 - clicked) * (1.0 - clicked).ln();
        close(Some(line.train_logloss), Some(logloss));
        close(line.train_auc, auc_of_pairs(rows));
        close(line.train_calibration, (clicked > 0.0).then(|| predicted / clicked));
        close(line.train_normalised_entropy, has_both.then(|| logloss / entropy));
    }

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let row = (0_u32..4, -12_i8..12, any::<bool>());
        prop::collection::vec(row, 1..80).prop_map(|rows| {
            let mut rows: Vec<_> = rows
                .into_iter()
                .map(|(day, x, y)| (day, f32::from(x) / 3.0, f32::from(u8::from(y))))
                .collect();
            rows.sort_by_key(|row| row.0);
            rows
        })
    }

    proptest! {
        #[test]
        fn windows_and_days_equal_brute_force(rows in rows(), size in 1_usize..20) {
            let (mut online, mut days, counters) = train(&rows, size, true);
            days.extend(online.end_day());
            let expected: Vec<_> = rows.chunk_by(|a, b| a.0 == b.0).collect();
            prop_assert_eq!(days.len(), expected.len());
            let mut n_rows = 0;
            for (line, rows) in days.iter().zip(expected) {
                n_rows += rows.len() as u64;
                check(&line.line, rows);
                let expected = (rows[0].0, rows.len() as u64, n_rows);
                prop_assert_eq!((line.day, line.day_rows, line.line.rows), expected);
                // The step with the day's last row, and a counter after it.
                let step = n_rows.div_ceil(size as u64);
                prop_assert_eq!((line.line.step, line.line.hot_rows), (step, 10 * step));
            }
            let window = online.end_window(counters).expect("rows");
            check(&window, &rows);
            prop_assert_eq!((window.step, window.rows), (counters.step, rows.len() as u64));
            prop_assert_eq!((online.end_window(counters), online.end_day()), (None, None));
        }

        #[test]
        fn rows_without_days_give_no_day_lines(rows in rows(), size in 1_usize..20) {
            let (mut online, days, _) = train(&rows, size, false);
            prop_assert_eq!((days, online.end_day()), (Vec::new(), None));
        }
    }

    #[test]
    fn windows_are_adjacent() {
        let rows = [(0, -1.0, 0.0), (0, 1.0, 1.0), (0, 2.0, 0.0), (0, 1.5, 1.0)];
        let (mut online, _, counters) = train(&rows[..2], 2, true);
        assert_eq!(online.end_window(counters).expect("rows").train_auc, Some(1.0));
        let labels = [rows[2].2, rows[3].2];
        let counters = Counters { step: 2, rows: 4, ..counters };
        online.add(
            Predictions::with_loss_sum(&[rows[2].1, rows[3].1], &labels, 1.0),
            &[0, 0],
            counters,
        );
        let second = online.end_window(counters).expect("rows");
        assert_eq!((second.train_auc, second.train_logloss), (Some(0.0), 0.5));
        // The day extends over both: of four pairs the last click lost one.
        assert_eq!(online.end_day().expect("a day").line.train_auc, Some(0.5));
    }
}
