//! What the two kinds of cross layers have in common: `x_{l+1}` is `x_0` times something that is
//! linear in `x_l`, plus `x_l`.

use std::fmt;

use super::layer::{Layer, LayerRecord, Tile};

/// A stack of cross layers, forward and backward over a shard.
pub(crate) trait CrossLayers: fmt::Debug + Send + Sync {
    /// What one pass leaves behind, and its buffers.
    type Tape: fmt::Debug + Send + Sync;

    /// A tape for passes over shards of any size.
    fn tape(&self) -> Self::Tape;

    /// `x_0` `[n_samples, len]` to [`output`](Self::output).
    fn forward(&self, x: &[f32], n_samples: usize, tape: &mut Self::Tape);

    /// Output of the last layer, `[n, len]`.
    fn output(tape: &Self::Tape) -> &[f32];

    /// Adds the gradient of `x_0` to `to`, `[n, len]`.
    fn backward(&self, from: CrossBackward<'_>, tape: &mut Self::Tape, to: &mut [f32]);

    /// What the pass contributes to the gradient of a layer, by its index among
    /// [`named_layers`](Self::named_layers); `x` is `x_0`.
    fn record<'a>(tape: &'a Self::Tape, layer_idx: usize, x: &'a [f32]) -> LayerRecord<'a>;

    /// All parameters in tiles, with the index of their layer.
    fn tiles(&mut self) -> impl Iterator<Item = (usize, Tile<'_>)> + Send;

    /// The layers with their names.
    fn named_layers(&self, name: &'static str) -> impl Iterator<Item = (String, &Layer)>;

    /// The layers in the order of [`named_layers`](Self::named_layers).
    fn layers_mut(&mut self) -> impl Iterator<Item = &mut Layer>;
}

/// What the backward pass through the layers of a shard starts from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrossBackward<'a> {
    /// `x_0`, `[n, len]`
    pub(crate) x: &'a [f32],
    /// Gradient of the loss with respect to the logits, `[n]`.
    pub(crate) logit_grads: &'a [f32],
    /// `[len]`: the gradient of the last output is `logit_grad · weight`.
    pub(crate) weight: &'a [f32],
}
