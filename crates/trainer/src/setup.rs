//! From a configuration to the parts of a run: the one place that knows which methods and models exist.

use anyhow::{Context, Result, anyhow};
use cafe_core::{
    Budget, CafeConfig, CafeEmbedding, CafeSettings, Embedding, FieldKind, FullEmbedding, HashedConfig,
    HashedEmbedding, Medium, RowOptimizer, VictimPolicy, full_bytes, mix64,
};
use criteo_io::{Format, Schema};
use dlrm_model::{DeviceSpec, DlrmConfig, EngineKind, Model, ModelOptions, OptimizerKind, Precision};

use crate::config::{CafeTable, Config, Importance, Method, ModelKind, Optimizer, Sizing, Victim};
use crate::report::{bytes, grouped};

/// PyTorch's default for Adagrad.
const ADAGRAD_EPSILON: f32 = 1e-10;

/// What the embedding of a run consists of, before any memory is taken.
#[derive(Clone, Debug)]
pub struct EmbeddingPlan {
    /// Features of each field.
    pub features: Vec<u64>,
    /// Bytes of a table with a row for each.
    pub full_bytes: u64,
    /// What the embedding may occupy.
    pub budget_bytes: u64,
    /// Sizes by method.
    pub sizes: Sizes,
}

/// Sizes by method.
#[derive(Clone, Debug)]
pub enum Sizes {
    /// A row for each feature seen.
    Full {
        /// Values a row.
        dim: usize,
    },
    /// Rows for each field.
    Hash(HashedConfig),
    /// Sketch, hot rows, shared rows.
    Cafe(CafeConfig),
}

impl EmbeddingPlan {
    /// Bytes of one row.
    #[must_use]
    pub fn row_bytes(&self) -> u64 {
        let dim = match &self.sizes {
            Sizes::Full { dim } => *dim,
            Sizes::Hash(sizes) => sizes.dim,
            Sizes::Cafe(sizes) => sizes.dim,
        };
        (dim * size_of::<f32>()) as u64
    }

    /// Rows and sketch; for `full` what it can grow to.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        match &self.sizes {
            Sizes::Full { .. } => self.full_bytes,
            Sizes::Hash(sizes) => sizes.embedding_bytes(),
            Sizes::Cafe(sizes) => sizes.embedding_bytes(),
        }
    }

    /// The same with maps and free list: about 40 B a feature where a map grows.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let beside = match &self.sizes {
            Sizes::Full { .. } => 40 * self.features.iter().sum::<u64>(),
            Sizes::Hash(_) => 0,
            Sizes::Cafe(sizes) => 40 * sizes.n_own_rows() + 4 * sizes.n_hot as u64,
        };
        self.embedding_bytes() + beside
    }

    /// What the method consists of, as labels and values.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let rows_and_bytes = |n_rows: u64| format!("{} rows, {}", grouped(n_rows), bytes(n_rows * self.row_bytes()));
        match &self.sizes {
            Sizes::Full { .. } => vec![("rows", "one for each feature seen, up to the full table".to_owned())],
            Sizes::Hash(sizes) => vec![("hash rows", rows_and_bytes(sizes.n_rows.iter().sum()))],
            Sizes::Cafe(sizes) => {
                let n_buckets = grouped(sizes.n_buckets as u64);
                let n_own = sizes.n_own_rows();
                let decay = sizes.decay.map_or_else(
                    || "they never decay".to_owned(),
                    |decay| format!("all scores x {} every {:.3e} of mass", decay.factor, decay.every),
                );
                vec![
                    (
                        "sketch",
                        format!("{n_buckets} buckets of {} slots, {}", sizes.slots, bytes(sizes.sketch_bytes())),
                    ),
                    ("hot rows", rows_and_bytes(sizes.n_hot as u64)),
                    ("hash rows", rows_and_bytes(sizes.n_rows() - sizes.n_hot as u64 - n_own)),
                    ("small rows", rows_and_bytes(n_own)),
                    ("hot from", format!("score {}; {decay}", sizes.threshold)),
                ]
            }
        }
    }

    /// Rows of a field, beside the hot ones: their number, and in words.
    #[must_use]
    pub fn field_rows(&self, field: usize) -> (u64, String) {
        let n_features = self.features[field];
        match &self.sizes {
            Sizes::Full { .. } => (n_features, format!("up to {}", grouped(n_features))),
            Sizes::Hash(sizes) => (sizes.n_rows[field], grouped(sizes.n_rows[field])),
            Sizes::Cafe(sizes) => {
                let text = match sizes.fields[field].kind {
                    FieldKind::Own => format!("{} own", grouped(n_features)),
                    FieldKind::Shared { first, second: 0 } => grouped(first),
                    FieldKind::Shared { first, second } => format!("{} + {}", grouped(first), grouped(second)),
                };
                (sizes.fields[field].n_rows(), text)
            }
        }
    }
}

/// The dialect of the rows.
///
/// # Errors
/// If nobody knows it; a checked configuration names a known one.
pub fn format(config: &Config) -> Result<Format> {
    config.data.format.parse().map_err(|error| anyhow!("data.format: {error}"))
}

