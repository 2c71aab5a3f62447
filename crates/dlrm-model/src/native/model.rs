//! The model that runs on the blocks: the same calls as `model.rs`, with buffers that are kept from
//! step to step.

use std::borrow::Cow;
use std::fmt;

use super::layer::{Layer, Method};
use super::network::Runner;
use super::product::Place;
use super::simd::Wide;
use super::team::Team;
use crate::batch::shard::{self, Pieces, Shard};
use crate::batch::{Inputs, StepLoss, StepOutputs, check_gradients, check_logits};
use crate::error::ModelError;
use crate::loss::loss_sum;
use crate::models::ModelConfig;
use crate::optim::OptimizerKind;
use crate::options::{DeviceError, DeviceSpec, ModelOptions};
use crate::parameters::{self, NamedTensor};
use crate::precision::{Kernel, Precision};
use crate::step_count;

/// Samples whose activations are kept at a time. A larger batch is worked off chunk by chunk, so
/// that memory has a limit and what the way back reads is still in a cache.
const CHUNK_SAMPLES: usize = 2048;

/// A model whose dense network is hand-written, for CPUs.
///
/// # How it works
/// A batch is cut into shards whose number depends on the size of the batch alone. Threads take the
/// shards, forward and backward, and keep the activations. Then they take the weights, cut into
/// tiles by the shape of the model: each sums the gradient of its tile over the shards in their
/// order, and steps the optimizer while the tile is in its cache. So there is one gradient, no
/// gradient a shard, and the results are the same bits for any number of threads.
///
/// # Costs
/// Weights, one gradient, what the optimizer remembers, and the activations of at most 2,048
/// samples with their gradients; where our own kernel computes, all but the squares once or twice
/// more, in the order and precision of its operands. After the first step of the largest batch
/// nothing is allocated here; the `gemm` crate allocates scratch space at each product, and rayon a
/// few bytes for each helping thread.
///
/// # Errors leave the model as it was
/// A logit or a row gradient that is not finite is reported before any parameter changes. The
/// outputs of a step that failed are unspecified.
pub struct NativeModel {
    config: ModelConfig,
    optimizer: OptimizerKind,
    precision: Precision,
    /// Our own kernel, or `None` for the `gemm` crate.
    wide: Option<Wide>,
    network: Box<dyn Runner>,
    /// Steps taken by the optimizer, kept where it counts them.
    n_steps: u64,
    team: Team,
}

impl NativeModel {
    /// A model in `f32` with freshly drawn weights: for one seed the same as those of
    /// [`CandleModel`](crate::CandleModel).
    ///
    /// # Errors
    /// A configuration that does not fit together, a device that is not the CPU, threads that do
    /// not start.
    ///
    /// # Panics
    /// If `n_threads` is 0.
    pub fn new(config: impl Into<ModelConfig>, options: ModelOptions) -> Result<Self, ModelError> {
        Self::with_precision(config, options, Precision::F32)
    }

    /// The same model with the operands of its products in another precision.
    ///
    /// # Errors
    /// As [`new`](Self::new), and a precision that this CPU does not have.
    ///
    /// # Panics
    /// If `n_threads` is 0.
    pub fn with_precision(
        config: impl Into<ModelConfig>,
        options: ModelOptions,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        let wide = Wide::choose(precision)?;
        Self::with_kernel(config.into(), options, precision, wide)
    }

    pub(crate) fn with_kernel(
        config: ModelConfig,
        options: ModelOptions,
        precision: Precision,
        wide: Option<Wide>,
    ) -> Result<Self, ModelError> {
        let ModelOptions { optimizer, seed, device, n_threads } = options;
        assert!(n_threads > 0, "expected at least one thread");
        config.validate()?;
        optimizer.validate()?;
        if device != DeviceSpec::Cpu {
            return Err(DeviceError::NativeIsCpu { device }.into());
        }
        let team = Team::new(n_threads)?;
        let network = config.network(seed, Method { optimizer, wide });
        Ok(Self { config, optimizer, precision, wide, network, n_steps: 0, team })
    }

