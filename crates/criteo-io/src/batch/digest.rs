//! The digest of the rows that a stream of batches has delivered. Apart from reading ahead, because
//! its function never changes and is tested by itself.

use cafe_core::mix64;

use crate::batch::{Batch, StreamPosition};

/// Where the last row of a batch begins in its arrays.
#[derive(Clone, Copy)]
pub(crate) struct RowStart {
    dense: usize,
    ids: usize,
    bag_ends: usize,
    days: usize,
}

impl RowStart {
    /// The start of the row that is pushed next.
    pub(crate) fn next_of(batch: &Batch) -> Self {
        let Batch { dense, ids, bag_ends, days, .. } = batch;
        Self { dense: dense.len(), ids: ids.len(), bag_ends: bag_ends.len(), days: days.len() }
    }
}

/// Digests rows one by one.
///
/// A row is a list of numbers. Each number is multiplied by an odd key of its position, and the sum
/// of the products, mixed with the number of the row, is added to the digest. No product depends on
/// another, so a row costs little more than its multiplications. A change of a single number always
/// changes the sum, because multiplication by an odd key is invertible modulo 2^64.
#[derive(Default)]
pub(crate) struct Digester {
    keys: Vec<u64>,
}

/// Numbers of a row besides dense values, features and bags: label, day, and two with the counts of
/// the others.
const N_FIRST: usize = 4;
/// "rowdiges" in ASCII. Checkpoints hold digests, so that it never changes.
const KEY_SEED: u64 = 0x726f_7764_6967_6573;

impl Digester {
    /// Adds the last row of `batch`, which begins at `start`, to `position`.
    pub(crate) fn add(&mut self, position: &mut StreamPosition, batch: &Batch, start: RowStart) {
        let (dense, ids) = (&batch.dense[start.dense..], &batch.ids[start.ids..]);
        let bag_ends = &batch.bag_ends[start.bag_ends..];
        let n_numbers = N_FIRST + dense.len() + ids.len() + bag_ends.len();
        if self.keys.len() < n_numbers {
            self.keys = (0..n_numbers as u64).map(|idx| mix64(idx, KEY_SEED) | 1).collect();
        }
        let label = batch.labels.last().map_or(0, |label| u64::from(label.to_bits()));
        // 0 is a row without a day.
        let day = batch.days[start.days..].first().map_or(0, |&day| 1 + u64::from(day));
        let first =
            [label, day, (dense.len() as u64) << 32 | ids.len() as u64, bag_ends.len() as u64];
        let (first_keys, keys) = self.keys.split_at(N_FIRST);
        let (dense_keys, keys) = keys.split_at(dense.len());
        let (id_keys, bag_keys) = keys.split_at(ids.len());
        let sum = products(first_keys, first.into_iter())
            .wrapping_add(products(
                dense_keys,
                dense.iter().map(|number| u64::from(number.to_bits())),
            ))
            .wrapping_add(products(id_keys, ids.iter().map(|id| id.raw())))
            .wrapping_add(products(
                bag_keys,
                bag_ends.iter().map(|&end| u64::from(end) - start.ids as u64),
            ));
        position.digest = position.digest.wrapping_add(mix64(sum, position.n_rows));
        position.n_rows += 1;
    }
}

fn products(keys: &[u64], numbers: impl Iterator<Item = u64>) -> u64 {
    keys.iter()
        .zip(numbers)
        .fold(0, |sum, (key, number)| sum.wrapping_add(key.wrapping_mul(number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    fn digest(records: &[Record]) -> StreamPosition {
        let (mut position, mut digester, mut batch) =
            (StreamPosition::default(), Digester::default(), Batch::default());
        for record in records {
            let start = RowStart::next_of(&batch);
            batch.push(record);
            digester.add(&mut position, &batch, start);
        }
        position
    }

    fn row(n: u32) -> Record {
        let (integers, tokens) = (vec![Some(i64::from(n)), None], vec![Some(7 * n), None, Some(n)]);
        Record { clicked: n % 2 == 1, integers, tokens, ..Record::default() }
    }

    fn bags(ends: [u32; 2]) -> Record {
        Record {
            dense: vec![0.5],
            tokens: vec![Some(1); 3],
            bag_ends: ends.to_vec(),
            day: Some(3),
            ..Record::default()
        }
    }

    /// Checkpoints hold such digests: these values are part of their format.
    #[test]
    fn digest_vectors_are_fixed() {
        let got = [digest(&[]), digest(&[row(1), row(2)]), digest(&[bags([1, 3])])]
            .map(|position| position.digest);
        assert_eq!(got, VECTORS, "got {got:#018x?}");
    }

    const VECTORS: [u64; 3] = [0, 0x088e_43a7_a348_5093, 0x761f_a460_25f8_479a];

    #[test]
    fn every_change_changes_the_digest() {
        let rows = [row(1), row(2), row(3)];
        let changes: [fn(&mut Record); 7] = [
            |row| row.clicked ^= true,
            |row| row.integers[1] = Some(1),
            |row| row.integers.swap(0, 1),
            |row| row.tokens[0] = None,
            |row| row.tokens.swap(0, 2),
            |row| row.day = Some(0),
            |row| row.tokens[2] = row.tokens[2].map(|token| token ^ 1 << 31),
        ];
        let mut seen = vec![digest(&rows).digest];
        for change in changes {
            let mut changed = rows.clone();
            // All rows, because either all have a day or none has.
            changed.iter_mut().for_each(change);
            seen.push(digest(&changed).digest);
        }
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            let mut changed = rows.clone();
            changed.swap(one, other);
            seen.push(digest(&changed).digest);
        }
        seen.push(digest(&rows[..2]).digest);
        seen.push(digest(&[&rows[..], &rows[2..]].concat()).digest);
        let n_seen = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), n_seen);
        assert_ne!(digest(&[bags([1, 3])]), digest(&[bags([2, 3])]));
    }
}
