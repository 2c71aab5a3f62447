//! What the two kinds of cross layers have in common: `x_{l+1}` is `x_0` times something that is
//! linear in `x_l`, plus `x_l`.

use std::fmt;

use super::layer::{Layer, LayerRecord, Tile};

/// A stack of cross layers, forward and back over a shard.
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
    fn backward(&self, back: Back<'_>, tape: &mut Self::Tape, to: &mut [f32]);

    /// What the pass says about a layer, by its place among [`named`](Self::named); `x` is `x_0`.
    fn record<'a>(tape: &'a Self::Tape, layer_idx: usize, x: &'a [f32]) -> LayerRecord<'a>;

    /// All parameters, with the place of their layer.
    fn tiles(&mut self) -> impl Iterator<Item = (usize, Tile<'_>)> + Send;

    /// The layers with their names.
    fn named(&self, name: &'static str) -> impl Iterator<Item = (String, &Layer)>;

    /// The layers in the order of [`named`](Self::named).
    fn layers_mut(&mut self) -> impl Iterator<Item = &mut Layer>;
}

/// What goes back through the layers of a shard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Back<'a> {
    /// `x_0`, `[n, len]`
    pub(crate) x: &'a [f32],
    /// `[n]`
    pub(crate) slopes: &'a [f32],
    /// `[len]`: the gradient of the last output is `slope · weight`.
    pub(crate) weight: &'a [f32],
}
