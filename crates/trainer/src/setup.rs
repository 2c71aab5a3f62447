//! From a configuration to the parts of a run: the one place that knows which methods and models
//! exist.

mod cafe;
mod sizes;

use anyhow::{Result, anyhow};
use cafe_core::frequency::FrequencyConfig;
use cafe_core::methods::{
    AdaConfig, CafeConfig, CafePlusConfig, CafeSettings, FeatureCounts, FullConfig, HashedConfig,
    MdeConfig, OfflineConfig, QrConfig, UnifiedConfig,
};
use cafe_core::table::UnifiedSettings;
use cafe_core::{
    Accumulator, Budget, BudgetError, Embedding, RowFormat, RowOptimizer,
    Sizing as EmbeddingSizing, full_bytes, mix64,
};
use criteo_io::{Dialect, DialectError, Schema};
use dlrm_model::{
    DcnConfig, DcnV2Config, DeepFmConfig, DeviceSpec, DlrmConfig, EngineKind, Model,
    ModelConfig as Shape, ModelOptions, OptimizerKind, Precision, WideDeepConfig,
};

use crate::config::{
    CafeTable, Config, EmbeddingConfig, EmbeddingOptimizer, Method, ModelConfig, Optimizer, Sizing,
};
use crate::data::DataSet;

pub use sizes::{FrequencySizes, FullSizes, Sizes};

/// PyTorch's default for Adagrad.
const ADAGRAD_EPSILON: f32 = 1e-10;
/// PyTorch's defaults for Adam.
const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const ADAM_EPSILON: f32 = 1e-8;

/// What the embedding of a run consists of, before any memory is taken.
#[derive(Debug)]
pub struct EmbeddingPlan {
    /// Features of each field.
    pub features: Vec<u64>,
    /// Values a row.
    pub dim: usize,
    /// How rows are stored and stepped.
    pub format: RowFormat,
    /// Bytes of an `f32` table with a row for each feature.
    pub full_bytes: u64,
    /// What the embedding may occupy.
    pub budget_bytes: u64,
    /// Sizes by method.
    pub sizes: Box<dyn Sizes>,
}

impl EmbeddingPlan {
    /// Bytes of one row as the budget counts them.
    #[must_use]
    pub fn row_bytes(&self) -> u64 {
        self.format.row_bytes(self.dim)
    }

    /// Features that the data can show at most.
    #[must_use]
    pub fn n_features_seen(&self, config: &Config) -> u64 {
        let limit = known_rows(config).unwrap_or(u64::MAX);
        self.features.iter().map(|&n| n.min(limit)).sum()
    }

    /// Rows, sketch, maps, free lists, the optimizer's state.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let state = self.sizes.optimizer_bytes(self.format.optimizer, self.dim);
        let beside = if self.format.count_optimizer { 0 } else { state };
        self.sizes.expected_bytes() + self.sizes.beside_bytes() + beside
    }
}

/// How the rows are written.
///
/// # Errors
/// If nobody knows the format, or the description of its columns can't be right.
pub fn dialect(config: &Config) -> Result<Dialect, DialectError> {
    Dialect::new(&config.data.format, config.data.columns.clone())
}

/// Features of each field: the configuration's, or what the format says.
///
/// # Errors
/// As [`dialect`].
pub fn schema(config: &Config) -> Result<Schema, DialectError> {
    let mut schema = dialect(config)?.schema().clone();
    if let Some(features) = &config.embedding.features {
        schema.features.clone_from(features);
    }
    Ok(schema)
}

/// Turns budget and method into sizes.
///
/// # Errors
/// If the method can't work within the budget.
pub fn plan_embedding(config: &Config) -> Result<EmbeddingPlan> {
    let (features, dim) = (schema(config)?.features, config.model.dim);
    let full_bytes = full_bytes(&features, dim);
    // A checked configuration has a budget, but for the full table.
    let budget = budget_of(&config.embedding).unwrap_or(Budget::Bytes(full_bytes));
    let budget_bytes = budget.bytes(&features, dim);
    let format = row_format(config);
    let seed = embedding_seed(config);
    let sizing = EmbeddingSizing { features: &features, dim, budget, format, seed };
    let sizes = sizes(config, &sizing).map_err(|error| match error {
        BudgetError::TooSmall { what, .. } => too_small(config, &sizing, what).unwrap_or(error),
        _ => error,
    });
    let sizes = sizes.map_err(|error| {
        let context = in_terms_of_keys(config, &error);
        anyhow::Error::new(error).context(context)
    })?;
    Ok(EmbeddingPlan { features, dim, format, full_bytes, budget_bytes, sizes })
}

