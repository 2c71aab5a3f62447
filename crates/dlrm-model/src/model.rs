//! A model of either engine, for callers that choose the engine by name.

use crate::batch::{Inputs, StepLoss, StepOutputs};
#[cfg(feature = "candle")]
use crate::engines::candle::CandleModel;
use crate::engines::native::NativeModel;
use crate::error::ModelError;
use crate::models::ModelConfig;
use crate::native::team::ThreadTeam;
use crate::options::{EngineKind, ModelOptions};
use crate::parameters::NamedTensor;
use crate::precision::{Kernel, Precision};
use crate::trainable::TrainableModel;

/// A model of either engine. What it can do is in [`TrainableModel`].
#[derive(Debug)]
pub enum Model {
    /// Hand-written, for CPUs.
    Native(Box<NativeModel>),
    /// candle's graph.
    #[cfg(feature = "candle")]
    Candle(Box<CandleModel>),
}

impl Model {
    /// A model with freshly drawn weights, the same for both engines.
    ///
    /// # Errors
    /// A configuration that does not fit together; an engine that is not part of this build; a
    /// device or a precision that the engine, this build or this machine does not have; threads
    /// that do not start.
    ///
    /// # Panics
    /// If `options.n_threads` is 0.
    pub fn new(config: &ModelConfig, options: &ModelOptions) -> Result<Self, ModelError> {
        match options.engine {
            EngineKind::Native => Ok(Self::Native(Box::new(NativeModel::new(config, options)?))),
            #[cfg(feature = "candle")]
            EngineKind::Candle => Ok(Self::Candle(Box::new(CandleModel::new(config, options)?))),
            #[cfg(not(feature = "candle"))]
            EngineKind::Candle => Err(ModelError::CandleNotBuilt),
        }
    }

    /// Sets to zero the weights through which the last `n` numeric inputs reach the logit, so that
    /// predictions do not depend on these inputs until training has changed the weights.
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

    /// Name and position of the first value that is not finite among the parameters and then the
    /// optimizer's state. A step checks only logits and row gradients, but gradients of weights can
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

    /// Which engine it is.
    #[must_use]
    pub fn engine(&self) -> EngineKind {
        match self {
            Self::Native(_) => EngineKind::Native,
            #[cfg(feature = "candle")]
            Self::Candle(_) => EngineKind::Candle,
        }
    }

    /// The precision that it was built with.
    #[must_use]
    pub fn precision(&self) -> Precision {
        match self {
            Self::Native(model) => model.precision(),
            #[cfg(feature = "candle")]
            Self::Candle(_) => Precision::F32,
        }
    }

    /// What computes its products, for reports.
    #[must_use]
    pub fn kernel(&self) -> Kernel {
        match self {
            Self::Native(model) => model.kernel(),
            #[cfg(feature = "candle")]
            Self::Candle(_) => Kernel::Candle,
        }
    }

    /// The threads of a native model, idle between its calls. Those of a candle model cannot be
    /// lent.
    #[must_use]
    pub fn team(&self) -> Option<&ThreadTeam> {
        match self {
            Self::Native(model) => Some(model.team()),
            #[cfg(feature = "candle")]
            Self::Candle(_) => None,
        }
    }

    fn inner(&self) -> &dyn TrainableModel {
        match self {
            Self::Native(model) => &**model,
            #[cfg(feature = "candle")]
            Self::Candle(model) => &**model,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn TrainableModel {
        match self {
            Self::Native(model) => &mut **model,
            #[cfg(feature = "candle")]
            Self::Candle(model) => &mut **model,
        }
    }
}

impl TrainableModel for Model {
    fn config(&self) -> &ModelConfig {
        self.inner().config()
    }

    fn n_state_bytes(&self) -> usize {
        self.inner().n_state_bytes()
    }

    fn train_step(
        &mut self,
        inputs: Inputs<'_>,
        learning_rate: f32,
        outputs: StepOutputs<'_>,
    ) -> Result<StepLoss, ModelError> {
        self.inner_mut().train_step(inputs, learning_rate, outputs)
    }

    fn predict(&self, inputs: Inputs<'_>, logits: &mut [f32]) -> Result<(), ModelError> {
        self.inner().predict(inputs, logits)
    }

    fn parameters(&self) -> Result<Vec<NamedTensor>, ModelError> {
        self.inner().parameters()
    }

    fn load_parameters(&mut self, tensors: &[NamedTensor]) -> Result<(), ModelError> {
        self.inner_mut().load_parameters(tensors)
    }

    fn optimizer_state(&self) -> Result<Vec<NamedTensor>, ModelError> {
        self.inner().optimizer_state()
    }

    fn load_optimizer_state(&mut self, tensors: &[NamedTensor]) -> Result<(), ModelError> {
        self.inner_mut().load_optimizer_state(tensors)
    }
}

#[cfg(all(test, not(feature = "candle")))]
mod tests {
    use super::*;
    use crate::models::DlrmConfig;

    #[test]
    fn a_build_without_candle_says_how_to_get_it() {
        let shape = DlrmConfig { n_dense: 0, n_fields: 2, dim: 1, bottom: vec![], top: vec![1] };
        let options = ModelOptions { engine: EngineKind::Candle, ..ModelOptions::default() };
        let message = Model::new(&shape.into(), &options).unwrap_err().to_string();
        let expected = "the engine `candle` is not part of this build: rebuild with `--features \
                        candle`, or use the engine `native`";
        assert_eq!(message, expected);
    }
}
