//! The experiment as its TOML file describes it: read, overridden, checked, completed with defaults.

mod check;
mod file;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use file::ConfigError;

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
    /// What computes the dense network: `native`, on a CPU only and the default there, or `candle`, on any device.
    #[serde(default)]
    pub engine: String,
    /// Operands of the network's products: `f32`, `bf16` (native engine, CPUs with `AVX512_BF16`), `bf16-emulated`.
    #[serde(default = "default_precision")]
    pub precision: String,
    /// Threads of the dense network; 0 is one for each core. Results don't depend on it.
    #[serde(default)]
    pub threads: usize,
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
}

/// Which rows train and which test.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Files in order, as one stream; plain, gzip or zstd; `-` is standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Paths>,
    /// Files to test on. With them, all of `path` trains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_path: Option<Paths>,
    /// The dialect of the files: `criteo-kaggle` or `criteo-terabyte`.
    #[serde(default = "default_format")]
    pub format: String,
    /// Without `test_path`: the share of the rows, from the first on, that trains.
    #[serde(default = "default_train_fraction")]
    pub train_fraction: f64,
    /// Reads no more than this many rows of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Keeps the parsed rows of the files in a cache, so that further epochs and runs read them from
    /// there. It has 164 bytes a row; with `rows` only so many are cached.
    #[serde(default)]
    pub cache: bool,
    /// Where caches are; by default beside the first file of `path`, and beside that of `test_path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_dir: Option<PathBuf>,
    /// Generated rows instead of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<SyntheticConfig>,
}

/// One file, or several in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a path or a list of paths")]
pub enum Paths {
    /// One file.
    One(PathBuf),
    /// Several, read as one stream.
    Many(Vec<PathBuf>),
}

impl Paths {
    /// The files, in order.
    #[must_use]
    pub fn to_vec(&self) -> Vec<PathBuf> {
        match self {
            Self::One(path) => vec![path.clone()],
            Self::Many(paths) => paths.clone(),
        }
    }
}

/// Rows from the generator (`criteo_io::Synth`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyntheticConfig {
    /// Rows in all, train and test.
    pub rows: u64,
    /// Seed of the rows and of what is planted in them.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Rows from one change of the popular values to the next.
    #[serde(default = "default_rows_per_day")]
    pub rows_per_day: u64,
}

/// The dense network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// `dlrm`.
    #[serde(default)]
    pub kind: ModelKind,
    /// Length of an embedding row, and of the bottom network's output.
    #[serde(default = "default_dim")]
    pub dim: usize,
    /// Layer sizes of the bottom network after its input; the last is `dim`.
    #[serde(default)]
    pub bottom: Vec<usize>,
    /// Layer sizes of the top network after its input; the last is 1.
    #[serde(default = "default_top")]
    pub top: Vec<usize>,
}

/// Which network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// Bottom network, pairwise dot products, top network.
    #[default]
    Dlrm,
}

impl ModelKind {
    /// The name in configurations and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dlrm => "dlrm",
        }
    }
}

/// The embedding and what it may spend.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingConfig {
    /// `cafe`, `hash` or `full`.
    #[serde(default)]
    pub method: Method,
    /// The compression ratio CR: bytes of the full table over the budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<f64>,
    /// Or the budget itself: bytes, or a text such as "2 MiB".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<ByteSize>,
    /// Features of each field, where they differ from what the format says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<u64>>,
    /// Settings of `cafe`.
    #[serde(default)]
    pub cafe: CafeTable,
}

/// How features become vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Rows for features that matter, shared rows for the rest.
    #[default]
    Cafe,
    /// Shared rows, chosen by a hash.
    Hash,
    /// A row for every feature.
    Full,
}

impl Method {
    /// The name in configurations and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cafe => "cafe",
            Self::Hash => "hash",
            Self::Full => "full",
        }
    }
}

