//! What can go wrong: a shape that does not fit, a device that is not there, numbers that are not
//! finite. One file, so that the wording stays of one kind: what, where, expected, what to do.

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

/// A device that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Not a device's name.
    #[error("unknown device `{text}`: expected `cpu` or `cuda:N`, such as `cuda:0`")]
    Unknown {
        /// What was given.
        text: String,
    },
    /// A build without CUDA.
    #[error(
        "device `cuda:{ordinal}` needs a build with CUDA: rebuild with `--features cuda`, or use `cpu`"
    )]
    CudaNotBuilt {
        /// The GPU asked for.
        ordinal: usize,
    },
    /// The native engine has no GPU.
    #[error(
        "device `{device}` needs the engine `candle`: the engine `native` runs on `cpu` alone; change one of the two"
    )]
    NativeIsCpu {
        /// The device asked for.
        device: crate::DeviceSpec,
    },
    /// CUDA is built in, but the GPU did not open.
    #[error("cannot open device `cuda:{ordinal}`: check that `nvidia-smi` lists it")]
    Cuda {
        /// The GPU asked for.
        ordinal: usize,
        /// What candle said.
        source: candle_core::Error,
    },
}

/// An engine that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown engine `{text}`: expected `native` or `candle`")]
pub struct UnknownEngine {
    /// What was given.
    pub text: String,
}

/// A precision that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown precision `{text}`: expected `f32`, `bf16` or `bf16-emulated`")]
pub struct UnknownPrecision {
    /// What was given.
    pub text: String,
}

/// A precision that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrecisionError {
    /// candle computes in `f32`.
    #[error(
        "precision `{precision}` needs the engine `native`: the engine `candle` computes in `f32` alone; change one of the two"
    )]
    CandleIsF32 {
        /// The precision asked for.
        precision: crate::Precision,
    },
    /// A CPU without the instructions.
    #[error(
        "precision `bf16` needs a CPU with AVX512_BF16 (AMD Zen 4, Intel Cooper Lake or Sapphire Rapids, and later), which this one lacks: use `f32`; `bf16-emulated` gives the same numbers, slowly"
    )]
    NoBf16,
}

/// An optimizer that would not converge or divides by zero.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum OptimizerError {
    /// A share that is none.
    #[error(
        "`{name}` of Adam is {value}: expected at least 0 and less than 1, such as 0.9 or 0.999"
    )]
    Beta {
        /// `beta1` or `beta2`.
        name: &'static str,
        /// What was given.
        value: f64,
    },
    /// A step could divide by zero or less.
    #[error("`epsilon` of Adam is {value}: expected a finite number of at least 0, such as 1e-8")]
    Epsilon {
        /// What was given.
        value: f32,
    },
}

/// Parameters that do not belong to this model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ParameterError {
    /// A name that the model has and the input lacks.
    #[error(
        "parameter `{name}` is missing: was it saved by a model of another shape or optimizer?"
    )]
    Missing {
        /// Its name.
        name: String,
    },
    /// A name that the model lacks.
    #[error(
        "parameter `{name}` is unknown here: was it saved by a model of another shape or optimizer?"
    )]
    Unknown {
        /// Its name.
        name: String,
    },
    /// A name given twice.
    #[error("parameter `{name}` is given twice")]
    Duplicate {
        /// Its name.
        name: String,
    },
    /// The right name with another shape.
    #[error("parameter `{name}` has shape {got:?}, expected {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// What the model has.
        expected: Vec<usize>,
        /// What was given.
        got: Vec<usize>,
    },
    /// As many values as the shape does not say.
    #[error("parameter `{name}` has {got} values, expected {expected} from its shape")]
    Length {
        /// Its name.
        name: String,
        /// Product of the shape.
        expected: usize,
        /// Values given.
        got: usize,
    },
    /// A number of steps that is none.
    #[error(
        "`{name}` holds {value} at position {value_idx}, expected a whole number from 0 to 16777215"
    )]
    NotACount {
        /// Its name.
        name: String,
        /// Position in the values.
        value_idx: usize,
        /// The value.
        value: f32,
    },
    /// NaN or infinity.
    #[error(
        "parameter `{name}` holds {value} at position {value_idx}: a model that has diverged cannot be resumed"
    )]
    NonFinite {
        /// Its name.
        name: String,
        /// Position in the values.
        value_idx: usize,
        /// The value.
        value: f32,
    },
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
