//! One table of rows that all fields share: a feature is a signed sum of rows that hashes choose.
//!
//! ```text
//! e(id) = T[field of id] + s1(id) T[h1(id)] + s2(id) T[h2(id)]
//! ```
//!
//! The first term is optional, and so are the second hash and the signs. Two features that share a row differ in the
//! other one, or in the sign: with signs what a stranger adds to a row has mean zero, so that rows can be shared by
//! many without drifting to what all of them have in common; that is the field row's to learn. Both rows of a feature
//! differ, so signs never cancel a row against itself.
//!
//! Where this is used as a part of a method (a cold tier), the calls are these:
//!
//! * Lookup: [`SignedTable::read`] for any number of ids; for one it copies out the vector that a promoted feature
//!   starts from. A caller with its own loop takes [`SignedTable::rows_of`] an id, then [`SignedTable::prefetch`],
//!   then [`SignedTable::read_rows`].
//! * Update, first half, a task for each field: beside [`ByField::parts`] cut [`Contributions::start`]'s parts with
//!   [`FieldContributions::take`](contributions::FieldContributions::take), a part for each field in order. When the field's gradients are summed, call
//!   `FieldContributions::add` for every key that reads this table (others may be left out), then
//!   `FieldContributions::finish`.
//! * Update, second half: [`SignedTable::step`], once for the batch: one optimizer step for each row that was hit.
//!
//! Fields share rows here, so the second half is cut by ranges of rows. Contributions lie sorted by range within their
//! field, and each range adds them in the order of fields and keys: the same bits for any number of threads.
//! Sorting also keeps the sums of a range in the cache: with large batches it pays for one thread, too. Batches too small
//! to share between threads are not sorted.

pub(crate) mod contributions;

pub(crate) use contributions::Contributions;

use crate::by_field::ByField;
use crate::prefetch::AHEAD;
use crate::rows::{RowTable, init_bound};
use crate::state::StateMap;
use crate::workers::{Workers, for_batch, for_each};
use crate::{FeatureId, RowFormat, StateError, StateView, mix64, reduce};

/// The most rows that hashes choose for a feature.
pub(crate) const MAX_HASHES: usize = 2;

/// Which rows a feature is the sum of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnifiedSettings {
    /// Rows chosen by hashes, 1 or 2.
    pub n_hashes: usize,
    /// Whether a hash also chooses the sign with which a row counts; else all count as they are.
    pub signed: bool,
    /// Whether every field has a row that all of its features add.
    pub field_rows: bool,
}

/// Two signed rows and one for the field.
impl Default for UnifiedSettings {
    fn default() -> Self {
        Self { n_hashes: MAX_HASHES, signed: true, field_rows: true }
    }
}

impl UnifiedSettings {
    /// Rows that a table of `n_fields` fields needs at least: a row for each hash to choose, and the fields' rows.
    pub(crate) fn min_rows(&self, n_fields: usize) -> u64 {
        (self.n_hashes + self.n_field_rows(n_fields)) as u64
    }

    fn n_field_rows(&self, n_fields: usize) -> usize {
        if self.field_rows { n_fields } else { 0 }
    }
}

/// A row and the sign with which it counts, in the uppermost bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SignedRow(u32);

impl SignedRow {
    const SIGN: u32 = 1 << 31;

    #[inline]
    fn row(self) -> u32 {
        self.0 & !Self::SIGN
    }

    /// The bit that a negative sign flips in an `f32`.
    #[inline]
    fn sign(self) -> u32 {
        self.0 & Self::SIGN
    }
}

/// The rows of a feature; the second is meaningless with one hash.
pub(crate) type FeatureRows = [SignedRow; MAX_HASHES];

/// The rows that features choose: a copy of what [`SignedTable`] knows without its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedHashes {
    n_hashes: usize,
    /// Bits of a sign that hashes may set.
    signs: u32,
    /// Field f has the row f if it has one; hashed rows come after all of them.
    first_hashed: u32,
    n_hashed: usize,
    seeds: [u64; MAX_HASHES],
}

