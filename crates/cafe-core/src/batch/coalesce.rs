//! A batch of gradients becomes one summed gradient per key, in order of first appearance.

use std::hint::select_unpredictable;

/// Positions of keys by first appearance: an open-addressed table at most half full. A generation
/// stamp per cell makes [`KeyIndex::clear`] O(1). Positions are reproducible, whatever the hash.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyIndex {
    generation: u32,
    cells: Vec<Cell>,
    /// Cells in use: a power of two, for few keys a small part that stays in the nearest cache.
    n_cells: usize,
    shift: u32,
    n_keys: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    key: u64,
    /// Generation above position: one word, since what was just written as two is slow to read as
    /// one.
    stamp: u64,
}

impl KeyIndex {
    /// Forgets everything and allocates as much as [`KeyIndex::clear`] for `n_keys` keys needs.
    pub(crate) fn reserve(&mut self, n_keys: usize) {
        if self.cells.len() < (2 * n_keys).next_power_of_two() {
            self.clear(n_keys);
        }
    }

    /// Forgets everything and makes room for `n_keys` different keys.
    pub(crate) fn clear(&mut self, n_keys: usize) {
        // At most half full, so that probes stay short; no fewer than two cache lines' worth.
        self.n_cells = (2 * n_keys).next_power_of_two().max(16);
        if self.cells.len() < self.n_cells || self.generation == u32::MAX {
            self.cells = vec![Cell::default(); self.n_cells.max(self.cells.len())];
            self.generation = 0;
        }
        self.shift = u64::BITS - self.n_cells.ilog2();
        self.generation += 1;
        self.n_keys = 0;
    }

    /// The position of `key`, the next one if it is new.
    #[inline]
    #[allow(clippy::needless_bitwise_bool, reason = "a lazy operator would be a branch")]
    pub(crate) fn index_of(&mut self, key: u64) -> usize {
        let cells = &mut self.cells[..self.n_cells];
        let mask = cells.len() - 1;
        // Fibonacci hashing, by 2^64 over the golden ratio: the product's upper bits depend on all bits of the key.
        let mut at = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        loop {
            let cell = &mut cells[at & mask];
            let is_new = cell.stamp >> 32 != u64::from(self.generation);
            if is_new | (cell.key == key) {
                // Whether a key is new is unpredictable, so nothing branches on it.
                let next = (u64::from(self.generation) << 32) | u64::from(self.n_keys);
                let stamp = select_unpredictable(is_new, next, cell.stamp);
                *cell = Cell { key, stamp };
                self.n_keys += u32::from(is_new);
                return stamp as u32 as usize;
            }
            at += 1;
        }
    }

    pub(crate) fn n_keys(&self) -> usize {
        self.n_keys as usize
    }
}

/// Sums that are made ready at a time: most batches have far fewer than there could be.
pub(crate) const FILL: usize = 32;

/// What a sum starts from: unlike 0 it keeps the sign of a single -0.
pub(crate) const NOTHING: f32 = -0.0;

/// `sum += grad`, elementwise.
#[inline]
pub(crate) fn add(sum: &mut [f32], grad: &[f32]) {
    // Chunks of a known length compile to a few vector instructions.
    let (sum_chunks, sum_rest) = sum.as_chunks_mut::<8>();
    let (grad_chunks, grad_rest) = grad.as_chunks::<8>();
    for (sum, grad) in sum_chunks.iter_mut().zip(grad_chunks) {
        for (sum, g) in sum.iter_mut().zip(grad) {
            *sum += g;
        }
    }
    for (sum, g) in sum_rest.iter_mut().zip(grad_rest) {
        *sum += g;
    }
}

/// Sums of gradients by row, refilled for each field without allocating.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowSums {
    positions: KeyIndex,
    rows: Vec<u32>,
    sums: Vec<f32>,
}

