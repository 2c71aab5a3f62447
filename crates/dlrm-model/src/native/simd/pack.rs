//! From rows of `f32` to the words of a product. A matrix is padded with zeros to whole words and
//! whole panels.
#![allow(
    clippy::inline_always,
    reason = "compiled once for each instruction set, inside `SimdKernel::run`"
)]

use super::SimdKernel;
use super::lanes::{LANES, Lanes, Line, Task};

/// Words for `n` neighbours along `k`.
pub(crate) fn n_words(kernel: SimdKernel, n: usize) -> usize {
    n.div_ceil(kernel.per_word())
}

/// Lines of the panels of a matrix with `k` rows, as the right side of a product.
pub(crate) fn panel_lines(kernel: SimdKernel, k: usize, n_columns: usize) -> usize {
    n_columns.div_ceil(LANES) * n_words(kernel, k)
}

/// `[n, n_columns]` to rows of words, neighbours along the columns.
pub(crate) fn rows(kernel: SimdKernel, from: &[f32], n_columns: usize, to: &mut [u32]) {
    let depth = n_words(kernel, n_columns);
    assert_eq!(from.len() / n_columns * depth, to.len(), "words of rows of {n_columns}");
    kernel.run(PackRows { from, n_columns, to });
}

/// `[k, n_columns]` to panels of 16 columns, neighbours along the rows.
pub(crate) fn panels(kernel: SimdKernel, from: &[f32], n_columns: usize, to: &mut [Line]) {
    assert_eq!(
        panel_lines(kernel, from.len() / n_columns, n_columns),
        to.len(),
        "lines of panels of {n_columns}"
    );
    kernel.run(PackPanels { from, n_columns, to });
}

/// `[n, k]` to panels of 16 rows, neighbours along the columns: the panels of the transpose.
pub(crate) fn transposed_panels(kernel: SimdKernel, from: &[f32], k: usize, to: &mut [Line]) {
    assert_eq!(
        panel_lines(kernel, k, from.len() / k),
        to.len(),
        "lines of transposed panels of {k}"
    );
    kernel.run(PackTransposed { from, k, to });
}

/// The first 16 values; where there are fewer, zeros follow.
#[inline(always)]
pub(super) fn load_part<L: Lanes>(lanes: L, floats: &[f32]) -> L::Vector {
    if let Some(block) = floats.first_chunk() {
        return lanes.load(block);
    }
    let mut block = [0.0; LANES];
    block[..floats.len()].copy_from_slice(floats);
    lanes.load(&block)
}

/// Words of up to 32 values (`f32`: 16) that follow each other.
#[inline(always)]
fn words_along<L: Lanes>(lanes: L, values: &[f32], to: &mut [u32]) {
    let first = load_part(lanes, values);
    let words = match L::PER_WORD {
        1 => first,
        _ => lanes.pack_along(first, load_part(lanes, values.get(LANES..).unwrap_or(&[]))),
    };
    if let Some(block) = to.first_chunk_mut() {
        return lanes.store_words(words, block);
    }
    let mut block = [0; LANES];
    lanes.store_words(words, &mut block);
    to.copy_from_slice(&block[..to.len()]);
}

struct PackRows<'a> {
    from: &'a [f32],
    n_columns: usize,
    to: &'a mut [u32],
}

impl Task for PackRows<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let rows = self.from.chunks_exact(self.n_columns);
        for (row, to) in rows.zip(self.to.chunks_exact_mut(self.n_columns.div_ceil(L::PER_WORD))) {
            for (values, words) in row.chunks(LANES * L::PER_WORD).zip(to.chunks_mut(LANES)) {
                words_along(lanes, values, words);
            }
        }
    }
}

struct PackPanels<'a> {
    from: &'a [f32],
    n_columns: usize,
    to: &'a mut [Line],
}

impl Task for PackPanels<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { from, n_columns, to } = self;
        let depth = (from.len() / n_columns).div_ceil(L::PER_WORD);
        for (k, rows) in from.chunks(n_columns * L::PER_WORD).enumerate() {
            let (row, next) = rows.split_at(n_columns);
            for (panel_idx, start) in (0..n_columns).step_by(LANES).enumerate() {
                let first = load_part(lanes, &row[start..]);
                let words = match L::PER_WORD {
                    1 => first,
                    _ => lanes.pack(first, load_part(lanes, next.get(start..).unwrap_or(&[]))),
                };
                lanes.store_words(words, &mut to[panel_idx * depth + k].0);
            }
        }
    }
}

struct PackTransposed<'a> {
    from: &'a [f32],
    k: usize,
    to: &'a mut [Line],
}

impl Task for PackTransposed<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { from, k, to } = self;
        let panels = to.chunks_exact_mut(k.div_ceil(L::PER_WORD));
        for (rows, panel) in from.chunks(k * LANES).zip(panels) {
            for (block_idx, lines) in panel.chunks_mut(LANES).enumerate() {
                let columns =
                    block_idx * LANES * L::PER_WORD..k.min((block_idx + 1) * LANES * L::PER_WORD);
                let mut square = [[0; LANES]; LANES];
                for (row, words) in rows.chunks_exact(k).zip(&mut square) {
                    words_along(lanes, &row[columns.clone()], words);
                }
                for (word_idx, line) in lines.iter_mut().enumerate() {
                    for (word, row) in line.0.iter_mut().zip(&square) {
                        *word = row[word_idx];
                    }
                }
            }
        }
    }
}
