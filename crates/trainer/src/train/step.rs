//! One training step and one prediction: the embedding's rows to the network, its gradients back.

use std::time::Instant;

use anyhow::{Context, Result};
use cafe_core::{Embedding, Executor, UpdateStats};
use criteo_io::Batch;
use dlrm_model::{Inputs, Model, ModelError, StepOutputs, ThreadTeam, TrainableModel};

use crate::config::TrainConfig;
use crate::exit::{self, ExitCode};
use crate::results::phases::Phases;
use crate::train::bags;

/// An array that holds a number which is not finite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not finite at position {position}")]
pub struct NotFiniteArray {
    /// A parameter of the network or its optimizer, such as `top.0.weight`, or an array of the
    /// embedding's state, such as `embedding.rows`.
    pub name: String,
    /// Position in the array.
    pub position: usize,
}

impl ExitCode for NotFiniteArray {
    fn exit_code(&self) -> u8 {
        exit::NOT_FINITE
    }
}

/// The two halves of a model, and the buffers between them.
pub struct Learner {
    /// Features to rows.
    pub embedding: Box<dyn Embedding>,
    /// Rows to logits.
    pub model: Model,
    /// Threads for the embedding where the model has none to lend.
    team: Option<ThreadTeam>,
    /// One vector a field, and its gradient: `[B, F, dim]`.
    rows: Vec<f32>,
    row_grads: Vec<f32>,
    /// One row an id, and its gradient, where fields hold several values.
    bag_rows: Vec<f32>,
    bag_grads: Vec<f32>,
    /// All numeric inputs of the network, where they are not those of the data alone: `[B,
    /// n_dense]`.
    numbers: Vec<f32>,
    /// How often each id occurred.
    frequencies: Vec<f32>,
    logits: Vec<f32>,
    phases: Phases,
}

/// The model's threads for the embedding, which works while the model waits.
struct Lent<'a>(&'a ThreadTeam);

impl Executor for Lent<'_> {
    fn run(&self, work: &(dyn Fn() + Sync)) {
        self.0.run(work);
    }
}

/// Learning rates of one step.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Of the network.
    pub network: f32,
    /// Of the embedding's rows.
    pub rows: f32,
}

