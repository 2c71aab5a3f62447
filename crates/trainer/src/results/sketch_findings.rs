//! Results of `trainer sketch --sweep`, as JSON and as tables.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::text::grouped;

/// Slots per bucket that are measured; 4 is the paper's setting.
pub(crate) const SLOTS: [usize; 4] = [4, 8, 16, 32];
/// Bytes of a sketch; each a multiple of the bucket size for all [`SLOTS`].
pub(crate) const MEMORIES: [usize; 6] =
    [12 << 10, 24 << 10, 48 << 10, 96 << 10, 192 << 10, 384 << 10];
/// Bytes of a sketch in the measurement of drift: the middle of [`MEMORIES`].
pub(crate) const DRIFT_BYTES: usize = 96 << 10;
/// Parts of a drifting stream; in each, other features are popular.
pub(crate) const EIGHTHS: usize = 8;

/// All results; the file has these fields in this order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Findings {
    /// Version of the file format: 1.
    pub(crate) format: u32,
    pub(crate) skew: f64,
    pub(crate) features: u64,
    pub(crate) observations: u64,
    pub(crate) seeds: Vec<u64>,
    pub(crate) recall: Vec<AtEnd>,
    pub(crate) drift: Vec<Drift>,
    pub(crate) speed: Vec<Speed>,
}

/// Recall at the end of a stream: how many of the most frequent features the sketch holds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct AtEnd {
    pub(crate) slots: usize,
    pub(crate) bytes: usize,
    /// The number of most frequent features.
    pub(crate) top: usize,
    pub(crate) seed: u64,
    /// The share of them that is held.
    pub(crate) recall: f64,
    /// Proven lower bound of the probability that the least frequent of them is held; null if there
    /// is none.
    pub(crate) bound: Option<f64>,
}

/// Ranking under drift: in each eighth of a stream other features are frequent. How many of the
/// current eighth's most frequent features are among the same number of highest scores. (Nearly all
/// of them are held; the question is whether they have the highest scores.)
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Drift {
    pub(crate) slots: usize,
    pub(crate) bytes: usize,
    pub(crate) top: usize,
    pub(crate) seed: u64,
    /// Observations of the stream so far.
    pub(crate) observations: usize,
    pub(crate) recall: f64,
    /// Whether scores are halved after each measured point.
    pub(crate) decay: bool,
}

/// Operations per second of one thread, over all streams.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Speed {
    pub(crate) slots: usize,
    pub(crate) bytes: usize,
    pub(crate) observe_per_second: f64,
    pub(crate) estimate_per_second: f64,
}

impl Findings {
    /// Reads `sketch.json` in `dir`; `None` if there is none.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("sketch.json");
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("{}: damaged", path.display()))
    }

    /// Tables with means over the streams.
    pub(crate) fn text(&self) -> String {
        let Self { skew, features, observations, seeds, .. } = self;
        let (features, observations) = (grouped(*features), grouped(*observations));
        let top = self.recall.iter().map(|it| it.top).max().unwrap_or(0);
        let mut text = format!(
            "Zipf({skew}) over {features} features, {observations} observations, {} streams\n\n\
             share of the {top} most frequent features that are held > proven bound:\n",
            seeds.len()
        );
        push_table(&mut text, &memory_heads(), |slots, column| {
            self.recall_cell(slots, MEMORIES[column])
        });
        let _ = writeln!(
            text,
            "\ndrift, other features are frequent in each eighth of a stream: share of the last\n\
             eighth's top that is among the same number of highest scores, in {} kB:",
            DRIFT_BYTES >> 10
        );
        let heads = ["no decay", "halved 4 times per eighth"].map(str::to_owned);
        push_table(&mut text, &heads, |slots, column| self.drift_cell(slots, column == 1));
        text += "\nmillion observations and estimates per second, one thread:\n";
        push_table(&mut text, &memory_heads(), |slots, column| {
            self.speed_cell(slots, MEMORIES[column])
        });
        text
    }

    fn recall_cell(&self, slots: usize, bytes: usize) -> String {
        let of_size: Vec<_> =
            self.recall.iter().filter(|it| (it.slots, it.bytes) == (slots, bytes)).collect();
        let recall = mean(of_size.iter().map(|it| it.recall));
        match of_size.first().and_then(|it| it.bound) {
            // Lower bounds are as good as none.
            Some(bound) if bound >= 0.001 => format!("{recall:.3} > {bound:.3}"),
            _ => format!("{recall:.3}"),
        }
    }

    fn drift_cell(&self, slots: usize, decay: bool) -> String {
        let start = self.observations as usize / EIGHTHS * (EIGHTHS - 1);
        let of_size = self
            .drift
            .iter()
            .filter(|it| (it.slots, it.decay) == (slots, decay) && it.observations > start);
        format!("{:.3}", mean(of_size.map(|it| it.recall)))
    }

    fn speed_cell(&self, slots: usize, bytes: usize) -> String {
        let found = self.speed.iter().find(|it| (it.slots, it.bytes) == (slots, bytes));
        found.map_or_else(String::new, |it| {
            format!("{:.0}, {:.0}", it.observe_per_second / 1e6, it.estimate_per_second / 1e6)
        })
    }
}

fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = numbers.fold((0.0, 0_u32), |(sum, n), number| (sum + number, n + 1));
    sum / f64::from(n)
}

fn memory_heads() -> Vec<String> {
    MEMORIES.iter().map(|bytes| format!("{} kB", bytes >> 10)).collect()
}

/// Appends a table with a line for each number of slots per bucket and a column for each head.
fn push_table(text: &mut String, heads: &[String], cell: impl Fn(usize, usize) -> String) {
    let line = |first: &str, cells: &[String]| {
        let cells = cells.iter().zip(heads).fold(String::new(), |mut line, (cell, head)| {
            let _ = write!(line, "  {cell:>width$}", width = head.len().max(12));
            line
        });
        format!("{first:>8}{cells}\n")
    };
    *text += &line("slots", heads);
    for slots in SLOTS {
        let cells: Vec<_> = (0..heads.len()).map(|column| cell(slots, column)).collect();
        *text += &line(&slots.to_string(), &cells);
    }
}
