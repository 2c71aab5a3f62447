//! The directory of a run: who may write to it, what is written where, and that nothing of worth is
//! ever overwritten.

pub mod saver;
pub mod tensorboard;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::atomic_file::{log_file, write_to};
use crate::config::Config;
use crate::exit::{self, ExitCode};
use crate::results::report::Report;
use crate::run_dir::tensorboard::EventFile;

/// Why a directory can't be used for a run.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// It holds a report.
    #[error(
        "{}: holds a finished run; give another --run-dir, remove it, or go on from its end with --resume and more \
         train.epochs",
        path.display()
    )]
    Finished {
        /// The directory.
        path: PathBuf,
    },
    /// It holds checkpoints.
    #[error("{}: holds an unfinished run; add --resume to go on with it, give another --run-dir, or remove it", path.display())]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// It holds a report of other settings, and nothing to go on from.
    #[error(
        "{}: holds a finished run of another configuration and no checkpoint to go on from; give another --run-dir",
        path.display()
    )]
    NoCheckpoint {
        /// The directory.
        path: PathBuf,
    },
    /// Another process is at work there.
    #[error("{}: another trainer is writing to it; wait for it, or give another --run-dir", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

impl ExitCode for RunDirError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Finished { .. } | Self::Unfinished { .. } | Self::NoCheckpoint { .. } => {
                exit::FAILURE
            }
            Self::Locked { .. } => exit::BUSY,
        }
    }
}

/// A directory that no other trainer writes to while this one lives.
pub struct Claim {
    path: PathBuf,
    /// The system gives the lock back when the process ends, however it ends.
    _lock: File,
}

/// Bytes of the logs that belong to a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLengths {
    /// Of `metrics.jsonl`.
    pub metrics: u64,
    /// Of the event file, if there is one.
    pub events: Option<u64>,
}

/// A run's directory with its open metrics files.
pub struct RunDir {
    claim: Claim,
    metrics: BufWriter<File>,
    n_metrics_bytes: u64,
    /// With `train.tensorboard`.
    events: Option<EventFile>,
    /// Bytes of the event file that an earlier process wrote, which one without `train.tensorboard`
    /// leaves alone.
    n_earlier_event_bytes: Option<u64>,
}

/// Where the checkpoints of a run are.
#[must_use]
pub fn checkpoints(run_dir: &Path) -> PathBuf {
    run_dir.join("checkpoints")
}

impl Claim {
    /// Locks the directory, which is made if need be.
    ///
    /// # Errors
    /// If another process holds it, or it can't be written.
    pub fn take(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("{}: can't be made", path.display()))?;
        let lock_path = path.join(".lock");
        let cant_lock = || format!("{}: can't be locked", lock_path.display());
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.with_context(cant_lock)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(RunDirError::Locked { path: path.to_owned() }.into())
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(cant_lock),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration of the run there, as TOML.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn config(&self) -> Result<String> {
        let path = self.path.join("config.toml");
        fs::read_to_string(&path).with_context(|| format!("{}: can't be read", path.display()))
    }

    /// The report of the run that finished here, if one did.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn report(&self) -> Result<Option<Report>> {
        let path = self.path.join("report.json");
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .with_context(|| format!("{}: damaged", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{}: can't be read", path.display())),
        }
    }
}

