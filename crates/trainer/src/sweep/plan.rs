//! What is to be run and where, what is there already, what can't be, and how much memory each run
//! takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cafe_core::BudgetError;

use super::spec::{Point, Spec};
use crate::build::memory::check_memory;
use crate::config::settings::{self, identity};
use crate::config::{Config, ConfigError, Named, cafe, models};
use crate::data::{DataSet, reads_pipe};
use crate::results::report::Report;
use crate::results::runs::read_settings;
use crate::results::sweep_record::{Fate, SweepEntry, SweepRecord};
use crate::text::grouped;
use crate::{build, memory};

/// Problems that are shown of all.
const MAX_PROBLEMS: usize = 20;

/// A sweep that is ready to run.
pub(super) struct Plan {
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
    /// Bytes that it is expected to hold at most.
    pub(super) peak: u64,
    pub(super) config: Config,
    /// Nobody asked for the cache that it reads from.
    may_lack_cache: bool,
}

impl Plan {
    pub(super) fn make(spec: &Spec, points: Vec<Point>, out: &Path) -> Result<Self> {
        let configs = resolve(&spec.base(), points)?;
        let mut places = Places::of(out)?;
        let mut runs: Vec<Planned> = Vec::new();
        for Resolved { point, mut config, may_lack_cache } in configs {
            let settings = settings::settings_of(&config)?;
            let id = identity(&settings);
            // Two studies may share a run.
            if runs.iter().any(|run| run.entry.settings == lines(&id)) {
                continue;
            }
            let name = places.take(&point.name, &id);
            let dir = out.join(&name);
            let (fate, peak) = fate(&config, &dir)?;
            config.name.clone_from(&point.name);
            let entry = SweepEntry {
                name: point.name,
                study: point.study,
                dir: name,
                fate,
                settings: lines(&id),
            };
            runs.push(Planned { entry, dir, peak, config, may_lack_cache });
        }
        let file = spec.file().display().to_string();
        Ok(Self { out: out.to_owned(), runs, question: spec.question.clone(), file })
    }

    /// What became of the runs so far.
    pub(super) fn entries(&self) -> impl Iterator<Item = &SweepEntry> {
        self.runs.iter().map(|run| &run.entry)
    }

    /// Directories of the runs that have one.
    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        self.runs
            .iter()
            .filter(|run| run.entry.fate == Fate::Done)
            .map(|run| run.dir.clone())
            .collect()
    }

    pub(super) fn record(&self) -> SweepRecord {
        let runs = self.entries().cloned().collect();
        SweepRecord { question: self.question.clone(), file: self.file.clone(), runs }
    }

    pub(super) fn summary(&self) -> String {
        let count = |is: fn(&Fate) -> bool| self.entries().filter(|entry| is(&entry.fate)).count();
        let (done, not) = (
            count(|fate| *fate == Fate::Done),
            count(|fate| matches!(fate, Fate::NotApplicable(_))),
        );
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

    /// Builds the caches that runs will read, once, before they start side by side. Where there is
    /// no place for one that nobody asked for, runs go without.
    pub(super) fn build_caches(&mut self) -> Result<()> {
        let mut built: BTreeMap<String, bool> = BTreeMap::new();
        for run in self
            .runs
            .iter_mut()
            .filter(|run| run.entry.fate == Fate::Waiting && run.config.data.cache)
        {
            let data = toml::to_string(&run.config.data)?;
            let is_there = match built.get(&data) {
                Some(is_there) => *is_there,
                None => match DataSet::open(&run.config) {
                    Ok(data) => data.is_cached(),
                    // Where the rows are at fault each run says so itself, and ends no other.
                    Err(error) => {
                        tracing::warn!("{error:#}; no cache could be built beforehand");
                        false
                    }
                },
            };
            built.insert(data, is_there);
            if run.may_lack_cache {
                run.config.data.cache = is_there;
            }
        }
        Ok(())
    }
}

fn lines(identity: &str) -> Vec<String> {
    identity.lines().map(str::to_owned).collect()
}

/// A point with its configuration.
struct Resolved {
    point: Point,
    config: Config,
    may_lack_cache: bool,
}

