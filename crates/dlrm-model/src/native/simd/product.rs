//! The product: 8 rows and 3 panels of 16 columns at a time, whose 24 sums stay in registers over
//! all of `k`.
#![allow(
    clippy::inline_always,
    reason = "compiled once for each instruction set, inside `SimdKernel::run`"
)]

use super::SimdKernel;
use super::lanes::{LANES, Lanes, Line, Task};
use super::pack::load_part;

/// Rows of a block of sums: 8 x 3 sums, 3 panels and the word of a row fit in 32 registers.
const ROWS: usize = 8;

/// The left side of a product, over some of `k`.
pub(crate) trait Left: Copy {
    /// 8 rows.
    type Block: Copy;

    /// From row `row` on, `depth` words along `k`. Rows beyond the last repeat another row; their
    /// sums are not stored.
    fn block(self, row: usize, depth: usize) -> Self::Block;

    /// Words along `k`.
    fn depth(self) -> usize;

    fn word(block: &Self::Block, k: usize, row: usize) -> u32;
}

/// Elements of a row: words, or `f32`, each of which is a word.
pub(crate) trait Word: Copy {
    fn bits(self) -> u32;
}

impl Word for u32 {
    #[inline(always)]
    fn bits(self) -> u32 {
        self
    }
}

impl Word for f32 {
    #[inline(always)]
    fn bits(self) -> u32 {
        self.to_bits()
    }
}

/// A matrix row by row, `stride` words each, of which the product uses `depth` from `start` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a, T> {
    pub(crate) words: &'a [T],
    pub(crate) stride: usize,
    pub(crate) start: usize,
    pub(crate) depth: usize,
}

impl<'a, T: Word> Left for Rows<'a, T> {
    type Block = [&'a [T]; ROWS];

    #[inline(always)]
    fn block(self, row: usize, depth: usize) -> Self::Block {
        let last = self.words.len() / self.stride - 1;
        let mut block: Self::Block = [&[]; ROWS];
        for (idx, words) in block.iter_mut().enumerate() {
            *words = &self.words[(row + idx).min(last) * self.stride + self.start..][..depth];
        }
        block
    }

    #[inline(always)]
    fn depth(self) -> usize {
        self.depth
    }

    #[inline(always)]
    fn word(block: &Self::Block, k: usize, row: usize) -> u32 {
        block[row][k].bits()
    }
}

/// Panels of 16 columns of the right side, or of 16 rows of the left one: `depth` lines each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub(crate) lines: &'a [Line],
    pub(crate) depth: usize,
}

impl<'a> Panels<'a> {
    #[inline(always)]
    fn panel(self, panel_idx: usize, depth: usize) -> &'a [Line] {
        &self.lines[panel_idx * depth..][..depth]
    }
}

impl<'a> Left for Panels<'a> {
    type Block = HalfPanel<'a>;

    #[inline(always)]
    fn block(self, row: usize, depth: usize) -> Self::Block {
        HalfPanel { panel: self.panel(row / LANES, depth), half: row / ROWS % 2 }
    }

    #[inline(always)]
    fn depth(self) -> usize {
        self.depth
    }

    #[inline(always)]
    fn word(&HalfPanel { panel, half }: &Self::Block, k: usize, row: usize) -> u32 {
        // `% 2` again, so that the compiler sees that the index is below 16.
        panel[k].0[(half % 2) * ROWS + row]
    }
}

/// 8 of the 16 rows of a panel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HalfPanel<'a> {
    panel: &'a [Line],
    /// 0 or 1.
    half: usize,
}

/// A matrix to write, `[n, n_columns]`.
#[derive(Debug)]
pub(crate) struct Out<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) n_columns: usize,
}

/// What a product is added to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start<'a> {
    Zero,
    /// What the output holds.
    Sum,
    /// `[n_columns]`, to every row.
    Bias(&'a [f32]),
}

/// `out = start + sum over the parts of left · right`, then `max(0, ·)` if asked. Each sum runs
/// along `k` in order.
///
/// # Panics
/// If the shapes do not fit together.
pub(crate) fn multiply<'a, A: Left>(
    kernel: SimdKernel,
    parts: impl Iterator<Item = (A, Panels<'a>)> + Clone,
    start: Start<'_>,
    has_relu: bool,
    out: Out<'_>,
) {
    let n_panels = out.n_columns.div_ceil(LANES);
    for (left, right) in parts.clone() {
        assert_eq!(left.depth(), right.depth, "depth of the two sides of a product");
        assert_eq!(
            right.lines.len(),
            n_panels * right.depth,
            "panels of a product of {} columns",
            out.n_columns
        );
    }
    if let Start::Bias(bias) = start {
        assert_eq!(bias.len(), out.n_columns, "one bias for each column");
    }
    kernel.run(Product { parts, start, has_relu, out });
}

struct Product<'s, 'o, P> {
    parts: P,
    start: Start<'s>,
    has_relu: bool,
    out: Out<'o>,
}