impl RunDir {
    /// Whether a new run may be written to `path`; said before anything else takes time.
    ///
    /// # Errors
    /// If it holds a run.
    pub fn check(path: Option<&Path>) -> Result<(), RunDirError> {
        let Some(path) = path.map(Path::to_owned) else { return Ok(()) };
        if path.join("report.json").exists() {
            return Err(RunDirError::Finished { path });
        }
        let has_checkpoint = fs::read_dir(checkpoints(&path)).is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry.is_ok_and(|entry| !entry.file_name().to_string_lossy().ends_with(".tmp"))
            })
        });
        if has_checkpoint { Err(RunDirError::Unfinished { path }) } else { Ok(()) }
    }

    /// Makes the directory of a new run. Without `path` it is `runs/NAME`, or `runs/NAME-2` and so
    /// on where that is taken.
    ///
    /// # Errors
    /// If `path` holds a run, or can't be written.
    pub fn create(path: Option<PathBuf>, config: &Config) -> Result<Self> {
        let path = match path {
            Some(path) => path,
            None => fresh(Path::new("runs"), &config.name)?,
        };
        let claim = Claim::take(&path)?;
        Self::check(Some(&path))?;
        Self::open(claim, config, LogLengths::default())
    }

    /// Writes the resolved configuration and opens the logs, which go on after `lengths`: what a
    /// process wrote after its last checkpoint is cut off, for it will be written again. A report
    /// is taken away, because the run is not finished any more.
    ///
    /// # Errors
    /// If something can't be written.
    pub fn open(claim: Claim, config: &Config, lengths: LogLengths) -> Result<Self> {
        let path = &claim.path;
        remove_if_there(&path.join("report.json"))?;
        write_text(&path.join("config.toml"), &toml::to_string(config)?)?;
        let metrics = log_file(&path.join("metrics.jsonl"), lengths.metrics)?;
        let n_metrics_bytes = metrics.metadata()?.len();
        let tensorboard = path.join("tensorboard");
        let events =
            config.train.tensorboard.then(|| EventFile::open(&tensorboard, lengths.events));
        let n_earlier_event_bytes = lengths.events;
        let metrics = BufWriter::new(metrics);
        Ok(Self {
            metrics,
            n_metrics_bytes,
            events: events.transpose()?,
            n_earlier_event_bytes,
            claim,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.claim.path
    }

    /// Bytes of the logs so far.
    #[must_use]
    pub fn log_lengths(&self) -> LogLengths {
        let events = self.events.as_ref().map(EventFile::n_bytes).or(self.n_earlier_event_bytes);
        LogLengths { metrics: self.n_metrics_bytes, events }
    }

    /// The log files again, for whoever makes them durable.
    ///
    /// # Errors
    /// If the system gives no further handle.
    pub fn log_files(&self) -> io::Result<Vec<File>> {
        let events = self.events.iter().map(EventFile::try_clone);
        std::iter::once(self.metrics.get_ref().try_clone()).chain(events).collect()
    }

    /// Appends a line to `metrics.jsonl`, and its numbers to the event file if there is one.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn log(&mut self, line: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        let written = self.metrics.write_all(text.as_bytes()).and_then(|()| self.metrics.flush());
        written.with_context(|| {
            format!("{}: can't be written", self.path().join("metrics.jsonl").display())
        })?;
        self.n_metrics_bytes += text.len() as u64;
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
            Some(events) => {
                events.scalars(step, &[("samples_per_second".to_owned(), samples_per_second)])
            }
            None => Ok(()),
        }
    }

    /// Removes the checkpoints of a finished run.
    ///
    /// # Errors
    /// If one can't be removed.
    pub fn remove_checkpoints(&self) -> Result<()> {
        let path = checkpoints(self.path());
        fs::remove_dir_all(&path).with_context(|| format!("{}: can't be removed", path.display()))
    }

    /// Writes `report.json`: the mark of a finished run.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn finish(&self, report: &Report) -> Result<()> {
        write_text(
            &self.path().join("report.json"),
            &(serde_json::to_string_pretty(report)? + "\n"),
        )
    }
}

/// Makes the first of `name`, `name-2`, `name-3`... that is not there.
fn fresh(parent: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(parent).with_context(|| format!("{}: can't be made", parent.display()))?;
    for number in 1_u32.. {
        let path =
            if number == 1 { parent.join(name) } else { parent.join(format!("{name}-{number}")) };
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("{}: can't be made", path.display()));
            }
        }
    }
    unreachable!("there are fewer directories than numbers")
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: can't be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// A reader sees the old content or the new, never a part, even after the power failed.
fn write_text(path: &Path, content: &str) -> Result<()> {
    write_to(path, |out| Ok(out.write_all(content.as_bytes())?))
}
