//! Reads the runs below a directory: settings, report and metrics.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::config::settings::{self, Settings};
use crate::metrics::line::{MetricsLine, TestLine, TrainLine};
use crate::results::report::Report;

/// How many levels below a given directory are searched, so that a wrong one is not searched for
/// hours.
const MAX_DEPTH: usize = 4;

/// The content of a run's directory, finished or not.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// Where it is.
    pub dir: PathBuf,
    /// The settings it was started with, defaults included.
    pub settings: Settings,
    /// The report; `None` while the run is in progress or if it was interrupted.
    pub report: Option<Report>,
    /// Windows of training steps.
    pub windows: Vec<TrainLine>,
    /// Evaluations.
    pub evaluations: Vec<TestLine>,
}

impl RunRecord {
    /// Reads the run in a directory; `None` if there is none.
    ///
    /// # Errors
    /// If one of its files cannot be read or is damaged.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let Some(settings) = read_settings(dir)? else { return Ok(None) };
        let path = dir.join("report.json");
        let report = text(&path)?.map(|text| serde_json::from_str(&text));
        let report = report.transpose().with_context(|| damaged(&path))?;
        let (windows, evaluations) = read_metrics(&dir.join("metrics.jsonl"))?;
        Ok(Some(Self { dir: dir.to_owned(), settings, report, windows, evaluations }))
    }

    /// The seeds of weights and of generated rows.
    #[must_use]
    pub fn seeds(&self) -> [Option<String>; 2] {
        [self.setting("seed"), self.setting("data.synthetic.seed")]
    }

    /// A setting as text; `None` if it is not set.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<String> {
        self.settings.get(key).map(settings::shown)
    }

    /// Training rows so far, from the last line of its metrics.
    #[must_use]
    pub fn rows_trained(&self) -> u64 {
        self.windows.last().map_or(0, |line| line.rows)
    }
}

/// The settings of the run in `dir`; `None` if there is none.
///
/// # Errors
/// If they cannot be read.
pub fn read_settings(dir: &Path) -> Result<Option<Settings>> {
    if !is_run(dir) {
        return Ok(None);
    }
    let path = dir.join("config.toml");
    let Some(text) = text(&path)? else { return Ok(None) };
    let table: toml::Table = toml::from_str(&text).with_context(|| damaged(&path))?;
    settings::settings_of_saved(&table).map(Some)
}

/// Whether `dir` is the directory of a run. `config.toml` alone is too common a name; a run also
/// writes metrics.
#[must_use]
pub fn is_run(dir: &Path) -> bool {
    dir.join("config.toml").is_file() && dir.join("metrics.jsonl").is_file()
}

/// All runs in `dirs` and below, by path. Directories in a run are not searched.
///
/// # Errors
/// If a directory or a run cannot be read.
pub fn find(dirs: &[PathBuf]) -> Result<Vec<RunRecord>> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for dir in dirs {
        visit(dir, MAX_DEPTH, &mut |dir| {
            let is_run = is_run(dir);
            // One of the given directories may lie in another.
            if is_run && seen.insert(fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned())) {
                found.extend(RunRecord::read(dir)?);
            }
            Ok(is_run)
        })?;
    }
    Ok(found)
}

/// Calls `enter` on `dir` and the directories below it, up to `depth` levels, in the order of
/// names. Where `enter` returns true, the directories below are left out.
///
/// # Errors
/// Those of `enter`, or if a directory cannot be read.
pub fn visit(
    dir: &Path,
    depth: usize,
    enter: &mut impl FnMut(&Path) -> Result<bool>,
) -> Result<()> {
    if enter(dir)? || depth == 0 {
        return Ok(());
    }
    let cant_read = || format!("{}: cannot be read", dir.display());
    let mut below = Vec::new();
    for entry in fs::read_dir(dir).with_context(cant_read)? {
        let entry = entry.with_context(cant_read)?;
        if entry.file_type().with_context(cant_read)?.is_dir() {
            below.push(entry.path());
        }
    }
    below.sort();
    below.iter().try_for_each(|dir| visit(dir, depth - 1, enter))
}

/// Reads the complete lines; the last one may still be in the process of being written.
fn read_metrics(path: &Path) -> Result<(Vec<TrainLine>, Vec<TestLine>)> {
    let (mut windows, mut evaluations) = (Vec::new(), Vec::new());
    let text = text(path)?.unwrap_or_default();
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    for (number, line) in complete.lines().enumerate() {
        let value: serde_json::Value = serde_json::from_str(line)
            .with_context(|| format!("{}:{}: damaged", path.display(), number + 1))?;
        // Lines of another version may have other keys; they are left out.
        match MetricsLine::deserialize(&value) {
            Ok(MetricsLine::Test(line)) => evaluations.push(line),
            Ok(MetricsLine::Train(line)) => windows.push(line),
            Ok(MetricsLine::Day(_)) | Err(_) => {}
        }
    }
    Ok((windows, evaluations))
}

fn text(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    }
}

fn damaged(path: &Path) -> String {
    format!("{}: damaged, or written by another version", path.display())
}
