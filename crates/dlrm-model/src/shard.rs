//! Cutting a batch into shards. The cuts depend on the size of the batch alone, never on the number of threads:
//! this is what makes the results the same bits whatever their number.

use std::ops::Range;

use crate::model::{Inputs, StepOutputs};

/// A shard should be worth a graph of its own, and its activations should stay in the cache of a core.
const SHARD_SAMPLES: usize = 64;

/// Every shard of a training step has gradients as large as the model, so there must be a limit. At a batch of 2,048,
/// 16 is a third faster than 8: candle adds tensors of 65,536 floats and more on a thread pool of its own, which all
/// shards wait for, and the rows of 256 samples are larger than that.
const MAX_TRAINING_SHARDS: usize = 16;

/// Consecutive samples of a training batch.
pub(crate) struct Shard<'a> {
    pub(crate) inputs: Inputs<'a>,
    pub(crate) outputs: StepOutputs<'a>,
}

/// Cuts a training batch.
pub(crate) fn training<'a>(inputs: Inputs<'a>, outputs: StepOutputs<'a>) -> Vec<Shard<'a>> {
    let StepOutputs { row_grads, logits } = outputs;
    let ranges = ranges(inputs.labels.len(), MAX_TRAINING_SHARDS);
    let row_grads = split_mut(row_grads, &ranges);
    let logits = split_mut(logits, &ranges);
    let outputs = row_grads.into_iter().zip(logits).map(|(row_grads, logits)| StepOutputs { row_grads, logits });
    split_inputs(inputs, &ranges).zip(outputs).map(|(inputs, outputs)| Shard { inputs, outputs }).collect()
}

/// Cuts a batch to predict.
pub(crate) fn prediction<'a>(inputs: Inputs<'a>, logits: &'a mut [f32]) -> Vec<(Inputs<'a>, &'a mut [f32])> {
    let ranges = ranges(logits.len(), usize::MAX);
    let logits = split_mut(logits, &ranges);
    split_inputs(inputs, &ranges).zip(logits).collect()
}

/// Shards that a training batch is cut into. Each has gradients as large as the model.
#[must_use]
pub fn n_training_shards(n_samples: usize) -> usize {
    n_shards(n_samples, MAX_TRAINING_SHARDS)
}

fn n_shards(n_samples: usize, max_shards: usize) -> usize {
    (n_samples / SHARD_SAMPLES).clamp(1, max_shards)
}

/// Ranges of samples as equal as can be.
fn ranges(n_samples: usize, max_shards: usize) -> Vec<Range<usize>> {
    let n_shards = n_shards(n_samples, max_shards);
    let start = |shard_idx| shard_idx * n_samples / n_shards;
    (0..n_shards).map(|shard_idx| start(shard_idx)..start(shard_idx + 1)).collect()
}

fn split_inputs<'a>(inputs: Inputs<'a>, ranges: &[Range<usize>]) -> impl Iterator<Item = Inputs<'a>> {
    let Inputs { dense, rows, labels } = inputs;
    let columns = split(dense, ranges).into_iter().zip(split(rows, ranges)).zip(split(labels, ranges));
    columns.map(|((dense, rows), labels)| Inputs { dense, rows, labels })
}

/// Cuts `[B, n]` by ranges that cover `B`; `n` may be 0.
fn split<'a>(values: &'a [f32], ranges: &[Range<usize>]) -> Vec<&'a [f32]> {
    let width = width(values.len(), ranges);
    ranges.iter().map(|range| &values[range.start * width..range.end * width]).collect()
}

fn split_mut<'a>(mut values: &'a mut [f32], ranges: &[Range<usize>]) -> Vec<&'a mut [f32]> {
    let width = width(values.len(), ranges);
    let mut take = |range: &Range<usize>| values.split_off_mut(..range.len() * width);
    ranges.iter().map(|range| take(range).expect("the ranges cover the values")).collect()
}

fn width(n_values: usize, ranges: &[Range<usize>]) -> usize {
    let n_samples = ranges.last().map_or(0, |range| range.end);
    n_values.checked_div(n_samples).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_the_batch_in_order() {
        for n_samples in [0, 1, 63, 64, 127, 128, 129, 500, 2048, 16_384] {
            let ranges = ranges(n_samples, MAX_TRAINING_SHARDS);
            assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, n_samples));
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
            let longest = ranges.iter().map(Range::len).max().unwrap();
            assert!(ranges.iter().all(|range| longest - range.len() <= 1));
        }
        assert_eq!(ranges(127, 16).len(), 1);
        assert_eq!(ranges(128, 16).len(), 2);
        assert_eq!(ranges(2048, 16).len(), 16);
    }

    #[test]
    fn slices_follow_the_ranges() {
        let (rows, labels): (Vec<f32>, Vec<f32>) = ((0..390).map(|v| v as f32).collect(), vec![1.0; 130]);
        let (mut row_grads, mut logits) = (rows.clone(), vec![0.0; 130]);
        let inputs = Inputs { dense: &[], rows: &rows, labels: &labels };
        let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
        let shards = training(inputs, outputs);
        assert_eq!(shards.len(), 2);
        assert_eq!(shards[1].inputs.rows, &rows[195..]);
        assert_eq!(shards[1].outputs.row_grads, shards[1].inputs.rows);
        assert!(shards.iter().all(|shard| shard.inputs.dense.is_empty() && shard.outputs.logits.len() == 65));
    }
}
