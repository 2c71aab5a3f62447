//! The calls that a model of any engine has.

use crate::batch::{Inputs, StepLoss, StepOutputs};
use crate::error::ModelError;
use crate::models::ModelConfig;
use crate::parameters::NamedTensor;

/// A dense network with its loss and its optimizer: slices in, slices out.
///
/// For the same configuration and options, the engines compute the same values up to rounding, name
/// their parameters alike and read each other's state. Within one engine the results are the same
/// bits for any number of threads.
pub trait TrainableModel {
    /// The shape that the model was built with.
    fn config(&self) -> &ModelConfig;

    /// Bytes of the optimizer's state: none with SGD, 4 for each parameter with Adagrad, 8 with
    /// Adam.
    fn n_state_bytes(&self) -> usize;

    /// Weights and biases in all.
    fn n_parameters(&self) -> usize {
        self.config().n_parameters()
    }

    /// Forward pass, loss, backward pass, and one step of the optimizer.
    ///
    /// # Errors
    /// The first sample whose logit, loss or row gradient is not finite, or a failure of the
    /// device. Then no parameter has changed, and the outputs are unspecified.
    ///
    /// # Panics
    /// If the batch is empty, or the length of a slice does not match its shape.
    fn train_step(
        &mut self,
        inputs: Inputs<'_>,
        learning_rate: f32,
        outputs: StepOutputs<'_>,
    ) -> Result<StepLoss, ModelError>;

    /// Writes the logit of every sample. The labels are ignored.
    ///
    /// # Errors
    /// The first sample whose logit is not finite, or a failure of the device.
    ///
    /// # Panics
    /// If the length of a slice does not match its shape; the length of `logits` is the number of
    /// samples.
    fn predict(&self, inputs: Inputs<'_>, logits: &mut [f32]) -> Result<(), ModelError>;

    /// Copies of the weights and biases, sorted by name.
    ///
    /// # Errors
    /// A failure of the device.
    fn parameters(&self) -> Result<Vec<NamedTensor>, ModelError>;

    /// Sets all weights and biases, given in any order, from either engine.
    ///
    /// # Errors
    /// A name that is missing, unknown or given twice, a shape that differs, a value that is not
    /// finite; then nothing has changed. A failure of the device.
    fn load_parameters(&mut self, tensors: &[NamedTensor]) -> Result<(), ModelError>;

    /// Copies of the optimizer's state, sorted by name. Adagrad has a sum of squares for each
    /// parameter, under the parameter's name. Adam has two moments for each, under its name and
    /// `.first_moment` or `.second_moment`, and the number of steps taken as `step`, `[2]`: modulo
    /// 2^24, and the rest. SGD has none.
    ///
    /// # Errors
    /// A failure of the device.
    fn optimizer_state(&self) -> Result<Vec<NamedTensor>, ModelError>;

    /// Sets the optimizer's state, so that training resumes as if it had not been interrupted.
    ///
    /// # Errors
    /// The same as [`load_parameters`](Self::load_parameters), and a number of steps that is none.
    fn load_optimizer_state(&mut self, tensors: &[NamedTensor]) -> Result<(), ModelError>;
}
