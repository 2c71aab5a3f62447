//! How a process that a sweep started has ended. A record, so that the sweep need not parse
//! messages.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::atomic_file::write_to;

/// Written by the process at its end, to the file that the sweep names (`--outcome`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The kind of end.
    pub ending: Ending,
    /// The exit code.
    pub exit_code: u8,
    /// The error message as printed; empty without an error.
    pub message: String,
}

/// The kinds of end that a sweep distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The run has a report.
    Finished,
    /// A signal interrupted it; it can be resumed.
    Interrupted,
    /// Another process writes to its directory.
    Busy,
    /// The run would not fit into the memory that is available now.
    ShortOfMemory,
    /// Any other error.
    Failed,
}

impl Outcome {
    /// Reads the record; `None` if the process ended before it could write one.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
    }

    /// Writes the record atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_to(path, |out| Ok(serde_json::to_writer(out, self)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_round_trip() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("outcome.json");
        assert_eq!(Outcome::read(&path), None);
        let outcome = Outcome {
            ending: Ending::ShortOfMemory,
            exit_code: 78,
            message: "two\nlines".to_owned(),
        };
        outcome.write(&path).expect("written");
        assert_eq!(Outcome::read(&path), Some(outcome));
        std::fs::write(&path, "{\"ending\":").expect("written");
        assert_eq!(Outcome::read(&path), None, "a truncated record is not read");
    }
}
