//! Rows side by side, one array a kind of value, refilled in place.

use cafe_core::FeatureId;

use crate::Record;
use crate::encode::{encode_integer, encode_token};

/// A number of rows, encoded, as a structure of arrays.
///
/// Matrices are row-major: `dense` is `[B, n_integers]`, `ids` is `[B, n_fields]`, where B is
/// [`Batch::len`]. [`Batch::clear`] keeps the memory, so a batch that went around once allocates
/// no more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// 1 where the impression was clicked, else 0; `[B]`.
    pub labels: Vec<f32>,
    /// ln(x + 1) of the integers, 0 where missing or not positive; `[B, n_integers]`.
    pub dense: Vec<f32>,
    /// The features; `[B, n_fields]`.
    pub ids: Vec<FeatureId>,
    /// The logits that the labels were drawn from, `[B]`; empty unless the rows are generated.
    pub true_logits: Vec<f32>,
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
        let Self { labels, dense, ids, true_logits } = self;
        labels.clear();
        dense.clear();
        ids.clear();
        true_logits.clear();
    }

    /// Encodes `record` and appends it.
    ///
    /// # Panics
    /// If `record` has other numbers of fields than the rows before it, or has a true logit where
    /// they have none, or the other way round.
    pub fn push(&mut self, record: &Record) {
        let Record { clicked, integers, tokens, true_logit } = record;
        let n_rows = self.len();
        assert_eq!(self.dense.len(), n_rows * integers.len(), "rows differ in integer fields");
        assert_eq!(self.ids.len(), n_rows * tokens.len(), "rows differ in categorical fields");
        let n_logits = if true_logit.is_some() { n_rows } else { 0 };
        assert_eq!(self.true_logits.len(), n_logits, "only some of the rows have true logits");
        self.labels.push(if *clicked { 1.0 } else { 0.0 });
        self.dense.extend(integers.iter().map(|&integer| encode_integer(integer)));
        self.ids.extend(tokens.iter().enumerate().map(|(field, &token)| encode_token(field, token)));
        self.true_logits.extend(true_logit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(clicked: bool, true_logit: Option<f32>) -> Record {
        Record { clicked, integers: vec![Some(1), None], tokens: vec![Some(7), None, Some(7)], true_logit }
    }

    #[test]
    fn rows_stand_one_after_another() {
        let mut batch = Batch::default();
        batch.push(&record(true, None));
        batch.push(&record(false, None));
        let (ln_2, row) = (2_f32.ln(), [FeatureId::new(0, 7), FeatureId::missing(1), FeatureId::new(2, 7)]);
        assert_eq!(batch.labels, [1.0, 0.0]);
        assert_eq!(batch.dense, [ln_2, 0.0, ln_2, 0.0]);
        assert_eq!(batch.ids, [row, row].concat());
        assert!(batch.true_logits.is_empty());
        assert_eq!(batch.len(), 2);
    }

    #[test]
    fn cleared_batches_keep_their_memory() {
        let mut batch = Batch::default();
        batch.push(&record(true, Some(0.5)));
        assert_eq!(batch.true_logits, [0.5]);
        let place = batch.ids.as_ptr();
        batch.clear();
        assert!(batch.is_empty());
        batch.push(&record(true, Some(0.5)));
        assert_eq!(batch.ids.as_ptr(), place);
    }

    #[test]
    #[should_panic(expected = "only some of the rows have true logits")]
    fn generated_and_read_rows_do_not_mix() {
        let mut batch = Batch::default();
        batch.push(&record(true, Some(0.5)));
        batch.push(&record(true, None));
    }
}
