//! From a configuration to the parts of a run: sizes, the embedding, the network.

pub mod memory;
mod sizes;

use anyhow::{Result, anyhow};
use cafe_core::methods::{
    AdaConfig, CafeConfig, CafePlusConfig, FeatureCounts, FullConfig, HashedConfig, MdeConfig,
    OfflineConfig, QrConfig, UnifiedConfig,
};
use cafe_core::table::UnifiedSettings;
use cafe_core::{Budget, BudgetError, Embedding, RowFormat, Sizing, full_bytes, mix64};
use dlrm_model::{DeviceSpec, EngineKind, Model, ModelOptions, OptimizerKind, Precision};

use crate::config::budget::{
    ADAGRAD_EPSILON, ADAM_EPSILON, BETA1, BETA2, budget_of, embedding_seed, known_rows, row_format,
    split_budget,
};
use crate::config::dialect::schema;
use crate::config::models::{model_config, n_frequency_inputs};
use crate::config::{CafeSizing, Config, Method, Named, Optimizer, cafe};
use crate::data::DataSet;

pub use sizes::{FrequencySizes, FullSizes, Sizes};

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
    let sizing = Sizing { features: &features, dim, budget, format, seed };
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

/// The keys that an error of the embedding's sizes is about; the error's own message follows.
fn in_terms_of_keys(config: &Config, error: &BudgetError) -> String {
    let method = format!("embedding.method = \"{}\"", config.embedding.method.name());
    match error {
        BudgetError::RatioTooHigh { .. } => format!("{method}: n/a"),
        BudgetError::TooManyHotRows { .. } => format!("{method}, embedding.cafe.shared_share"),
        BudgetError::NotPublished => format!("{method}, embedding.cafe.sizing = \"paper\""),
        _ => method,
    }
}

/// The error of a method whose budget is too small: with a ratio that it does reach, or the bytes,
/// as it was asked. Found by trying, because rows, buckets and maps grow in steps of their own, and
/// presets follow the ratio. `None` if there is no such ratio.
fn too_small(config: &Config, sizing: &Sizing<'_>, what: &'static str) -> Option<BudgetError> {
    let asked = sizing.compression();
    // In tenths, as the message has it.
    let at = |tenths: u64| Sizing { budget: Budget::Compression(tenths as f64 / 10.0), ..*sizing };
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

/// The sizes of the method, and of the sketch of frequencies beside it.
fn sizes(config: &Config, sizing: &Sizing<'_>) -> Result<Box<dyn Sizes>, BudgetError> {
    let Some((frequencies, rest)) = split_budget(config, sizing)? else {
        return method_sizes(config, sizing);
    };
    let method = method_sizes(config, &Sizing { budget: rest, ..*sizing })?;
    Ok(Box::new(FrequencySizes { method, frequencies }))
}

/// One arm a method.
fn method_sizes(config: &Config, sizing: &Sizing<'_>) -> Result<Box<dyn Sizes>, BudgetError> {
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
                CafeSizing::Paper => CafeConfig::paper(sizing, &settings)?,
                CafeSizing::Within => CafeConfig::within(sizing, &settings)?,
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

/// Builds the dense network on its device. Its weights on frequencies start at zero.
///
/// # Errors
/// If the device is not available, or the shape does not fit together.
pub fn build_model(config: &Config) -> Result<Model> {
    let device: DeviceSpec = config.device.parse().map_err(|error| anyhow!("device: {error}"))?;
    let optimizer = match config.train.optimizer {
        Optimizer::Sgd => OptimizerKind::Sgd,
        Optimizer::Adagrad => OptimizerKind::Adagrad { epsilon: ADAGRAD_EPSILON },
        Optimizer::Adam => {
            OptimizerKind::Adam { beta1: BETA1, beta2: BETA2, epsilon: ADAM_EPSILON }
        }
    };
    let engine: EngineKind = config.engine.parse().map_err(|error| anyhow!("engine: {error}"))?;
    let precision: Precision =
        config.precision.parse().map_err(|error| anyhow!("precision: {error}"))?;
    let options = ModelOptions {
        engine,
        precision,
        optimizer,
        seed: mix64(config.seed, 0x0de1),
        device,
        n_threads: config.threads,
    };
    let shape = model_config(config)?;
    let n_ignored = n_frequency_inputs(config, shape.n_fields());
    let mut model = Model::new(&shape, &options)?;
    if n_ignored > 0 {
        model.ignore_last_dense(n_ignored)?;
    }
    Ok(model)
}
