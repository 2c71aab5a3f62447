//! Our own products: one kernel for `f32` and bf16, written once over a vector of 16 lanes.
//!
//! Every operand is a 32-bit word: one `f32`, or two neighbours along `k` in bf16. The left matrix
//! comes in rows of words or in panels, the right one in panels: 16 columns at a time, word by word
//! along `k`, each word of `k` one cache line. The owner of a matrix packs it once; no product
//! packs.
#![allow(clippy::inline_always, reason = "a task is compiled once for each instruction set")]

#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
mod pack;
mod portable;
pub(crate) mod product;
pub(crate) mod weights;

use pulp::{Arch, Simd, WithSimd};

use crate::precision::{Kernel, Precision, PrecisionError};
use lanes::{Lanes, Task};

/// One of our kernels, by the vectors that it runs on. A value is the proof that this CPU has the
/// instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SimdKernel {
    #[cfg(target_arch = "x86_64")]
    Avx512F(avx512::Avx512F),
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(avx512::Avx512Bf16),
    PortableBf16,
    #[cfg(test)]
    PortableF32,
}

impl SimdKernel {
    /// The kernel for a precision on this CPU; `None` is the `gemm` crate.
    pub(crate) fn choose(precision: Precision) -> Result<Option<Self>, PrecisionError> {
        match precision {
            Precision::F32 => Ok(Self::avx512_f()),
            Precision::Bf16 => Self::avx512_bf16().map(Some).ok_or(PrecisionError::NoBf16),
            Precision::Bf16Emulated => Ok(Some(Self::PortableBf16)),
        }
    }

    pub(crate) fn avx512_f() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return avx512::Avx512F::detect().map(Self::Avx512F);
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    pub(crate) fn avx512_bf16() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return avx512::Avx512Bf16::detect().map(Self::Avx512Bf16);
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// Its name in reports.
    pub(crate) fn name(self) -> Kernel {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512F(_) => Kernel::Avx512F,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(_) => Kernel::Avx512Bf16,
            Self::PortableBf16 => Kernel::EmulatedBf16,
            #[cfg(test)]
            Self::PortableF32 => Kernel::PortableF32,
        }
    }

    /// Values of a word, which are neighbours along `k`.
    pub(crate) fn per_word(self) -> usize {
        match self.name() {
            Kernel::Avx512Bf16 | Kernel::EmulatedBf16 => 2,
            _ => 1,
        }
    }

    /// Runs a task with the instructions of this kernel.
    fn run(self, task: impl Task) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512F(lanes) => lanes.run(task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(lanes) => lanes.run(task),
            Self::PortableBf16 => Arch::new().dispatch(OnArrays { lanes: portable::Bf16, task }),
            #[cfg(test)]
            Self::PortableF32 => Arch::new().dispatch(OnArrays { lanes: portable::F32, task }),
        }
    }
}

/// A task on the portable lanes, compiled for each instruction set that `pulp` knows.
struct OnArrays<L, T> {
    lanes: L,
    task: T,
}

impl<L: Lanes, T: Task> WithSimd for OnArrays<L, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.task.run(self.lanes);
    }
}

#[cfg(test)]
mod tests;
