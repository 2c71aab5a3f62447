//! `trainer compare`, and what the page of `trainer report` is drawn from: runs put side by side
//! where that is fair.
//!
//! Runs of one protocol (data, split, batch, optimizer, ...) and one model are compared; others are
//! kept apart. Within such a group a variant is a method with its settings, and a cell is a variant
//! at one compression ratio: its runs differ by their seeds alone.

mod answer;
mod group;
mod label;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::config::settings::{Settings, flat, identity};
use crate::results::runs::{self, RunRecord};
use crate::results::sweep_record::{Fate, SweepRecord};

pub use answer::answer;
pub(crate) use group::{has_budget, rank};
pub(crate) use label::short;
pub use label::{ratio_text, share_of_bytes};
pub use text::text;

/// Arguments of `trainer compare`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompareArgs {
    /// Directories of runs, or directories that hold some
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
}

/// Puts runs side by side; returns tables.
///
/// # Errors
/// If there are none, or one can't be read.
pub fn compare(args: &CompareArgs) -> Result<String> {
    let runs = runs::find(&args.runs)?;
    if runs.is_empty() {
        let dirs: Vec<_> = args.runs.iter().map(|dir| dir.display().to_string()).collect();
        bail!(
            "{}: no runs there; a run's directory has a config.toml and a metrics.jsonl",
            dirs.join(", ")
        );
    }
    let sweeps: Vec<_> = args.runs.iter().filter_map(|dir| SweepRecord::read(dir)).collect();
    Ok(text(&runs, &sweeps))
}

/// All groups of comparable runs, the largest first.
pub struct Comparison<'a> {
    /// Each of one protocol and model.
    pub groups: Vec<Group<'a>>,
}

/// Runs of one protocol and one model.
pub struct Group<'a> {
    /// The model, with the settings of it that tell it from others here.
    pub model: String,
    /// What else holds for all of them: a name and a text each.
    pub protocol: Vec<(&'static str, String)>,
    /// Sorted by method, then by settings.
    pub variants: Vec<Variant<'a>>,
}

/// A method with its settings.
pub struct Variant<'a> {
    /// Its name with what differs from the method's defaults.
    pub label: String,
    /// The method alone.
    pub method: String,
    /// What differs from the defaults, by whole key.
    pub deviations: BTreeMap<String, String>,
    /// The settings of its embedding, by whole key.
    pub embedding: Settings,
    /// By compression ratio, ascending.
    pub cells: Vec<Cell<'a>>,
}

/// A variant at one compression ratio.
pub struct Cell<'a> {
    /// Bytes of the full table over bytes of the budget.
    pub ratio: f64,
    /// One a seed, finished or not: of several of the same seed the one that is finished.
    pub runs: Vec<&'a RunRecord>,
    /// Why there are none: the method does not go so far.
    pub not_applicable: Option<String>,
}

/// A mean over seeds, with the extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The least value.
    pub low: f64,
    /// The greatest.
    pub high: f64,
    /// How many values.
    pub n: usize,
}

impl Spread {
    /// Of some values; `None` if there are none.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        let n = values.len();
        let fold = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick);
        Some(Self {
            mean: values.iter().sum::<f64>() / n as f64,
            low: fold(f64::min)?,
            high: fold(f64::max)?,
            n,
        })
    }
}

impl<'a> Comparison<'a> {
    /// Groups `runs`, and what of `sweeps` could not run. A run that is there twice counts once.
    #[must_use]
    pub fn new(runs: &'a [RunRecord], sweeps: &[SweepRecord]) -> Self {
        let mut builder = group::Builder::default();
        let mut seen = std::collections::BTreeSet::new();
        // Of two of the same settings the finished one.
        let (mut finished, open): (Vec<_>, Vec<_>) =
            runs.iter().partition(|run| run.report.is_some());
        // And of two of the same seed the one that was looked at more often.
        finished.sort_by_key(|run| std::cmp::Reverse(run.evaluations.len()));
        for run in finished.into_iter().chain(open) {
            if seen.insert(identity(&run.settings)) {
                builder.add(&run.settings, Some(run), None);
            }
        }
        for entry in sweeps.iter().flat_map(|sweep| &sweep.runs) {
            if let Fate::NotApplicable(why) = &entry.fate
                && let Ok(table) = entry.settings.join("\n").parse()
            {
                builder.add(&flat(&table), None, Some(why));
            }
        }
        Self { groups: builder.finish() }
    }
}

impl Group<'_> {
    /// Compression ratios at which some variant has runs, ascending.
    #[must_use]
    pub fn ratios(&self) -> Vec<f64> {
        let mut ratios: Vec<f64> = self.cells().map(|(_, cell)| cell.ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.dedup();
        ratios
    }

    /// Every cell that has runs.
    pub fn cells(&self) -> impl Iterator<Item = (&Variant<'_>, &Cell<'_>)> {
        let cells = self
            .variants
            .iter()
            .flat_map(|variant| variant.cells.iter().map(move |cell| (variant, cell)));
        cells.filter(|(_, cell)| !cell.runs.is_empty())
    }

    /// The variants that stand for a method: with its defaults, or at more than one ratio, and full
    /// tables. What is left is a study of one setting.
    pub fn main_variants(&self) -> impl Iterator<Item = &Variant<'_>> {
        self.variants.iter().filter(|variant| {
            let n_ratios = variant.cells.iter().filter(|cell| !cell.runs.is_empty()).count();
            (variant.deviations.is_empty() || !has_budget(&variant.method)) && n_ratios > 0
                || n_ratios > 1
        })
    }
}

impl Cell<'_> {
    /// A figure of the reports of its finished runs.
    pub fn spread(
        &self,
        figure: impl Fn(&crate::results::report::Report) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| figure(run.report.as_ref()?)))
    }

    /// The test AUC.
    #[must_use]
    pub fn auc(&self) -> Option<Spread> {
        self.spread(|report| report.test_auc)
    }
}

impl Variant<'_> {
    /// The cell at a ratio.
    #[must_use]
    pub fn at(&self, ratio: f64) -> Option<&Cell<'_>> {
        self.cells.iter().find(|cell| cell.ratio == ratio)
    }
}
