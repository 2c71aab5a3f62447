//! The experiment as its TOML file describes it: read, overridden, checked, completed with
//! defaults.

pub mod budget;
pub mod cafe;
mod check;
mod checkpoint;
mod data;
pub mod dialect;
mod embedding;
mod file;
pub mod methods;
mod model;
pub mod models;
pub mod named;
mod problem;
pub mod settings;
mod source;
#[cfg(test)]
mod tests;
mod train;
mod units;

use serde::{Deserialize, Serialize};

pub use checkpoint::{CheckpointConfig, Every};
pub use data::{BadRowPolicy, DataConfig, Paths, SplitKind, SyntheticConfig};
pub use embedding::{
    CafePlusTable, CafeSizing, CafeTable, CodedTable, Cold, EmbeddingConfig, HotRule, OfflineTable,
    UnifiedTable,
};
pub use file::ConfigError;
pub use methods::Method;
pub use model::ModelConfig;
pub use models::ModelKind;
pub use named::Named;
pub use train::{EmbeddingOptimizer, Optimizer, Schedule, TrainConfig};
pub use units::ByteSize;

/// One experiment. Every key has a default but `data` and what `embedding` may spend.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Names the run and its directory.
    #[serde(default = "default_name")]
    pub name: String,
    /// Seeds the network's weights and the embedding's rows and hashes.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// `cpu`, or `cuda:0` in a build with `--features cuda`.
    #[serde(default = "default_device")]
    pub device: String,
    /// What computes the dense network: `native`, on a CPU only and the default there, or `candle`,
    /// on any device.
    #[serde(default)]
    pub engine: String,
    /// Operands of the network's products: `f32`, `bf16` (native engine, CPUs with `AVX512_BF16`),
    /// `bf16-emulated`.
    #[serde(default = "default_precision")]
    pub precision: String,
    /// Threads of the dense network; 0 is one for each core. Results don't depend on it.
    #[serde(default)]
    pub threads: usize,
    /// The most memory that a run may take, as bytes or a text such as "2 GiB"; a run that plans
    /// more is refused. By default what the system has available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<ByteSize>,
    /// What is read.
    #[serde(default)]
    pub data: DataConfig,
    /// The dense network.
    #[serde(default)]
    pub model: ModelConfig,
    /// The embedding and its budget.
    #[serde(default)]
    pub embedding: EmbeddingConfig,
    /// The training loop.
    #[serde(default)]
    pub train: TrainConfig,
    /// What is saved on the way.
    #[serde(default)]
    pub checkpoint: CheckpointConfig,
}

fn default_name() -> String {
    "run".to_owned()
}

fn default_seed() -> u64 {
    1
}

fn default_precision() -> String {
    dlrm_model::Precision::default().to_string()
}

fn default_device() -> String {
    "cpu".to_owned()
}