impl SignedHashes {
    /// Ids hold their field, so the hashes of a token differ from field to field.
    #[inline]
    pub(crate) fn rows_of(&self, id: FeatureId) -> FeatureRows {
        let hash = mix64(id.raw(), self.seeds[0]);
        let first = reduce(hash, self.n_hashed);
        let mut rows = [self.signed_row(hash, first); MAX_HASHES];
        if self.n_hashes == 2 {
            let hash = mix64(id.raw(), self.seeds[1]);
            // One of the others.
            let second = reduce(hash, self.n_hashed - 1);
            rows[1] = self.signed_row(hash, second + usize::from(second >= first));
        }
        rows
    }

    /// The lowest bit of the hash is the sign; the upper ones chose the row.
    #[inline]
    fn signed_row(&self, hash: u64, hashed_idx: usize) -> SignedRow {
        SignedRow((self.first_hashed + hashed_idx as u32) | ((hash as u32) << 31) & self.signs)
    }
}

/// Rows that all fields share.
#[derive(Clone, Debug)]
pub(crate) struct SignedTable {
    hashes: SignedHashes,
    field_rows: bool,
    rows: RowTable,
}

impl SignedTable {
    /// A table of `n_rows` rows, those of the fields among them. The row of a field of f features starts from
    /// U(±sqrt(1 / f)), as the rows of a table of its own would; those that hashes choose from U(±sqrt(1 / (k n))) for k
    /// hashes and n rows, so that their sum has the variance of a row of U(±sqrt(1 / n)).
    ///
    /// # Panics
    /// If there are neither one nor two hashes, fewer rows than [`UnifiedSettings::min_rows`], or 2^31 of them.
    pub(crate) fn new(
        settings: &UnifiedSettings,
        features: &[u64],
        (n_rows, dim): (u64, usize),
        format: RowFormat,
        seed: u64,
    ) -> Self {
        let UnifiedSettings { n_hashes, signed, field_rows } = *settings;
        let n_fields = features.len();
        assert!((1..=MAX_HASHES).contains(&n_hashes), "a feature has one or two hashed rows, got {n_hashes}");
        assert!(n_rows >= settings.min_rows(n_fields), "{n_rows} rows are fewer than the fields and hashes need");
        assert!(n_rows < u64::from(SignedRow::SIGN), "a shared table has fewer than 2^31 rows");
        let mut rows = RowTable::new(n_rows as usize, dim, format);
        let bound = (1.0 / (n_hashes as f64 * n_rows as f64)).sqrt() as f32;
        let n_field_rows = settings.n_field_rows(n_fields);
        for row_idx in 0..n_rows as u32 {
            let of_field = features[..n_field_rows].get(row_idx as usize);
            rows.init(row_idx, u64::from(row_idx), seed, of_field.map_or(bound, |&n| init_bound(n)));
        }
        let hashes = SignedHashes {
            n_hashes,
            signs: if signed { SignedRow::SIGN } else { 0 },
            first_hashed: n_field_rows as u32,
            n_hashed: n_rows as usize - n_field_rows,
            seeds: [mix64(1, seed), mix64(2, seed)],
        };
        Self { hashes, field_rows, rows }
    }

    /// The length of a vector.
    pub(crate) fn dim(&self) -> usize {
        self.rows.dim()
    }

    pub(crate) fn hashes(&self) -> SignedHashes {
        self.hashes
    }

    #[inline]
    pub(crate) fn rows_of(&self, id: FeatureId) -> FeatureRows {
        self.hashes.rows_of(id)
    }

    /// Starts to load the rows of a feature.
    #[inline]
    pub(crate) fn prefetch(&self, rows: FeatureRows) {
        for row in &rows[..self.hashes.n_hashes] {
            self.rows.prefetch(row.row());
        }
    }

