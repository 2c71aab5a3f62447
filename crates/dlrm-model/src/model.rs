//! A model of either engine, for whoever reads the engine's name from a file.

use crate::batch::{Inputs, StepLoss, StepOutputs};
use crate::candle::model::CandleModel;
use crate::error::ModelError;
use crate::models::ModelConfig;
use crate::native::model::NativeModel;
use crate::native::team::Team;
use crate::options::{EngineKind, ModelOptions};
use crate::parameters::NamedTensor;
use crate::precision::{Kernel, Precision, PrecisionError};

/// A model of either engine. Both compute the same and keep the same promises; their last bits
/// differ.
#[derive(Debug)]
pub enum Model {
    /// Hand-written, for CPUs.
    Native(Box<NativeModel>),
    /// candle's graph.
    Candle(Box<CandleModel>),
}

/// Hands a call to the engine.
macro_rules! dispatch {
    ($self:ident, $model:ident => $call:expr) => {
        match $self {
            Model::Native($model) => $call,
            Model::Candle($model) => $call,
        }
    };
}

impl Model {
    /// A model in `f32` with freshly drawn weights, the same for both engines.
    ///
    /// # Errors
    /// A configuration that does not fit together, a device that cannot be had or is not the
    /// engine's, threads that do not start.
    ///
    /// # Panics
    /// If `n_threads` is 0.
    pub fn new(
        engine: EngineKind,
        config: impl Into<ModelConfig>,
        options: ModelOptions,
    ) -> Result<Self, ModelError> {
        Self::with_precision(engine, config, options, Precision::F32)
    }

    /// The same model with the operands of its products in another precision.
    ///
    /// # Errors
    /// As [`new`](Self::new), and a precision that the engine or this CPU does not have.
    ///
    /// # Panics
    /// If `n_threads` is 0.
    pub fn with_precision(
        engine: EngineKind,
        config: impl Into<ModelConfig>,
        options: ModelOptions,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        match (engine, precision) {
            (EngineKind::Native, _) => {
                let model = NativeModel::with_precision(config, options, precision)?;
                Ok(Self::Native(Box::new(model)))
            }
            (EngineKind::Candle, Precision::F32) => {
                CandleModel::new(config, options).map(|model| Self::Candle(Box::new(model)))
            }
            (EngineKind::Candle, _) => Err(PrecisionError::CandleIsF32 { precision }.into()),
        }
    }

    /// Sets to zero the weights by which the last `n` numeric inputs reach the logit: predictions
    /// do not depend on them until training has changed these weights.
    ///
    /// # Errors
    /// A failure of the device.
    ///
    /// # Panics
    /// If there are fewer than `n` numeric inputs.
    pub fn ignore_last_dense(&mut self, n: usize) -> Result<(), ModelError> {
        let config = self.config();
        let n_dense = config.n_dense();
        let first = n_dense.checked_sub(n).expect("no more numeric inputs than there are");
        let names = config.dense_weights();
        let mut parameters = self.parameters()?;
        for NamedTensor { shape, values, .. } in
            parameters.iter_mut().filter(|tensor| names.contains(&tensor.name))
        {
            let n_columns = shape.last().copied().unwrap_or(1);
            values.chunks_exact_mut(n_columns).for_each(|row| row[first..n_dense].fill(0.0));
        }
        self.load_parameters(&parameters)
    }

    /// Which engine it is.
    #[must_use]
    pub fn engine(&self) -> EngineKind {
        match self {
            Self::Native(_) => EngineKind::Native,
            Self::Candle(_) => EngineKind::Candle,
        }
    }

    /// The precision it was built with.
    #[must_use]
    pub fn precision(&self) -> Precision {
        match self {
            Self::Native(model) => model.precision(),
            Self::Candle(_) => Precision::F32,
        }
    }

    /// What computes its products, for reports.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        match self {
            Self::Native(model) => model.kernel(),
            Self::Candle(_) => Kernel::Candle,
        }
    }

    /// The shape it was built with.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        dispatch!(self, model => model.config())
    }

    /// The threads of a native model, idle between its calls; candle's can't be lent.
    #[must_use]
    pub fn team(&self) -> Option<&Team> {
        match self {
            Self::Native(model) => Some(model.team()),
            Self::Candle(_) => None,
        }
    }

    /// Weights and biases in all.
    #[must_use]
    pub fn n_parameters(&self) -> usize {
        dispatch!(self, model => model.n_parameters())
    }

    /// Bytes that the optimizer of the dense network remembers: none with SGD, 4 a parameter with
    /// Adagrad, 8 with Adam.
    #[must_use]
    pub fn n_state_bytes(&self) -> usize {
        dispatch!(self, model => model.n_state_bytes())
    }

    /// Forward pass, loss, backward pass, and one step of the optimizer.
    ///
    /// # Errors
    /// The first sample whose logit, loss or row gradient is not finite, or a failure of the
    /// device; then nothing has changed but the outputs.
    ///
    /// # Panics
    /// If the batch is empty, or a slice has another length than its shape says.
    pub fn train_step(
        &mut self,
        inputs: Inputs<'_>,
        learning_rate: f32,
        outputs: StepOutputs<'_>,
    ) -> Result<StepLoss, ModelError> {
        dispatch!(self, model => model.train_step(inputs, learning_rate, outputs))
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
        dispatch!(self, model => model.predict(inputs, logits))
    }

    /// Copies of the weights and biases, sorted by name.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn parameters(&self) -> Result<Vec<NamedTensor>, ModelError> {
        dispatch!(self, model => model.parameters())
    }

    /// Sets all weights and biases, given in any order, from whichever engine.
    ///
    /// # Errors
    /// A name that is missing, unknown or given twice, a shape that differs, a value that is not
    /// finite; then nothing has changed.
    pub fn load_parameters(&mut self, tensors: &[NamedTensor]) -> Result<(), ModelError> {
        dispatch!(self, model => model.load_parameters(tensors))
    }

    /// The first parameter, or tensor of what the optimizer remembers, that is not finite, by name,
    /// and where in it. A step checks logits and row gradients alone: gradients of weights can
    /// overflow where those are finite.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn first_not_finite(&self) -> Result<Option<(String, usize)>, ModelError> {
        for tensors in [self.parameters()?, self.optimizer_state()?] {
            for NamedTensor { name, values, .. } in tensors {
                if let Some(position) = values.iter().position(|value| !value.is_finite()) {
                    return Ok(Some((name, position)));
                }
            }
        }
        Ok(None)
    }

    /// Copies of what the optimizer remembers, sorted by name: of each parameter Adagrad's sum of
    /// squares, under the parameter's name, or Adam's two moments, under the name and
    /// `.first_moment` or `.second_moment`, with the number of steps taken as `step`, `[2]`, modulo
    /// 2^24 and the rest. Empty for SGD.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn optimizer_state(&self) -> Result<Vec<NamedTensor>, ModelError> {
        dispatch!(self, model => model.optimizer_state())
    }

    /// Sets what the optimizer remembers, so that training goes on as if it had not stopped.
    ///
    /// # Errors
    /// As [`load_parameters`](Self::load_parameters).
    pub fn load_optimizer_state(&mut self, tensors: &[NamedTensor]) -> Result<(), ModelError> {
        dispatch!(self, model => model.load_optimizer_state(tensors))
    }
}
