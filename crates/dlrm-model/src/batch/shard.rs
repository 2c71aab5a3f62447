//! Cutting a batch into shards. The cuts depend on the size of the batch alone, never on the number
//! of threads: this is what makes the results the same bits whatever their number.

use crate::batch::{Inputs, StepOutputs};

/// A shard should be worth a graph of its own, and its activations should stay in the cache of a
/// core.
const SHARD_SAMPLES: usize = 64;

/// Every shard of a training step has gradients as large as the model, so there must be a limit. At
/// a batch of 2,048, 16 is a third faster than 8: candle adds tensors of 65,536 floats and more on
/// a thread pool of its own, which all shards wait for, and the rows of 256 samples are larger than
/// that.
const MAX_TRAINING_SHARDS: usize = 16;

/// The native engine packs the weights of a product once for each shard, so its shards should be
/// large; but a batch of 512 should still have work for four threads, and one of 2,048 for eight.
const FEW_NATIVE_SHARDS: usize = 4;
const MAX_NATIVE_SHARDS: usize = 8;

/// Consecutive samples of a batch.
#[derive(Debug)]
pub(crate) struct Shard<'a> {
    pub(crate) inputs: Inputs<'a>,
    pub(crate) outputs: StepOutputs<'a>,
}

/// Cuts a training batch.
pub(crate) fn training<'a>(inputs: Inputs<'a>, outputs: StepOutputs<'a>) -> Pieces<'a> {
    let n_shards = n_training_shards(outputs.logits.len());
    Pieces::new(Shard { inputs, outputs }, n_shards)
}

/// Cuts a batch for the native engine, to train on or to predict.
pub(crate) fn native(batch: Shard<'_>) -> Pieces<'_> {
    let n_samples = batch.outputs.logits.len();
    let small = (n_samples / SHARD_SAMPLES).min(FEW_NATIVE_SHARDS);
    let large = (n_samples / (2 * SHARD_SAMPLES)).min(MAX_NATIVE_SHARDS);
    Pieces::new(batch, small.max(large).max(1))
}

/// Cuts a batch into shards whose activations stay in the cache of a core, however many.
pub(crate) fn small(batch: Shard<'_>) -> Pieces<'_> {
    let n_shards = n_shards(batch.outputs.logits.len(), usize::MAX);
    Pieces::new(batch, n_shards)
}

/// Cuts a batch to predict into at most so many shards, which have no place for gradients.
pub(crate) fn prediction<'a>(
    inputs: Inputs<'a>,
    logits: &'a mut [f32],
    max_shards: usize,
) -> Pieces<'a> {
    let n_shards = n_shards(logits.len(), max_shards);
    Pieces::new(Shard { inputs, outputs: StepOutputs { row_grads: &mut [], logits } }, n_shards)
}

/// Shards that a training batch is cut into. Each has gradients as large as the model.
#[must_use]
pub fn n_training_shards(n_samples: usize) -> usize {
    n_shards(n_samples, MAX_TRAINING_SHARDS)
}

fn n_shards(n_samples: usize, max_shards: usize) -> usize {
    (n_samples / SHARD_SAMPLES).clamp(1, max_shards)
}

