//! What a run will hold in memory at most, and its refusal where that does not fit.

use dlrm_model::{EngineKind, ModelConfig as Shape, n_training_shards};

use crate::build::EmbeddingPlan;
use crate::config::{Config, Optimizer};
use crate::data::{EVAL_BATCH, PREFETCH_DEPTH};
use crate::memory::{self, MemoryError};

/// Bytes of the program itself with its threads and its allocator's slack, as measured with runs
/// of a few rows on x86-64 Linux.
const PROGRAM_BYTES: usize = 25_000_000;

/// Bytes that the score of a row takes until the AUC of its test set, day or window is known.
pub(crate) const SCORE_BYTES: u64 = 4;

/// Bytes of a feature that is counted, its map grown to twice what it needs.
const COUNT_BYTES: u64 = 40;

/// More than any log has: a window of that size never ends.
const MOST_ROWS: u64 = 1 << 40;

/// Whether a run fits into memory; what it will hold at most.
///
/// # Errors
/// If it does not, with the sizes.
pub fn check_memory(
    config: &Config,
    embedding: &EmbeddingPlan,
    model: &Shape,
) -> Result<u64, MemoryError> {
    let needed = peak_bytes(config, embedding, model);
    match memory::limit(config.max_memory.map(|bytes| bytes.0)) {
        Some((limit, limit_name)) if needed > limit => {
            Err(MemoryError { needed, embedding: embedding.total_bytes(), limit, limit_name })
        }
        _ => Ok(needed),
    }
}

/// What a run will hold at most, on a CPU: an estimate, of the parts that grow with the settings.
pub(crate) fn peak_bytes(config: &Config, embedding: &EmbeddingPlan, model: &Shape) -> u64 {
    const FLOAT: usize = size_of::<f32>();
    // Floats that the optimizer keeps of each parameter.
    let n_moments = match config.train.optimizer {
        Optimizer::Sgd => 0,
        Optimizer::Adagrad => 1,
        Optimizer::Adam => 2,
    };
    let batch = config.train.batch;
    let (largest, n_ids) = (batch.max(EVAL_BATCH), model.n_fields());
    // Labels, dense inputs and ids of the batches that go round; rows, their gradients.
    let batches = (PREFETCH_DEPTH + 2) * largest * (FLOAT * (1 + model.n_dense()) + 8 * n_ids);
    let rows = 2 * largest * model.row_floats() * FLOAT;
    // Sums by feature and by row, with keys and a hash table twice as large as can be filled.
    let sums = 3 * batch * n_ids * (model.dim() * FLOAT + 8 + 32);
    let activations = largest.max(2 * batch) * FLOAT * model.activation_floats();
    // candle has a gradient for each shard, the native engine one for all of them.
    let is_native = config.engine.parse() == Ok(EngineKind::Native);
    let n_gradients = if is_native { 1 } else { n_training_shards(batch) };
    // Our own kernels keep the weights twice more, in the order of their operands; others have that
    // room to spare.
    let n_copies = if is_native { 2 } else { 0 };
    let network = FLOAT * model.n_parameters() * (2 + n_moments + n_gradients + n_copies);
    let buffers =
        PROGRAM_BYTES + window_bytes(config) + batches + rows + sums + activations + network;
    // A map entry for each feature that a first pass counts.
    let counting = if embedding.sizes.wants_counts() {
        COUNT_BYTES * embedding.n_features_seen(config)
    } else {
        0
    };
    // The copy of the state that a checkpoint is written from.
    let copy = embedding.total_bytes()
        + (FLOAT * model.n_parameters() * (1 + n_moments) + window_bytes(config)) as u64;
    embedding.total_bytes() + copy.max(counting) + buffers as u64
}

/// Scores of the rows between two lines of metrics.
fn window_bytes(config: &Config) -> usize {
    let data = &config.data;
    let n_rows =
        data.synthetic.as_ref().map(|synthetic| synthetic.rows).into_iter().chain(data.rows).min();
    let window = config.train.log_every.saturating_mul(config.train.batch as u64);
    (SCORE_BYTES * window.min(n_rows.unwrap_or(MOST_ROWS))) as usize
}
