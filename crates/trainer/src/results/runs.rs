//! The runs below a directory, as whoever compares them sees them: settings, report, metrics.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::config::settings::{self, Settings};
use crate::metrics::line::{MetricsLine, TestLine, TrainLine};
use crate::results::report::Report;

/// How deep runs are looked for.
const MAX_DEPTH: usize = 4;

/// A run as its directory shows it, finished or not.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// Where it is.
    pub dir: PathBuf,
    /// What it was started with, defaults included.
    pub settings: Settings,
    /// What came out; `None` while it goes on or where it was stopped.
    pub report: Option<Report>,
    /// Windows of training steps.
    pub windows: Vec<TrainLine>,
    /// Evaluations.
    pub evaluations: Vec<TestLine>,
}

impl RunRecord {
    /// Reads the run of a directory; `None` if it holds none.
    ///
    /// # Errors
    /// If a file of it can't be read or is damaged.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let Some(settings) = read_settings(dir)? else { return Ok(None) };
        let path = dir.join("report.json");
        let report = text(&path)?.map(|text| serde_json::from_str(&text));
        let report = report.transpose().with_context(|| damaged(&path))?;
        let (windows, evaluations) = read_metrics(&dir.join("metrics.jsonl"))?;
        Ok(Some(Self { dir: dir.to_owned(), settings, report, windows, evaluations }))
    }

    /// Of weights and of generated rows.
    #[must_use]
    pub fn seeds(&self) -> [Option<String>; 2] {
        [self.setting("seed"), self.setting("data.synthetic.seed")]
    }

    /// A setting as text; `None` where it is not set.
    #[must_use]
    pub fn setting(&self, key: &str) -> Option<String> {
        self.settings.get(key).map(settings::shown)
    }

    /// Training rows so far, as its last line says.
    #[must_use]
    pub fn rows_trained(&self) -> u64 {
        self.windows.last().map_or(0, |line| line.rows)
    }
}

/// The settings of the run in `dir`; `None` if it holds none.
///
/// # Errors
/// If they can't be read.
pub fn read_settings(dir: &Path) -> Result<Option<Settings>> {
    if !is_run(dir) {
        return Ok(None);
    }
    let path = dir.join("config.toml");
    let Some(text) = text(&path)? else { return Ok(None) };
    let table: toml::Table = toml::from_str(&text).with_context(|| damaged(&path))?;
    settings::settings_of_saved(&table).map(Some)
}

/// Whether `dir` is that of a run. A file called `config.toml` may be anything; a run writes
/// metrics beside it.
#[must_use]
pub fn is_run(dir: &Path) -> bool {
    dir.join("config.toml").is_file() && dir.join("metrics.jsonl").is_file()
}

/// All runs in `dirs` and below, by path. A directory in a run is not looked into.
///
/// # Errors
/// If a directory or a run can't be read.
pub fn find(dirs: &[PathBuf]) -> Result<Vec<RunRecord>> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for dir in dirs {
        visit(dir, MAX_DEPTH, &mut |dir| {
            let is_run = is_run(dir);
            // Directories that were given may lie in each other.
            if is_run && seen.insert(fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned())) {
                found.extend(RunRecord::read(dir)?);
            }
            Ok(is_run)
        })?;
    }
    Ok(found)
}

/// Calls `enter` on `dir` and what is below, in the order of names; where it says that it is done
/// it goes no deeper.
///
/// # Errors
/// Its own, or that a directory can't be read.
pub fn visit(
    dir: &Path,
    depth: usize,
    enter: &mut impl FnMut(&Path) -> Result<bool>,
) -> Result<()> {
    if enter(dir)? || depth == 0 {
        return Ok(());
    }
    let cant_read = || format!("{}: can't be read", dir.display());
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

/// What the lines say that can be read whole: the last one may be in the making.
fn read_metrics(path: &Path) -> Result<(Vec<TrainLine>, Vec<TestLine>)> {
    let (mut windows, mut evaluations) = (Vec::new(), Vec::new());
    let text = text(path)?.unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for (number, line) in whole.lines().enumerate() {
        let value: serde_json::Value = serde_json::from_str(line)
            .with_context(|| format!("{}:{}: damaged", path.display(), number + 1))?;
        // A line of another version may have other keys; what can't be read is left out.
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
        Err(error) => Err(error).with_context(|| format!("{}: can't be read", path.display())),
    }
}

fn damaged(path: &Path) -> String {
    format!("{}: damaged, or written by another version", path.display())
}
