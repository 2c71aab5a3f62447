//! What a kernel needs of a vector of 16 lanes.

/// Lanes of a vector, and columns of a panel.
pub(crate) const LANES: usize = 16;

/// One word for each lane: a cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
pub(crate) struct Line(pub(crate) [u32; LANES]);

impl Line {
    pub(crate) const ZERO: Self = Self([0; LANES]);
}

/// Vectors of 16 lanes of 32 bits. The value is the proof that this CPU has the instructions.
///
/// Every operation is defined to the bit, except for the payload of a NaN. The methods are inlined
/// into a function that has the instructions enabled.
pub(super) trait Lanes: Copy {
    /// Values of a word: 1 for `f32`, 2 neighbours along `k` for bf16.
    const PER_WORD: usize;

    /// 16 `f32`, or 16 words.
    type Vector: Copy;

    fn zero(self) -> Self::Vector;

    fn load(self, floats: &[f32; LANES]) -> Self::Vector;

    fn store(self, vector: Self::Vector, floats: &mut [f32; LANES]);

    fn load_words(self, line: &Line) -> Self::Vector;

    fn store_words(self, vector: Self::Vector, words: &mut [u32; LANES]);

    /// The same word in every lane.
    fn splat(self, word: u32) -> Self::Vector;

    /// `max(0, x)`; NaN stays NaN.
    fn relu(self, x: Self::Vector) -> Self::Vector;

    /// `sum + a · b`, over all neighbours in the words of `a` and `b`.
    ///
    /// With `f32` one fused operation. With bf16 two of them, the higher half first, each rounded
    /// to nearest even and flushed to zero where it is denormal; `sum` likewise counts as zero.
    fn dot(self, sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// Words of two vectors of neighbours along `k`: lane by lane, the first in the lower half.
    /// With `f32` the first vector alone.
    fn pack(self, first: Self::Vector, second: Self::Vector) -> Self::Vector;

    /// Words of 32 values that follow each other: lane `i` has values `2i` and `2i + 1`. With `f32`
    /// the first 16 alone.
    fn pack_along(self, first: Self::Vector, second: Self::Vector) -> Self::Vector;
}

/// Work that is written over [`Lanes`]. `run` must be inlined into the function that has the
/// instructions enabled.
pub(super) trait Task {
    fn run<L: Lanes>(self, lanes: L);
}
