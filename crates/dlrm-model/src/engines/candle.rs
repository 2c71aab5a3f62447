//! The model that runs a candle graph: slices in, slices out. Apart from the graph, because
//! sharding, threads and error checks are not part of the mathematics.

use std::fmt;

use candle_core::{Device, Tensor, Var};

use crate::batch::shard::{Pieces, Shard, n_small_shards, n_training_shards};
use crate::batch::{Inputs, StepLoss, StepOutputs, check_gradients, check_logits};
use crate::candle::device;
use crate::candle::graph::{self, Graph, ShardInputs};
use crate::candle::optim::Parameter;
use crate::candle::workers::Workers;
use crate::error::ModelError;
use crate::loss::{logit_gradients, loss_sum};
use crate::models::ModelConfig;
use crate::optim::OptimizerKind;
use crate::options::{DeviceSpec, ModelOptions};
use crate::parameters::{self, NamedTensor};
use crate::precision::{Precision, PrecisionError};
use crate::step_count;
use crate::trainable::TrainableModel;

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
/// # Errors leave the model unchanged
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
    /// A model with freshly drawn weights. `options.engine` is ignored.
    ///
    /// # Errors
    /// A precision other than `f32`, a configuration that does not fit together, a device that is
    /// not available, threads that do not start.
    ///
    /// # Panics
    /// If `options.n_threads` is 0.
    pub fn new(config: &ModelConfig, options: &ModelOptions) -> Result<Self, ModelError> {
        let ModelOptions { precision, optimizer, seed, device, n_threads, .. } = *options;
        assert!(n_threads > 0, "expected at least one thread");
        if precision != Precision::F32 {
            return Err(PrecisionError::CandleIsF32 { precision }.into());
        }
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
        let config = config.clone();
        Ok(Self { config, optimizer, device, graph, parameters, n_steps: 0, workers, is_fused })
    }

    /// The same model, computed with candle's own operations.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { is_fused: false, ..self }
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
        let inputs =
            ShardInputs::new(self.config.inputs(), inputs.dense, inputs.rows, &self.device)?;
        device::copy_out(
            &self.graph.forward(&inputs, &graph::tapes(&*self.graph, self.is_fused))?,
            logits,
        )
    }

    /// Fills the outputs of a shard and returns its gradients of the parameters.
    fn backward(&self, shard: Shard<'_>, n_samples: usize) -> candle_core::Result<Vec<Tensor>> {
        let Shard { inputs, outputs } = shard;
        let leaves =
            ShardInputs::new(self.config.inputs(), inputs.dense, inputs.rows, &self.device)?;
        let logit_grads = |logits: &Tensor| {
            device::copy_out(logits, outputs.logits)?;
            let mut logit_grads = vec![0.0; outputs.logits.len()];
            logit_gradients(outputs.logits, inputs.labels, n_samples, &mut logit_grads);
            Ok(logit_grads)
        };
        let gradients = graph::backward(&*self.graph, &leaves, self.is_fused, logit_grads)?;
        device::copy_out(&gradients.rows, outputs.row_grads)?;
        Ok(gradients.parameters)
    }

    /// One optimizer step for each parameter; `gradients` has a list for each shard.
    fn update(&mut self, gradients: &[Vec<Tensor>], learning_rate: f32) -> Result<(), ModelError> {
        let step = self.optimizer.step(learning_rate, self.n_steps);
        self.n_steps += 1;
        let steps = self.workers.map(
            self.parameters.iter().enumerate().collect(),
            |(parameter_idx, parameter)| {
                let shard_grads: Vec<&Tensor> =
                    gradients.iter().map(|shard| &shard[parameter_idx]).collect();
                parameter.step(&shard_grads, step)
            },
        );
        Ok(steps.into_iter().collect::<Result<(), _>>()?)
    }
}

impl TrainableModel for CandleModel {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn n_state_bytes(&self) -> usize {
        self.optimizer.n_state_bytes(self.n_parameters())
    }

