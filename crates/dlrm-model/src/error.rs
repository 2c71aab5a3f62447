//! What can go wrong: a shape that does not fit, a device that is not there, numbers that are not
//! finite. Errors of a name, an option or a parameter stand beside its type; [`ModelError`] collects
//! them. All are worded alike: what, where, expected, what to do.

use crate::optim::OptimizerError;
use crate::options::DeviceError;
use crate::parameters::ParameterError;
use crate::precision::PrecisionError;

/// A [`ModelConfig`](crate::ModelConfig) whose sizes do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Rows without length.
    #[error("`dim` is 0: an embedding row needs at least one float")]
    ZeroDim,
    /// Fewer than two vectors.
    #[error(
        "nothing to interact with `n_fields` = {n_fields}: DLRM needs two vectors, of which the dense inputs give at most one"
    )]
    NoPairs {
        /// Fields configured.
        n_fields: usize,
    },
    /// A layer without outputs.
    #[error("`{name}[{layer_idx}]` is 0: every layer needs at least one output")]
    ZeroLayer {
        /// `bottom`, `top` or `deep`.
        name: &'static str,
        /// Position in the list.
        layer_idx: usize,
    },
    /// A bottom MLP without input.
    #[error(
        "`bottom` is {bottom:?} but `n_dense` is 0: leave `bottom` empty for data without numeric columns"
    )]
    BottomWithoutDense {
        /// Sizes configured.
        bottom: Vec<usize>,
    },
    /// The dense vector would not fit among the rows.
    #[error("`bottom` {}, expected its last size to be `dim` = {dim}: the dense vector interacts with the rows", describe_end(*last))]
    BottomEnd {
        /// Last size, if any.
        last: Option<usize>,
        /// Length of a row.
        dim: usize,
    },
    /// More than one logit, or none.
    #[error("`top` {}, expected its last size to be 1: the logit", describe_end(*last))]
    TopEnd {
        /// Last size, if any.
        last: Option<usize>,
    },
    /// No rows.
    #[error("`n_fields` is 0: a model needs at least one embedding row")]
    NoFields,
    /// Deep layers missing.
    #[error("`deep` is empty: it needs at least one hidden layer, such as 256")]
    NoDeepLayers,
    /// Cross layers missing.
    #[error("`n_cross` is 0: a cross network needs at least one layer")]
    NoCrossLayers,
    /// A low-rank matrix of rank 0.
    #[error(
        "`rank` is 0: a low-rank cross layer needs at least 1; leave `rank` out for full matrices"
    )]
    ZeroRank,
}

/// Nothing when predicting, where a logit alone is at fault.
fn with_label(logit: f32, label: f32) -> String {
    if label.is_nan() && !logit.is_finite() {
        String::new()
    } else {
        format!(" with label {label}")
    }
}

fn describe_end(last: Option<usize>) -> String {
    last.map_or_else(|| "is empty".to_owned(), |size| format!("ends in {size}"))
}

/// Anything that building or running a model can report.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The shape.
    #[error("invalid model configuration")]
    Config(#[from] ConfigError),
    /// The device.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The precision.
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    /// The optimizer.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// The parameters.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// The forward pass left the finite numbers.
    #[error(
        "sample {sample_idx} of the batch: logit {logit}{}, expected finite numbers; check the inputs or lower the learning rate", with_label(*logit, *label)
    )]
    NonFiniteLogit {
        /// Position in the batch.
        sample_idx: usize,
        /// What the model computed.
        logit: f32,
        /// The label; NaN when predicting, where there is none.
        label: f32,
    },
    /// The backward pass left the finite numbers.
    #[error(
        "sample {sample_idx} of the batch: its row gradient holds {value} at position {value_idx}; lower the learning rate"
    )]
    NonFiniteGradient {
        /// Position in the batch.
        sample_idx: usize,
        /// Position among the `n_fields * dim` floats of the sample.
        value_idx: usize,
        /// The value.
        value: f32,
    },
    /// The worker threads did not start.
    #[error("cannot start {n_threads} worker threads")]
    Threads {
        /// Threads asked for.
        n_threads: usize,
        /// What rayon said.
        source: rayon::ThreadPoolBuildError,
    },
    /// candle itself, such as a GPU out of memory.
    #[error("tensor computation failed")]
    Candle(#[from] candle_core::Error),
}
