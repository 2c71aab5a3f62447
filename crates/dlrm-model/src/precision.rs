//! In which numbers the products are computed, and which kernel computes them on this CPU.

use std::fmt;
use std::str::FromStr;

/// The operands of the products by name: `f32`, `bf16` or `bf16-emulated`.
///
/// Only operands are rounded: sums, weights, biases, embedding rows, the interaction, layers of one
/// output, the loss and the optimizer stay `f32`.
///
/// ```
/// use dlrm_model::Precision;
/// assert_eq!("bf16".parse::<Precision>().unwrap(), Precision::Bf16);
/// assert_eq!(Precision::default().to_string(), "f32");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Operands are not rounded: the reference.
    #[default]
    F32,
    /// Operands rounded to bf16, on a CPU with `AVX512_BF16` and the native engine.
    Bf16,
    /// The numbers of [`Bf16`](Self::Bf16) on any CPU, but several times slower than `f32`: for
    /// tests, and to see the effect of rounding where the CPU lacks the instructions.
    Bf16Emulated,
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(text: &str) -> Result<Self, UnknownPrecision> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "bf16-emulated" => Ok(Self::Bf16Emulated),
            _ => Err(UnknownPrecision { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Bf16Emulated => "bf16-emulated",
        })
    }
}

/// Not the name of a precision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown precision `{text}`: expected `f32`, `bf16` or `bf16-emulated`")]
pub struct UnknownPrecision {
    /// What was given.
    pub text: String,
}

/// A precision that is not available.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrecisionError {
    /// candle computes in `f32`.
    #[error(
        "precision `{precision}` needs the engine `native`: the engine `candle` computes in `f32` \
         alone; change one of the two"
    )]
    CandleIsF32 {
        /// The precision asked for.
        precision: Precision,
    },
    /// A CPU without the instructions.
    #[error(
        "precision `bf16` needs a CPU with AVX512_BF16 (AMD Zen 4, Intel Cooper Lake or Sapphire \
         Rapids, and later), which this one lacks: use `f32`; `bf16-emulated` gives the same \
         numbers, slowly"
    )]
    NoBf16,
}

/// What computes the products of a model, by a name for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kernel {
    /// candle's own choice.
    Candle,
    /// The `gemm` crate, `f32`.
    Gemm,
    /// Our kernel on AVX-512F, `f32`.
    Avx512F,
    /// Our kernel on `AVX512_BF16`.
    Avx512Bf16,
    /// Our kernel in plain Rust, with operands in bf16.
    EmulatedBf16,
    /// Our kernel in plain Rust, `f32`.
    #[cfg(test)]
    PortableF32,
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Candle => "candle",
            Self::Gemm => "gemm",
            Self::Avx512F => "avx512f",
            Self::Avx512Bf16 => "avx512_bf16",
            Self::EmulatedBf16 => "emulated bf16",
            #[cfg(test)]
            Self::PortableF32 => "portable f32",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_round_trip_and_unknown_ones_are_refused() {
        for precision in [Precision::F32, Precision::Bf16, Precision::Bf16Emulated] {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        let message = "fp16".parse::<Precision>().unwrap_err().to_string();
        assert_eq!(message, "unknown precision `fp16`: expected `f32`, `bf16` or `bf16-emulated`");
    }
}