    /// The precision it was built with.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What computes its products.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.wide.map_or(Kernel::Gemm, Wide::kernel)
    }

    /// The shape it was built with.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Its threads, idle between calls.
    #[must_use]
    pub fn team(&self) -> &Team {
        &self.team
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
    /// The first sample whose logit, loss or row gradient is not finite.
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
        inputs.assert_lengths(self.config.inputs(), n_samples);
        outputs.assert_lengths(inputs);
        let StepOutputs { row_grads, logits } = outputs;

        let n_chunks = n_samples.div_ceil(CHUNK_SAMPLES);
        let (mut n_shards, mut place, mut is_finite) = (0, Place::Fresh, true);
        for chunk_idx in 0..n_chunks {
            if chunk_idx > 0 {
                self.network.update(&self.team, n_shards, place, None);
                place = Place::Sum;
            }
            let outputs = StepOutputs { row_grads: &mut *row_grads, logits: &mut *logits };
            let chunk = Pieces::new(Shard { inputs, outputs }, n_chunks).nth(chunk_idx);
            let shards = self.shards(chunk.expect("an index below the number of chunks"));
            n_shards = shards.len();
            is_finite &= self.network.backward(&self.team, shards, n_samples);
        }
        let loss_sum = loss_sum(logits, inputs.labels)?;
        if !is_finite {
            check_gradients(row_grads, self.config.row_floats())?;
        }
        let step = self.optimizer.step(learning_rate, self.n_steps);
        self.network.update(&self.team, n_shards, place, Some(step));
        self.n_steps += 1;
        Ok(StepLoss { loss_sum, n_samples })
    }

    /// Writes the logit of every sample; the labels are not looked at.
    ///
    /// # Errors
    /// The first sample whose logit is not finite.
    ///
    /// # Panics
    /// If a slice has another length than its shape says; the length of `logits` is the number of
    /// samples.
    pub fn predict(&self, inputs: Inputs<'_>, logits: &mut [f32]) -> Result<(), ModelError> {
        inputs.assert_lengths(self.config.inputs(), logits.len());
        let inputs = Inputs { labels: &[], ..inputs };
        let batch =
            Shard { inputs, outputs: StepOutputs { row_grads: &mut [], logits: &mut *logits } };
        let n_chunks = batch.outputs.logits.len().div_ceil(CHUNK_SAMPLES);
        for chunk in Pieces::new(batch, n_chunks) {
            self.network.forward(&self.team, self.shards(chunk));
        }
        check_logits(logits)
    }

    /// Copies of the weights and biases, sorted by name.
    ///
    /// # Errors
    /// None; the candle engine's device may fail.
    pub fn parameters(&self) -> Result<Vec<NamedTensor>, ModelError> {
        let layers = self.network.layers().into_iter();
        Ok(named(layers.map(|(name, layer)| (name, layer, layer.parameters()))))
    }

    /// Sets all weights and biases, given in any order.
    ///
    /// # Errors
    /// A name that is missing, unknown or given twice, a shape that differs, a value that is not
    /// finite; then nothing has changed.
    pub fn load_parameters(&mut self, tensors: &[NamedTensor]) -> Result<(), ModelError> {
        let found = self.find(tensors, &[""])?;
        for (layer, [weight, bias]) in self.network.layers_mut().into_iter().zip(found) {
            layer.set_parameters(&weight, &bias);
        }
        Ok(())
    }

    /// Copies of what the optimizer remembers, sorted by name: of each parameter Adagrad's sum of
    /// squares, under the parameter's name, or Adam's two moments, under the name and
    /// `.first_moment` or `.second_moment`, with the number of steps taken as `step`, `[2]`, modulo
    /// 2^24 and the rest. Empty for SGD.
    ///
    /// # Errors
    /// As [`parameters`](Self::parameters).
    pub fn optimizer_state(&self) -> Result<Vec<NamedTensor>, ModelError> {
        let mut state = Vec::new();
        for (slot, suffix) in self.optimizer.state_suffixes().iter().enumerate() {
            let layers = self.network.layers().into_iter();
            let mut tensors =
                named(layers.map(|(name, layer)| (name, layer, layer.optimizer_state(slot))));
            for tensor in &mut tensors {
                tensor.name.push_str(suffix);
            }
            state.extend(tensors);
        }
        if self.optimizer.counts_steps() {
            state.push(step_count::to_tensor(self.n_steps));
        }
        parameters::sort(&mut state);
        Ok(state)
    }

    /// Sets what the optimizer remembers, so that training goes on as if it had not stopped.
    ///
    /// # Errors
    /// As [`load_parameters`](Self::load_parameters).
    pub fn load_optimizer_state(&mut self, tensors: &[NamedTensor]) -> Result<(), ModelError> {
        let (n_steps, tensors) = if self.optimizer.counts_steps() {
            step_count::split(tensors)?
        } else {
            (self.n_steps, tensors.iter().collect())
        };
        let found = self.find(tensors, self.optimizer.state_suffixes())?;
        let n_layers = self.network.layers().len();
        for (slot, of_slot) in found.chunks_exact(n_layers).enumerate() {
            for (layer, [weight, bias]) in self.network.layers_mut().into_iter().zip(of_slot) {
                layer.set_optimizer_state(slot, weight, bias);
            }
        }
        self.n_steps = n_steps;
        Ok(())
    }

    /// For each suffix of a parameter's name weight and bias of each layer in turn; zeros for a
    /// bias that a layer does not have.
    fn find<'t>(
        &self,
        tensors: impl IntoIterator<Item = &'t NamedTensor>,
        suffixes: &[&str],
    ) -> Result<Vec<[Cow<'t, [f32]>; 2]>, ModelError> {
        let layers = self.network.layers();
        let of_suffix = |suffix: &&str| {
            let names = layers.iter().flat_map(|(name, layer)| names(name, layer));
            names.map(|(name, shape)| (name + suffix, shape)).collect::<Vec<_>>()
        };
        let shapes: Vec<(String, Vec<usize>)> = suffixes.iter().flat_map(of_suffix).collect();
        let expected = shapes.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()));
        let mut found = parameters::find(expected, tensors)?.into_iter();
        let mut next = || Cow::Borrowed(found.next().map_or(&[][..], |tensor| &tensor.values));
        let pairs = suffixes.iter().flat_map(|_| &layers).map(|(_, layer)| {
            [next(), if layer.has_bias { next() } else { Cow::Owned(vec![0.0; layer.n_output]) }]
        });
        Ok(pairs.collect())
    }

    /// Cuts a chunk. `gemm` packs the weights again for every shard, our own kernel does not.
    fn shards<'a>(&self, chunk: Shard<'a>) -> Pieces<'a> {
        if self.wide.is_some() { shard::small(chunk) } else { shard::native(chunk) }
    }
}

