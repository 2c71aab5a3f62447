//! Whether a run may be resumed: what may have changed since, and what may not.

use std::fmt::Write as _;
use std::path::Path;

use criteo_io::FileStamp;
use toml::Table;

use crate::config::Config;
use crate::config::settings::{self, Settings};
use crate::exit::{self, ExitCode};
use crate::train::state::RunState;

/// Keys that may change between two parts of a run, beside the incidental ones and those of methods
/// other than the run's. What the model learns from each row does not depend on them, or, for the
/// files, is compared by what is in them.
const FREE: [&str; 9] = [
    // Only a new run looks there.
    "train.init",
    "data.path",
    "data.test_path",
    "data.bad_rows",
    "data.max_bad_rows",
    "data.max_bad_fraction",
    "train.epochs",
    "train.eval_every",
    "train.log_every",
];

/// Why a run is not resumed.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// Another configuration.
    #[error(
        "the run was started with another configuration:\n{}give it back, or start a new run with another --run-dir",
        lines(differences)
    )]
    Config {
        /// What differs.
        differences: Vec<Difference>,
    },
    /// More epochs have been trained than are wanted.
    #[error(
        "train.epochs: {done} epochs are trained already, expected at least that many, got {wanted}"
    )]
    Epochs {
        /// Epochs that are trained.
        done: u32,
        /// Epochs asked for.
        wanted: u32,
    },
    /// The model that a new run is to start from is another one.
    #[error(
        "train.init: {} was trained as another model:\n{}restore these settings, or leave train.init out to start from new weights",
        run.display(),
        lines(differences)
    )]
    Model {
        /// The run that trained it.
        run: std::path::PathBuf,
        /// What differs.
        differences: Vec<Difference>,
    },
    /// Other files.
    #[error("{what}; give the original files back, or start a new run with another --run-dir")]
    Inputs {
        /// What differs.
        what: String,
    },
    /// A checkpoint whose own configuration can't be read.
    #[error("the checkpoint's configuration can't be read: {message}")]
    Damaged {
        /// What is wrong.
        message: String,
    },
    /// There is no such run.
    #[error("{}: holds no run to resume; leave --resume out to start one there", dir.display())]
    Nothing {
        /// The directory.
        dir: std::path::PathBuf,
    },
    /// No run was named.
    #[error("--resume: give --run-dir, the directory of the run to resume")]
    NoDir,
}

impl ExitCode for ResumeError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config { .. } | Self::Model { .. } | Self::Epochs { .. } => exit::CONFIG,
            Self::Inputs { .. } | Self::Damaged { .. } => exit::DATA,
            Self::Nothing { .. } => exit::NO_INPUT,
            Self::NoDir => exit::USAGE,
        }
    }
}

/// A key with another value than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its path, such as `train.lr`.
    pub key: String,
    /// What it was; nothing where it was not set.
    pub was: Option<String>,
    /// What it is.
    pub is: Option<String>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        write!(f, "{}: was {}, is {}", self.key, shown(&self.was), shown(&self.is))
    }
}

fn lines(differences: &[Difference]) -> String {
    differences.iter().fold(String::new(), |mut out, difference| {
        let _ = writeln!(out, "  {difference}");
        out
    })
}

/// Compares the configuration of a run with the one to resume it with; returns what differs and
/// may.
///
/// # Errors
/// With all that differs and may not.
pub fn check_config(state: &RunState, config: &Config) -> Result<Vec<Difference>, ResumeError> {
    let (was, is) = both(&state.config, config)?;
    let is_free = |key: &str| {
        let is_used = settings::is_used(&was, key) || settings::is_used(&is, key);
        FREE.contains(&key) || settings::is_incidental(key) || !is_used
    };
    let (free, fixed): (Vec<_>, Vec<_>) =
        differences(&was, &is).into_iter().partition(|it| is_free(&it.key));
    if !fixed.is_empty() {
        return Err(ResumeError::Config { differences: fixed });
    }
    if config.train.epochs < state.epochs_done {
        return Err(ResumeError::Epochs { done: state.epochs_done, wanted: config.train.epochs });
    }
    Ok(free)
}

/// Keys, and sections, on which the meaning of a model's arrays depends.
const OF_MODEL: [&str; 7] = [
    "seed",
    "model.",
    "embedding.",
    "train.optimizer",
    "train.embedding_optimizer",
    "data.format",
    "data.columns.",
];

/// Whether a new run of `config` can start from the model of `run`.
///
/// # Errors
/// With all that differs and may not.
pub fn check_model(state: &RunState, config: &Config, run: &Path) -> Result<(), ResumeError> {
    let (was, is) = both(&state.config, config)?;
    let is_used = |key: &str| settings::is_used(&was, key) || settings::is_used(&is, key);
    let is_of_model = |key: &str| {
        OF_MODEL.iter().any(|one| key == *one || one.ends_with('.') && key.starts_with(one))
    };
    let counts = |key: &str| is_of_model(key) && is_used(key);
    let differences: Vec<_> =
        differences(&was, &is).into_iter().filter(|it| counts(&it.key)).collect();
    if differences.is_empty() {
        Ok(())
    } else {
        Err(ResumeError::Model { run: run.to_owned(), differences })
    }
}

