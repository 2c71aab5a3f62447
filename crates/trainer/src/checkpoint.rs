//! Checkpoints: named tensors and a small JSON value, stored so that neither a crash nor a damaged
//! disk loses a run. Independent of training, which decides what a checkpoint contains.
//!
//! ```text
//! checkpoints/
//!   step-000000001000/            a checkpoint: complete, durable, never changed
//!     state.safetensors           the tensors
//!     MANIFEST                    step, state, and length and checksum of every part
//!   step-000000002000.tmp/        being written, or left by an interrupted save: not a checkpoint
//! ```
//!
//! [`Store`] writes and reads them through [`Files`], so that tests can simulate a loss of power at
//! any operation. `docs/checkpoint.md` describes the format byte by byte.

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

/// Element types, by their names in safetensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dtype {
    /// Values in single precision.
    F32,
    /// The bits of values in half precision or bfloat16.
    U16,
    /// Quantised values.
    I8,
    /// Exponents.
    U8,
    /// Indices.
    U32,
    /// Ids, counters, and the bits of `f64` values.
    U64,
}

impl Dtype {
    /// Bytes per element.
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
    /// Its dimensions, the slowest first.
    pub shape: Vec<usize>,
    /// Its elements, little-endian.
    pub bytes: Vec<u8>,
}

/// The content of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The number of finished steps.
    pub step: u64,
    /// Everything that is not an array. Numbers are restored exactly; JSON cannot express NaN.
    pub state: serde_json::Value,
    /// The arrays by name, of up to [`MAX_NAME_BYTES`] letters, digits, `_`, `-` and `.`.
    pub tensors: BTreeMap<String, Tensor>,
}