/// Where an error of the embedding's sizes comes from, as a configuration says it; the error's own
/// message follows.
fn in_terms_of_keys(config: &Config, error: &BudgetError) -> String {
    let method = format!("embedding.method = \"{}\"", config.embedding.method.name());
    match error {
        BudgetError::RatioTooHigh { .. } => format!("{method}: n/a"),
        BudgetError::TooManyHotRows { .. } => format!("{method}, embedding.cafe.shared_share"),
        BudgetError::NotPublished => format!("{method}, embedding.cafe.sizing = \"paper\""),
        _ => method,
    }
}

fn budget_of(embedding: &EmbeddingConfig) -> Option<Budget> {
    let ratio = embedding.compression.map(Budget::Compression);
    ratio.or(embedding.budget.map(|bytes| Budget::Bytes(bytes.0)))
}

/// What a method says whose budget is too small: a ratio that it does reach, or the bytes, as it
/// was asked. Found by trying, because rows, buckets and maps grow in steps of their own, and
/// presets follow the ratio. `None` if there is no such ratio.
fn too_small(
    config: &Config,
    sizing: &EmbeddingSizing<'_>,
    what: &'static str,
) -> Option<BudgetError> {
    let asked = sizing.compression();
    // In tenths, as the message has it.
    let at = |tenths: u64| EmbeddingSizing {
        budget: Budget::Compression(tenths as f64 / 10.0),
        ..*sizing
    };
    let fits = |tenths: u64| sizes(config, &at(tenths)).is_ok();
    let mut high = (asked * 10.0).ceil() as u64;
    // Not from the lowest ratio on: there a sketch may have more rows than it can number.
    let mut low = loop {
        let half = (high / 2).max(10);
        match fits(half) {
            true => break half,
            false if half == 10 => return None,
            false => high = half,
        }
    };
    while high - low > 1 {
        let middle = u64::midpoint(low, high);
        if fits(middle) { low = middle } else { high = middle }
    }
    Some(match sizing.budget {
        Budget::Bytes(bytes) => {
            BudgetError::TooSmall { budget: bytes, needed: at(low).budget_bytes(), what }
        }
        Budget::Compression(_) => BudgetError::RatioTooHigh {
            method: config.embedding.method.name(),
            limit: low as f64 / 10.0,
            asked,
        },
    })
}

/// The settings of CAFE that a configuration comes to; `None` for another method, and where nothing
/// says the ratio.
#[must_use]
pub fn cafe_settings(config: &Config) -> Option<CafeSettings> {
    if config.embedding.method != Method::Cafe {
        return None;
    }
    let (features, dim) = (schema(config).ok()?.features, config.model.dim);
    let (budget, format) = (budget_of(&config.embedding)?, row_format(config));
    let seed = embedding_seed(config);
    let sizing = EmbeddingSizing { features: &features, dim, budget, format, seed };
    let rest = split_budget(config, &sizing).ok()?.map_or(budget, |(_, rest)| rest);
    let ratio = EmbeddingSizing { budget: rest, ..sizing }.compression();
    cafe::settings(&config.embedding, cafe::paper(&config.data.format, ratio)).ok()
}

/// The same as `[embedding.cafe]` says it, with nothing left to a preset.
#[must_use]
pub fn cafe_in_full(config: &Config) -> Option<CafeTable> {
    cafe_settings(config).map(|settings| cafe::in_full(&config.embedding.cafe, &settings))
}

/// The share of the budget for the sketch of frequencies: the one that docs/quality.md measures.
const FREQUENCY_SHARE: f64 = 0.05;

/// The sizes of the method, and of the sketch of frequencies beside it.
fn sizes(config: &Config, sizing: &EmbeddingSizing<'_>) -> Result<Box<dyn Sizes>, BudgetError> {
    let Some((frequencies, rest)) = split_budget(config, sizing)? else {
        return method_sizes(config, sizing);
    };
    let method = method_sizes(config, &EmbeddingSizing { budget: rest, ..*sizing })?;
    Ok(Box::new(FrequencySizes { method, frequencies }))
}

