//! What a batch adds to the rows of a [`SignedTable`](super::SignedTable): noted field by field,
//! summed range by range.

use std::ops::Range;

use super::{FeatureRows, SignedHashes, SignedRow};
use crate::batch::by_field::{ByField, cut};
use crate::batch::coalesce::{NOTHING, RowSums, add};
use crate::batch::executor::{Buffers, MIN_SHARED};
use crate::feature::FeatureId;

/// Ranges of rows that threads take one at a time, at most: more than threads, so that none waits
/// long for the last.
const MAX_RANGES: usize = 16;

/// One gradient goes to one row.
#[derive(Clone, Copy, Debug, Default)]
struct Contribution {
    row: SignedRow,
    /// Position of the key among those of its field.
    position: u32,
}

/// The contributions of a batch, refilled without allocating.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contributions {
    n_ids: usize,
    hashes: SignedHashes,
    dim: usize,
    n_ranges: usize,
    /// A hashed row's number without its lowest `shift` bits is the number of its range.
    shift: u32,
    /// Room for as many as a field has occurrences, times hashes; field after field, in the order
    /// of `add`.
    noted: Vec<Contribution>,
    /// The same, each field's ordered by range; unused with one range.
    sorted: Vec<Contribution>,
    fields: Vec<FieldNotes>,
    /// The sum of a field's gradients, `dim` values a field.
    field_sums: Vec<f32>,
    buffers: Buffers<RowSums>,
}

/// Where a field's contributions lie.
#[derive(Clone, Copy, Debug, Default)]
struct FieldNotes {
    start: usize,
    /// Range r has the contributions from `ends[r - 1]` to `ends[r]`, counted from `start`.
    ends: [u32; MAX_RANGES],
}

impl FieldNotes {
    fn range(&self, range: usize) -> Range<usize> {
        let begin = range.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.start + begin as usize..self.start + self.ends[range] as usize
    }
}

/// The part of one field; `take` cuts the parts off in the order of fields.
#[derive(Debug)]
pub(crate) struct FieldContributions<'a> {
    hashes: SignedHashes,
    shift: u32,
    n_ranges: usize,
    n_noted: usize,
    start: usize,
    noted: &'a mut [Contribution],
    sorted: &'a mut [Contribution],
    fields: &'a mut [FieldNotes],
    field_sums: &'a mut [f32],
    dim: usize,
}