    /// Writes the vector of the feature of a field that has these rows.
    #[inline]
    pub(crate) fn read_rows(&self, rows: FeatureRows, field: usize, out: &mut [f32]) {
        self.rows.read(rows[0].row(), out);
        let mut sign = rows[0].sign();
        if self.hashes.n_hashes == 2 {
            // Signs are taken out of the sum, so that every step is an addition: exact, since rounding is symmetric.
            flip(out, sign ^ rows[1].sign());
            self.rows.add_to(rows[1].row(), out);
            sign = rows[1].sign();
        }
        flip(out, sign);
        if self.field_rows {
            self.rows.add_to(field as u32, out);
        }
    }

    /// Writes the vector of `ids[i]` to `out[i * dim .. (i + 1) * dim]`.
    pub(crate) fn read(&self, ids: &[FeatureId], out: &mut [f32]) {
        let dim = self.dim();
        let mut rows = [FeatureRows::default(); AHEAD];
        for (ids, out) in ids.chunks(AHEAD).zip(out.chunks_mut(AHEAD * dim)) {
            for (rows, &id) in rows.iter_mut().zip(ids) {
                *rows = self.rows_of(id);
                self.prefetch(*rows);
            }
            for ((&rows, id), out) in rows.iter().zip(ids).zip(out.chunks_exact_mut(dim)) {
                self.read_rows(rows, id.field(), out);
            }
        }
    }

    /// Moves the vector of a feature by `delta`, each of its hashed rows by its part.
    pub(crate) fn add_one(&mut self, id: FeatureId, delta: &[f32]) {
        let rows = self.rows_of(id);
        let share = 1.0 / self.hashes.n_hashes as f32;
        for row in &rows[..self.hashes.n_hashes] {
            self.rows.move_by(row.row(), f32::from_bits(share.to_bits() ^ row.sign()), delta);
        }
    }

    /// One optimizer step for each row that `contributions` hit, with the signed sum of the gradients in `batch`.
    pub(crate) fn step(
        &mut self,
        batch: &ByField,
        contributions: &Contributions,
        learning_rate: f32,
        workers: &dyn Workers,
    ) {
        let dim = self.rows.dim();
        let n_field_rows = self.hashes.first_hashed as usize;
        let mut rest = self.rows.all_mut();
        let mut field_rows = rest.take(n_field_rows);
        for field in 0..n_field_rows {
            if let Some(grad) = contributions.field_sum(field) {
                field_rows.step(field as u32, grad, learning_rate);
            }
        }
        let ranges = contributions.ranges().map(|rows| rest.take(rows.len())).enumerate();
        for_each(for_batch(workers, contributions.n_ids()), ranges, |(range, mut rows)| {
            contributions.sum_range(range, batch, |sums| {
                for (row_idx, grad) in sums.iter(dim) {
                    rows.step(row_idx, grad, learning_rate);
                }
            });
        });
    }

    pub(crate) fn values_bytes(&self) -> u64 {
        self.rows.values_bytes()
    }

    pub(crate) fn optimizer_bytes(&self) -> u64 {
        self.rows.optimizer_bytes()
    }

    pub(crate) fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        self.rows.state().into_iter().collect()
    }

    /// The table that [`SignedTable::state`] described, with the settings of `self`.
    pub(crate) fn restored(&self, state: &mut StateMap<'_>) -> Result<Self, StateError> {
        Ok(Self { rows: self.rows.restored(self.rows.n_rows(), state)?, ..*self })
    }
}

/// Flips the bits of `sign` in every value: the sign's or none.
#[inline]
fn flip(values: &mut [f32], sign: u32) {
    let (chunks, rest) = values.as_chunks_mut::<8>();
    for chunk in chunks {
        for value in chunk {
            *value = f32::from_bits(value.to_bits() ^ sign);
        }
    }
    for value in rest {
        *value = f32::from_bits(value.to_bits() ^ sign);
    }
}

#[cfg(test)]
mod tests;