/// The sketch of frequencies that a configuration asks for, and the budget that is left for the
/// method; `None` if it asks for none. A full table has no budget, and keeps all of its bytes.
fn split_budget(
    config: &Config,
    sizing: &EmbeddingSizing<'_>,
) -> Result<Option<(FrequencyConfig, Budget)>, BudgetError> {
    if !config.embedding.frequency_inputs {
        return Ok(None);
    }
    let bytes = sizing.budget_bytes();
    let share = Budget::Bytes((bytes as f64 * FREQUENCY_SHARE) as u64);
    let seed = mix64(config.seed, 0xf_4e9);
    let frequencies = FrequencyConfig::within(&EmbeddingSizing { budget: share, seed, ..*sizing });
    let frequencies = frequencies.map_err(|error| match error {
        BudgetError::TooSmall { needed, what, .. } => BudgetError::TooSmall {
            budget: bytes,
            needed: (needed as f64 / FREQUENCY_SHARE).ceil() as u64,
            what,
        },
        _ => error,
    })?;
    let rest = match config.embedding.method {
        Method::Full => sizing.budget,
        _ => Budget::Bytes(bytes - frequencies.bytes()),
    };
    Ok(Some((frequencies, rest)))
}

/// One arm a method.
fn method_sizes(
    config: &Config,
    sizing: &EmbeddingSizing<'_>,
) -> Result<Box<dyn Sizes>, BudgetError> {
    let embedding = &config.embedding;
    let ratio = sizing.compression();
    let paper = cafe::paper(&config.data.format, ratio);
    Ok(match embedding.method {
        Method::Full => {
            let table = FullConfig::within(sizing)?;
            Box::new(FullSizes { table, max_rows: known_rows(config) })
        }
        Method::Hash => Box::new(HashedConfig::within(sizing)?),
        Method::Qr => Box::new(QrConfig::within(sizing)?),
        Method::Mde => Box::new(MdeConfig::within(sizing)?),
        Method::Ada => Box::new(AdaConfig::within(sizing)?),
        Method::Offline => {
            let share = embedding.offline.shared_share.unwrap_or(paper.shared_share);
            Box::new(OfflineConfig::within(sizing, share)?)
        }
        Method::Coded => Box::new(if embedding.coded.own_rows {
            UnifiedConfig::coded(sizing)?
        } else {
            UnifiedConfig::within(sizing, UnifiedSettings::CODED)?
        }),
        Method::Unified => {
            let settings = cafe::unified_settings(embedding.unified);
            Box::new(UnifiedConfig::within(sizing, settings)?)
        }
        Method::CafePlus => {
            let settings = cafe::plus_settings(&embedding.cafe_plus, &paper, ratio);
            Box::new(CafePlusConfig::within(sizing, &settings)?)
        }
        Method::Cafe => {
            let settings = cafe::settings(embedding, paper)
                .expect("a checked configuration has settings in range");
            Box::new(match embedding.cafe.sizing {
                Sizing::Paper => CafeConfig::paper(sizing, &settings)?,
                Sizing::Within => CafeConfig::within(sizing, &settings)?,
            })
        }
    })
}

/// Builds the embedding that was planned, after a pass over the training rows where the method asks
/// for one.
///
/// # Errors
/// If the rows can't be read.
pub fn build_embedding(
    plan: &EmbeddingPlan,
    config: &Config,
    data: &DataSet,
) -> Result<Box<dyn Embedding>> {
    let counts = if plan.sizes.wants_counts() {
        tracing::info!("counting features for {}", config.embedding.method.name());
        data.count_features(config.embedding.offline.rows.unwrap_or(u64::MAX))?
    } else {
        FeatureCounts::default()
    };
    Ok(plan.sizes.build(&counts))
}

/// What a configuration can say of a model; what the model is stands in `dlrm-model`.
pub struct ModelEntry {
    /// Its name.
    pub name: &'static str,
    /// The keys of `[model]` that size its parts, beside `dim`.
    pub keys: &'static [&'static str],
    /// Sizes of the deep layers where nothing is said, for a model that has them: the published
    /// ones.
    pub deep: &'static [usize],
    /// Its shape, for so many numeric inputs and fields a sample.
    shape: fn(usize, usize, ModelConfig) -> Shape,
}

