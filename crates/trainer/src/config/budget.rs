//! What the embedding of a configuration may spend, and how its rows are stored and seeded.

use cafe_core::frequency::FrequencyConfig;
use cafe_core::{Accumulator, Budget, BudgetError, RowFormat, RowOptimizer, Sizing, mix64};

use crate::config::{Config, EmbeddingConfig, EmbeddingOptimizer, Method};

/// PyTorch's default for Adagrad.
pub(crate) const ADAGRAD_EPSILON: f32 = 1e-10;
/// PyTorch's defaults for Adam.
pub(crate) const BETA1: f64 = 0.9;
pub(crate) const BETA2: f64 = 0.999;
pub(crate) const ADAM_EPSILON: f32 = 1e-8;

pub(crate) fn budget_of(embedding: &EmbeddingConfig) -> Option<Budget> {
    let ratio = embedding.compression.map(Budget::Compression);
    ratio.or(embedding.budget.map(|bytes| Budget::Bytes(bytes.0)))
}

/// The share of the budget for the sketch of frequencies: the one that docs/quality.md measures.
const FREQUENCY_SHARE: f64 = 0.05;

/// The sketch of frequencies that a configuration asks for, and the budget that is left for the
/// method; `None` if it asks for none. A full table has no budget, and keeps all of its bytes.
pub(crate) fn split_budget(
    config: &Config,
    sizing: &Sizing<'_>,
) -> Result<Option<(FrequencyConfig, Budget)>, BudgetError> {
    if !config.embedding.frequency_inputs {
        return Ok(None);
    }
    let bytes = sizing.budget_bytes();
    let share = Budget::Bytes((bytes as f64 * FREQUENCY_SHARE) as u64);
    // Different from the seed of the embedding, so that the two hash independently.
    let seed = mix64(config.seed, 0xf_4e9);
    let frequencies = FrequencyConfig::within(&Sizing { budget: share, seed, ..*sizing });
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

pub(crate) fn embedding_seed(config: &Config) -> u64 {
    mix64(config.seed, 0xe_3bed)
}

pub(crate) fn row_format(config: &Config) -> RowFormat {
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

/// The rows of the data, where they are known without looking at them.
pub(crate) fn known_rows(config: &Config) -> Option<u64> {
    config
        .data
        .synthetic
        .as_ref()
        .map(|synthetic| synthetic.rows)
        .into_iter()
        .chain(config.data.rows)
        .min()
}
