//! Our own products: one kernel for `f32` and bf16, written once over a vector of 16 lanes.
//!
//! Everything is a 32-bit word: one `f32`, or two neighbours along `k` in bf16. The left matrix
//! comes in rows of words or in panels, the right one in panels: 16 columns at a time, word by word
//! along `k`, each word of `k` one cache line. Whoever owns a matrix packs it once; no product
//! packs.
#![allow(clippy::inline_always, reason = "a task is compiled once for each instruction set")]

#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
mod pack;
mod portable;
mod product;
mod weights;

use pulp::{Arch, Simd, WithSimd};

pub(crate) use weights::{PackedWeights, PackedWeightsMut, SamplePanels, sum_gradient};

use crate::precision::{Kernel, Precision, PrecisionError};
use lanes::Lanes;

/// The vectors that one of our kernels runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wide {
    #[cfg(target_arch = "x86_64")]
    Avx512F(avx512::Avx512F),
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(avx512::Avx512Bf16),
    PortableBf16,
    #[cfg(test)]
    PortableF32,
}

/// Work that is written over [`Lanes`]; `run` must be inlined into the function that has the
/// instructions.
trait Task {
    fn run<L: Lanes>(self, lanes: L);
}

impl Wide {
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

    /// Its name.
    pub(crate) fn kernel(self) -> Kernel {
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

    /// Neighbours along `k` in a word.
    pub(crate) fn per_word(self) -> usize {
        match self.kernel() {
            Kernel::Avx512Bf16 | Kernel::EmulatedBf16 => 2,
            _ => 1,
        }
    }

    /// Products of registers alone, for the benchmark; returns how many operations.
    pub(crate) fn peak(self, n_rounds: usize) -> usize {
        let peak = product::Peak { n_rounds };
        let n_operations = peak.n_operations(self);
        self.run(peak);
        n_operations
    }

    /// Runs a task with the instructions of this kernel.
    fn run(self, task: impl Task) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512F(lanes) => lanes.run(task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(lanes) => lanes.run(task),
            Self::PortableBf16 => Arch::new().dispatch(Portably { lanes: portable::Bf16, task }),
            #[cfg(test)]
            Self::PortableF32 => Arch::new().dispatch(Portably { lanes: portable::F32, task }),
        }
    }
}

/// A task on plain arrays, compiled for each instruction set that `pulp` knows.
struct Portably<L, T> {
    lanes: L,
    task: T,
}

impl<L: Lanes, T: Task> WithSimd for Portably<L, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.task.run(self.lanes);
    }
}

#[cfg(test)]
mod tests;
