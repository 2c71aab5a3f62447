//! The directory of a run: its lock, its files, and checks so that results are never overwritten.

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

/// The reason why a directory cannot be used for a run.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// It holds a report.
    #[error(
        "{}: holds a finished run; give another --run-dir, remove it, or continue it with \
         --resume and more train.epochs",
        path.display()
    )]
    Finished {
        /// The directory.
        path: PathBuf,
    },
    /// It holds checkpoints.
    #[error(
        "{}: holds an unfinished run; add --resume to continue it, give another --run-dir, or \
         remove it",
        path.display()
    )]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },
    /// It holds a report of other settings, and no checkpoint.
    #[error(
        "{}: holds a finished run of another configuration and no checkpoint to resume from; give \
         another --run-dir",
        path.display()
    )]
    NoCheckpoint {
        /// The directory.
        path: PathBuf,
    },
    /// Another process writes to it.
    #[error(
        "{}: another trainer is writing to it; wait for it, or give another --run-dir",
        path.display()
    )]
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

/// The lock on a directory: no other trainer writes to it while this value exists.
pub struct RunLock {
    path: PathBuf,
    /// The system releases the lock when the process ends, however it ends.
    _file: File,
}

/// Lengths of the logs at the time of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLengths {
    /// Bytes of `metrics.jsonl`.
    pub metrics: u64,
    /// Bytes of the event file, if there is one.
    pub events: Option<u64>,
}

/// The directory of a run with its open logs.
pub struct RunDir {
    lock: RunLock,
    metrics: BufWriter<File>,
    n_metrics_bytes: u64,
    /// With `train.tensorboard`.
    events: Option<EventFile>,
    /// Bytes of the event file that an earlier process wrote; without `train.tensorboard` it is
    /// kept as it is.
    n_earlier_event_bytes: Option<u64>,
}

/// The directory of a run's checkpoints.
#[must_use]
pub fn checkpoints(run_dir: &Path) -> PathBuf {
    run_dir.join("checkpoints")
}

impl RunLock {
    /// Locks the directory, and creates it if necessary.
    ///
    /// # Errors
    /// If another process has locked it, or it cannot be written.
    pub fn take(path: &Path) -> Result<Self> {
        fs::create_dir_all(path)
            .with_context(|| format!("{}: cannot be created", path.display()))?;
        let lock_path = path.join(".lock");
        let cant_lock = || format!("{}: cannot be locked", lock_path.display());
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.with_context(cant_lock)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _file: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(RunDirError::Locked { path: path.to_owned() }.into())
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(cant_lock),
        }
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration of the run in the directory, as TOML.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn config(&self) -> Result<String> {
        let path = self.path.join("config.toml");
        fs::read_to_string(&path).with_context(|| format!("{}: cannot be read", path.display()))
    }

    /// The report of the run in the directory; `None` if it is not finished.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn report(&self) -> Result<Option<Report>> {
        let path = self.path.join("report.json");
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .with_context(|| format!("{}: damaged", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
        }
    }
}

impl RunDir {
    /// Checks that a new run may be written to `path`, before time is spent on anything else.
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

    /// Creates the directory of a new run. Without `path` it is `runs/NAME`, or `runs/NAME-2` and
    /// so on if that exists.
    ///
    /// # Errors
    /// If `path` holds a run, or cannot be written.
    pub fn create(path: Option<PathBuf>, config: &Config) -> Result<Self> {
        let path = match path {
            Some(path) => path,
            None => create_unused(Path::new("runs"), &config.name)?,
        };
        let lock = RunLock::take(&path)?;
        Self::check(Some(&path))?;
        Self::open(lock, config, LogLengths::default())
    }

    /// Writes the resolved configuration and opens the logs, which continue after `lengths`: what
    /// was written after the last checkpoint is cut off, because it will be written again. A report
    /// is removed, because the run is no longer finished.
    ///
    /// # Errors
    /// If a file cannot be written or removed.
    pub fn open(lock: RunLock, config: &Config, lengths: LogLengths) -> Result<Self> {
        let path = &lock.path;
        remove_if_exists(&path.join("report.json"))?;
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
            lock,
        })
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.lock.path
    }

    /// The current lengths of the logs.
    #[must_use]
    pub fn log_lengths(&self) -> LogLengths {
        let events = self.events.as_ref().map(EventFile::n_bytes).or(self.n_earlier_event_bytes);
        LogLengths { metrics: self.n_metrics_bytes, events }
    }

    /// Further handles of the log files, to sync them on another thread.
    ///
    /// # Errors
    /// If the system refuses a handle.
    pub fn log_files(&self) -> io::Result<Vec<File>> {
        let events = self.events.iter().map(EventFile::try_clone);
        std::iter::once(self.metrics.get_ref().try_clone()).chain(events).collect()
    }

    /// Appends a line to `metrics.jsonl`, and its numbers to the event file if there is one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn log(&mut self, line: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(line)? + "\n";
        let written = self.metrics.write_all(text.as_bytes()).and_then(|()| self.metrics.flush());
        written.with_context(|| {
            format!("{}: cannot be written", self.path().join("metrics.jsonl").display())
        })?;
        self.n_metrics_bytes += text.len() as u64;
        match &mut self.events {
            Some(events) => events.line(&serde_json::to_value(line)?),
            None => Ok(()),
        }
    }

    /// Writes the speed to the event file. Not to `metrics.jsonl`: it differs between equal runs.
    ///
    /// # Errors
    /// If it cannot be written.
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
    /// If one cannot be removed.
    pub fn remove_checkpoints(&self) -> Result<()> {
        let path = checkpoints(self.path());
        fs::remove_dir_all(&path).with_context(|| format!("{}: cannot be removed", path.display()))
    }

    /// Writes `report.json`, which marks the run as finished.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(&self, report: &Report) -> Result<()> {
        write_text(
            &self.path().join("report.json"),
            &(serde_json::to_string_pretty(report)? + "\n"),
        )
    }
}

/// Creates the first of `name`, `name-2`, `name-3`... that does not exist.
fn create_unused(parent: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(parent)
        .with_context(|| format!("{}: cannot be created", parent.display()))?;
    for number in 1_u32.. {
        let path =
            if number == 1 { parent.join(name) } else { parent.join(format!("{name}-{number}")) };
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{}: cannot be created", path.display()));
            }
        }
    }
    unreachable!("there are fewer directories than numbers")
}

fn remove_if_exists(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// Replaces a file atomically: readers see the old content or the new, even after a loss of power.
fn write_text(path: &Path, content: &str) -> Result<()> {
    write_to(path, |out| Ok(out.write_all(content.as_bytes())?))
}
