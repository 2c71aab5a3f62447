//! One table of rows that all fields share: a feature is a signed sum of rows that hashes choose.
//!
//! ```text
//! e(id) = T[field of id] + s1(id) * T[h1(id)] + s2(id) * T[h2(id)]
//! ```
//!
//! The first term is optional, and so are the second hash and the signs. A sign is one for the
//! whole row ([`Signs::Row`]), or one for each of its values ([`Signs::Coordinate`]: `s` is a
//! vector, `*` goes value by value). Two features that share a row differ in the other one, or in
//! the signs: with signs what a stranger adds to a row has mean zero, so that rows can be shared by
//! many without drifting to what all of them have in common; that is the field row's to learn. Both
//! rows of a feature differ, so signs never cancel a row against itself.
//!
//! # Why a sign for each value
//!
//! Let features a and b share a row, `r` be a's gradients summed so far and `q` b's: the row has
//! moved by `-(s_a * r + s_b * q)`, and a reads `-(r + s_a * s_b * q)`. With one sign a row `s_a
//! s_b` is 1 or -1 for the whole vector: a gets all of b's vector, as it is or reversed, along the
//! very direction that b is read by. With independent signs of coordinates `c = s_a * s_b` is a
//! random reflection. What a's vector gets from b, seen from any direction `v` that the network
//! reads, is `sum_j c_j q_j v_j`, with mean zero and variance
//!
//! ```text
//! Var = sum_j q_j^2 v_j^2     ~ |q|^2 |v|^2 / d      where q and v are spread over the d values,
//! ```
//!
//! whereas one sign for the row gives `(q . v)^2`, up to `|q|^2 |v|^2`: d times as much where b is
//! read along the same direction as a, which is what training makes of features that matter. With n
//! strangers in a row the variances add, so a row of d values keeps about d numbers of several
//! features apart in place of one vector for all of them: code-division multiplexing, with the
//! features as the senders. The price is that strangers who want the same vector no longer help
//! each other: the field's row is for that. The tests measure the variance against the formula.
//!
//! # Where a feature starts
//!
//! A row of U(±sqrt(1 / m)) in a table of m rows is almost zero, and so are all vectors that are
//! read from it. In a table of its own a field of f features starts from U(±sqrt(1 / f)): a field
//! of ten has values up to 0.32, and the network can tell its features apart from the first step.
//! With a sign for each value the same start takes no memory, because the signs of a feature are a
//! random vector already:
//!
//! ```text
//! e(id) = T[field of id] + s1(id) * (T[h1(id)] + c),      c = sqrt(1 / (3 f)),
//! ```
//!
//! where `c` is the standard deviation of U(±sqrt(1 / f)). It is a constant: training changes the
//! rows alone. `docs/quality.md` has what it is worth.
//!
//! Where this is used as a part of a method (a cold tier), the calls are these:
//!
//! * Lookup: [`SignedTable::read`] for any number of ids; for one it copies out the vector that a
//!   promoted feature starts from. A caller with its own loop takes [`SignedTable::rows_of`] an id,
//!   then [`SignedTable::prefetch`], then [`SignedTable::read_rows`].
//! * Update, first half, a task for each field: beside [`ByField::parts`] cut
//!   [`Contributions::start`]'s parts with
//!   [`FieldContributions::take`](contributions::FieldContributions::take), a part for each field
//!   in order. When the field's gradients are summed, call `FieldContributions::add` for every key
//!   that reads this table (others may be left out), then `FieldContributions::finish`.
//! * Update, second half: [`SignedTable::step`], once for the batch: one optimizer step for each
//!   row that was hit.
//!
//! Fields share rows here, so the second half is cut by ranges of rows. Contributions lie sorted by
//! range within their field, and each range adds them in the order of fields and keys: the same
//! bits for any number of threads. Sorting also keeps the sums of a range in the cache: with large
//! batches it pays for one thread, too. Batches too small to share between threads are not sorted.

pub(crate) mod contributions;

pub(crate) use contributions::Contributions;

