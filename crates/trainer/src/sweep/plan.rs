//! What is to be run and where, what is there already, what can't be, and how much memory each run takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cafe_core::BudgetError;

use super::record::{Fate, SweepEntry, SweepRecord};
use super::spec::{Point, Spec};
use crate::config::{Config, ConfigError};
use crate::data::DataSet;
use crate::memory::MemoryError;
use crate::plan::check_memory;
use crate::report::grouped;
use crate::runs::read_settings;
use crate::settings::{self, identity};
use crate::setup;

/// Problems that are shown of all.
const MAX_PROBLEMS: usize = 20;

/// A sweep that is ready to run.
pub(super) struct Plan {
    pub(super) base: PathBuf,
    pub(super) out: PathBuf,
    /// In the order in which they start.
    pub(super) runs: Vec<Planned>,
    question: Option<String>,
    file: String,
}

/// A run of it.
pub(super) struct Planned {
    pub(super) entry: SweepEntry,
    pub(super) dir: PathBuf,
    pub(super) overrides: Vec<String>,
    /// Bytes that it is expected to hold at most.
    pub(super) peak: u64,
    config: Config,
}

impl Plan {
    pub(super) fn make(spec: &Spec, points: Vec<Point>, out: &Path) -> Result<Self> {
        let base = spec.base();
        let configs = resolve(&base, points)?;
        let mut places = Places::of(out)?;
        let mut runs: Vec<Planned> = Vec::new();
        for (point, config) in configs {
            let settings = settings::of(&config)?;
            let id = identity(&settings);
            // Two studies may share a run.
            if runs.iter().any(|run| run.entry.settings == lines(&id)) {
                continue;
            }
            let name = places.take(&point.name, &id);
            let dir = out.join(&name);
            let (fate, peak) = fate(&config, &dir)?;
            let entry = SweepEntry { name: point.name, study: point.study, dir: name, fate, settings: lines(&id) };
            runs.push(Planned { entry, dir, overrides: point.overrides, peak, config });
        }
        let file = spec.file().display().to_string();
        Ok(Self { base, out: out.to_owned(), runs, question: spec.question.clone(), file })
    }

    /// What became of the runs so far.
    pub(super) fn entries(&self) -> impl Iterator<Item = &SweepEntry> {
        self.runs.iter().map(|run| &run.entry)
    }

    /// Directories of the runs that have one.
    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        self.runs.iter().filter(|run| run.entry.fate == Fate::Done).map(|run| run.dir.clone()).collect()
    }

    pub(super) fn record(&self) -> SweepRecord {
        let runs = self.entries().cloned().collect();
        SweepRecord { question: self.question.clone(), file: self.file.clone(), runs }
    }

    pub(super) fn summary(&self) -> String {
        let count = |is: fn(&Fate) -> bool| self.entries().filter(|entry| is(&entry.fate)).count();
        let (done, not) = (count(|fate| *fate == Fate::Done), count(|fate| matches!(fate, Fate::NotApplicable(_))));
        let waiting = count(|fate| *fate == Fate::Waiting);
        format!("{} runs: {done} are there, {not} can't be, {waiting} to go", self.runs.len())
    }

    /// A line a run.
    pub(super) fn list(&self) -> String {
        self.entries().fold(String::new(), |mut text, SweepEntry { name, fate, .. }| {
            let _ = match fate {
                Fate::NotApplicable(why) => writeln!(text, "{name}  {why}"),
                Fate::Done => writeln!(text, "{name}  done"),
                _ => writeln!(text, "{name}  to run"),
            };
            text
        })
    }

    /// Builds the caches that runs will read, once, before they start side by side.
    pub(super) fn build_caches(&self) -> Result<()> {
        let mut built = BTreeSet::new();
        for run in self.runs.iter().filter(|run| run.entry.fate == Fate::Waiting && run.config.data.cache) {
            if built.insert(toml::to_string(&run.config.data)?) {
                DataSet::open(&run.config)?;
            }
        }
        Ok(())
    }
}

fn lines(identity: &str) -> Vec<String> {
    identity.lines().map(str::to_owned).collect()
}

