//! The plan of a sweep: its runs with their directories, their status (finished, not applicable,
//! pending) and the memory that each needs.

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
use crate::results::sweep_record::{RunStatus, SweepEntry, SweepRecord};
use crate::text::grouped;
use crate::{build, memory};

/// Most problems that are reported: the runs of a sweep tend to share them.
const MAX_PROBLEMS: usize = 20;

/// A sweep that is ready to run.
pub(super) struct Plan {
    pub(super) out: PathBuf,
    /// In the order in which they start.
    pub(super) runs: Vec<Planned>,
    question: Option<String>,
    file: String,
}

/// A run of a plan.
pub(super) struct Planned {
    pub(super) entry: SweepEntry,
    pub(super) dir: PathBuf,
    /// Expected peak memory in bytes.
    pub(super) peak: u64,
    pub(super) config: Config,
    /// Whether the cache is an addition of the sweep, and the run may go without.
    may_lack_cache: bool,
}

impl Plan {
    pub(super) fn make(spec: &Spec, points: Vec<Point>, out: &Path) -> Result<Self> {
        let configs = resolve(&spec.base(), points)?;
        let mut dirs = RunDirs::read(out)?;
        let mut runs: Vec<Planned> = Vec::new();
        for Resolved { point, mut config, may_lack_cache } in configs {
            let settings = settings::settings_of(&config)?;
            let id = identity(&settings);
            // Two studies may share a run.
            if runs.iter().any(|run| run.entry.settings == lines(&id)) {
                continue;
            }
            let name = dirs.assign(&point.name, &id);
            let dir = out.join(&name);
            let Expected { status, peak } = expected(&config, &dir)?;
            config.name.clone_from(&point.name);
            let entry = SweepEntry {
                name: point.name,
                study: point.study,
                dir: name,
                status,
                settings: lines(&id),
            };
            runs.push(Planned { entry, dir, peak, config, may_lack_cache });
        }
        let file = spec.file().display().to_string();
        Ok(Self { out: out.to_owned(), runs, question: spec.question.clone(), file })
    }

    /// The runs with their current status.
    pub(super) fn entries(&self) -> impl Iterator<Item = &SweepEntry> {
        self.runs.iter().map(|run| &run.entry)
    }

    /// Directories of the finished runs.
    pub(super) fn dirs(&self) -> Vec<PathBuf> {
        self.runs
            .iter()
            .filter(|run| run.entry.status == RunStatus::Done)
            .map(|run| run.dir.clone())
            .collect()
    }

    pub(super) fn record(&self) -> SweepRecord {
        let runs = self.entries().cloned().collect();
        SweepRecord { question: self.question.clone(), file: self.file.clone(), runs }
    }

    pub(super) fn summary(&self) -> String {
        let count =
            |is: fn(&RunStatus) -> bool| self.entries().filter(|entry| is(&entry.status)).count();
        let finished = count(|status| *status == RunStatus::Done);
        let not_applicable = count(|status| matches!(status, RunStatus::NotApplicable(_)));
        let pending = count(|status| *status == RunStatus::Waiting);
        format!(
            "{} runs: {finished} finished, {not_applicable} not applicable, {pending} pending",
            self.runs.len()
        )
    }

    /// One line per run.
    pub(super) fn list(&self) -> String {
        self.entries().fold(String::new(), |mut text, SweepEntry { name, status, .. }| {
            let _ = match status {
                RunStatus::NotApplicable(why) => writeln!(text, "{name}  {why}"),
                RunStatus::Done => writeln!(text, "{name}  finished"),
                _ => writeln!(text, "{name}  pending"),
            };
            text
        })
    }