/// The settings of a saved configuration, and of one that is given.
fn both(was: &str, config: &Config) -> Result<(Settings, Settings), ResumeError> {
    let damaged =
        |error: &dyn std::fmt::Display| ResumeError::Damaged { message: error.to_string() };
    let was: Table = toml::from_str(was).map_err(|error| damaged(&error))?;
    let (was, is) = (settings::settings_of_saved(&was), settings::settings_of(config));
    Ok((was.map_err(|error| damaged(&error))?, is.map_err(|error| damaged(&error))?))
}

/// Whether a run of the configuration `was`, as TOML, would come to the same end as one of
/// `config`.
///
/// # Errors
/// If one of them can't be read.
pub fn is_same(was: &str, config: &Config) -> Result<bool, ResumeError> {
    let (was, is) = both(was, config)?;
    Ok(settings::identity(&was) == settings::identity(&is))
}

fn differences(was: &Settings, is: &Settings) -> Vec<Difference> {
    let shown = |side: &Settings, key: &String| side.get(key).map(ToString::to_string);
    let difference =
        |key: &String| Difference { key: key.clone(), was: shown(was, key), is: shown(is, key) };
    let mut differing = settings::differing(was, is);
    // It is there with row-wise Adagrad alone, and follows when that is given back.
    if differing.iter().any(|key| *key == "train.embedding_optimizer") {
        differing.retain(|key| *key != "embedding.accumulator");
    }
    differing.into_iter().map(difference).collect()
}

/// Compares the files of a run with those to resume it with. Where they are does not matter,
/// and what comes through a pipe shows itself by what is in it.
///
/// # Errors
/// With the first file that differs.
pub fn check_inputs(then: &[FileStamp], now: &[FileStamp]) -> Result<(), ResumeError> {
    // Through a pipe there come as many rows, but no files that could be looked at.
    if then.is_empty() || now.is_empty() {
        return Ok(());
    }
    if then.len() != now.len() {
        let what =
            format!("the run was started with {} files, now there are {}", then.len(), now.len());
        return Err(ResumeError::Inputs { what });
    }
    let is_other = |(then, now): &(&FileStamp, &FileStamp)| {
        (then.n_bytes, then.head, then.tail) != (now.n_bytes, now.head, now.tail)
    };
    match then.iter().zip(now).find(is_other) {
        None => Ok(()),
        Some((then, now)) if then.n_bytes != now.n_bytes => {
            let what = format!(
                "{}: has {} bytes, and had {} when the run started",
                now.path.display(),
                now.n_bytes,
                then.n_bytes
            );
            Err(ResumeError::Inputs { what })
        }
        Some((_, now)) => {
            let what = format!(
                "{}: its content is not what it was when the run started",
                now.path.display()
            );
            Err(ResumeError::Inputs { what })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(path: &str, n_bytes: u64, head: u32) -> FileStamp {
        FileStamp { path: path.into(), n_bytes, head, tail: 7 }
    }

    #[test]
    fn differences_are_named_key_by_key() {
        let settings = |text: &str| settings::flat(&text.parse().expect("TOML"));
        let was =
            settings("name = \"a\"\nseed = 1\n[train]\nlr = 0.1\n[data]\npath = [\"x\", \"y\"]\n");
        let is = settings("name = \"a\"\n[train]\nlr = 0.2\nbatch = 5\n[data]\npath = [\"x\"]\n");
        let found: Vec<_> = differences(&was, &is).iter().map(ToString::to_string).collect();
        let expected = [
            "data.path: was [\"x\", \"y\"], is [\"x\"]",
            "seed: was 1, is not set",
            "train.batch: was not set, is 5",
            "train.lr: was 0.1, is 0.2",
        ];
        assert_eq!(found, expected);
        assert_eq!(differences(&was, &was), []);
    }

    #[test]
    fn files_may_move_but_not_change() {
        let then = [input("a", 10, 1), input("b", 20, 2)];
        let message =
            |now: &[FileStamp]| check_inputs(&then, now).expect_err("another").to_string();
        assert!(check_inputs(&then, &[input("c/a", 10, 1), input("c/b", 20, 2)]).is_ok());
        assert!(check_inputs(&then, &[]).is_ok() && check_inputs(&[], &then).is_ok());
        assert!(
            message(&then[..1]).starts_with("the run was started with 2 files, now there are 1; ")
        );
        assert!(
            message(&[then[0].clone(), input("b", 21, 2)])
                .starts_with("b: has 21 bytes, and had 20 when")
        );
        assert!(
            message(&[input("a", 10, 3), then[1].clone()])
                .starts_with("a: its content is not what it was")
        );
    }
}
