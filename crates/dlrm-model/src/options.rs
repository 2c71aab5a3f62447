//! What a model is built from besides its shape: engine, precision, device and optimizer. A device
//! is named here rather than taken as candle's `Device`, so that callers need no tensor library and
//! a build without CUDA refuses a GPU by name instead of silently using the CPU.

use std::fmt;
use std::str::FromStr;

use crate::optim::OptimizerKind;
use crate::precision::Precision;

/// What a model is built from besides its shape.
///
/// By default a native model in `f32` on one thread, with SGD and seed 0.
///
/// ```
/// use dlrm_model::{EngineKind, ModelOptions};
/// let options = ModelOptions { seed: 1, n_threads: 2, ..ModelOptions::default() };
/// assert_eq!(options.engine, EngineKind::Native);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelOptions {
    /// Which engine computes.
    pub engine: EngineKind,
    /// Numbers in which the products are computed; the candle engine has `f32` only.
    pub precision: Precision,
    /// Optimizer of the dense parameters.
    pub optimizer: OptimizerKind,
    /// Seed of the initial weights: the same weights with either engine.
    pub seed: u64,
    /// Where the model runs; the native engine has the CPU only.
    pub device: DeviceSpec,
    /// Worker threads on a CPU, at least 1; a GPU uses none. Results do not depend on their number.
    pub n_threads: usize,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            engine: EngineKind::default(),
            precision: Precision::default(),
            optimizer: OptimizerKind::default(),
            seed: 0,
            device: DeviceSpec::default(),
            n_threads: 1,
        }
    }
}

/// An engine by name: `native` or `candle`.
///
/// ```
/// use dlrm_model::EngineKind;
/// assert_eq!("candle".parse::<EngineKind>().unwrap(), EngineKind::Candle);
/// assert_eq!(EngineKind::default().to_string(), "native");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EngineKind {
    /// Hand-written, for CPUs: faster.
    #[default]
    Native,
    /// candle's graph and its derivatives: the specification, for any device. Needs a build with
    /// the feature `candle`.
    Candle,
}

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        match text {
            "native" => Ok(Self::Native),
            "candle" => Ok(Self::Candle),
            _ => Err(UnknownEngine { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Candle => "candle",
        })
    }
}

/// Not the name of an engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown engine `{text}`: expected `native` or `candle`")]
pub struct UnknownEngine {
    /// What was given.
    pub text: String,
}

/// A device by name: `cpu` or `cuda:N`.
///
/// ```
/// use dlrm_model::DeviceSpec;
/// assert_eq!("cuda:1".parse::<DeviceSpec>().unwrap(), DeviceSpec::Cuda(1));
/// assert_eq!(DeviceSpec::Cpu.to_string(), "cpu");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceSpec {
    /// The host.
    #[default]
    Cpu,
    /// The GPU with this ordinal; needs a build with the feature `cuda`.
    Cuda(usize),
}

impl FromStr for DeviceSpec {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown { text: text.to_owned() };
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu),
            Some(("cuda", ordinal)) => ordinal.parse().map(Self::Cuda).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// A device that is not available.
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
        "device `cuda:{ordinal}` needs a build with CUDA: rebuild with `--features cuda`, or use \
         `cpu`"
    )]
    CudaNotBuilt {
        /// The GPU asked for.
        ordinal: usize,
    },
    /// The native engine has no GPU.
    #[error(
        "device `{device}` needs the engine `candle`: the engine `native` runs on `cpu` alone; \
         change one of the two"
    )]
    NativeIsCpu {
        /// The device asked for.
        device: DeviceSpec,
    },
    /// CUDA is built in, but the GPU did not open.
    #[cfg(feature = "candle")]
    #[error("cannot open device `cuda:{ordinal}`: check that `nvidia-smi` lists it")]
    Cuda {
        /// The GPU asked for.
        ordinal: usize,
        /// candle's reason.
        source: candle_core::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_round_trip() {
        for spec in [DeviceSpec::Cpu, DeviceSpec::Cuda(0), DeviceSpec::Cuda(7)] {
            assert_eq!(spec.to_string().parse::<DeviceSpec>().unwrap(), spec);
        }
    }

    #[test]
    fn unknown_devices_are_refused() {
        for text in ["", "gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "metal:0"] {
            let message = text.parse::<DeviceSpec>().unwrap_err().to_string();
            assert!(
                message.contains(&format!("`{text}`")) && message.contains("cuda:0"),
                "{message}"
            );
        }
    }

    #[test]
    fn engines_round_trip_and_unknown_ones_are_refused() {
        for kind in [EngineKind::Native, EngineKind::Candle] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let message = "torch".parse::<EngineKind>().unwrap_err().to_string();
        assert_eq!(message, "unknown engine `torch`: expected `native` or `candle`");
    }

    #[test]
    fn default_options_are_those_of_the_program() {
        let expected = ModelOptions {
            engine: EngineKind::Native,
            precision: Precision::F32,
            optimizer: OptimizerKind::Sgd,
            seed: 0,
            device: DeviceSpec::Cpu,
            n_threads: 1,
        };
        assert_eq!(ModelOptions::default(), expected);
    }
}
