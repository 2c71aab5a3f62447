//! Lanes as AVX-512 registers. The second of two `unsafe` modules of this library: intrinsics
//! behind values that only exist where the CPU has the instructions.
#![allow(unsafe_code, reason = "intrinsics of instructions that are detected at run time")]
#![allow(
    clippy::inline_always,
    reason = "wrappers have to end up in the function that has the instructions"
)]

use std::arch::x86_64 as x86;
use std::mem::transmute;

use super::lanes::{LANES, Lanes, Line, Task};

/// Proof that the CPU has AVX-512F; computes in `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512F(());

/// Proof that the CPU has `AVX512_BF16`, and AVX-512F and BW, which it builds on; computes in bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512Bf16(());

impl Avx512F {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }

    pub(super) fn run(self, task: impl Task) {
        #[target_feature(enable = "avx512f")]
        fn run(lanes: Avx512F, task: impl Task) {
            task.run(lanes);
        }
        // SAFETY: `self` was made by `detect`, so the CPU (and its operating system) has AVX-512F.
        unsafe { run(self, task) }
    }
}

impl Avx512Bf16 {
    pub(super) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16");
        has_all.then_some(Self(()))
    }

    pub(super) fn run(self, task: impl Task) {
        #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
        fn run(lanes: Avx512Bf16, task: impl Task) {
            task.run(lanes);
        }
        // SAFETY: `self` was made by `detect`, so the CPU has all three.
        unsafe { run(self, task) }
    }
}

/// What both have in common. Every `SAFETY` below relies on this: `self` was made by `detect`, so
/// the CPU has AVX-512F.
macro_rules! registers {
    () => {
        type Vector = x86::__m512;

        #[inline(always)]
        fn zero(self) -> x86::__m512 {
            // SAFETY: the CPU has AVX-512F.
            unsafe { x86::_mm512_setzero_ps() }
        }

        #[inline(always)]
        fn load(self, floats: &[f32; LANES]) -> x86::__m512 {
            // SAFETY: the CPU has AVX-512F; the reference is to 64 bytes, any alignment is
            // allowed.
            unsafe { x86::_mm512_loadu_ps(floats.as_ptr()) }
        }

        #[inline(always)]
        fn store(self, vector: x86::__m512, floats: &mut [f32; LANES]) {
            // SAFETY: the CPU has AVX-512F; the reference is to 64 bytes, any alignment is
            // allowed.
            unsafe { x86::_mm512_storeu_ps(floats.as_mut_ptr(), vector) }
        }

        #[inline(always)]
        fn load_words(self, line: &Line) -> x86::__m512 {
            // SAFETY: the CPU has AVX-512F; the reference is to 64 bytes, which are a float as well
            // as a word.
            unsafe { x86::_mm512_loadu_ps(line.0.as_ptr().cast()) }
        }

        #[inline(always)]
        fn store_words(self, vector: x86::__m512, words: &mut [u32; LANES]) {
            // SAFETY: the CPU has AVX-512F; the reference is to 64 bytes, which are a word as well
            // as a float.
            unsafe { x86::_mm512_storeu_ps(words.as_mut_ptr().cast(), vector) }
        }

        #[inline(always)]
        fn splat(self, word: u32) -> x86::__m512 {
            // SAFETY: the CPU has AVX-512F.
            unsafe { x86::_mm512_castsi512_ps(x86::_mm512_set1_epi32(word.cast_signed())) }
        }

        #[inline(always)]
        fn relu(self, x: x86::__m512) -> x86::__m512 {
            // `max` returns its second operand where one is NaN, so NaN stays NaN.
            // SAFETY: the CPU has AVX-512F.
            unsafe { x86::_mm512_max_ps(x86::_mm512_setzero_ps(), x) }
        }
    };
}

impl Lanes for Avx512F {
    const PER_WORD: usize = 1;

    registers!();

    #[inline(always)]
    fn dot(self, sum: x86::__m512, a: x86::__m512, b: x86::__m512) -> x86::__m512 {
        // SAFETY: the CPU has AVX-512F.
        unsafe { x86::_mm512_fmadd_ps(a, b, sum) }
    }

    #[inline(always)]
    fn pack(self, first: x86::__m512, _: x86::__m512) -> x86::__m512 {
        first
    }

    #[inline(always)]
    fn pack_along(self, first: x86::__m512, _: x86::__m512) -> x86::__m512 {
        first
    }
}

impl Lanes for Avx512Bf16 {
    const PER_WORD: usize = 2;

    registers!();

    #[inline(always)]
    fn dot(self, sum: x86::__m512, a: x86::__m512, b: x86::__m512) -> x86::__m512 {
        // SAFETY: the CPU has AVX512_BF16; `__m512` and `__m512bh` are 64 bytes of any content.
        unsafe {
            let (a, b) = (
                transmute::<x86::__m512, x86::__m512bh>(a),
                transmute::<x86::__m512, x86::__m512bh>(b),
            );
            x86::_mm512_dpbf16_ps(sum, a, b)
        }
    }

    #[inline(always)]
    fn pack(self, first: x86::__m512, second: x86::__m512) -> x86::__m512 {
        // SAFETY: the CPU has AVX512_BF16 and AVX-512F; `__m256bh` and `__m256i` are 32 bytes of
        // any content.
        unsafe {
            let first = transmute::<x86::__m256bh, x86::__m256i>(x86::_mm512_cvtneps_pbh(first));
            let second = transmute::<x86::__m256bh, x86::__m256i>(x86::_mm512_cvtneps_pbh(second));
            let low = x86::_mm512_cvtepu16_epi32(first);
            let high = x86::_mm512_slli_epi32::<16>(x86::_mm512_cvtepu16_epi32(second));
            x86::_mm512_castsi512_ps(x86::_mm512_or_si512(low, high))
        }
    }

    #[inline(always)]
    fn pack_along(self, first: x86::__m512, second: x86::__m512) -> x86::__m512 {
        // The instruction puts its second operand into the lower half.
        // SAFETY: the CPU has AVX512_BF16; `__m512bh` and `__m512` are 64 bytes of any content.
        unsafe { transmute::<x86::__m512bh, x86::__m512>(x86::_mm512_cvtne2ps_pbh(second, first)) }
    }
}
