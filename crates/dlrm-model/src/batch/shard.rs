//! Cutting a batch into shards. The cuts depend on the size of the batch alone, never on the number
//! of threads: this is what makes the results the same bits whatever their number.

use super::{Inputs, StepOutputs};

/// Least size of a shard: large enough to be worth a graph of its own, small enough that its
/// activations stay in the cache of a core.
const SHARD_SAMPLES: usize = 64;

/// Every shard of a training step of the candle engine has gradients as large as the model, so
/// there must be a limit. At a batch of 2,048, 16 is a third faster than 8: candle adds tensors of
/// 65,536 floats and more on a thread pool of its own, which all shards wait for, and the rows of
/// 256 samples are larger than that.
const MAX_TRAINING_SHARDS: usize = 16;

/// The native engine packs the weights of a product once for each shard where `gemm` computes it,
/// so these shards should be large; but a batch of 512 should still have work for four threads, and
/// one of 2,048 for eight.
const FEW_NATIVE_SHARDS: usize = 4;
const MAX_NATIVE_SHARDS: usize = 8;

/// Consecutive samples of a batch.
#[derive(Debug)]
pub(crate) struct Shard<'a> {
    pub(crate) inputs: Inputs<'a>,
    /// Without room for gradients, to predict.
    pub(crate) outputs: StepOutputs<'a>,
}

/// Shards that the candle engine cuts a training batch of `n_samples` into on a CPU. Each has
/// gradients as large as the model.
#[must_use]
pub fn n_training_shards(n_samples: usize) -> usize {
    n_small_shards(n_samples).min(MAX_TRAINING_SHARDS)
}

/// Shards whose activations stay in the cache of a core, however many these are.
pub(crate) fn n_small_shards(n_samples: usize) -> usize {
    (n_samples / SHARD_SAMPLES).max(1)
}

/// Shards for products that pack the weights again for each: few and large.
pub(crate) fn n_large_shards(n_samples: usize) -> usize {
    let few = (n_samples / SHARD_SAMPLES).min(FEW_NATIVE_SHARDS);
    let large = (n_samples / (2 * SHARD_SAMPLES)).min(MAX_NATIVE_SHARDS);
    few.max(large).max(1)
}

/// Consecutive pieces of a batch, whose sizes differ by at most one sample. Nothing is allocated.
#[derive(Debug)]
pub(crate) struct Pieces<'a> {
    rest: Shard<'a>,
    n_samples: usize,
    n_all: usize,
    next_idx: usize,
    /// Floats of a sample in `dense`, `rows`, `labels` and `row_grads`; 0 for what is missing.
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

    /// Lengths of the shards of a batch whose labels are the indices of its samples.
    fn cut(n_samples: usize) -> Vec<usize> {
        let labels: Vec<f32> = (0..n_samples).map(|idx| idx as f32).collect();
        let mut logits = labels.clone();
        let inputs = Inputs { dense: &[], rows: &[], labels: &labels };
        let outputs = StepOutputs { row_grads: &mut [], logits: &mut logits };
        let n_shards = n_training_shards(n_samples);
        let shards: Vec<Shard<'_>> = Pieces::new(Shard { inputs, outputs }, n_shards).collect();
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
    fn large_shards_are_few() {
        for (n_samples, n_shards) in
            [(0, 1), (1, 1), (127, 1), (128, 2), (256, 4), (512, 4), (700, 5), (2048, 8)]
        {
            assert_eq!(n_large_shards(n_samples), n_shards, "{n_samples} samples");
        }
    }

    #[test]
    fn slices_follow_the_cuts() {
        let (rows, labels): (Vec<f32>, Vec<f32>) =
            ((0..390).map(|v| v as f32).collect(), vec![1.0; 130]);
        let (mut row_grads, mut logits) = (rows.clone(), vec![0.0; 130]);
        let inputs = Inputs { dense: &[], rows: &rows, labels: &labels };
        let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
        let shards: Vec<Shard<'_>> = Pieces::new(Shard { inputs, outputs }, 2).collect();
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
