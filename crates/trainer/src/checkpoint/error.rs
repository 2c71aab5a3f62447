//! Errors of saving and loading. A message names the file, what was expected and found, and what to
//! do.

use std::path::PathBuf;
use std::{fmt, io};

/// Saving or removing failed. Checkpoints that were complete before still are.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed; `source` has the system's error number.
    #[error(
        "{}: cannot be {action}; earlier checkpoints are unchanged: make room or repair the disk, \
         then resume",
        path.display()
    )]
    Io {
        /// The operation, as a participle: `written`, `renamed`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The checkpoint could not be loaded again.
    #[error("step {step} cannot be saved: {reason}")]
    Refused {
        /// Its step.
        step: u64,
        /// What loading it would report.
        reason: Damage,
    },
}

/// Loading failed. No part of the checkpoint is returned.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is no checkpoint of this step.
    #[error(
        "{}: there is no such checkpoint; choose one of those in the directory above",
        dir.display()
    )]
    Missing {
        /// The directory that it would have.
        dir: PathBuf,
    },
    /// A file or directory cannot be read; `source` has the system's error number.
    #[error(
        "{}: cannot be read; restore it from a copy, or resume from another checkpoint",
        path.display()
    )]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A later version of this program wrote it.
    #[error(
        "{}: written by a newer version; it has format {found} and this program reads formats up \
         to {supported}: use the program that wrote it",
        path.display()
    )]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// The version of its format.
        found: u32,
        /// The latest version that this program reads.
        supported: u32,
    },
    /// It differs from what was written.
    #[error(
        "{}: {damage}; restore it from a copy, or resume from another checkpoint",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
    /// There are checkpoints, and each is damaged.
    #[error(
        "{}: none of {} checkpoints can be used; restore one from a copy, or start a new run in \
         another directory{}",
        dir.display(), passed_over.len(), list(passed_over)
    )]
    NoneGood {
        /// Their directory.
        dir: PathBuf,
        /// Their steps with the errors, the newest first.
        passed_over: Vec<(u64, LoadError)>,
    },
}

/// A line for each error.
fn list(passed_over: &[(u64, LoadError)]) -> String {
    let mut lines = String::new();
    for (step, error) in passed_over {
        lines.extend(["\n  step ", &step.to_string(), ": ", &error.to_string()]);
    }
    lines
}

/// A part of a checkpoint that has its own checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    /// The file `MANIFEST`.
    Manifest,
    /// The complete file `state.safetensors`.
    File,
    /// The header of `state.safetensors`, which describes the tensors.
    Header,
    /// The bytes of a tensor.
    Tensor(String),
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("the manifest"),
            Self::File => f.write_str("the file of tensors"),
            Self::Header => f.write_str("the header"),
            Self::Tensor(name) => write!(f, "tensor `{}`", name.escape_debug()),
        }
    }
}

/// Damage of a part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It was truncated or extended.
    #[error("{section} is damaged: it has {got} bytes, expected {expected}")]
    Length {
        /// The part.
        section: Section,
        /// Its length when it was written.
        expected: u64,
        /// Its length now.
        got: u64,
    },
    /// Its content changed.
    #[error("{section} is damaged: its checksum is {got:08x}, expected {expected:08x}")]
    Checksum {
        /// The part.
        section: Section,
        /// The checksum when it was written.
        expected: u32,
        /// The checksum now.
        got: u32,
    },
    /// It contradicts itself, another part, or a limit.
    #[error("{section} is not valid: {why}")]
    Invalid {
        /// The part.
        section: Section,
        /// What was expected and found.
        why: String,
    },
}

impl Damage {
    pub(super) fn invalid(section: Section, why: impl Into<String>) -> Self {
        Self::Invalid { section, why: why.into() }
    }
}
