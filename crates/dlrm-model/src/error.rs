//! What can go wrong: a shape that does not fit, a device that is not available, numbers that are
//! not finite. Errors of a name, an option or a parameter are beside its type; [`ModelError`]
//! collects them. All are worded alike: what, where, expected, what to do.

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
        "nothing to interact with `n_fields` = {n_fields}: DLRM needs two vectors, of which the \
         dense inputs give at most one"
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
        "`bottom` is {bottom:?} but `n_dense` is 0: leave `bottom` empty for data without numeric \
         columns"
    )]
    BottomWithoutDense {
        /// Sizes configured.
        bottom: Vec<usize>,
    },
    /// The dense vector would not fit among the rows.
    #[error(
        "`bottom` {}, expected its last size to be `dim` = {dim}: the dense vector interacts with \
         the rows",
        describe_end(*last)
    )]
    BottomEnd {
        /// Last size, if any.
        last: Option<usize>,
        /// Length of a row.
        dim: usize,
    },
    /// Not one logit.
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

fn describe_label(label: Option<f32>) -> String {
    label.map_or_else(String::new, |label| format!(" with label {label}"))
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
    /// The forward pass gave a logit or a loss that is not finite.
    #[error(
        "sample {sample_idx} of the batch: logit {logit}{}, expected finite numbers; check the \
         inputs or lower the learning rate",
        describe_label(*label)
    )]
    NonFiniteLogit {
        /// Position in the batch.
        sample_idx: usize,
        /// What the model computed.
        logit: f32,
        /// The label; none when predicting.
        label: Option<f32>,
    },
    /// The backward pass gave a gradient that is not finite.
    #[error(
        "sample {sample_idx} of the batch: its row gradient holds {value} at position \
         {value_idx}; lower the learning rate"
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
        /// rayon's reason.
        source: rayon::ThreadPoolBuildError,
    },
    /// A build without candle.
    #[cfg(not(feature = "candle"))]
    #[error(
        "the engine `candle` is not part of this build: rebuild with `--features candle`, or use \
         the engine `native`"
    )]
    CandleNotBuilt,
    /// candle itself, such as a GPU out of memory.
    #[cfg(feature = "candle")]
    #[error("tensor computation failed")]
    Candle(#[from] candle_core::Error),
}
