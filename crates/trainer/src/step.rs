//! One training step and one prediction: the embedding's rows to the network, its gradients back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cafe_core::{Embedding, UpdateStats, Workers};
use criteo_io::Batch;
use dlrm_model::{Inputs, Model, ModelError, StepOutputs, Team};

/// The two halves of a model, and the buffers between them.
pub struct Learner {
    /// Features to rows.
    pub embedding: Box<dyn Embedding>,
    /// Rows to logits.
    pub model: Model,
    learning_rate: f32,
    /// Threads for the embedding where the model has none to lend.
    team: Option<Team>,
    rows: Vec<f32>,
    row_grads: Vec<f32>,
    logits: Vec<f32>,
    phases: Phases,
}

/// The model's threads for the embedding, which works while the model waits.
struct Lent<'a>(&'a Team);

impl Workers for Lent<'_> {
    fn run(&self, work: &(dyn Fn() + Sync)) {
        self.0.run(work);
    }
}

/// Where the time of all training steps so far went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phases {
    /// The embedding's rows.
    pub lookup: Duration,
    /// The network, forward, backward and its optimizer.
    pub network: Duration,
    /// The embedding's step.
    pub update: Duration,
}

impl Phases {
    /// What came after `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        let Self { lookup, network, update } = self;
        Self {
            lookup: lookup.saturating_sub(earlier.lookup),
            network: network.saturating_sub(earlier.network),
            update: update.saturating_sub(earlier.update),
        }
    }
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
    /// A learner of fresh halves. Lookups and updates of the embedding take as many threads as the network.
    ///
    /// # Errors
    /// If the system refuses threads.
    pub fn new(
        embedding: Box<dyn Embedding>,
        model: Model,
        learning_rate: f32,
        n_threads: usize,
    ) -> Result<Self, ModelError> {
        let team = if model.team().is_some() { None } else { Some(Team::new(n_threads)?) };
        Ok(Self {
            embedding,
            model,
            learning_rate,
            team,
            rows: Vec::new(),
            row_grads: Vec::new(),
            logits: Vec::new(),
            phases: Phases::default(),
        })
    }

    /// Looks up the rows, steps the network, hands the rows' gradients to the embedding.
    ///
    /// # Errors
    /// If a logit, the loss or a gradient is not finite; neither half has changed then.
    pub fn train(&mut self, batch: &Batch) -> Result<StepReport> {
        let started = Instant::now();
        self.look_up(batch);
        let looked_up = Instant::now();
        let inputs = Inputs { dense: &batch.dense, rows: &self.rows, labels: &batch.labels };
        let outputs = StepOutputs { row_grads: &mut self.row_grads, logits: &mut self.logits };
        let loss = self.model.train_step(inputs, self.learning_rate, outputs)?;
        let stepped = Instant::now();
        let Self { embedding, model, team, row_grads, .. } = self;
        let stats = embedding.update_on(&batch.ids, row_grads, self.learning_rate, &lent(model, team.as_ref()));
        self.phases.lookup += looked_up - started;
        self.phases.network += stepped - looked_up;
        self.phases.update += stepped.elapsed();
        Ok(StepReport { loss_sum: loss.loss_sum, stats })
    }

    /// Where the time of the training steps went.
    #[must_use]
    pub fn phases(&self) -> Phases {
        self.phases
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
        let Self { embedding, model, team, rows, .. } = self;
        embedding.lookup_on(&batch.ids, rows, &lent(model, team.as_ref()));
    }
}

fn lent<'a>(model: &'a Model, team: Option<&'a Team>) -> Lent<'a> {
    Lent(team.or_else(|| model.team()).expect("a model with threads, or threads beside it"))
}