    fn train_step(
        &mut self,
        inputs: Inputs<'_>,
        learning_rate: f32,
        outputs: StepOutputs<'_>,
    ) -> Result<StepLoss, ModelError> {
        let n_samples = inputs.labels.len();
        assert!(n_samples > 0, "expected at least one sample to train on");
        inputs.assert_lengths(self.config.inputs(), n_samples);
        outputs.assert_lengths(inputs);
        let StepOutputs { row_grads, logits } = outputs;

        let outputs = StepOutputs { row_grads: &mut *row_grads, logits: &mut *logits };
        let shards = if self.workers.is_empty() {
            vec![Shard { inputs, outputs }]
        } else {
            Pieces::new(Shard { inputs, outputs }, n_training_shards(n_samples)).collect()
        };
        let gradients = self.workers.map(shards, |shard| self.backward(shard, n_samples));
        let gradients = gradients.into_iter().collect::<Result<Vec<_>, _>>()?;
        let loss_sum = loss_sum(logits, inputs.labels)?;
        check_gradients(row_grads, self.config.row_floats())?;
        self.update(&gradients, learning_rate)?;
        Ok(StepLoss { loss_sum, n_samples })
    }

    fn predict(&self, inputs: Inputs<'_>, logits: &mut [f32]) -> Result<(), ModelError> {
        inputs.assert_lengths(self.config.inputs(), logits.len());
        if logits.is_empty() {
            return Ok(());
        }
        let inputs = Inputs { labels: &[], ..inputs };
        // Without workers the graph runs on a GPU, which takes the whole batch at once.
        let n_shards = if self.workers.is_empty() { 1 } else { n_small_shards(logits.len()) };
        let outputs = StepOutputs { row_grads: &mut [], logits: &mut *logits };
        let shards = Pieces::new(Shard { inputs, outputs }, n_shards);
        let results = self.workers.map(shards.collect(), |shard: Shard<'_>| {
            self.forward(shard.inputs, shard.outputs.logits)
        });
        results.into_iter().collect::<Result<(), _>>()?;
        check_logits(logits)
    }

    fn parameters(&self) -> Result<Vec<NamedTensor>, ModelError> {
        export(self.values())
    }

    fn load_parameters(&mut self, tensors: &[NamedTensor]) -> Result<(), ModelError> {
        import(self.values(), tensors)
    }

    fn optimizer_state(&self) -> Result<Vec<NamedTensor>, ModelError> {
        let mut state = export(self.state())?;
        if self.optimizer.counts_steps() {
            state.push(step_count::to_tensor(self.n_steps));
            parameters::sort(&mut state);
        }
        Ok(state)
    }

    fn load_optimizer_state(&mut self, tensors: &[NamedTensor]) -> Result<(), ModelError> {
        if !self.optimizer.counts_steps() {
            return import(self.state(), tensors);
        }
        let (n_steps, moments) = step_count::split(tensors)?;
        import(self.state(), moments)?;
        self.n_steps = n_steps;
        Ok(())
    }
}

/// Copies variables to the host, sorted by name.
fn export<'a>(
    vars: impl Iterator<Item = (&'a str, &'a Var)>,
) -> Result<Vec<NamedTensor>, ModelError> {
    let named = vars.map(|(name, var)| {
        let values = device::to_vec(var)?;
        Ok(NamedTensor { name: name.to_owned(), shape: var.dims().to_vec(), values })
    });
    let mut named = named.collect::<Result<Vec<_>, ModelError>>()?;
    parameters::sort(&mut named);
    Ok(named)
}

/// Sets variables from tensors of exactly their names and shapes, in any order.
fn import<'a>(
    vars: impl Iterator<Item = (&'a str, &'a Var)>,
    tensors: impl IntoIterator<Item = &'a NamedTensor>,
) -> Result<(), ModelError> {
    let vars: Vec<(&str, &Var)> = vars.collect();
    let found = parameters::find(vars.iter().map(|(name, var)| (*name, var.dims())), tensors)?;
    for ((_, var), tensor) in vars.into_iter().zip(found) {
        var.set(&Tensor::from_slice(&tensor.values, tensor.shape.as_slice(), var.device())?)?;
    }
    Ok(())
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
