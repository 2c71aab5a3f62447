//! A batch of gradients becomes one summed gradient per key, in order of first appearance.

/// Sums of gradients by key, refilled for each batch without allocating.
///
/// An open-addressed table at most half full maps a key to its position; a generation stamp per
/// cell makes [`Coalescer::clear`] O(1). Order of first appearance makes every later sum
/// reproducible, whatever the hash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coalescer {
    dim: usize,
    generation: u32,
    cells: Vec<Cell>,
    keys: Vec<u64>,
    sums: Vec<f32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    generation: u32,
    position: u32,
}

impl Coalescer {
    pub(crate) fn new(dim: usize) -> Self {
        Self { dim, generation: 0, cells: Vec::new(), keys: Vec::new(), sums: Vec::new() }
    }

    /// Forgets everything and makes room for `n_keys` different keys.
    pub(crate) fn clear(&mut self, n_keys: usize) {
        let n_cells = (2 * n_keys).next_power_of_two().max(16);
        if self.cells.len() < n_cells || self.generation == u32::MAX {
            self.cells = vec![Cell::default(); n_cells.max(self.cells.len())];
            self.generation = 0;
        }
        self.generation += 1;
        self.keys.clear();
        self.sums.clear();
        self.keys.reserve(n_keys);
        self.sums.reserve(n_keys * self.dim);
    }

    /// Adds `grad` to the sum of `key`; returns the key's position.
    #[inline]
    pub(crate) fn add(&mut self, key: u64, grad: &[f32]) -> usize {
        let mask = self.cells.len() - 1;
        // Fibonacci hashing: the product's upper bits depend on all bits of the key.
        let shift = u64::BITS - self.cells.len().ilog2();
        let mut at = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as usize;
        loop {
            let cell = self.cells[at];
            if cell.generation != self.generation {
                let position = self.keys.len();
                self.cells[at] = Cell { generation: self.generation, position: position as u32 };
                self.keys.push(key);
                self.sums.extend_from_slice(grad);
                return position;
            }
            let position = cell.position as usize;
            if self.keys[position] == key {
                let sum = &mut self.sums[position * self.dim..(position + 1) * self.dim];
                for (sum, g) in sum.iter_mut().zip(grad) {
                    *sum += g;
                }
                return position;
            }
            at = (at + 1) & mask;
        }
    }

    pub(crate) fn keys(&self) -> &[u64] {
        &self.keys
    }

    #[inline]
    pub(crate) fn sum(&self, position: usize) -> &[f32] {
        &self.sums[position * self.dim..(position + 1) * self.dim]
    }

    /// Every key with its sum, in order of first appearance.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &[f32])> {
        self.keys.iter().copied().zip(self.sums.chunks_exact(self.dim))
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
            prop::collection::vec((0_u64..40, -8_i8..8), 0..200), 1..5)) {
            let mut coalescer = Coalescer::new(2);
            for batch in batches {
                coalescer.clear(batch.len());
                let mut expected = BTreeMap::<u64, [f32; 2]>::new();
                let mut order = Vec::new();
                for &(key, g) in &batch {
                    // Keys that share their low bits make the table probe.
                    let (key, grad) = (key << 40, [f32::from(g), 1.0]);
                    if !expected.contains_key(&key) {
                        order.push(key);
                    }
                    let sum = expected.entry(key).or_default();
                    sum[0] += grad[0];
                    sum[1] += grad[1];
                    let position = coalescer.add(key, &grad);
                    prop_assert_eq!(order[position], key);
                }
                prop_assert_eq!(coalescer.keys(), &order[..]);
                for (key, sum) in coalescer.iter() {
                    prop_assert_eq!(sum, &expected[&key][..]);
                }
            }
        }
    }
}