impl Rates {
    /// The rates in a step, counted from 1.
    #[must_use]
    pub fn at(train: &TrainConfig, step: u64) -> Self {
        let factor = train.schedule.factor(step) as f32;
        Self { network: factor * train.lr(), rows: factor * train.embedding_lr() }
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
    /// A learner of fresh halves. Lookups and updates of the embedding take as many threads as the
    /// network.
    ///
    /// # Errors
    /// If the system refuses threads.
    pub fn new(
        embedding: Box<dyn Embedding>,
        model: Model,
        n_threads: usize,
    ) -> Result<Self, ModelError> {
        let team = if model.team().is_some() { None } else { Some(ThreadTeam::new(n_threads)?) };
        Ok(Self {
            embedding,
            model,
            team,
            rows: Vec::new(),
            row_grads: Vec::new(),
            bag_rows: Vec::new(),
            bag_grads: Vec::new(),
            numbers: Vec::new(),
            frequencies: Vec::new(),
            logits: Vec::new(),
            phases: Phases::default(),
        })
    }

    /// Looks up the rows, steps the network, hands the rows' gradients to the embedding.
    ///
    /// # Errors
    /// If a logit, the loss or a gradient is not finite; neither half has changed then.
    pub fn train(&mut self, batch: &Batch, rates: Rates) -> Result<StepReport> {
        let started = Instant::now();
        self.look_up(batch);
        let looked_up = Instant::now();
        let inputs =
            Inputs { dense: dense(batch, &self.numbers), rows: &self.rows, labels: &batch.labels };
        let outputs = StepOutputs { row_grads: &mut self.row_grads, logits: &mut self.logits };
        let loss = self.model.train_step(inputs, rates.network, outputs)?;
        let stepped = Instant::now();
        let Self { embedding, model, team, row_grads, bag_grads, .. } = self;
        let grads = if batch.bag_ends.is_empty() {
            &*row_grads
        } else {
            bags::spread(row_grads, &batch.bag_ends, embedding.dim(), bag_grads);
            bag_grads
        };
        let stats = embedding.update_on(&batch.ids, grads, rates.rows, &lent(model, team.as_ref()));
        self.phases.lookup += looked_up - started;
        self.phases.network += stepped - looked_up;
        self.phases.update += stepped.elapsed();
        Ok(StepReport { loss_sum: loss.loss_sum, stats })
    }

    /// The share of the lookups of a batch that hot rows would serve now; `None` for a method
    /// without them.
    #[must_use]
    pub fn hot_share(&self, batch: &Batch) -> Option<f64> {
        let n_hot = self.embedding.n_hot(&batch.ids)?;
        (!batch.ids.is_empty()).then(|| n_hot as f64 / batch.ids.len() as f64)
    }

    /// The logits of the last batch that was trained or predicted, `[B]`; those of a training step
    /// are from before it.
    #[must_use]
    pub fn logits(&self) -> &[f32] {
        &self.logits
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
        let inputs = Inputs { dense: dense(batch, &self.numbers), rows: &self.rows, labels: &[] };
        self.model.predict(inputs, &mut self.logits).context("evaluation")?;
        Ok(&self.logits)
    }

    /// Whether everything that training changes is finite: the network's parameters, what its
    /// optimizer remembers, and the embedding's arrays. A gradient of weights can overflow where
    /// those of rows don't, and `ReLU` hides weights that are NaN from the logits: so this is asked
    /// before a state is saved.
    ///
    /// # Errors
    /// The first array that is not, or a failure of the device.
    pub fn check_finite(&self) -> Result<()> {
        if let Some((name, position)) = self.model.first_not_finite()? {
            return Err(NotFiniteArray { name, position }.into());
        }
        let arrays = self.embedding.state();
        let bad = arrays.iter().find_map(|(name, array)| Some((name, array.first_not_finite()?)));
        match bad {
            Some((name, position)) => {
                Err(NotFiniteArray { name: format!("embedding.{name}"), position }.into())
            }
            None => Ok(()),
        }
    }

    /// Fills `numbers` with the network's numeric inputs: the data's columns, or the constant 1
    /// where the network has one and the data have none; then a frequency for each field where the
    /// embedding counts them. Left empty where the data's columns are all there is, which are read
    /// in place.
    fn gather_numbers(&mut self, batch: &Batch) {
        let Self { embedding, model, numbers, frequencies, .. } = self;
        let (n_samples, shape) = (batch.len(), model.config());
        frequencies.resize(batch.ids.len(), 0.0);
        let n_counted =
            if embedding.frequencies(&batch.ids, frequencies) { shape.n_fields() } else { 0 };
        numbers.clear();
        if n_samples == 0 || n_counted == 0 && !batch.dense.is_empty() {
            return;
        }
        let n_data = batch.dense.len() / n_samples;
        let n_constant = shape.n_dense() - n_data - n_counted;
        let mut bags = bags::means(frequencies, &batch.bag_ends);
        for sample in 0..n_samples {
            numbers.extend_from_slice(&batch.dense[sample * n_data..(sample + 1) * n_data]);
            numbers.extend(std::iter::repeat_n(1.0, n_constant));
            numbers.extend(bags.by_ref().take(n_counted));
        }
    }

    fn look_up(&mut self, batch: &Batch) {
        let dim = self.embedding.dim();
        let (n_ids, n_bags) = (batch.ids.len(), batch.bag_ends.len());
        let n_vectors = if n_bags == 0 { n_ids } else { n_bags };
        self.rows.resize(n_vectors * dim, 0.0);
        self.row_grads.resize(n_vectors * dim, 0.0);
        self.logits.resize(batch.len(), 0.0);
        self.gather_numbers(batch);
        let Self { embedding, model, team, rows, bag_rows, bag_grads, .. } = self;
        let workers = lent(model, team.as_ref());
        if n_bags == 0 {
            return embedding.lookup_on(&batch.ids, rows, &workers);
        }
        bag_rows.resize(n_ids * dim, 0.0);
        bag_grads.resize(n_ids * dim, 0.0);
        embedding.lookup_on(&batch.ids, bag_rows, &workers);
        bags::sum(bag_rows, &batch.bag_ends, dim, rows);
    }
}

/// The numeric inputs of a batch: those of the data, unless there are others.
fn dense<'a>(batch: &'a Batch, numbers: &'a [f32]) -> &'a [f32] {
    if numbers.is_empty() { &batch.dense } else { numbers }
}

fn lent<'a>(model: &'a Model, team: Option<&'a ThreadTeam>) -> Lent<'a> {
    Lent(team.or_else(|| model.team()).expect("a model with threads, or threads beside it"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::build;
    use crate::config::Config;
    use crate::data::DataSet;

    /// What training is judged by: the logits of a step are those of a model that has not seen its
    /// batch.
    #[test]
    fn the_logits_of_a_step_are_from_before_it() {
        let text = "engine = \"native\"\n[data]\nsynthetic = { rows = 2000 }\n[model]\ndim = 4\nbottom = [8, 4]\n\
                    top = [8, 1]\n[embedding]\ncompression = 100\n[train]\nbatch = 256\n";
        for engine in ["native", "candle"] {
            let overrides = [format!("engine={engine}")];
            let config = Config::parse(text, Path::new("a.toml"), &overrides).expect("valid");
            let plan = build::plan_embedding(&config).expect("it fits");
            let data = DataSet::open(&config).expect("rows");
            let (embedding, model) = (
                build::build_embedding(&plan, &config, &data),
                build::build_model(&config).expect("a model"),
            );
            let mut learner = Learner::new(embedding.expect("no pass"), model, 2).expect("threads");
            let mut batches = data.train(256, criteo_io::StreamPosition::default()).expect("rows");
            while let Some(batch) = batches.next_batch().expect("rows") {
                let before = learner.predict(&batch).expect("finite").to_vec();
                learner.train(&batch, Rates { network: 0.1, rows: 0.1 }).expect("finite");
                let at_step = learner.logits().to_vec();
                let after = learner.predict(&batch).expect("finite");
                let distance = |others: &[f32]| {
                    at_step.iter().zip(others).map(|(a, b)| f64::from(a - b).abs()).sum::<f64>()
                        / at_step.len() as f64
                };
                assert!(distance(&before) < 1e-6, "{engine}: {} from before", distance(&before));
                assert!(distance(after) > 1e-4, "{engine}: {} from after", distance(after));
            }
        }
    }
}
