//! A seeded stream of Criteo-shaped rows whose true click probabilities are known. Apart from the
//! readers, because tests and comparisons need rows without a download.

mod label;
mod marginals;
mod math;
mod sampler;
pub(crate) mod write;

use std::ops::Range;

use cafe_core::{mix64, unit_f64};

use self::label::LabelModel;
use self::math::logistic;
use self::sampler::Sampler;
use crate::error::ReadError;
use crate::record::{Record, RecordSource};

/// The configuration of a generated log, which determines all of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynthConfig {
    /// The seed of tokens, effects and rows.
    pub seed: u64,
    /// The number of rows of a day.
    pub rows_per_day: u64,
}

impl Default for SynthConfig {
    fn default() -> Self {
        Self { seed: 0, rows_per_day: 300_000 }
    }
}

/// "rows" in ASCII: the stream of the rows among those that the seed is mixed to.
const ROW_STREAM: u64 = 0x726f_7773;

/// A log that looks like Criteo's, and whose click probabilities are known.
///
/// Row `i` is a function of the configuration and `i` alone: any range can be generated without the
/// rows before it, in constant memory and without allocation per row.
///
/// # Planted
/// * *Marginals* as counted in 31,000 rows of the Kaggle log: shares of missing values, quantiles
///   of the integers, cardinalities, shares of the 1, 10, 100 and 1000 most frequent values, and a
///   tail of values that occur once.
/// * *Families.* Each field takes its quantile from a latent number of the row (item, campaign,
///   site, person, activity), or with a fixed probability from a number of its own. Fields that are
///   missing together in the real log are so here.
/// * *Drift.* A field of 2000 values or more renews its head: each of its first 1000 ranks changes
///   its token, and so its effect, once in 25 days (4 % a day); popularity stays. A value that
///   alone holds 2 % of the rows does not change, because the share of positives of a day would
///   depend on it. Seven days keep within the cardinality; a longer log gradually exceeds it.
/// * *Labels.* The logit is a sum of hashed effects of (field, token), of the products of latent
///   vectors of rank 3 over all pairs of fields, and of terms linear in `ln(1 + x)` of the integers
///   or, where one is missing, a constant. [`Record::true_logit`] is what the label was drawn from,
///   rounded first, so that the AUC of the true logits is an upper bound for every model. Every
///   seed is calibrated to 24 % positives and the same spread of the logits with 8192 separate
///   rows; the best AUC is then 0.80 to 0.82. Features of the tail have effects, but are too rare
///   to be learned.
///
/// # Not planted
/// Weekly rhythms, popularity that rises and falls, sequences of rows of one person, non-linear
/// effects of integers, and everything else that the tables do not show. Single fields predict the
/// label somewhat less well than in the real log at the same number of rows. The gain of a method
/// here shows how it handles skew, families and drift; it does not predict results on real data.
///
/// # Same rows everywhere
/// Rows are computed with integer arithmetic and IEEE additions, multiplications, divisions and
/// square roots; `exp` and `ln` are built out of these, not taken from the platform.
#[derive(Clone, Debug)]
pub struct Synth {
    config: SynthConfig,
    rows: Range<u64>,
    sampler: Sampler,
    labels: LabelModel,
    row_seed: u64,
}

impl Synth {
    /// The rows `rows` of the log that `config` describes.
    ///
    /// # Panics
    /// If a day has no rows.
    #[must_use]
    pub fn new(config: SynthConfig, rows: Range<u64>) -> Self {
        assert!(config.rows_per_day > 0, "a day of generated rows needs at least one row");
        let sampler = Sampler::new(config.seed);
        let labels = LabelModel::new(config.seed, &sampler);
        Self { config, rows, sampler, labels, row_seed: mix64(config.seed, ROW_STREAM) }
    }

    fn fill(&self, row: u64, record: &mut Record) {
        let key = mix64(row, self.row_seed);
        self.sampler.fill(key, row / self.config.rows_per_day, record);
        record.dense.clear();
        record.bag_ends.clear();
        let logit = self.labels.logit(record) as f32;
        record.true_logit = Some(logit);
        record.day = Some((row / self.config.rows_per_day) as u32);
        record.clicked = unit_f64(mix64(u64::MAX, key)) < logistic(f64::from(logit));
    }
}

impl RecordSource for Synth {
    fn read_record(&mut self, record: &mut Record) -> Result<bool, ReadError> {
        let Some(row) = self.rows.next() else { return Ok(false) };
        self.fill(row, record);
        Ok(true)
    }

    fn skip_records(&mut self, n_rows: u64) -> Result<u64, ReadError> {
        let n_left = self.rows.end.saturating_sub(self.rows.start);
        let n_skipped = n_rows.min(n_left);
        self.rows.start += n_skipped;
        Ok(n_skipped)
    }

    fn jumps(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
