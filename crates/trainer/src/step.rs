//! One training step and one prediction: the embedding's rows to the network, its gradients back.

use anyhow::{Context, Result};
use cafe_core::{Embedding, UpdateStats};
use criteo_io::Batch;
use dlrm_model::{Inputs, Model, StepOutputs};

/// The two halves of a model, and the buffers between them.
pub struct Learner {
    /// Features to rows.
    pub embedding: Box<dyn Embedding>,
    /// Rows to logits.
    pub model: Model,
    learning_rate: f32,
    rows: Vec<f32>,
    row_grads: Vec<f32>,
    logits: Vec<f32>,
}

/// What a training step reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepReport {
    /// Sum of the samples' log-losses before the step.
    pub loss_sum: f64,
    /// What the embedding did.
    pub stats: UpdateStats,
}

impl Learner {
    /// A learner of fresh halves.
    #[must_use]
    pub fn new(embedding: Box<dyn Embedding>, model: Model, learning_rate: f32) -> Self {
        Self { embedding, model, learning_rate, rows: Vec::new(), row_grads: Vec::new(), logits: Vec::new() }
    }

    /// Looks up the rows, steps the network, hands the rows' gradients to the embedding.
    ///
    /// # Errors
    /// If a logit, the loss or a gradient is not finite; neither half has changed then.
    pub fn train(&mut self, batch: &Batch) -> Result<StepReport> {
        self.look_up(batch);
        let inputs = Inputs { dense: &batch.dense, rows: &self.rows, labels: &batch.labels };
        let outputs = StepOutputs { row_grads: &mut self.row_grads, logits: &mut self.logits };
        let loss = self.model.train_step(inputs, self.learning_rate, outputs)?;
        let stats = self.embedding.update(&batch.ids, &self.row_grads, self.learning_rate);
        Ok(StepReport { loss_sum: loss.loss_sum, stats })
    }

    /// The logits of a batch; nothing changes but buffers.
    ///
    /// # Errors
    /// If a logit is not finite.
    pub fn predict(&mut self, batch: &Batch) -> Result<&[f32]> {
        self.look_up(batch);
        let inputs = Inputs { dense: &batch.dense, rows: &self.rows, labels: &[] };
        self.model.predict(inputs, &mut self.logits).context("evaluation")?;
        Ok(&self.logits)
    }

    fn look_up(&mut self, batch: &Batch) {
        let n_values = batch.ids.len() * self.embedding.dim();
        self.rows.resize(n_values, 0.0);
        self.row_grads.resize(n_values, 0.0);
        self.logits.resize(batch.len(), 0.0);
        self.embedding.lookup(&batch.ids, &mut self.rows);
    }
}
