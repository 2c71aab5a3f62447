//! What a sweep leaves beside its runs: what it asked, and what became of each run, for whoever
//! draws them.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::atomic_file::write_to;

/// The file's name.
pub(crate) const FILE: &str = "sweep.json";

/// `sweep.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepRecord {
    /// What it is to find out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The file that asked for it.
    pub file: String,
    /// Its runs, in order.
    pub runs: Vec<SweepEntry>,
}

/// A run of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepEntry {
    /// Of its study and its values.
    pub name: String,
    /// Its study.
    pub study: String,
    /// Its directory's name, below that of the sweep.
    pub dir: String,
    /// What becomes of it.
    pub fate: Fate,
    /// All its settings, as of `settings::identity`, so that what could not run is shown among what
    /// did.
    pub settings: Vec<String>,
}

/// What becomes of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Its turn has not come.
    Waiting,
    /// It goes on.
    Running,
    /// It has a report.
    Done,
    /// The method does not go so far, or the run would not fit into memory: why.
    NotApplicable(String),
    /// Why it ended.
    Failed(String),
}

impl SweepRecord {
    /// The record in `dir`; `None` if there is none that can be read.
    #[must_use]
    pub fn read(dir: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(dir.join(FILE)).ok()?).ok()
    }

    /// Writes it to `dir`, whole or not at all.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        write_to(&dir.join(FILE), |out| Ok(serde_json::to_writer_pretty(out, self)?))
    }
}
