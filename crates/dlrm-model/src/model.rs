//! The model that the trainer holds: slices in, slices out. Apart from the graph because another
//! engine can offer the same four calls, and because sharding, threads and error checks are not
//! part of the mathematics.

use std::fmt;

use candle_core::{Device, Tensor, Var};

use crate::bridge;
use crate::device::DeviceSpec;
use crate::error::ModelError;
use crate::graph::{self, Graph, ShardInputs};
use crate::loss::{logit_gradients, loss_sum};
use crate::models::ModelConfig;
use crate::optim::{OptimizerKind, Parameter};
use crate::parameters::{self, NamedTensor};
use crate::shard::{self, Shard};
use crate::step_count;
use crate::workers::Workers;

/// What a model is built from, besides its shape.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelOptions {
    /// Optimizer of the dense parameters.
    pub optimizer: OptimizerKind,
    /// Seed of the initial weights.
    pub seed: u64,
    /// Where the graph runs.
    pub device: DeviceSpec,
    /// Worker threads on a CPU, at least 1; a GPU uses none.
    pub n_threads: usize,
}

/// One batch of `B` samples, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// `[B, n_dense]`
    pub dense: &'a [f32],
    /// `[B, n_fields, dim]`: the embedding rows of the samples.
    pub rows: &'a [f32],
    /// `[B]`, each 0 or 1 or between; empty to predict.
    pub labels: &'a [f32],
}

/// Where a training step writes its results.
#[derive(Debug)]
pub struct StepOutputs<'a> {
    /// `[B, n_fields, dim]`: derivative of the *mean* loss of the batch by each float of `rows`.
    pub row_grads: &'a mut [f32],
    /// `[B]`: the logits before the update, for online metrics.
    pub logits: &'a mut [f32],
}

