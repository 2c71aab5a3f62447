//! Encoded rows as a structure of arrays, and the position in a stream of them.

pub(crate) mod digest;
pub(crate) mod prefetch;

use cafe_core::FeatureId;
use serde::{Deserialize, Serialize};

use crate::format::encode::{encode_integer, encode_token};
use crate::record::Record;

/// A number of rows, encoded, as a structure of arrays.
///
/// Matrices are row-major: `dense` is `[B, n_integers]`, `ids` is `[B, n_fields]`, where B is
/// [`Batch::len`]. Where fields may hold several values, `ids` is ragged and `bag_ends` separates
/// the bags. [`Batch::clear`] keeps the memory, so that a batch that is refilled does not allocate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// 1 where the impression was clicked, else 0; `[B]`.
    pub labels: Vec<f32>,
    /// ln(x + 1) of the integers, 0 where missing or not positive, or the number as the description
    /// of its column transforms it; `[B, n_integers]`.
    pub dense: Vec<f32>,
    /// The features; `[B, n_fields]`, or all bags one after another.
    pub ids: Vec<FeatureId>,
    /// Where each bag ends in `ids`, `[B, n_fields]`; it begins where the previous one ends, and
    /// holds at least one id. Empty if every field has one value.
    pub bag_ends: Vec<u32>,
    /// The day of each row, `[B]`; empty if the data have no days.
    pub days: Vec<u32>,
    /// The logits that the labels were drawn from, `[B]`; empty unless the rows are generated.
    pub true_logits: Vec<f32>,
    /// The position of the stream after the last row, if [`Prefetch`](crate::Prefetch) read them.
    pub end: StreamPosition,
}

/// A position in a stream of rows, and a digest of the rows delivered in batches before it.
///
/// To resume, a run keeps the [`Batch::end`] of its last batch and passes it as
/// [`PrefetchConfig::from`](crate::PrefetchConfig::from).
///
/// The digest covers labels, dense values (their bits), features, bags and days, in order. It does
/// not depend on how rows are stored or on the batch size, and its function never changes. It
/// detects accidental changes; it is not a cryptographic hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPosition {
    /// Rows since the start of the stream, malformed ones included.
    pub n_rows: u64,
    /// Digest of the rows that were delivered.
    pub digest: u64,
}

impl Batch {
    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Removes all rows and keeps the memory.
    pub fn clear(&mut self) {
        let Self { labels, dense, ids, bag_ends, days, true_logits, end } = self;
        labels.clear();
        dense.clear();
        ids.clear();
        bag_ends.clear();
        days.clear();
        true_logits.clear();
        *end = StreamPosition::default();
    }

    /// Encodes `record` and appends it.
    ///
    /// # Panics
    /// If `record` has other numbers of fields than the rows before it, or has bags, a day or a
    /// true logit where they have none, or lacks one that they have.
    pub fn push(&mut self, record: &Record) {
        let Record { clicked, integers, dense, tokens, bag_ends, day, true_logit } = record;
        let n_rows = self.len();
        assert_eq!(
            self.dense.len(),
            n_rows * (integers.len() + dense.len()),
            "rows differ in numeric fields"
        );
        assert_eq!(
            self.bag_ends.len(),
            n_rows * bag_ends.len(),
            "rows differ in fields that hold several values"
        );
        // Optional arrays have an entry for every row or for none.
        let n_known = |is_known: bool| if is_known { n_rows } else { 0 };
        assert_eq!(
            self.true_logits.len(),
            n_known(true_logit.is_some()),
            "only some of the rows have true logits"
        );
        assert_eq!(self.days.len(), n_known(day.is_some()), "only some of the rows have a day");
        if bag_ends.is_empty() {
            assert_eq!(self.ids.len(), n_rows * tokens.len(), "rows differ in categorical fields");
            self.ids.extend(
                tokens.iter().enumerate().map(|(field, &token)| encode_token(field, token)),
            );
        } else {
            self.push_bags(tokens, bag_ends);
        }
        self.labels.push(if *clicked { 1.0 } else { 0.0 });
        self.dense.extend(integers.iter().map(|&integer| encode_integer(integer)));
        self.dense.extend_from_slice(dense);
        self.days.extend(day);
        self.true_logits.extend(true_logit);
    }

    fn push_bags(&mut self, tokens: &[Option<u32>], bag_ends: &[u32]) {
        let mut start = 0;
        for (field, &end) in bag_ends.iter().enumerate() {
            let bag = &tokens[start..end as usize];
            assert!(!bag.is_empty(), "a bag without values is a missing one");
            self.ids.extend(bag.iter().map(|&token| encode_token(field, token)));
            self.bag_ends
                .push(u32::try_from(self.ids.len()).expect("a batch has fewer than 2^32 ids"));
            start = end as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(clicked: bool, true_logit: Option<f32>) -> Record {
        let (integers, tokens) = (vec![Some(1), None], vec![Some(7), None, Some(7)]);
        Record { clicked, integers, tokens, true_logit, ..Record::default() }
    }

    #[test]
    fn rows_are_appended_in_order() {
        let mut batch = Batch::default();
        batch.push(&record(true, None));
        batch.push(&record(false, None));
        let (ln_2, row) =
            (2_f32.ln(), [FeatureId::new(0, 7), FeatureId::missing(1), FeatureId::new(2, 7)]);
        assert_eq!(batch.labels, [1.0, 0.0]);
        assert_eq!(batch.dense, [ln_2, 0.0, ln_2, 0.0]);
        assert_eq!(batch.ids, [row, row].concat());
        assert!(batch.true_logits.is_empty());
        assert_eq!(batch.len(), 2);
    }

    #[test]
    fn bags_are_appended_in_order() {
        let tokens = vec![Some(7), Some(8), None, Some(7)];
        let record = Record {
            dense: vec![0.5],
            tokens,
            bag_ends: vec![2, 3, 4],
            day: Some(3),
            ..Record::default()
        };
        let mut batch = Batch::default();
        batch.push(&record);
        batch.push(&record);
        let row = [
            FeatureId::new(0, 7),
            FeatureId::new(0, 8),
            FeatureId::missing(1),
            FeatureId::new(2, 7),
        ];
        assert_eq!(batch.ids, [row, row].concat());
        assert_eq!(batch.bag_ends, [2, 3, 4, 6, 7, 8]);
        assert_eq!((batch.dense, batch.days), (vec![0.5, 0.5], vec![3, 3]));
    }

    #[test]
    #[should_panic(expected = "rows differ in fields that hold several values")]
    fn rows_with_and_without_bags_do_not_mix() {
        let with = Record { tokens: vec![Some(7)], bag_ends: vec![1], ..Record::default() };
        let mut batch = Batch::default();
        batch.push(&with);
        batch.push(&Record { bag_ends: Vec::new(), ..with });
    }

    #[test]
    fn clear_keeps_the_memory() {
        let mut batch = Batch::default();
        batch.push(&record(true, Some(0.5)));
        assert_eq!(batch.true_logits, [0.5]);
        let address = batch.ids.as_ptr();
        batch.clear();
        assert!(batch.is_empty());
        batch.push(&record(true, Some(0.5)));
        assert_eq!(batch.ids.as_ptr(), address);
    }

    #[test]
    #[should_panic(expected = "only some of the rows have true logits")]
    fn generated_and_read_rows_do_not_mix() {
        let mut batch = Batch::default();
        batch.push(&record(true, Some(0.5)));
        batch.push(&record(true, None));
    }
}
