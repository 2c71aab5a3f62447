//! `trainer compare`, and the data of `trainer report`: runs grouped so that each comparison is
//! fair.
//!
//! Only runs of the same protocol (data, split, batch, optimizer, ...) and the same model are
//! compared: a [`Group`]. In a group a [`Variant`] is a method with its settings, and a [`Cell`] is
//! a variant at one compression ratio: its runs differ by their seeds only.

mod answer;
mod group;
mod label;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::config::settings::{Settings, flat, identity};
use crate::results::runs::{self, RunRecord};
use crate::results::sweep_record::{RunStatus, SweepRecord};

pub use answer::answer;
pub(crate) use group::{has_budget, rank};
pub(crate) use label::short;
pub use label::{ratio_text, share_of_bytes};
pub use text::text;

/// Arguments of `trainer compare`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompareArgs {
    /// Directories of runs, or directories that contain runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
}

/// Compares runs; returns the text to print.
///
/// # Errors
/// If there are no runs, or one cannot be read.
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
    /// Each with one protocol and one model.
    pub groups: Vec<Group<'a>>,
}

/// Runs of one protocol and one model.
pub struct Group<'a> {
    /// The model, with the settings that distinguish it from the first group of the same model.
    pub model: String,
    /// What else all runs share: pairs of a name and a text.
    pub protocol: Vec<(&'static str, String)>,
    /// Sorted by method, then by settings.
    pub variants: Vec<Variant<'a>>,
}

/// A method with its settings.
pub struct Variant<'a> {
    /// The method's name with the settings that differ from its defaults.
    pub label: String,
    /// The name of the method.
    pub method: String,
    /// Settings that differ from the method's defaults, by full key.
    pub deviations: BTreeMap<String, String>,
    /// Settings of the embedding, by full key.
    pub embedding: Settings,
    /// By compression ratio, ascending.
    pub cells: Vec<Cell<'a>>,
}

/// A variant at one compression ratio.
pub struct Cell<'a> {
    /// The compression ratio: bytes of the full table over bytes of the budget.
    pub ratio: f64,
    /// One run for each seed; of several with the same seed a finished one.
    pub runs: Vec<&'a RunRecord>,
    /// Why there are no runs: the method cannot reach this ratio.
    pub not_applicable: Option<String>,
}

/// Mean and extremes over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The lowest value.
    pub low: f64,
    /// The highest value.
    pub high: f64,
    /// The number of values.
    pub n: usize,
}

impl Spread {
    /// Mean and extremes of `values`; `None` if there are none.
    #[must_use]
    pub fn new(values: impl IntoIterator<Item = f64>) -> Option<Self> {
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
    /// Groups `runs`, and the entries of `sweeps` that are not applicable. Of runs with equal
    /// settings one counts.
    #[must_use]
    pub fn new(runs: &'a [RunRecord], sweeps: &[SweepRecord]) -> Self {
        let mut builder = group::Builder::default();
        let mut seen = std::collections::BTreeSet::new();
        // Of runs with equal settings the finished one counts,
        let (mut finished, open): (Vec<_>, Vec<_>) =
            runs.iter().partition(|run| run.report.is_some());
        // and of finished ones the one with more evaluations.
        finished.sort_by_key(|run| std::cmp::Reverse(run.evaluations.len()));
        for run in finished.into_iter().chain(open) {
            if seen.insert(identity(&run.settings)) {
                builder.add(&run.settings, Some(run), None);
            }
        }
        for entry in sweeps.iter().flat_map(|sweep| &sweep.runs) {
            if let RunStatus::NotApplicable(why) = &entry.status
                && let Ok(table) = entry.settings.join("\n").parse()
            {
                builder.add(&flat(&table), None, Some(why));
            }
        }
        Self { groups: builder.finish() }
    }
}

impl Group<'_> {
    /// The compression ratios at which a variant has runs, ascending.
    #[must_use]
    pub fn ratios(&self) -> Vec<f64> {
        let mut ratios: Vec<f64> = self.cells().map(|(_, cell)| cell.ratio).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.dedup();
        ratios
    }

    /// The cells that have runs, with their variants.
    pub fn cells(&self) -> impl Iterator<Item = (&Variant<'_>, &Cell<'_>)> {
        let cells = self
            .variants
            .iter()
            .flat_map(|variant| variant.cells.iter().map(move |cell| (variant, cell)));
        cells.filter(|(_, cell)| !cell.runs.is_empty())
    }

    /// The variants that represent a method: those with its default settings, those with runs at
    /// more than one ratio, and full tables. The others are studies of one setting.
    pub fn main_variants(&self) -> impl Iterator<Item = &Variant<'_>> {
        self.variants.iter().filter(|variant| {
            let n_ratios = variant.cells.iter().filter(|cell| !cell.runs.is_empty()).count();
            (variant.deviations.is_empty() || !has_budget(&variant.method)) && n_ratios > 0
                || n_ratios > 1
        })
    }
}

impl Cell<'_> {
    /// Mean and extremes of a figure over the finished runs that have it.
    pub fn spread(
        &self,
        figure: impl Fn(&crate::results::report::Report) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::new(self.runs.iter().filter_map(|run| figure(run.report.as_ref()?)))
    }

    /// Mean and extremes of the test AUC.
    #[must_use]
    pub fn auc(&self) -> Option<Spread> {
        self.spread(|report| report.test_auc)
    }
}

impl Variant<'_> {
    /// The cell at a compression ratio.
    #[must_use]
    pub fn cell_at(&self, ratio: f64) -> Option<&Cell<'_>> {
        self.cells.iter().find(|cell| cell.ratio == ratio)
    }
}
