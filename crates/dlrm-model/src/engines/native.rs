//! The model that runs the native blocks. Its buffers are kept from step to step.

use std::borrow::Cow;
use std::fmt;

use crate::batch::shard::{self, Pieces, Shard};
use crate::batch::{Inputs, StepLoss, StepOutputs, check_gradients, check_logits};
use crate::error::ModelError;
use crate::loss::loss_sum;
use crate::models::ModelConfig;
use crate::native::layer::{Layer, LayerOptions};
use crate::native::network::DynNetwork;
use crate::native::product::Accumulate;
use crate::native::simd::SimdKernel;
use crate::native::team::ThreadTeam;
use crate::options::{DeviceError, DeviceSpec, ModelOptions};
use crate::parameters::{self, NamedTensor, ParameterError};
use crate::precision::{Kernel, Precision};
use crate::step_count;
use crate::trainable::TrainableModel;

/// Samples whose activations are kept at a time. A larger batch is processed chunk by chunk, so
/// that memory has a limit and what the backward pass reads is still in a cache.
const CHUNK_SAMPLES: usize = 2048;

/// A model whose dense network is hand-written, for CPUs.
///
/// # How it works
/// A batch is cut into shards whose number depends on the size of the batch alone. Threads take the
/// shards, forward and backward, and keep the activations. Then they take the weights, cut into
/// tiles by the shape of the model: each sums the gradient of its tile over the shards in their
/// order, and steps the optimizer while the tile is in its cache. So there is one gradient instead
/// of one for each shard, and the results are the same bits for any number of threads.
///
/// # Costs
/// Weights, one gradient, the optimizer's state, and the activations of at most 2,048 samples with
/// their gradients; where our own kernel computes, all but the optimizer's state once or twice
/// more, in the order and precision of its operands. After the first step of the largest batch
/// nothing is allocated here; the `gemm` crate allocates scratch space at each product, and rayon a
/// few bytes for each helping thread.
///
/// # Errors leave the model unchanged
/// A logit or a row gradient that is not finite is reported before any parameter changes. The
/// outputs of a step that failed are unspecified.
pub struct NativeModel {
    config: ModelConfig,
    options: ModelOptions,
    /// Our own kernel, or `None` for the `gemm` crate.
    kernel: Option<SimdKernel>,
    network: Box<dyn DynNetwork>,
    /// Steps taken by the optimizer, kept where it counts them.
    n_steps: u64,
    team: ThreadTeam,
}

impl NativeModel {
    /// A model with freshly drawn weights: for one seed the same as those of a candle model.
    /// `options.engine` is ignored.
    ///
    /// # Errors
    /// A configuration that does not fit together, a device that is not the CPU, a precision that
    /// this CPU does not have, threads that do not start.
    ///
    /// # Panics
    /// If `options.n_threads` is 0.
    pub fn new(config: &ModelConfig, options: &ModelOptions) -> Result<Self, ModelError> {
        Self::with_kernel(config, options, SimdKernel::choose(options.precision)?)
    }

    fn with_kernel(
        config: &ModelConfig,
        options: &ModelOptions,
        kernel: Option<SimdKernel>,
    ) -> Result<Self, ModelError> {
        let ModelOptions { optimizer, seed, device, n_threads, .. } = *options;
        assert!(n_threads > 0, "expected at least one thread");
        config.validate()?;
        optimizer.validate()?;
        if device != DeviceSpec::Cpu {
            return Err(DeviceError::NativeIsCpu { device }.into());
        }
        let team = ThreadTeam::new(n_threads)?;
        let network = config.network(seed, LayerOptions { optimizer, kernel });
        Ok(Self { config: config.clone(), options: *options, kernel, network, n_steps: 0, team })
    }

    /// The precision that it was built with.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.options.precision
    }

    /// What computes its products.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        self.kernel.map_or(Kernel::Gemm, SimdKernel::name)
    }

    /// Its threads, idle between calls.
    #[must_use]
    pub fn team(&self) -> &ThreadTeam {
        &self.team
    }

    /// Copies of the weights and biases, sorted by name.
    #[must_use]
    pub fn parameters(&self) -> Vec<NamedTensor> {
        let layers = self.network.layers().into_iter();
        named(layers.map(|(name, layer)| (name, layer, layer.parameters())))
    }

    /// Copies of the optimizer's state, sorted by name, as described at
    /// [`TrainableModel::optimizer_state`].
    #[must_use]
    pub fn optimizer_state(&self) -> Vec<NamedTensor> {
        let optimizer = self.options.optimizer;
        let mut state = Vec::new();
        for (slot, suffix) in optimizer.state_suffixes().iter().enumerate() {
            let layers = self.network.layers().into_iter();
            let mut tensors =
                named(layers.map(|(name, layer)| (name, layer, layer.optimizer_state(slot))));
            for tensor in &mut tensors {
                tensor.name.push_str(suffix);
            }
            state.extend(tensors);
        }
        if optimizer.counts_steps() {
            state.push(step_count::to_tensor(self.n_steps));
        }
        parameters::sort(&mut state);
        state
    }

    /// For each suffix of a parameter's name, weight and bias of each layer in turn; zeros for a
    /// bias that a layer does not have.
    fn find<'t>(
        &self,
        tensors: impl IntoIterator<Item = &'t NamedTensor>,
        suffixes: &[&str],
    ) -> Result<Vec<[Cow<'t, [f32]>; 2]>, ParameterError> {
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
        let n_samples = chunk.outputs.logits.len();
        let n_shards = if self.kernel.is_some() {
            shard::n_small_shards(n_samples)
        } else {
            shard::n_large_shards(n_samples)
        };
        Pieces::new(chunk, n_shards)
    }
}

