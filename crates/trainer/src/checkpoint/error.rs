//! Why a checkpoint can't be saved or loaded. A message names the file, what was expected and
//! found, and what to do.

use std::path::PathBuf;
use std::{fmt, io};

/// Why nothing was saved or removed. Checkpoints that were complete before still are.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused something; `source` has its number.
    #[error("{}: can't be {action}; earlier checkpoints are untouched: make room or mend the disk, then resume", path.display())]
    Io {
        /// What was to happen.
        action: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The checkpoint is none that could be loaded again.
    #[error("step {step} can't be saved: {reason}")]
    Refused {
        /// Its step.
        step: u64,
        /// What a later load would say.
        reason: Damage,
    },
}

/// Why a checkpoint can't be loaded. None of it is loaded then.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is none of this step.
    #[error("{}: there is no such checkpoint; choose one that is listed in the directory above", dir.display())]
    Missing {
        /// Where it would be.
        dir: PathBuf,
    },
    /// A file or directory can't be read; `source` has the system's number.
    #[error("{}: can't be read; restore it from a copy, or resume from another checkpoint", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A later version of this program wrote it.
    #[error(
        "{}: written by a newer version; it has format {found} and this program reads formats up to {supported}: \
         use the program that wrote it", path.display()
    )]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// The version of its format.
        found: u32,
        /// The latest version that is known here.
        supported: u32,
    },
    /// It is not as it was written.
    #[error("{}: {damage}; restore it from a copy, or resume from another checkpoint", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        damage: Damage,
    },
    /// There are checkpoints, and each has something wrong.
    #[error(
        "{}: none of {} checkpoints can be used; restore one from a copy, or start anew in another directory{}",
        dir.display(), passed_over.len(), each(passed_over)
    )]
    NoneGood {
        /// Their directory.
        dir: PathBuf,
        /// Their steps, the newest first, with what is wrong.
        passed_over: Vec<(u64, LoadError)>,
    },
}

/// One line for each.
fn each(passed_over: &[(u64, LoadError)]) -> String {
    let mut lines = String::new();
    for (step, error) in passed_over {
        lines.extend(["\n  step ", &step.to_string(), ": ", &error.to_string()]);
    }
    lines
}

/// A part of a checkpoint with a checksum of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    /// The file `MANIFEST`.
    Manifest,
    /// The file `state.safetensors` as a whole.
    File,
    /// The beginning of `state.safetensors`, which says where the tensors are.
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

/// What is wrong with a part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It was cut off, or something was appended.
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