/// Features of each field: the configuration's, or what the format says.
///
/// # Errors
/// As [`format()`].
pub fn schema(config: &Config) -> Result<Schema> {
    let mut schema = format(config)?.schema();
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
    let budget = match (config.embedding.compression, config.embedding.budget) {
        _ if config.embedding.method == Method::Full => Budget::Bytes(full_bytes),
        (Some(ratio), _) => Budget::Compression(ratio),
        (None, Some(bytes)) => Budget::Bytes(bytes.0),
        (None, None) => unreachable!("a checked configuration has a budget"),
    };
    let budget_bytes = budget.bytes(&features, dim);
    let (optimizer, seed) = (row_optimizer(config), embedding_seed(config));
    let sizes = match config.embedding.method {
        Method::Full => Ok(Sizes::Full { dim }),
        Method::Hash => HashedConfig::within(&features, dim, budget_bytes, optimizer, seed).map(Sizes::Hash),
        Method::Cafe => {
            let ratio = budget.compression(&features, dim);
            let settings = cafe_settings(&config.embedding.cafe, ratio, optimizer, seed);
            match config.embedding.cafe.sizing {
                Sizing::Within => CafeConfig::within(&features, dim, budget, &settings),
                Sizing::Paper => CafeConfig::paper(&features, dim, ratio, &settings),
            }
            .map(Sizes::Cafe)
        }
    };
    let sizes = sizes.with_context(|| format!("embedding.method = \"{}\"", config.embedding.method.name()))?;
    Ok(EmbeddingPlan { features, full_bytes, budget_bytes, sizes })
}

/// Builds the embedding that was planned.
#[must_use]
pub fn build_embedding(plan: &EmbeddingPlan, config: &Config) -> Box<dyn Embedding> {
    match &plan.sizes {
        Sizes::Full { dim } => {
            Box::new(FullEmbedding::new(&plan.features, *dim, row_optimizer(config), embedding_seed(config)))
        }
        Sizes::Hash(sizes) => Box::new(HashedEmbedding::new(sizes)),
        Sizes::Cafe(sizes) => Box::new(CafeEmbedding::new(sizes.clone())),
    }
}

/// The shape of the dense network.
///
/// # Errors
/// As [`format()`].
pub fn model_config(config: &Config) -> Result<DlrmConfig> {
    let schema = format(config)?.schema();
    let ModelKind::Dlrm = config.model.kind;
    Ok(DlrmConfig {
        n_dense: schema.n_integers,
        n_fields: schema.n_fields,
        dim: config.model.dim,
        bottom: config.model.bottom.clone(),
        top: config.model.top.clone(),
    })
}

/// Builds the dense network on its device.
///
/// # Errors
/// If the device can't be had, or the shape does not fit together.
pub fn build_model(config: &Config) -> Result<Model> {
    let device: DeviceSpec = config.device.parse().map_err(|error| anyhow!("device: {error}"))?;
    let optimizer = match config.train.optimizer {
        Optimizer::Sgd => OptimizerKind::Sgd,
        Optimizer::Adagrad => OptimizerKind::Adagrad { epsilon: ADAGRAD_EPSILON },
    };
    let options = ModelOptions { optimizer, seed: mix64(config.seed, 0x0de1), device, n_threads: config.threads };
    let engine: EngineKind = config.engine.parse().map_err(|error| anyhow!("engine: {error}"))?;
    let precision: Precision = config.precision.parse().map_err(|error| anyhow!("precision: {error}"))?;
    Ok(Model::with_precision(engine, model_config(config)?, options, precision)?)
}

fn embedding_seed(config: &Config) -> u64 {
    mix64(config.seed, 0xe_3bed)
}

fn row_optimizer(config: &Config) -> RowOptimizer {
    match config.train.optimizer {
        Optimizer::Sgd => RowOptimizer::Sgd,
        Optimizer::Adagrad => RowOptimizer::RowWiseAdagrad { epsilon: ADAGRAD_EPSILON },
    }
}

/// The paper's settings for the ratio, where the configuration says nothing else.
fn cafe_settings(table: &CafeTable, ratio: f64, optimizer: RowOptimizer, seed: u64) -> CafeSettings {
    let CafeTable {
        sizing: _,
        shared_share,
        threshold,
        slots,
        victim,
        importance,
        decay_factor,
        multi_level,
        medium_threshold_ratio,
        medium_share,
    } = table.clone();
    let paper = CafeSettings::paper(ratio);
    let medium = Medium::default();
    CafeSettings {
        shared_share: shared_share.unwrap_or(paper.shared_share),
        threshold: threshold.unwrap_or(paper.threshold),
        slots: slots.unwrap_or(paper.slots),
        victim: victim.map_or(paper.victim, |victim| match victim {
            Victim::Lightest => VictimPolicy::Lightest,
            Victim::LightestCold => VictimPolicy::LightestCold,
            Victim::LastSlot => VictimPolicy::LastSlot,
        }),
        importance: importance.map_or(paper.importance, |importance| match importance {
            Importance::GradientNorm => cafe_core::Importance::GradientNorm,
            Importance::Frequency => cafe_core::Importance::Frequency,
        }),
        decay_factor: match decay_factor {
            None => paper.decay_factor,
            Some(1.0) => None,
            factor => factor,
        },
        medium: multi_level.then_some(Medium {
            threshold_ratio: medium_threshold_ratio.unwrap_or(medium.threshold_ratio),
            second_share: medium_share.unwrap_or(medium.second_share),
        }),
        optimizer,
        seed,
    }
}