/// Consecutive pieces of a batch, as equal as can be. Nothing is allocated.
#[derive(Debug)]
pub(crate) struct Pieces<'a> {
    rest: Shard<'a>,
    n_samples: usize,
    n_all: usize,
    next_idx: usize,
    /// Floats a sample of `dense`, `rows`, `labels` and `row_grads`; 0 for what is not there.
    widths: [usize; 4],
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(batch: Shard<'a>, n_pieces: usize) -> Self {
        let n_samples = batch.outputs.logits.len();
        let Inputs { dense, rows, labels } = batch.inputs;
        let lengths = [dense.len(), rows.len(), labels.len(), batch.outputs.row_grads.len()];
        let widths = lengths.map(|length| length.checked_div(n_samples).unwrap_or(0));
        Self { rest: batch, n_samples, n_all: n_pieces, next_idx: 0, widths }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Shard<'a>;

    fn next(&mut self) -> Option<Shard<'a>> {
        if self.next_idx == self.n_all {
            return None;
        }
        let start = |piece_idx| piece_idx * self.n_samples / self.n_all;
        let n_samples = start(self.next_idx + 1) - start(self.next_idx);
        self.next_idx += 1;
        let [dense, rows, labels, row_grads] = self.widths.map(|width| n_samples * width);
        let Shard { inputs, outputs } = &mut self.rest;
        let read =
            |values: &mut &'a [f32], n| values.split_off(..n).expect("the pieces cover the batch");
        let inputs = Inputs {
            dense: read(&mut inputs.dense, dense),
            rows: read(&mut inputs.rows, rows),
            labels: read(&mut inputs.labels, labels),
        };
        let [row_grads, logits] =
            [(&mut outputs.row_grads, row_grads), (&mut outputs.logits, n_samples)]
                .map(|(values, n)| values.split_off_mut(..n).expect("the pieces cover the batch"));
        let outputs = StepOutputs { row_grads, logits };
        Some(Shard { inputs, outputs })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n_left = self.n_all - self.next_idx;
        (n_left, Some(n_left))
    }
}

impl ExactSizeIterator for Pieces<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths of the shards, each sample being its index.
    fn cut(n_samples: usize) -> Vec<usize> {
        let labels: Vec<f32> = (0..n_samples).map(|idx| idx as f32).collect();
        let mut logits = labels.clone();
        let inputs = Inputs { dense: &[], rows: &[], labels: &labels };
        let shards: Vec<Shard<'_>> =
            training(inputs, StepOutputs { row_grads: &mut [], logits: &mut logits }).collect();
        assert!(shards.iter().flat_map(|shard| shard.inputs.labels).eq(&labels));
        assert!(shards.iter().all(|shard| shard.outputs.logits == shard.inputs.labels));
        shards.iter().map(|shard| shard.inputs.labels.len()).collect()
    }

    #[test]
    fn shards_cover_the_batch_in_order() {
        for n_samples in [0, 1, 63, 64, 127, 128, 129, 500, 2048, 16_384] {
            let lengths = cut(n_samples);
            let longest = *lengths.iter().max().unwrap();
            assert!(lengths.iter().all(|length| longest - length <= 1));
        }
        assert_eq!(cut(127), [127]);
        assert_eq!(cut(128), [64; 2]);
        assert_eq!(cut(2048), [128; 16]);
    }

    #[test]
    fn native_shards_are_few_and_large() {
        for (n_samples, n_shards) in
            [(0, 1), (1, 1), (127, 1), (128, 2), (256, 4), (512, 4), (700, 5), (2048, 8)]
        {
            let (rows, mut logits) = (vec![0.0; n_samples], vec![0.0; n_samples]);
            let inputs = Inputs { dense: &[], rows: &rows, labels: &[] };
            let outputs = StepOutputs { row_grads: &mut [], logits: &mut logits };
            assert_eq!(native(Shard { inputs, outputs }).len(), n_shards, "{n_samples} samples");
        }
    }

    #[test]
    fn slices_follow_the_cuts() {
        let (rows, labels): (Vec<f32>, Vec<f32>) =
            ((0..390).map(|v| v as f32).collect(), vec![1.0; 130]);
        let (mut row_grads, mut logits) = (rows.clone(), vec![0.0; 130]);
        let inputs = Inputs { dense: &[], rows: &rows, labels: &labels };
        let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
        let shards: Vec<Shard<'_>> = training(inputs, outputs).collect();
        assert_eq!(shards.len(), 2);
        assert_eq!(shards[1].inputs.rows, &rows[195..]);
        assert_eq!(shards[1].outputs.row_grads, shards[1].inputs.rows);
        assert!(
            shards
                .iter()
                .all(|shard| shard.inputs.dense.is_empty() && shard.outputs.logits.len() == 65)
        );
    }
}