use crate::batch::by_field::ByField;
use crate::batch::cache_hint::AHEAD;
use crate::batch::executor::{for_batch, for_each};
use crate::embedding::{Executor, MemoryUsage};
use crate::feature::FeatureId;
use crate::hash::{mix64, reduce};
use crate::state::{StateError, StateMap, StateView};
use crate::table::rows::{RowFormat, RowTable, init_bound};

/// The most rows that hashes choose for a feature.
const MAX_HASHES: usize = 2;

/// How many rows hashes choose for a feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hashes {
    /// One row.
    One,
    /// The sum of two rows.
    #[default]
    Two,
}

impl Hashes {
    /// The number.
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => MAX_HASHES,
        }
    }
}

/// The signs with which a feature reads and writes a shared row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Signs {
    /// All rows count as they are.
    None,
    /// One sign for a row: the lowest bit of the hash.
    #[default]
    Row,
    /// One sign for each of its values: value `j` has bit `j` of the hash's lower half, and every
    /// further 32 values the bits of another mix of it.
    Coordinate,
}

/// Which rows a feature is the sum of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnifiedSettings {
    /// Rows chosen by hashes.
    pub hashes: Hashes,
    /// The signs with which they count.
    pub signs: Signs,
    /// Whether every field has a row that all of its features add.
    pub field_rows: bool,
}

/// Two rows with a sign each, and one for the field.
impl Default for UnifiedSettings {
    fn default() -> Self {
        Self { hashes: Hashes::Two, signs: Signs::Row, field_rows: true }
    }
}

impl UnifiedSettings {
    /// The coded table: one row with a sign for each of its values, and one for the field.
    pub const CODED: Self =
        Self { hashes: Hashes::One, signs: Signs::Coordinate, field_rows: true };

    /// Rows that a table of `n_fields` fields needs at least: a row for each hash to choose, and
    /// the fields' rows.
    pub(crate) fn min_rows(self, n_fields: usize) -> u64 {
        (self.hashes.count() + self.n_field_rows(n_fields)) as u64
    }

    fn n_field_rows(self, n_fields: usize) -> usize {
        if self.field_rows { n_fields } else { 0 }
    }
}

/// The fields of a table, and its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableSizes<'a> {
    /// Features of each field; they set the scale of the fields' rows.
    pub(crate) features: &'a [u64],
    pub(crate) n_rows: u64,
}

/// A row and the signs with which its values count for a feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SignedRow {
    row: u32,
    /// Those of the first 32 values; a bit that is set is a minus.
    first_signs: u32,
}

/// The most rows of a table.
pub(crate) const MAX_ROWS: u64 = (1 << 31) - 1;

/// Signs of all values of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowSigns {
    first: u32,
    /// What the signs behind the first 32 are mixed from; `None` where they repeat.
    key: Option<u64>,
}

impl RowSigns {
    /// The bits of values `at..at + 8` in the lowest places; `at` is a multiple of 8.
    #[inline]
    fn bits(self, at: usize) -> u32 {
        let block = match self.key {
            Some(key) if at >= 32 => mix64(key, at as u64 / 32) as u32,
            _ => self.first,
        };
        block >> (at % 32)
    }

    /// The bit that a minus flips in an `f32`, for value `k` of the eight that `bits` are of.
    #[inline]
    fn flip(bits: u32, k: usize) -> u32 {
        // A comparison, not a shift by `k`: that one has no vector instruction on every processor.
        if bits & (1 << k) == 0 { 0 } else { 1 << 31 }
    }

    /// `out = s * out`.
    #[inline]
    fn apply(self, out: &mut [f32]) {
        Self::flip_all(out, |at| self.bits(at));
    }

    /// `out = s * other * out`.
    #[inline]
    fn apply_with(self, other: Self, out: &mut [f32]) {
        Self::flip_all(out, |at| self.bits(at) ^ other.bits(at));
    }