/// The configuration of each point.
fn resolve(base: &Path, points: Vec<Point>) -> Result<Vec<Resolved>, ConfigError> {
    let (mut configs, mut problems) = (Vec::new(), Vec::new());
    let says_cache = says_cache(base);
    for point in points {
        let plain = match Config::load(base, &point.overrides) {
            Ok(config) => config,
            Err(ConfigError::Invalid { problems: of_run }) => {
                problems
                    .extend(of_run.into_iter().map(|problem| format!("{}: {problem}", point.name)));
                continue;
            }
            Err(error) => return Err(error),
        };
        let is_set = says_cache || point.overrides.iter().any(|one| one.starts_with("data.cache="));
        let cached = if is_set { None } else { cached(base, &point, &plain) };
        let may_lack_cache = cached.is_some();
        configs.push(Resolved { point, config: cached.unwrap_or(plain), may_lack_cache });
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

/// Whether the base says itself if there is to be a cache.
fn says_cache(base: &Path) -> bool {
    let table = fs::read_to_string(base).ok().and_then(|text| text.parse().ok());
    table.is_some_and(|table: toml::Table| settings::flat(&table).contains_key("data.cache"))
}

/// The same run with a cache of parsed rows, where that can be: all runs read the same.
fn cached(base: &Path, point: &Point, plain: &Config) -> Option<Config> {
    if plain.data.path.is_none() || reads_pipe(plain) {
        return None;
    }
    let overrides = [&["data.cache=true".to_owned()], &*point.overrides].concat();
    Config::load(base, &overrides).ok()
}

/// What becomes of a run as far as that is known, and its memory.
fn fate(config: &Config, dir: &Path) -> Result<(Fate, u64)> {
    if dir.join("report.json").exists() {
        warn_of_another_preset(config, dir);
        return Ok((Fate::Done, 0));
    }
    let plan = match build::plan_embedding(config) {
        Ok(plan) => plan,
        Err(error) if budget_error(&error).is_some() => {
            return Ok((Fate::NotApplicable(reason(&error)), 0));
        }
        Err(error) => return Err(error),
    };
    match check_memory(config, &plan, &models::model_config(config)?) {
        Ok(peak) => Ok((Fate::Waiting, peak)),
        // What there is not now there may be when its turn comes, but not more than all.
        Err(error)
            if config.max_memory.is_none()
                && memory::total().is_none_or(|all| error.needed <= all) =>
        {
            Ok((Fate::Waiting, error.needed))
        }
        Err(error) => Ok((Fate::NotApplicable(error.to_string()), 0)),
    }
}

/// The settings of a run that is there may leave some to a preset, which may have been another when
/// it was made.
fn warn_of_another_preset(config: &Config, dir: &Path) {
    let report = fs::read_to_string(dir.join("report.json")).ok();
    let report: Option<Report> = report.and_then(|text| serde_json::from_str(&text).ok());
    let had = report.and_then(|report| report.cafe);
    if had.is_some() && had != cafe::cafe_in_full(config) {
        let method = config.embedding.method.name();
        tracing::warn!(
            "{}: {method} meant other settings when it was run (`cafe` in its report.json); remove it to have it run again",
            dir.display()
        );
    }
}

fn budget_error(error: &anyhow::Error) -> Option<&BudgetError> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

fn reason(error: &anyhow::Error) -> String {
    match budget_error(error) {
        Some(BudgetError::RatioTooHigh { .. }) => format!("n/a: {}", error.root_cause()),
        Some(budget) => budget.to_string(),
        None => format!("{error:#}"),
    }
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
            let settings = read_settings(&entry.path()).unwrap_or_else(|error| {
                tracing::warn!("{error:#}; it is left alone");
                places.taken.insert(name.clone());
                None
            });
            if let Some(settings) = settings {
                places.taken.insert(name.clone());
                let finished = entry.path().join("report.json").exists();
                let place =
                    places.by_identity.entry(identity(&settings)).or_insert_with(|| name.clone());
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
        let names =
            std::iter::once(name.to_owned()).chain((2..).map(|number| format!("{name}-{number}")));
        let free = names.into_iter().find(|name| !self.taken.contains(name)).unwrap_or_default();
        self.taken.insert(free.clone());
        self.by_identity.insert(id.to_owned(), free.clone());
        free
    }
}