impl TrainableModel for NativeModel {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn n_state_bytes(&self) -> usize {
        self.options.optimizer.n_state_bytes(self.n_parameters())
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

        let n_chunks = n_samples.div_ceil(CHUNK_SAMPLES);
        let (mut n_shards, mut accumulate) = (0, Accumulate::Overwrite);
        let mut is_finite = true;
        for chunk_idx in 0..n_chunks {
            // The gradient of the chunk before, whose passes this one is going to overwrite.
            if chunk_idx > 0 {
                self.network.update(&self.team, n_shards, accumulate, None);
                accumulate = Accumulate::Add;
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
        let step = self.options.optimizer.step(learning_rate, self.n_steps);
        self.network.update(&self.team, n_shards, accumulate, Some(step));
        self.n_steps += 1;
        Ok(StepLoss { loss_sum, n_samples })
    }

    fn predict(&self, inputs: Inputs<'_>, logits: &mut [f32]) -> Result<(), ModelError> {
        inputs.assert_lengths(self.config.inputs(), logits.len());
        let inputs = Inputs { labels: &[], ..inputs };
        let outputs = StepOutputs { row_grads: &mut [], logits: &mut *logits };
        let n_chunks = outputs.logits.len().div_ceil(CHUNK_SAMPLES);
        for chunk in Pieces::new(Shard { inputs, outputs }, n_chunks) {
            self.network.forward(&self.team, self.shards(chunk));
        }
        check_logits(logits)
    }

    fn parameters(&self) -> Result<Vec<NamedTensor>, ModelError> {
        Ok(self.parameters())
    }

    fn load_parameters(&mut self, tensors: &[NamedTensor]) -> Result<(), ModelError> {
        let found = self.find(tensors, &[""])?;
        for (layer, [weight, bias]) in self.network.layers_mut().into_iter().zip(found) {
            layer.set_parameters(&weight, &bias);
        }
        Ok(())
    }

    fn optimizer_state(&self) -> Result<Vec<NamedTensor>, ModelError> {
        Ok(self.optimizer_state())
    }

    fn load_optimizer_state(&mut self, tensors: &[NamedTensor]) -> Result<(), ModelError> {
        let optimizer = self.options.optimizer;
        let (n_steps, tensors) = if optimizer.counts_steps() {
            step_count::split(tensors)?
        } else {
            (self.n_steps, tensors.iter().collect())
        };
        let found = self.find(tensors, optimizer.state_suffixes())?;
        let n_layers = self.network.layers().len();
        for (slot, of_slot) in found.chunks_exact(n_layers).enumerate() {
            for (layer, [weight, bias]) in self.network.layers_mut().into_iter().zip(of_slot) {
                layer.set_optimizer_state(slot, weight, bias);
            }
        }
        self.n_steps = n_steps;
        Ok(())
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
            .field("options", &self.options)
            .field("kernel", &self.kernel())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::DlrmConfig;
    use crate::optim::OptimizerKind;

    /// Losses, row gradients, logits, weights and Adagrad's squares of three steps.
    fn trace(kernel: Option<SimdKernel>, n_threads: usize, n_samples: usize) -> Vec<f32> {
        let config = DlrmConfig {
            n_dense: 13,
            n_fields: 7,
            dim: 5,
            bottom: vec![33, 5],
            top: vec![130, 17, 1],
        };
        let optimizer = OptimizerKind::Adagrad { epsilon: 1e-2 };
        let options = ModelOptions { optimizer, seed: 3, n_threads, ..ModelOptions::default() };
        let mut model = NativeModel::with_kernel(&config.clone().into(), &options, kernel).unwrap();
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
        let tensors = [model.parameters(), model.optimizer_state()].concat();
        trace.extend(tensors.into_iter().flat_map(|tensor| tensor.values));
        trace
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// Fails with `REQUIRE_AVX512=1` in the environment on a CPU without AVX-512F, where only the
    /// portable kernels can run, and the test compares nothing except numbers of threads.
    #[test]
    fn simd_kernels_give_the_bits_of_their_portable_twins() {
        let kernels: Vec<SimdKernel> = SimdKernel::all_here().collect();
        let names: Vec<String> = kernels.iter().map(|kernel| kernel.name().to_string()).collect();
        println!("compared: {}", names.join(", "));
        if std::env::var("REQUIRE_AVX512").is_ok_and(|value| value == "1") {
            let required = Kernel::Avx512F.to_string();
            assert!(names.contains(&required), "REQUIRE_AVX512=1, but this CPU lacks {required}");
        }
        for kernel in kernels {
            for n_samples in [1, 129, 200] {
                let twin = bits(&trace(Some(kernel.twin()), 1, n_samples));
                for n_threads in [1, 2, 4] {
                    let ours = bits(&trace(Some(kernel), n_threads, n_samples));
                    assert!(
                        ours == twin,
                        "{}, {n_threads} threads, {n_samples} samples",
                        kernel.name()
                    );
                }
            }
        }
    }

    #[test]
    fn portable_f32_kernel_follows_gemm() {
        for n_samples in [1, 129, 200] {
            let (ours, expected) =
                (trace(Some(SimdKernel::PortableF32), 1, n_samples), trace(None, 1, n_samples));
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
