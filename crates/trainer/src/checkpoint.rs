//! Checkpoints: named tensors and a small JSON value, kept so that neither a crash nor a bad disk
//! loses a run. Apart from the training, of which nothing here knows: what belongs into a
//! checkpoint is decided elsewhere.
//!
//! ```text
//! checkpoints/
//!   step-000000001000/            a checkpoint: complete, durable, never changed
//!     state.safetensors           the tensors
//!     MANIFEST                    step, state, and length and checksum of every part
//!   step-000000002000.tmp/        being written, or left behind by a process that ended: not a checkpoint
//! ```
//!
//! [`Store`] writes and reads them, through [`Files`], so that tests can pull the plug at any
//! operation. `docs/checkpoint.md` describes the format byte by byte.

mod error;
mod files;
mod format;
mod header;
mod store;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::error::{Damage, LoadError, Section, StoreError};
pub use self::files::{Disk, Files, SyncWrite};
pub use self::format::{
    MAX_HEADER_BYTES, MAX_MANIFEST_BYTES, MAX_NAME_BYTES, MAX_RANK, MAX_TENSORS, VERSION,
};
pub use self::store::{Loaded, Store};

/// The types of elements that a checkpoint may hold, by their names in safetensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dtype {
    /// Values.
    F32,
    /// Values in half precision or bfloat16, as bits.
    U16,
    /// Codes of values.
    I8,
    /// Exponents.
    U8,
    /// Indices.
    U32,
    /// Ids, counters and the bits of `f64`.
    U64,
}

impl Dtype {
    /// Bytes of an element.
    #[must_use]
    pub fn n_bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::U16 => 2,
            Self::F32 | Self::U32 => 4,
            Self::U64 => 8,
        }
    }
}

/// An array of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its lengths, the slowest first.
    pub shape: Vec<usize>,
    /// Its elements, little-endian.
    pub bytes: Vec<u8>,
}

/// Everything that is saved at a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The number of steps that were finished.
    pub step: u64,
    /// What is not an array. Numbers come back to the bit; there is no JSON for a NaN.
    pub state: serde_json::Value,
    /// The arrays by name: up to [`MAX_NAME_BYTES`] of letters, digits, `_`, `-` and `.`.
    pub tensors: BTreeMap<String, Tensor>,
}