/// Names and shapes of the parameters of a layer: the weight and, if it has one, the bias.
fn names<'l>(name: &'l str, layer: &'l Layer) -> impl Iterator<Item = (String, Vec<usize>)> + 'l {
    let [weight, bias] = layer.shapes();
    let bias = layer.has_bias.then_some(("bias", bias));
    [("weight", weight)]
        .into_iter()
        .chain(bias)
        .map(move |(kind, shape)| (format!("{name}.{kind}"), shape))
}

/// Weights and biases, or what belongs to them, with their names, sorted by name.
fn named<'l>(layers: impl Iterator<Item = (String, &'l Layer, [Vec<f32>; 2])>) -> Vec<NamedTensor> {
    let mut tensors = Vec::new();
    for (name, layer, values) in layers {
        let named = names(&name, layer).zip(values);
        tensors.extend(named.map(|((name, shape), values)| NamedTensor { name, shape, values }));
    }
    parameters::sort(&mut tensors);
    tensors
}

impl fmt::Debug for NativeModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeModel")
            .field("config", &self.config)
            .field("optimizer", &self.optimizer)
            .field("precision", &self.precision)
            .field("kernel", &self.kernel())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::DlrmConfig;

    /// Losses, row gradients, logits, weights and Adagrad's squares of three steps, as they come.
    fn trace(wide: Option<Wide>, n_threads: usize, n_samples: usize) -> Vec<f32> {
        let config = DlrmConfig {
            n_dense: 13,
            n_fields: 7,
            dim: 5,
            bottom: vec![33, 5],
            top: vec![130, 17, 1],
        };
        let optimizer = OptimizerKind::Adagrad { epsilon: 1e-2 };
        let options = ModelOptions { optimizer, seed: 3, device: DeviceSpec::Cpu, n_threads };
        let mut model =
            NativeModel::with_kernel(config.clone().into(), options, Precision::F32, wide).unwrap();
        let draw = |n: usize| {
            (0..n).map(|idx| (idx * 7919 % 1009) as f32 / 504.5 - 1.0).collect::<Vec<f32>>()
        };
        let (dense, rows) =
            (draw(n_samples * config.n_dense), draw(n_samples * config.n_fields * config.dim));
        let labels: Vec<f32> =
            (0..n_samples).map(|idx| f32::from(u8::from(idx % 3 == 0))).collect();
        let (mut row_grads, mut logits) = (vec![0.0; rows.len()], vec![0.0; n_samples]);
        let inputs = Inputs { dense: &dense, rows: &rows, labels: &labels };
        let mut trace = Vec::new();
        for _ in 0..3 {
            let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
            trace.push(model.train_step(inputs, 0.05, outputs).unwrap().mean() as f32);
            trace.extend([&row_grads[..], &logits].concat());
            model.predict(inputs, &mut logits).unwrap();
            trace.extend(&logits);
        }
        let tensors = [model.parameters().unwrap(), model.optimizer_state().unwrap()].concat();
        trace.extend(tensors.into_iter().flat_map(|tensor| tensor.values));
        trace
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn our_kernels_give_the_bits_of_their_twins_for_any_number_of_threads() {
        for wide in Wide::all_here() {
            for n_samples in [1, 129, 200] {
                let twin = bits(&trace(Some(wide.twin()), 1, n_samples));
                for n_threads in [1, 2, 4] {
                    let ours = bits(&trace(Some(wide), n_threads, n_samples));
                    assert!(
                        ours == twin,
                        "{}, {n_threads} threads, {n_samples} samples",
                        wide.kernel()
                    );
                }
            }
        }
    }

    #[test]
    fn our_kernel_in_f32_follows_gemm() {
        for n_samples in [1, 129, 200] {
            let (ours, expected) =
                (trace(Some(Wide::PortableF32), 1, n_samples), trace(None, 1, n_samples));
            for (idx, (ours, expected)) in ours.iter().zip(&expected).enumerate() {
                let tolerance = (1e-5 * expected.abs()).max(1e-6);
                assert!(
                    (ours - expected).abs() <= tolerance,
                    "{n_samples} samples, {idx}: {ours}, expected {expected}"
                );
            }
        }
    }
}
