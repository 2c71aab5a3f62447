//! Which device the graph runs on. Apart from candle's `Device`, so that the trainer needs no
//! tensor library and a build without CUDA refuses a GPU by name instead of falling back in
//! silence.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::error::DeviceError;

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

impl DeviceSpec {
    pub(crate) fn open(self) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(ordinal) if !cfg!(feature = "cuda") => {
                Err(DeviceError::CudaNotBuilt { ordinal })
            }
            Self::Cuda(ordinal) => {
                Device::new_cuda(ordinal).map_err(|source| DeviceError::Cuda { ordinal, source })
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for spec in [DeviceSpec::Cpu, DeviceSpec::Cuda(0), DeviceSpec::Cuda(7)] {
            assert_eq!(spec.to_string().parse::<DeviceSpec>().unwrap(), spec);
        }
    }

    #[test]
    fn other_names_are_refused() {
        for text in ["", "gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "metal:0"] {
            let message = text.parse::<DeviceSpec>().unwrap_err().to_string();
            assert!(
                message.contains(&format!("`{text}`")) && message.contains("cuda:0"),
                "{message}"
            );
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_how_to_get_it() {
        let message = DeviceSpec::Cuda(2).open().unwrap_err().to_string();
        assert!(message.contains("cuda:2") && message.contains("--features cuda"), "{message}");
    }
}
