//! The directory of a run: what is written where, and that nothing finished is ever overwritten.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::config::Config;
use crate::report::Report;
use crate::tensorboard::EventFile;

/// A run's directory with its open metrics files.
pub struct RunDir {
    path: PathBuf,
    metrics: BufWriter<File>,
    /// With `train.tensorboard`.
    events: Option<EventFile>,
}

impl RunDir {
    /// Whether a run may be written to `path`; said before anything else takes time.
    ///
    /// # Errors
    /// If it holds a finished run.
    pub fn check(path: Option<&Path>) -> Result<()> {
        let Some(path) = path.filter(|path| path.join("report.json").exists()) else { return Ok(()) };
        anyhow::bail!("{}: holds a finished run; give another --run-dir, or remove it", path.display())
    }

    /// Makes the directory and writes the resolved configuration. Without `path` it is
    /// `runs/NAME`, or `runs/NAME-2` and so on where that is taken.
    ///
    /// # Errors
    /// If `path` holds a finished run, or can't be written.
    pub fn create(path: Option<PathBuf>, config: &Config) -> Result<Self> {
        let path = match path {
            Some(path) => {
                Self::check(Some(&path))?;
                fs::create_dir_all(&path).with_context(|| format!("{}: can't be made", path.display()))?;
                path
            }
            None => fresh(Path::new("runs"), &config.name)?,
        };
        write_atomically(&path.join("config.toml"), &toml::to_string(config)?)?;
        let metrics_path = path.join("metrics.jsonl");
        let metrics =
            File::create(&metrics_path).with_context(|| format!("{}: can't be written", metrics_path.display()))?;
        let events = config.train.tensorboard.then(|| EventFile::create(&path.join("tensorboard"))).transpose()?;
        Ok(Self { path, metrics: BufWriter::new(metrics), events })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line to `metrics.jsonl`, and its numbers to the event file if there is one.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn log(&mut self, line: &impl Serialize) -> Result<()> {
        let write = |out: &mut BufWriter<File>| {
            serde_json::to_writer(&mut *out, line)?;
            out.write_all(b"\n")?;
            out.flush()
        };
        write(&mut self.metrics)
            .with_context(|| format!("{}: can't be written", self.path.join("metrics.jsonl").display()))?;
        match &mut self.events {
            Some(events) => events.line(&serde_json::to_value(line)?),
            None => Ok(()),
        }
    }

    /// Notes the speed, which differs between equal runs, in the event file only.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn log_speed(&mut self, step: u64, samples_per_second: f64) -> Result<()> {
        match &mut self.events {
            Some(events) => events.scalars(step, &[("samples_per_second".to_owned(), samples_per_second)]),
            None => Ok(()),
        }
    }

    /// Writes `report.json`: the mark of a finished run.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn finish(self, report: &Report) -> Result<()> {
        write_atomically(&self.path.join("report.json"), &(serde_json::to_string_pretty(report)? + "\n"))
    }
}

/// Makes the first of `name`, `name-2`, `name-3`... that is not there.
fn fresh(parent: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(parent).with_context(|| format!("{}: can't be made", parent.display()))?;
    for number in 1_u32.. {
        let path = if number == 1 { parent.join(name) } else { parent.join(format!("{name}-{number}")) };
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("{}: can't be made", path.display())),
        }
    }
    unreachable!("there are fewer directories than numbers")
}

/// A reader sees the old content or the new, never a part: a file beside it is renamed over it.
fn write_atomically(path: &Path, content: &str) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("{}: can't be written", path.display()))
}
