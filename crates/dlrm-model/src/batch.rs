//! A batch, borrowed: what goes into a model, what a step writes, and the checks of both.

pub(crate) mod shard;

use crate::error::ModelError;

/// Sizes of what a sample consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InputSizes {
    /// Numeric inputs.
    pub(crate) n_dense: usize,
    /// Categorical fields: one embedding row each.
    pub(crate) n_fields: usize,
    /// Length of an embedding row.
    pub(crate) dim: usize,
}

impl InputSizes {
    /// Floats of its rows.
    pub(crate) fn row_floats(self) -> usize {
        self.n_fields * self.dim
    }

    /// Length of `x = dense ‖ rows`.
    pub(crate) fn x_len(self) -> usize {
        self.n_dense + self.row_floats()
    }
}

/// One batch of `B` samples, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// `[B, n_dense]`
    pub dense: &'a [f32],
    /// `[B, n_fields, dim]`: the embedding rows of the samples.
    pub rows: &'a [f32],
    /// `[B]`, each from 0 to 1; empty to predict.
    pub labels: &'a [f32],
}

/// Where a training step writes its results.
#[derive(Debug)]
pub struct StepOutputs<'a> {
    /// `[B, n_fields, dim]`: gradient of the *mean* loss of the batch with respect to `rows`.
    pub row_grads: &'a mut [f32],
    /// `[B]`: the logits before the update, for online metrics.
    pub logits: &'a mut [f32],
}

impl Inputs<'_> {
    pub(crate) fn assert_lengths(&self, sizes: InputSizes, n_samples: usize) {
        assert_eq!(self.dense.len(), n_samples * sizes.n_dense, "length of `dense`");
        assert_eq!(self.rows.len(), n_samples * sizes.row_floats(), "length of `rows`");
    }
}

impl StepOutputs<'_> {
    pub(crate) fn assert_lengths(&self, inputs: Inputs<'_>) {
        assert_eq!(self.row_grads.len(), inputs.rows.len(), "length of `row_grads`");
        assert_eq!(self.logits.len(), inputs.labels.len(), "length of `logits`");
    }
}

/// Names the first logit of a prediction that is not finite.
pub(crate) fn check_logits(logits: &[f32]) -> Result<(), ModelError> {
    match logits.iter().position(|logit| !logit.is_finite()) {
        Some(sample_idx) => {
            let logit = logits[sample_idx];
            Err(ModelError::NonFiniteLogit { sample_idx, logit, label: None })
        }
        None => Ok(()),
    }
}

/// Names the first gradient that is not finite.
pub(crate) fn check_gradients(row_grads: &[f32], row_floats: usize) -> Result<(), ModelError> {
    match row_grads.iter().position(|gradient| !gradient.is_finite()) {
        Some(idx) => Err(ModelError::NonFiniteGradient {
            sample_idx: idx / row_floats,
            value_idx: idx % row_floats,
            value: row_grads[idx],
        }),
        None => Ok(()),
    }
}

/// Loss of one training step, before the update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepLoss {
    /// Sum of the samples' losses in nats.
    pub loss_sum: f64,
    /// Samples in the sum.
    pub n_samples: usize,
}

impl StepLoss {
    /// Mean loss of a sample.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.loss_sum / self.n_samples as f64
    }
}