/// Settings of `cafe`; what is absent is the paper's setting for the compression ratio.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CafeTable {
    /// `within`: never over the budget. `paper`: the sizes of the published code, which round up.
    #[serde(default)]
    pub sizing: Sizing,
    /// `h`: the share of the budget for shared rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_share: Option<f64>,
    /// `K`: the score from which a feature is hot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// Slots a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<usize>,
    /// Who makes room in a full bucket: `lightest`, `lightest-cold` or `last-slot`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub victim: Option<Victim>,
    /// What a score measures: `gradient-norm` or `frequency`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importance: Option<Importance>,
    /// A decay multiplies scores by this; 1 never decays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay_factor: Option<f32>,
    /// The multi-level setting: a middle tier that adds a second shared row.
    #[serde(default)]
    pub multi_level: bool,
    /// A feature is of the middle tier from this share of the threshold on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium_threshold_ratio: Option<f32>,
    /// The second table's share of the shared rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium_share: Option<f64>,
}

/// How the budget becomes sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sizing {
    /// Never over the budget.
    #[default]
    Within,
    /// The published code's formulas.
    Paper,
}

/// [`cafe_core::VictimPolicy`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Victim {
    /// The smallest score, as in the paper.
    Lightest,
    /// The smallest score without a row.
    LightestCold,
    /// The published code's.
    LastSlot,
}

/// [`cafe_core::Importance`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Importance {
    /// Scaled gradient norms.
    GradientNorm,
    /// Occurrences.
    Frequency,
}

/// The training loop.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Rows a step.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Passes over the training rows.
    #[serde(default = "default_epochs")]
    pub epochs: u32,
    /// `sgd` or `adagrad`, for the network (elementwise) and the embedding rows (row-wise).
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Learning rate.
    #[serde(default = "default_lr")]
    pub lr: f32,
    /// Evaluates every so many steps; 0 at the end only.
    #[serde(default)]
    pub eval_every: u64,
    /// Writes a line of metrics every so many steps.
    #[serde(default = "default_log_every")]
    pub log_every: u64,
}

/// How parameters follow their gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Plain gradient steps.
    #[default]
    Sgd,
    /// Steps scaled by the gradients seen.
    Adagrad,
}

/// A number of bytes, as an integer or as text with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl std::str::FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units: BTreeMap<&str, f64> = BTreeMap::from([
            ("", 1.0),
            ("B", 1.0),
            ("KB", 1e3),
            ("MB", 1e6),
            ("GB", 1e9),
            ("KIB", 1024.0),
            ("MIB", 1_048_576.0),
            ("GIB", 1_073_741_824.0),
        ]);
        let unit_start = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_start);
        let bytes = number.parse::<f64>().ok().zip(units.get(unit.trim().to_uppercase().as_str()));
        match bytes {
            Some((number, unit)) => Ok(Self((number * unit) as u64)),
            None => Err(format!("expected bytes such as 2000000, \"500 KB\" or \"2 MiB\", got {text:?}")),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected bytes such as 2000000, \"500 KB\" or \"2 MiB\"")]
        enum Raw {
            Number(u64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Number(bytes) => Ok(Self(bytes)),
            Raw::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: None,
            test_path: None,
            format: default_format(),
            train_fraction: default_train_fraction(),
            rows: None,
            cache: false,
            cache_dir: None,
            synthetic: None,
        }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self { kind: ModelKind::default(), dim: default_dim(), bottom: Vec::new(), top: default_top() }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            batch: default_batch(),
            epochs: default_epochs(),
            optimizer: Optimizer::default(),
            lr: default_lr(),
            eval_every: 0,
            log_every: default_log_every(),
        }
    }
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

fn default_format() -> String {
    "criteo-kaggle".to_owned()
}

fn default_train_fraction() -> f64 {
    6.0 / 7.0
}

fn default_rows_per_day() -> u64 {
    criteo_io::SynthConfig::default().rows_per_day
}

fn default_dim() -> usize {
    16
}

fn default_top() -> Vec<usize> {
    vec![512, 256, 1]
}

fn default_batch() -> usize {
    128
}

fn default_epochs() -> u32 {
    1
}

fn default_lr() -> f32 {
    0.1
}

fn default_log_every() -> u64 {
    1000
}