    #[inline]
    fn flip_all(out: &mut [f32], bits_at: impl Fn(usize) -> u32) {
        let (chunks, rest) = out.as_chunks_mut::<8>();
        let at_rest = 8 * chunks.len();
        for (idx, chunk) in chunks.iter_mut().enumerate() {
            let bits = bits_at(8 * idx);
            for (k, value) in chunk.iter_mut().enumerate() {
                *value = f32::from_bits(value.to_bits() ^ Self::flip(bits, k));
            }
        }
        let bits = if rest.is_empty() { 0 } else { bits_at(at_rest) };
        for (k, value) in rest.iter_mut().enumerate() {
            *value = f32::from_bits(value.to_bits() ^ Self::flip(bits, k));
        }
    }

    /// `sum += s * values`.
    #[inline]
    pub(crate) fn add(self, sum: &mut [f32], values: &[f32]) {
        let (sum_chunks, sum_rest) = sum.as_chunks_mut::<8>();
        let (chunks, rest) = values.as_chunks::<8>();
        let at_rest = 8 * chunks.len();
        for (idx, (sum, chunk)) in sum_chunks.iter_mut().zip(chunks).enumerate() {
            let bits = self.bits(8 * idx);
            for (k, (sum, value)) in sum.iter_mut().zip(chunk).enumerate() {
                *sum += f32::from_bits(value.to_bits() ^ Self::flip(bits, k));
            }
        }
        let bits = if rest.is_empty() { 0 } else { self.bits(at_rest) };
        for (k, (sum, value)) in sum_rest.iter_mut().zip(rest).enumerate() {
            *sum += f32::from_bits(value.to_bits() ^ Self::flip(bits, k));
        }
    }
}

/// The rows of a feature; the second is meaningless with one hash.
pub(crate) type FeatureRows = [SignedRow; MAX_HASHES];

/// The rows that features choose: a copy of what [`SignedTable`] knows without its rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SignedHashes {
    n_hashes: usize,
    signs: Signs,
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

    /// The lower half of the hash has the signs; the upper one chose the row.
    #[inline]
    fn signed_row(&self, hash: u64, hashed_idx: usize) -> SignedRow {
        let first_signs = match self.signs {
            Signs::None => 0,
            Signs::Row => 0_u32.wrapping_sub(hash as u32 & 1),
            Signs::Coordinate => hash as u32,
        };
        SignedRow { row: self.first_hashed + hashed_idx as u32, first_signs }
    }

    /// The signs of all values of a row of any length.
    #[inline]
    fn signs_of(&self, row: SignedRow) -> RowSigns {
        let SignedRow { row, first_signs: first } = row;
        // Row and first signs are all that is left of the hash, and nearly all of it.
        let key =
            (self.signs == Signs::Coordinate).then_some(u64::from(row) << 32 | u64::from(first));
        RowSigns { first, key }
    }
}

/// Rows that all fields share.
#[derive(Clone, Debug)]
pub(crate) struct SignedTable {
    hashes: SignedHashes,
    field_rows: bool,
    /// By field: the constant `c` of the module's documentation. Empty without a sign for each
    /// value.
    start_weights: Box<[f32]>,
    rows: RowTable,
}