    /// Builds the caches that runs share, once, before the runs start in parallel. Where a cache
    /// that the configuration does not ask for cannot be built, runs go without.
    pub(super) fn build_caches(&mut self) -> Result<()> {
        let mut built: BTreeMap<String, bool> = BTreeMap::new();
        for run in self
            .runs
            .iter_mut()
            .filter(|run| run.entry.status == RunStatus::Waiting && run.config.data.cache)
        {
            let data = toml::to_string(&run.config.data)?;
            let is_there = match built.get(&data) {
                Some(is_there) => *is_there,
                None => match DataSet::open(&run.config) {
                    Ok(data) => data.is_cached(),
                    // If the rows are at fault, each run reports it, and other runs are not
                    // affected.
                    Err(error) => {
                        tracing::warn!("{error:#}; the cache could not be built in advance");
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

/// Whether the base configuration sets `data.cache`.
fn says_cache(base: &Path) -> bool {
    let table = fs::read_to_string(base).ok().and_then(|text| text.parse().ok());
    table.is_some_and(|table: toml::Table| settings::flat(&table).contains_key("data.cache"))
}

/// The configuration with a cache of parsed rows, which all runs can share; `None` if the data
/// cannot be cached.
fn cached(base: &Path, point: &Point, plain: &Config) -> Option<Config> {
    if plain.data.path.is_none() || reads_pipe(plain) {
        return None;
    }
    let overrides = [&["data.cache=true".to_owned()], &*point.overrides].concat();
    Config::load(base, &overrides).ok()
}

/// What is known of a run before it starts.
struct Expected {
    status: RunStatus,
    /// Peak memory in bytes; 0 for a run that will not start.
    peak: u64,
}

fn expected(config: &Config, dir: &Path) -> Result<Expected> {
    let waiting = |peak| Ok(Expected { status: RunStatus::Waiting, peak });
    let not_applicable = |why| Ok(Expected { status: RunStatus::NotApplicable(why), peak: 0 });
    if dir.join("report.json").exists() {
        warn_of_another_preset(config, dir);
        return Ok(Expected { status: RunStatus::Done, peak: 0 });
    }
    let plan = match build::plan_embedding(config) {
        Ok(plan) => plan,
        Err(error) if budget_error(&error).is_some() => return not_applicable(reason(&error)),
        Err(error) => return Err(error),
    };
    match check_memory(config, &plan, &models::model_config(config)?) {
        Ok(peak) => waiting(peak),
        // Memory that is taken now may be free when the run starts, unless it exceeds the total.
        Err(error)
            if config.max_memory.is_none()
                && memory::total().is_none_or(|all| error.needed <= all) =>
        {
            waiting(error.needed)
        }
        Err(error) => not_applicable(error.to_string()),
    }
}

/// A finished run may have taken settings from a preset that has changed since.
fn warn_of_another_preset(config: &Config, dir: &Path) {
    let report = fs::read_to_string(dir.join("report.json")).ok();
    let report: Option<Report> = report.and_then(|text| serde_json::from_str(&text).ok());
    let had = report.and_then(|report| report.cafe);
    if had.is_some() && had != cafe::cafe_in_full(config) {
        let method = config.embedding.method.name();
        tracing::warn!(
            "{}: {method} meant other settings when it was run (`cafe` in its report.json); \
             remove the directory to run it again",
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

/// The directories in that of a sweep: which run each holds, and which names are taken.
struct RunDirs {
    by_identity: BTreeMap<String, String>,
    taken: BTreeSet<String>,
}

impl RunDirs {
    fn read(out: &Path) -> Result<Self> {
        let mut dirs = Self { by_identity: BTreeMap::new(), taken: BTreeSet::new() };
        if !out.exists() {
            return Ok(dirs);
        }
        let cant_read = || format!("{}: cannot be read", out.display());
        for entry in fs::read_dir(out).with_context(cant_read)? {
            let entry = entry.with_context(cant_read)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let settings = read_settings(&entry.path()).unwrap_or_else(|error| {
                tracing::warn!("{error:#}; the directory is left as it is");
                dirs.taken.insert(name.clone());
                None
            });
            if let Some(settings) = settings {
                dirs.taken.insert(name.clone());
                let finished = entry.path().join("report.json").exists();
                let dir =
                    dirs.by_identity.entry(identity(&settings)).or_insert_with(|| name.clone());
                if finished {
                    *dir = name;
                }
            }
        }
        Ok(dirs)
    }

    /// The directory of the run with this identity: the one that it has, or a new one called `name`
    /// or `name-2` and so on.
    fn assign(&mut self, name: &str, id: &str) -> String {
        if let Some(dir) = self.by_identity.get(id) {
            return dir.clone();
        }
        let names =
            std::iter::once(name.to_owned()).chain((2..).map(|number| format!("{name}-{number}")));
        let free = names.into_iter().find(|name| !self.taken.contains(name)).unwrap_or_default();
        self.taken.insert(free.clone());
        self.by_identity.insert(id.to_owned(), free.clone());
        free
    }
}