/// The models: an entry each, and the first is the default.
pub const MODELS: &[ModelEntry] = &[
    ModelEntry {
        name: "dlrm",
        keys: &["bottom", "top"],
        deep: &[],
        shape: |n_dense, n_fields, ModelConfig { dim, bottom, top, .. }| {
            DlrmConfig { n_dense, n_fields, dim, bottom, top }.into()
        },
    },
    ModelEntry {
        name: "wdl",
        keys: &["deep"],
        deep: &[256; 2],
        shape: |n_dense, n_fields, ModelConfig { dim, deep, .. }| {
            WideDeepConfig { n_dense, n_fields, dim, deep }.into()
        },
    },
    ModelEntry {
        name: "dcn",
        keys: &["deep", "cross_layers"],
        deep: &[256; 3],
        shape: |n_dense, n_fields, ModelConfig { dim, deep, cross_layers, .. }| {
            let n_cross = cross_layers.unwrap_or_default();
            DcnConfig { n_dense, n_fields, dim, n_cross, deep }.into()
        },
    },
    ModelEntry {
        name: "dcnv2",
        keys: &["deep", "cross_layers", "cross_rank"],
        deep: &[256; 3],
        shape: |n_dense,
                n_fields,
                ModelConfig { dim, deep, cross_layers, cross_rank: rank, .. }| {
            let n_cross = cross_layers.unwrap_or_default();
            DcnV2Config { n_dense, n_fields, dim, n_cross, rank, deep }.into()
        },
    },
    ModelEntry {
        name: "deepfm",
        keys: &["deep"],
        deep: &[256; 3],
        shape: |n_dense, n_fields, ModelConfig { dim, deep, .. }| {
            DeepFmConfig { n_dense, n_fields, dim, deep }.into()
        },
    },
];

/// The shape of the dense network.
///
/// # Errors
/// As [`dialect`].
pub fn model_config(config: &Config) -> Result<Shape> {
    let Schema { n_integers, n_fields, .. } = schema(config)?;
    let n_dense = config.model.n_dense(n_integers) + n_frequency_inputs(config, n_fields);
    Ok((config.model.kind.entry().shape)(n_dense, n_fields, config.model.clone()))
}

/// The number of frequency inputs: one for each field, behind the other numeric inputs of the
/// network.
fn n_frequency_inputs(config: &Config, n_fields: usize) -> usize {
    if config.embedding.frequency_inputs { n_fields } else { 0 }
}

/// Builds the dense network on its device. Its weights on frequencies start at zero.
///
/// # Errors
/// If the device can't be had, or the shape does not fit together.
pub fn build_model(config: &Config) -> Result<Model> {
    let device: DeviceSpec = config.device.parse().map_err(|error| anyhow!("device: {error}"))?;
    let optimizer = match config.train.optimizer {
        Optimizer::Sgd => OptimizerKind::Sgd,
        Optimizer::Adagrad => OptimizerKind::Adagrad { epsilon: ADAGRAD_EPSILON },
        Optimizer::Adam => {
            OptimizerKind::Adam { beta1: BETA1, beta2: BETA2, epsilon: ADAM_EPSILON }
        }
    };
    let options = ModelOptions {
        optimizer,
        seed: mix64(config.seed, 0x0de1),
        device,
        n_threads: config.threads,
    };
    let engine: EngineKind = config.engine.parse().map_err(|error| anyhow!("engine: {error}"))?;
    let precision: Precision =
        config.precision.parse().map_err(|error| anyhow!("precision: {error}"))?;
    let shape = model_config(config)?;
    let n_ignored = n_frequency_inputs(config, shape.n_fields());
    let mut model = Model::with_precision(engine, shape, options, precision)?;
    if n_ignored > 0 {
        model.ignore_last_dense(n_ignored)?;
    }
    Ok(model)
}

/// The rows of the data, where they are known without looking at them.
fn known_rows(config: &Config) -> Option<u64> {
    config
        .data
        .synthetic
        .as_ref()
        .map(|synthetic| synthetic.rows)
        .into_iter()
        .chain(config.data.rows)
        .min()
}

fn embedding_seed(config: &Config) -> u64 {
    mix64(config.seed, 0xe_3bed)
}

fn row_format(config: &Config) -> RowFormat {
    let embedding = &config.embedding;
    let accumulator = embedding.accumulator.unwrap_or(Accumulator::F32);
    let optimizer = match config.train.row_optimizer() {
        EmbeddingOptimizer::Sgd => RowOptimizer::Sgd,
        EmbeddingOptimizer::RowWiseAdagrad => {
            RowOptimizer::RowWiseAdagrad { epsilon: ADAGRAD_EPSILON, accumulator }
        }
        EmbeddingOptimizer::Adagrad => RowOptimizer::Adagrad { epsilon: ADAGRAD_EPSILON },
        EmbeddingOptimizer::Adam => {
            RowOptimizer::Adam { beta1: BETA1 as f32, beta2: BETA2 as f32, epsilon: ADAM_EPSILON }
        }
    };
    let precision = embedding.precision.unwrap_or_default();
    // A full table has no budget that could pay for it.
    let count_optimizer =
        embedding.count_optimizer == Some(true) && embedding.method != Method::Full;
    RowFormat { precision, optimizer, count_optimizer }
}