impl SignedTable {
    /// A table of `n_rows` rows of `dim` values, those of the fields among them. The row of a field
    /// of f features starts from U(±sqrt(1 / f)), as the rows of a table of its own would; the m
    /// that hashes choose from U(±sqrt(1 / (k m))) for k hashes, so that their sum has the variance
    /// of a row of U(±sqrt(1 / m)). With a sign for each value they are added to the field's
    /// constant.
    ///
    /// # Panics
    /// If there are fewer rows than [`UnifiedSettings::min_rows`], or
    /// 2^31 of them.
    pub(crate) fn new(
        settings: UnifiedSettings,
        sizes: TableSizes<'_>,
        dim: usize,
        format: RowFormat,
        seed: u64,
    ) -> Self {
        let UnifiedSettings { hashes, signs, field_rows } = settings;
        let TableSizes { features, n_rows } = sizes;
        let (n_hashes, n_fields) = (hashes.count(), features.len());
        assert!(
            n_rows >= settings.min_rows(n_fields),
            "{n_rows} rows are fewer than the fields and hashes need"
        );
        assert!(n_rows <= MAX_ROWS, "a shared table has fewer than 2^31 rows");
        let mut rows = RowTable::new(n_rows as usize, dim, format);
        let n_field_rows = settings.n_field_rows(n_fields);
        let n_hashed = n_rows as usize - n_field_rows;
        let bound = (1.0 / (n_hashes as f64 * n_hashed as f64)).sqrt() as f32;
        for row_idx in 0..n_rows as u32 {
            let of_field = features[..n_field_rows].get(row_idx as usize);
            rows.init(
                row_idx,
                u64::from(row_idx),
                seed,
                of_field.map_or(bound, |&n| init_bound(n)),
            );
        }
        let hashes = SignedHashes {
            n_hashes,
            signs,
            first_hashed: n_field_rows as u32,
            n_hashed,
            // Independent of each other, of the rows' seed, and of `claimed`, which has 3.
            seeds: [mix64(1, seed), mix64(2, seed)],
        };
        let start_weight = |&n: &u64| init_bound(n) / 3.0_f32.sqrt();
        let is_coded = signs == Signs::Coordinate;
        let start_weights =
            if is_coded { features.iter().map(start_weight).collect() } else { Box::default() };
        Self { hashes, field_rows, start_weights, rows }
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
            self.rows.prefetch(row.row);
        }
    }

    /// Writes the vector of the feature of a field that has these rows.
    #[inline]
    pub(crate) fn read_rows(&self, rows: FeatureRows, field: usize, out: &mut [f32]) {
        self.read_hashed(rows, field, out);
        self.add_field(field, out);
    }

    /// Writes the signed sum of these rows: the vector of a feature of a field without the field's
    /// row.
    #[inline]
    pub(crate) fn read_hashed(&self, rows: FeatureRows, field: usize, out: &mut [f32]) {
        self.rows.read(rows[0].row, out);
        if let Some(&weight) = self.start_weights.get(field) {
            for value in &mut *out {
                *value += weight;
            }
        }
        if self.hashes.n_hashes == 2 {
            // s1 a + s2 b = s2 (s1 s2 a + b): every step is an addition, and exact, since rounding
            // is symmetric.
            let second = self.hashes.signs_of(rows[1]);
            self.hashes.signs_of(rows[0]).apply_with(second, out);
            self.rows.add_to(rows[1].row, out);
            second.apply(out);
        } else {
            self.hashes.signs_of(rows[0]).apply(out);
        }
    }

    /// Adds the row of a field, if there is one.
    #[inline]
    pub(crate) fn add_field(&self, field: usize, out: &mut [f32]) {
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

    /// One optimizer step for each row that `contributions` hit, with the signed sum of the
    /// gradients in `batch`.
    pub(crate) fn step(
        &mut self,
        batch: &ByField,
        contributions: &Contributions,
        learning_rate: f32,
        executor: &dyn Executor,
    ) {
        let dim = self.rows.dim();
        let n_field_rows = self.hashes.first_hashed as usize;
        let mut rest = self.rows.all_mut();
        let mut field_rows = rest.cut(n_field_rows);
        for field in 0..n_field_rows {
            if let Some(grad) = contributions.field_sum(field) {
                field_rows.step(field as u32, grad, learning_rate);
            }
        }
        let ranges = contributions.ranges().map(|rows| rest.cut(rows.len())).enumerate();
        for_each(for_batch(executor, contributions.n_ids()), ranges, |(range, mut rows)| {
            contributions.sum_range(range, batch, |sums| {
                for (row_idx, grad) in sums.iter(dim) {
                    rows.step(row_idx, grad, learning_rate);
                }
            });
        });
    }

    pub(crate) fn memory(&self) -> MemoryUsage {
        self.rows.memory()
    }

    pub(crate) fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        self.rows.state().into_iter().collect()
    }

    /// The table that [`SignedTable::state`] described, with the settings of `self`.
    pub(crate) fn restored(&self, state: &mut StateMap<'_>) -> Result<Self, StateError> {
        let Self { hashes, field_rows, start_weights, rows } = self;
        let rows = rows.restored(rows.n_rows(), state)?;
        Ok(Self {
            hashes: *hashes,
            field_rows: *field_rows,
            start_weights: start_weights.clone(),
            rows,
        })
    }
}

#[cfg(test)]
mod tests;