impl Contributions {
    /// Forgets everything and makes room for a batch of `n_ids` ids. All fields' parts come out as
    /// one, to be cut.
    pub(crate) fn start(
        &mut self,
        hashes: SignedHashes,
        n_fields: usize,
        dim: usize,
        n_ids: usize,
    ) -> FieldContributions<'_> {
        let n = n_ids * hashes.n_hashes;
        self.noted.resize(n, Contribution::default());
        self.fields.resize(n_fields, FieldNotes::default());
        self.field_sums.resize(n_fields * dim, 0.0);
        (self.n_ids, self.hashes, self.dim) = (n_ids, hashes, dim);
        // Fewer ids than are worth sharing stay in one range.
        let max_ranges = if n_ids < MIN_SHARED { 1 } else { MAX_RANGES };
        let last = hashes.n_hashed as u32 - 1;
        self.shift = (u32::BITS - last.leading_zeros()).saturating_sub(max_ranges.ilog2());
        self.n_ranges = (last >> self.shift) as usize + 1;
        if self.n_ranges > 1 {
            self.sorted.resize(n, Contribution::default());
        }
        FieldContributions {
            hashes,
            shift: self.shift,
            n_ranges: self.n_ranges,
            n_noted: 0,
            start: 0,
            noted: &mut self.noted,
            sorted: if self.n_ranges > 1 { &mut self.sorted } else { &mut [] },
            fields: &mut self.fields,
            field_sums: &mut self.field_sums,
            dim,
        }
    }

    pub(super) fn n_ids(&self) -> usize {
        self.n_ids
    }

    /// The sum of a field's gradients, if it had any.
    pub(super) fn field_sum(&self, field: usize) -> Option<&[f32]> {
        let had_any = self.fields[field].ends[self.n_ranges - 1] > 0;
        had_any.then(|| &self.field_sums[field * self.dim..(field + 1) * self.dim])
    }

    /// The hashed rows of each range.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<usize>> + Send + use<> {
        let (n_hashed, shift) = (self.hashes.n_hashed, self.shift);
        (0..self.n_ranges).map(move |range| range << shift..n_hashed.min((range + 1) << shift))
    }

    /// Sums the gradients of `batch` by row; rows are numbered within the range.
    pub(super) fn sum_range(&self, range: usize, batch: &ByField, stepped: impl FnOnce(&RowSums)) {
        let rows = self.ranges().nth(range).unwrap_or_default();
        let notes = if self.n_ranges > 1 { &self.sorted } else { &self.noted };
        let n = self.fields.iter().map(|field| field.range(range).len()).sum::<usize>();
        let hashes = self.hashes;
        let first_row = hashes.first_hashed + rows.start as u32;
        self.buffers.with(|sums| {
            // Room for the worst batch of this size: later ones then allocate nothing.
            sums.reserve((self.n_ids * hashes.n_hashes).min(rows.len()), self.dim);
            sums.clear(n.min(rows.len()), self.dim);
            for (field, field_notes) in self.fields.iter().enumerate() {
                let first_place = batch.places(field).start;
                for Contribution { row, position } in &notes[field_notes.range(range)] {
                    let grad = batch.sum(first_place + *position as usize);
                    let sum = sums.sum(row.row - first_row, self.dim);
                    hashes.signs_of(*row).add(sum, grad);
                }
            }
            stepped(sums);
        });
    }
}

impl<'a> FieldContributions<'a> {
    /// Cuts off the next field's part, of a field with `n_occurrences`.
    pub(crate) fn cut(&mut self, n_occurrences: usize) -> FieldContributions<'a> {
        let n = n_occurrences * self.hashes.n_hashes;
        let n_sorted = n.min(self.sorted.len());
        let part = FieldContributions {
            noted: cut(&mut self.noted, n),
            sorted: cut(&mut self.sorted, n_sorted),
            fields: cut(&mut self.fields, 1),
            field_sums: cut(&mut self.field_sums, self.dim),
            ..*self
        };
        part.field_sums.fill(NOTHING);
        part.fields[0] = FieldNotes { start: self.start, ..FieldNotes::default() };
        self.start += n;
        part
    }

    /// The gradient of the field's key at `position` goes to the rows of `id`; `grad` is its value
    /// already.
    pub(crate) fn add(&mut self, position: usize, id: FeatureId, grad: &[f32]) {
        let rows: FeatureRows = self.hashes.rows_of(id);
        for &row in &rows[..self.hashes.n_hashes] {
            self.noted[self.n_noted] = Contribution { row, position: position as u32 };
            self.n_noted += 1;
            let range = self.range_of(row);
            self.fields[0].ends[range] += 1;
        }
        if self.hashes.first_hashed > 0 {
            add(self.field_sums, grad);
        }
    }

    /// Orders what was added by range.
    pub(crate) fn finish(self) {
        let mut n = 0;
        for end in &mut self.fields[0].ends {
            // Where the range begins; it moves to the end as the range is filled.
            n += std::mem::replace(end, n);
        }
        if self.n_ranges == 1 {
            self.fields[0].ends[0] = n;
            return;
        }
        for note in 0..self.n_noted {
            let contribution = self.noted[note];
            let range = self.range_of(contribution.row);
            let at = &mut self.fields[0].ends[range];
            self.sorted[*at as usize] = contribution;
            *at += 1;
        }
    }

    #[inline]
    fn range_of(&self, row: SignedRow) -> usize {
        (row.row - self.hashes.first_hashed) as usize >> self.shift
    }
}