/// The configuration of each point.
fn resolve(base: &Path, points: Vec<Point>) -> Result<Vec<(Point, Config)>, ConfigError> {
    let (mut configs, mut problems) = (Vec::new(), Vec::new());
    for mut point in points {
        match load(base, &mut point) {
            Ok(config) => configs.push((point, config)),
            Err(ConfigError::Invalid { problems: of_run }) => {
                problems.extend(of_run.into_iter().map(|problem| format!("{}: {problem}", point.name)));
            }
            Err(error) => return Err(error),
        }
    }
    if problems.is_empty() {
        return Ok(configs);
    }
    let n_more = problems.len().saturating_sub(MAX_PROBLEMS);
    problems.truncate(MAX_PROBLEMS);
    if n_more > 0 {
        problems.push(format!("and {} more", grouped(n_more as u64)));
    }
    Err(ConfigError::Invalid { problems })
}

/// With a cache of parsed rows, unless that can't be or somebody says otherwise: all runs read the same.
fn load(base: &Path, point: &mut Point) -> Result<Config, ConfigError> {
    let plain = Config::load(base, &point.overrides)?;
    let is_set = point.overrides.iter().any(|one| one.starts_with("data.cache="));
    if is_set || plain.data.cache || plain.data.path.is_none() {
        return Ok(plain);
    }
    let mut cached = vec!["data.cache=true".to_owned()];
    cached.extend_from_slice(&point.overrides);
    match Config::load(base, &cached) {
        Ok(config) if !reads_pipe(&config) => {
            point.overrides = cached;
            Ok(config)
        }
        _ => Ok(plain),
    }
}

fn reads_pipe(config: &Config) -> bool {
    let paths = config.data.path.iter().chain(&config.data.test_path).flat_map(crate::config::Paths::to_vec);
    paths.into_iter().any(|path| criteo_io::is_read_once(&path).unwrap_or(false))
}

/// What becomes of a run as far as that is known, and its memory.
fn fate(config: &Config, dir: &Path) -> Result<(Fate, u64)> {
    if dir.join("report.json").exists() {
        return Ok((Fate::Done, 0));
    }
    let plan = match setup::plan_embedding(config) {
        Ok(plan) => plan,
        Err(error) if budget_error(&error).is_some() => {
            return Ok((Fate::NotApplicable(reason(&error)), 0));
        }
        Err(error) => return Err(error),
    };
    match check_memory(config, &plan, &setup::model_config(config)?) {
        Ok(peak) => Ok((Fate::Waiting, peak)),
        Err(error @ MemoryError { .. }) => Ok((Fate::NotApplicable(error.to_string()), 0)),
    }
}

fn budget_error(error: &anyhow::Error) -> Option<&BudgetError> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

fn reason(error: &anyhow::Error) -> String {
    budget_error(error).map_or_else(|| format!("{error:#}"), ToString::to_string)
}

/// Directories below that of a sweep: whose they are, and which names are free.
struct Places {
    by_identity: BTreeMap<String, String>,
    taken: BTreeSet<String>,
}

impl Places {
    fn of(out: &Path) -> Result<Self> {
        let mut places = Self { by_identity: BTreeMap::new(), taken: BTreeSet::new() };
        if !out.exists() {
            return Ok(places);
        }
        let cant_read = || format!("{}: can't be read", out.display());
        for entry in fs::read_dir(out).with_context(cant_read)? {
            let entry = entry.with_context(cant_read)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(settings) = read_settings(&entry.path())? {
                places.taken.insert(name.clone());
                let finished = entry.path().join("report.json").exists();
                let place = places.by_identity.entry(identity(&settings)).or_insert_with(|| name.clone());
                if finished {
                    *place = name;
                }
            }
        }
        Ok(places)
    }

    /// The directory of the run that is told by `id`: the one that it has, or a new one.
    fn take(&mut self, name: &str, id: &str) -> String {
        if let Some(place) = self.by_identity.get(id) {
            return place.clone();
        }
        let names = std::iter::once(name.to_owned()).chain((2..).map(|number| format!("{name}-{number}")));
        let free = names.into_iter().find(|name| !self.taken.contains(name)).unwrap_or_default();
        self.taken.insert(free.clone());
        self.by_identity.insert(id.to_owned(), free.clone());
        free
    }
}