impl RowSums {
    /// Forgets everything and makes room for `n_rows` different rows of `dim` values.
    pub(crate) fn clear(&mut self, n_rows: usize, dim: usize) {
        self.positions.clear(n_rows);
        self.rows.clear();
        self.rows.resize(n_rows, 0);
        self.sums.clear();
        self.sums.reserve((n_rows + FILL) * dim);
    }

    /// Allocates as much as [`RowSums::clear`] with the same arguments needs.
    pub(crate) fn reserve(&mut self, n_rows: usize, dim: usize) {
        self.positions.reserve(n_rows);
        self.rows.clear();
        self.rows.reserve(n_rows);
        self.sums.clear();
        self.sums.reserve((n_rows + FILL) * dim);
    }

    /// Adds `grad` to the sum of a row.
    #[inline]
    pub(crate) fn add(&mut self, row_idx: u32, grad: &[f32]) {
        add(self.sum(row_idx, grad.len()), grad);
    }

    /// The sum of a row so far, to be added to.
    #[inline]
    pub(crate) fn sum(&mut self, row_idx: u32, dim: usize) -> &mut [f32] {
        let position = self.positions.index_of(u64::from(row_idx));
        self.rows[position] = row_idx;
        let (start, end) = (position * dim, (position + 1) * dim);
        if end > self.sums.len() {
            self.sums.resize(self.sums.len() + FILL * dim, NOTHING);
        }
        &mut self.sums[start..end]
    }

    /// Every row with its sum, in order of first appearance.
    pub(crate) fn iter(&self, dim: usize) -> impl Iterator<Item = (u32, &[f32])> {
        self.rows[..self.positions.n_keys()].iter().copied().zip(self.sums.chunks_exact(dim))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_equal_those_of_a_map(batches in prop::collection::vec(
            prop::collection::vec((0_u32..40, -8_i8..8), 0..200), 1..5)) {
            let mut sums = RowSums::default();
            for batch in batches {
                sums.clear(batch.len(), 2);
                let mut expected = BTreeMap::<u32, [f32; 2]>::new();
                let mut order = Vec::new();
                for &(row, g) in &batch {
                    let (row, grad) = (row << 20, [f32::from(g), 1.0]);
                    if !expected.contains_key(&row) {
                        order.push(row);
                    }
                    let sum = expected.entry(row).or_default();
                    sum[0] += grad[0];
                    sum[1] += grad[1];
                    sums.add(row, &grad);
                }
                prop_assert_eq!(sums.iter(2).map(|(row, _)| row).collect::<Vec<_>>(), order);
                for (row, sum) in sums.iter(2) {
                    prop_assert_eq!(sum, &expected[&row][..]);
                }
            }
        }

        #[test]
        fn positions_count_up_by_first_appearance(batches in prop::collection::vec(
            prop::collection::vec(0_u64..90, 0..200), 1..5)) {
            let mut positions = KeyIndex::default();
            for batch in batches {
                positions.clear(batch.len());
                let mut seen = Vec::new();
                for key in batch {
                    // Keys that share their low bits make the table probe.
                    let position = positions.index_of(key << 34);
                    if position == seen.len() {
                        seen.push(key);
                    }
                    prop_assert_eq!(seen[position], key);
                }
                prop_assert_eq!(positions.n_keys(), seen.len());
            }
        }
    }

    #[test]
    fn sums_of_any_length_are_elementwise() {
        for len in 0..35 {
            let mut sum: Vec<f32> = (0..len).map(|k| k as f32).collect();
            add(&mut sum, &vec![0.5; len]);
            assert!(sum.iter().zip(0_u8..).all(|(&s, k)| s == f32::from(k) + 0.5));
        }
    }

    #[test]
    fn a_single_negative_zero_keeps_its_sign() {
        let mut sums = RowSums::default();
        sums.clear(1, 1);
        sums.add(3, &[-0.0]);
        assert!(sums.iter(1).all(|(_, sum)| sum[0].is_sign_negative()));
    }
}