impl Inputs<'_> {
    pub(crate) fn assert_lengths(&self, config: &ModelConfig, n_samples: usize) {
        assert_eq!(self.dense.len(), n_samples * config.n_dense(), "length of `dense`");
        assert_eq!(self.rows.len(), n_samples * config.row_floats(), "length of `rows`");
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
        Some(sample_idx) => Err(ModelError::NonFiniteLogit {
            sample_idx,
            logit: logits[sample_idx],
            label: f32::NAN,
        }),
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

/// A model whose dense network is a candle graph.
///
/// # How it works
/// A batch is cut into shards whose number depends on the size of the batch alone. Each shard has a
/// graph of its own with its embedding rows as a leaf; workers run the graphs, and the gradients
/// are added in the order of the shards. So the results are the same bits for any number of
/// threads. On a GPU the whole batch is one shard.
///
/// On a CPU the graph has one node for each stack of layers and one for DLRM's interaction.
/// [`plain`](Self::plain) builds the model from candle's own operations instead: slower, easier to
/// read, the reference for the other, and what runs on CUDA.
///
/// # Costs
/// Each shard keeps a gradient as large as the model, at most 16 of them. In the Criteo Kaggle
/// shapes, products are about half of the time. Before each product candle 0.11 reads
/// `/proc/cpuinfo` to count the cores, a quarter of the time on a machine with two of them, unless
/// the environment has `RAYON_NUM_THREADS`: set it to 1. The number of workers here is `n_threads`
/// all the same.
///
/// # Errors leave the model as it was
/// A logit or a row gradient that is not finite is reported before any parameter changes. The
/// outputs of a step that failed are unspecified.
pub struct CandleModel {
    config: ModelConfig,
    optimizer: OptimizerKind,
    device: Device,
    graph: Box<dyn Graph>,
    parameters: Vec<Parameter>,
    /// Steps taken by the optimizer, kept where it counts them.
    n_steps: u64,
    workers: Workers,
    is_fused: bool,
}

impl CandleModel {
    /// A model with freshly drawn weights.
    ///
    /// # Errors
    /// A configuration that does not fit together, a device that cannot be had, threads that do not
    /// start.
    ///
    /// # Panics
    /// If `n_threads` is 0.
    pub fn new(config: impl Into<ModelConfig>, options: ModelOptions) -> Result<Self, ModelError> {
        let config = config.into();
        let ModelOptions { optimizer, seed, device, n_threads } = options;
        assert!(n_threads > 0, "expected at least one thread");
        config.validate()?;
        optimizer.validate()?;
        let is_fused = device == DeviceSpec::Cpu;
        let workers = Workers::new(if is_fused { n_threads } else { 0 })?;
        let device = device.open()?;
        let graph = config.graph(seed, &device)?;
        let named = graph::parameters(&*graph).into_iter();
        let parameters = named
            .map(|(name, value)| Parameter::new(name, value, optimizer))
            .collect::<Result<_, _>>()?;
        Ok(Self { config, optimizer, device, graph, parameters, n_steps: 0, workers, is_fused })
    }

    /// The same model, computed with candle's own operations.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { is_fused: false, ..self }
    }

    /// The shape it was built with.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Weights and biases in all.
    #[must_use]
    pub fn n_parameters(&self) -> usize {
        self.config.n_parameters()
    }

    /// Bytes that the optimizer remembers of them.
    #[must_use]
    pub fn n_state_bytes(&self) -> usize {
        self.optimizer.n_state_bytes(self.n_parameters())
    }

    /// Forward pass, loss, backward pass, and one step of the optimizer.
    ///
    /// # Errors
    /// The first sample whose logit, loss or row gradient is not finite, or a failure of the
    /// device.
    ///
    /// # Panics
    /// If the batch is empty, or a slice has another length than its shape says.
    pub fn train_step(
        &mut self,
        inputs: Inputs<'_>,
        learning_rate: f32,
        outputs: StepOutputs<'_>,
    ) -> Result<StepLoss, ModelError> {
        let n_samples = inputs.labels.len();
        assert!(n_samples > 0, "expected at least one sample to train on");
        inputs.assert_lengths(&self.config, n_samples);
        outputs.assert_lengths(inputs);
        let StepOutputs { row_grads, logits } = outputs;

        let outputs = StepOutputs { row_grads: &mut *row_grads, logits: &mut *logits };
        let shards = if self.workers.is_empty() {
            vec![Shard { inputs, outputs }]
        } else {
            shard::training(inputs, outputs).collect()
        };
        let gradients = self.workers.map(shards, |shard| self.backward(shard, n_samples));
        let gradients = gradients.into_iter().collect::<Result<Vec<_>, _>>()?;
        let loss_sum = loss_sum(logits, inputs.labels)?;
        check_gradients(row_grads, self.config.row_floats())?;
        self.update(&gradients, learning_rate)?;
        Ok(StepLoss { loss_sum, n_samples })
    }

    /// Writes the logit of every sample; the labels are not looked at.
    ///
    /// # Errors
    /// The first sample whose logit is not finite, or a failure of the device.
    ///
    /// # Panics
    /// If a slice has another length than its shape says; the length of `logits` is the number of
    /// samples.
    pub fn predict(&self, inputs: Inputs<'_>, logits: &mut [f32]) -> Result<(), ModelError> {
        inputs.assert_lengths(&self.config, logits.len());
        if logits.is_empty() {
            return Ok(());
        }
        let inputs = Inputs { labels: &[], ..inputs };
        let shards =
            shard::prediction(inputs, logits, if self.workers.is_empty() { 1 } else { usize::MAX });
        let results = self.workers.map(shards.collect(), |shard: Shard<'_>| {
            self.forward(shard.inputs, shard.outputs.logits)
        });
        results.into_iter().collect::<Result<(), _>>()?;
        check_logits(logits)
    }

    /// Copies of the weights and biases, sorted by name.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn parameters(&self) -> Result<Vec<NamedTensor>, ModelError> {
        parameters::export(self.values())
    }

    /// Sets all weights and biases, given in any order.
    ///
    /// # Errors
    /// A name that is missing, unknown or given twice, a shape that differs, a value that is not
    /// finite; then nothing has changed.
    pub fn load_parameters(&mut self, tensors: &[NamedTensor]) -> Result<(), ModelError> {
        parameters::import(self.values(), tensors)
    }

    /// Copies of what the optimizer remembers, sorted by name: of each parameter Adagrad's sum of
    /// squares, under the parameter's name, or Adam's two moments, under the name and
    /// `.first_moment` or `.second_moment`, with the number of steps taken as `step`, `[2]`, modulo
    /// 2^24 and the rest. Empty for SGD.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn optimizer_state(&self) -> Result<Vec<NamedTensor>, ModelError> {
        let mut state = parameters::export(self.state())?;
        if self.optimizer.counts_steps() {
            state.push(step_count::to_tensor(self.n_steps));
            parameters::sort(&mut state);
        }
        Ok(state)
    }

    /// Sets what the optimizer remembers, so that training goes on as if it had not stopped.
    ///
    /// # Errors
    /// As [`load_parameters`](Self::load_parameters).
    pub fn load_optimizer_state(&mut self, tensors: &[NamedTensor]) -> Result<(), ModelError> {
        if !self.optimizer.counts_steps() {
            return parameters::import(self.state(), tensors);
        }
        let (n_steps, moments) = step_count::split(tensors)?;
        parameters::import(self.state(), moments)?;
        self.n_steps = n_steps;
        Ok(())
    }

    fn values(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.parameters.iter().map(|parameter| (parameter.name.as_str(), &parameter.value))
    }

    fn state(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.parameters
            .iter()
            .flat_map(|parameter| &parameter.state)
            .map(|(name, var)| (name.as_str(), var))
    }

    fn forward(&self, inputs: Inputs<'_>, logits: &mut [f32]) -> candle_core::Result<()> {
        let inputs = ShardInputs::new(&self.config, inputs.dense, inputs.rows, &self.device)?;
        bridge::copy_out(
            &self.graph.forward(&inputs, &graph::tapes(&*self.graph, self.is_fused))?,
            logits,
        )
    }

    /// Fills the outputs of a shard and returns its gradients of the parameters.
    fn backward(&self, shard: Shard<'_>, n_samples: usize) -> candle_core::Result<Vec<Tensor>> {
        let Shard { inputs, outputs } = shard;
        let leaves = ShardInputs::new(&self.config, inputs.dense, inputs.rows, &self.device)?;
        let slopes = |logits: &Tensor| {
            bridge::copy_out(logits, outputs.logits)?;
            let mut slopes = vec![0.0; outputs.logits.len()];
            logit_gradients(outputs.logits, inputs.labels, n_samples, &mut slopes);
            Ok(slopes)
        };
        let gradients = graph::backward(&*self.graph, &leaves, self.is_fused, slopes)?;
        bridge::copy_out(&gradients.rows, outputs.row_grads)?;
        Ok(gradients.parameters)
    }

    /// One optimizer step for each parameter; `gradients` has a list for each shard.
    fn update(&mut self, gradients: &[Vec<Tensor>], learning_rate: f32) -> Result<(), ModelError> {
        let step = self.optimizer.step(learning_rate, self.n_steps);
        self.n_steps += 1;
        let steps = self.workers.map(
            self.parameters.iter().enumerate().collect(),
            |(parameter_idx, parameter)| {
                let of_shards: Vec<&Tensor> =
                    gradients.iter().map(|shard| &shard[parameter_idx]).collect();
                parameter.step(&of_shards, step)
            },
        );
        Ok(steps.into_iter().collect::<Result<(), _>>()?)
    }
}

impl fmt::Debug for CandleModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("CandleModel");
        debug.field("config", &self.config).field("optimizer", &self.optimizer);
        debug
            .field("device", &self.device)
            .field("is_fused", &self.is_fused)
            .finish_non_exhaustive()
    }
}