impl<'a, A: Left, P: Iterator<Item = (A, Panels<'a>)> + Clone> Task for Product<'_, '_, P> {
    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let n_panels = self.out.n_columns.div_ceil(LANES);
        let mut panel_idx = 0;
        // Panels outermost, so that each is read from memory once and from the nearest cache for
        // all rows.
        while panel_idx < n_panels {
            // Four panels are two and two: a single one has too few sums to hide the latency of
            // each.
            panel_idx += match n_panels - panel_idx {
                1 => self.columns::<L, 1>(lanes, panel_idx),
                2 | 4 => self.columns::<L, 2>(lanes, panel_idx),
                _ => self.columns::<L, 3>(lanes, panel_idx),
            };
        }
    }
}

impl<'a, A: Left, P: Iterator<Item = (A, Panels<'a>)> + Clone> Product<'_, '_, P> {
    /// `N` panels of all rows; returns `N`.
    #[inline(always)]
    fn columns<L: Lanes, const N: usize>(&mut self, lanes: L, panel_idx: usize) -> usize {
        let n_rows = self.out.values.len() / self.out.n_columns;
        for row in (0..n_rows).step_by(ROWS) {
            let mut sums = self.first_sums::<L, N>(lanes, row, panel_idx);
            for (left, right) in self.parts.clone() {
                let mut panels: [&[Line]; N] = [&[]; N];
                for (idx, panel) in panels.iter_mut().enumerate() {
                    *panel = right.panel(panel_idx + idx, right.depth);
                }
                sums = accumulate::<L, A, N>(lanes, &left.block(row, right.depth), panels, sums);
            }
            self.store(lanes, &sums, row, panel_idx);
        }
        N
    }

    #[inline(always)]
    fn first_sums<L: Lanes, const N: usize>(
        &self,
        lanes: L,
        row: usize,
        panel_idx: usize,
    ) -> [[L::Vector; N]; ROWS] {
        let mut sums = [[lanes.zero(); N]; ROWS];
        match self.start {
            Start::Zero => {}
            Start::Sum => {
                let rows = self.out.values.chunks_exact(self.out.n_columns).skip(row);
                for (sums, values) in sums.iter_mut().zip(rows) {
                    for (idx, sum) in sums.iter_mut().enumerate() {
                        *sum = load_part(lanes, &values[(panel_idx + idx) * LANES..]);
                    }
                }
            }
            Start::Bias(bias) => {
                for sums in &mut sums {
                    for (idx, sum) in sums.iter_mut().enumerate() {
                        *sum = load_part(lanes, &bias[(panel_idx + idx) * LANES..]);
                    }
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn store<L: Lanes, const N: usize>(
        &mut self,
        lanes: L,
        sums: &[[L::Vector; N]; ROWS],
        row: usize,
        panel_idx: usize,
    ) {
        let rows = self.out.values.chunks_exact_mut(self.out.n_columns).skip(row);
        for (sums, values) in sums.iter().zip(rows) {
            for (idx, &sum) in sums.iter().enumerate() {
                let sum = if self.has_relu { lanes.relu(sum) } else { sum };
                let values = &mut values[(panel_idx + idx) * LANES..];
                if let Some(block) = values.first_chunk_mut() {
                    lanes.store(sum, block);
                } else {
                    let mut block = [0.0; LANES];
                    lanes.store(sum, &mut block);
                    values.copy_from_slice(&block[..values.len()]);
                }
            }
        }
    }
}

/// The micro-kernel. A function of its own, with sums by value, so that the compiler keeps them in
/// registers whatever the callers do with them.
#[inline(always)]
fn accumulate<L: Lanes, A: Left, const N: usize>(
    lanes: L,
    left: &A::Block,
    panels: [&[Line]; N],
    mut sums: [[L::Vector; N]; ROWS],
) -> [[L::Vector; N]; ROWS] {
    for k in 0..panels[0].len() {
        let mut b = [lanes.zero(); N];
        for (b, panel) in b.iter_mut().zip(&panels) {
            *b = lanes.load_words(&panel[k]);
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let a = lanes.splat(A::word(left, k, row));
            for (sum, &b) in sums.iter_mut().zip(&b) {
                *sum = lanes.dot(*sum, a, b);
            }
        }
    }
    sums
}

/// Runs the micro-kernel without memory, for the limit of one core. Returns how many
/// multiplications and additions that were.
#[cfg(feature = "bench")]
pub(crate) fn peak(kernel: SimdKernel, n_rounds: usize) -> usize {
    kernel.run(Peak { n_rounds });
    2 * n_rounds * Peak::SUMS * LANES * kernel.per_word()
}

#[cfg(feature = "bench")]
struct Peak {
    n_rounds: usize,
}

#[cfg(feature = "bench")]
impl Peak {
    const SUMS: usize = 3 * ROWS;
}

#[cfg(feature = "bench")]
impl Task for Peak {
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        // 0.5 in the upper half, and as bf16 in both.
        let word = std::hint::black_box(0x3f00_3f00);
        let (a, b) = (lanes.splat(word), lanes.splat(word));
        let mut sums = [lanes.zero(); Self::SUMS];
        for _ in 0..self.n_rounds {
            for sum in &mut sums {
                *sum = lanes.dot(*sum, a, b);
            }
        }
        for sum in sums {
            let mut words = [0; LANES];
            lanes.store_words(sum, &mut words);
            std::hint::black_box(words);
        }
    }
}
