//! `sweep.json`, the record of a sweep: its question and the status of each run, for reports.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::atomic_file::write_to;

/// The file's name.
pub(crate) const FILE: &str = "sweep.json";

/// The content of `sweep.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepRecord {
    /// The question that the sweep is to answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The sweep file.
    pub file: String,
    /// Its runs, in order.
    pub runs: Vec<SweepEntry>,
}

/// A run of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepEntry {
    /// Its name, made of its study and its values.
    pub name: String,
    /// The study that it belongs to.
    pub study: String,
    /// The name of its directory in that of the sweep.
    pub dir: String,
    /// Its status; `fate` in the file, as in earlier versions.
    #[serde(rename = "fate")]
    pub status: RunStatus,
    /// All its settings, as of `settings::identity`, so that a report can show runs that were not
    /// applicable among the others.
    pub settings: Vec<String>,
}

/// Status of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// It has not started.
    Waiting,
    /// It is in progress.
    Running,
    /// It has a report.
    Done,
    /// The method cannot reach the ratio, or the run would not fit into memory; with the reason.
    NotApplicable(String),
    /// It failed; with the reason.
    Failed(String),
}

impl SweepRecord {
    /// Reads the record in `dir`; `None` if there is none, or it cannot be read.
    #[must_use]
    pub fn read(dir: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(dir.join(FILE)).ok()?).ok()
    }

    /// Writes the record to `dir` atomically.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        write_to(&dir.join(FILE), |out| Ok(serde_json::to_writer_pretty(out, self)?))
    }
}
