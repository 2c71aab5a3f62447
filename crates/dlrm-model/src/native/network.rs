//! What a network is to the model that runs it. `native/model.rs` cuts batches and does not know
//! the kind of network; a file in `models/` builds one from the blocks and does not know the
//! threads.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::kernels;
use super::layer::{Layer, LayerRecord, Tile};
use super::product::Accumulate;
use super::team::ThreadTeam;
use crate::batch::Inputs;
use crate::batch::shard::{Pieces, Shard};
use crate::loss::logit_gradients;
use crate::optim::Step;

/// A network of layers: forward and backward over a shard, and its layers for reading and changing
/// their parameters.
pub(crate) trait Network: fmt::Debug + Send + Sync {
    /// What one pass over a shard leaves behind, and its buffers, which are kept for the next one.
    type Pass: fmt::Debug + Send + Sync;

    /// Buffers for passes over shards of any size.
    fn pass(&self) -> Self::Pass;

    /// Writes the logits of a shard.
    fn forward(&self, inputs: Inputs<'_>, logits: &mut [f32], pass: &mut Self::Pass);

    /// After a forward pass over the same `inputs`: from the gradient of the loss with respect to
    /// the logits to that with respect to the rows. What the gradients of the parameters are
    /// computed from stays in the pass.
    fn backward(
        &self,
        inputs: Inputs<'_>,
        logit_grads: &[f32],
        row_grads: &mut [f32],
        pass: &mut Self::Pass,
    );

    /// What the pass contributes to the gradient of a layer.
    fn record(pass: &Self::Pass, index: LayerIndex) -> LayerRecord<'_>;

    /// All parameters in tiles, which threads may work on at the same time.
    fn tiles(&mut self) -> impl Iterator<Item = (LayerIndex, Tile<'_>)> + Send;

    /// The layers with their names.
    fn layers(&self) -> Vec<(String, &Layer)>;

    /// The layers in the order of [`layers`](Self::layers).
    fn layers_mut(&mut self) -> Vec<&mut Layer>;
}

/// Where a layer is: which of the network's stacks, and which layer of the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerIndex {
    pub(crate) stack: usize,
    pub(crate) layer: usize,
}

/// Tiles of a stack with the indices of their layers.
pub(crate) fn in_stack<'a>(
    stack: usize,
    tiles: impl Iterator<Item = (usize, Tile<'a>)> + Send,
) -> impl Iterator<Item = (LayerIndex, Tile<'a>)> + Send {
    tiles.map(move |(layer, tile)| (LayerIndex { stack, layer }, tile))
}

/// A network with the passes over its shards, whatever its kind.
pub(crate) fn boxed(network: impl Network + 'static) -> Box<dyn DynNetwork> {
    Box::new(NetworkRunner { network, passes: Mutex::default() })
}

/// A network of any kind with the passes over its shards.
pub(crate) trait DynNetwork: fmt::Debug + Send + Sync {
    /// Writes the logits of the shards.
    fn forward(&self, team: &ThreadTeam, shards: Pieces<'_>);

    /// Writes logits and row gradients of some shards of a batch of `n_samples`; returns whether
    /// all of these gradients are finite.
    fn backward(&mut self, team: &ThreadTeam, shards: Pieces<'_>, n_samples: usize) -> bool;

    /// Sums the gradients of the first `n_shards` passes; with a step, then changes the parameters.
    fn update(
        &mut self,
        team: &ThreadTeam,
        n_shards: usize,
        accumulate: Accumulate,
        step: Option<Step>,
    );

    /// The layers with their names.
    fn layers(&self) -> Vec<(String, &Layer)>;

    /// The layers in the order of [`layers`](Self::layers).
    fn layers_mut(&mut self) -> Vec<&mut Layer>;
}

/// A network with the passes over its shards.
#[derive(Debug)]
struct NetworkRunner<N: Network> {
    network: N,
    /// One for each shard of a chunk. A mutex, because a prediction only borrows the model.
    passes: Mutex<Vec<ShardPass<N::Pass>>>,
}

#[derive(Debug)]
struct ShardPass<P> {
    pass: P,
    /// Gradient of the loss with respect to the logits.
    logit_grads: Vec<f32>,
    /// Whether all row gradients of the shard are finite.
    is_finite: bool,
}

impl<N: Network> NetworkRunner<N> {
    /// The passes, at least `n_shards` of them.
    fn lock(&self, n_shards: usize) -> MutexGuard<'_, Vec<ShardPass<N::Pass>>> {
        let mut passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        while passes.len() < n_shards {
            passes.push(ShardPass {
                pass: self.network.pass(),
                logit_grads: Vec::new(),
                is_finite: true,
            });
        }
        passes
    }
}

impl<N: Network> DynNetwork for NetworkRunner<N> {
    fn forward(&self, team: &ThreadTeam, shards: Pieces<'_>) {
        let mut passes = self.lock(shards.len());
        team.for_each(shards.zip(&mut *passes), |(shard, shard_pass)| {
            self.network.forward(shard.inputs, shard.outputs.logits, &mut shard_pass.pass);
        });
    }

    fn backward(&mut self, team: &ThreadTeam, shards: Pieces<'_>, n_samples: usize) -> bool {
        let n_shards = shards.len();
        let mut passes = self.lock(n_shards);
        team.for_each(
            shards.zip(&mut *passes),
            |(shard, ShardPass { pass, logit_grads, is_finite })| {
                let Shard { inputs, outputs } = shard;
                self.network.forward(inputs, outputs.logits, pass);
                logit_grads.resize(outputs.logits.len(), 0.0);
                logit_gradients(outputs.logits, inputs.labels, n_samples, logit_grads);
                self.network.backward(inputs, logit_grads, outputs.row_grads, pass);
                *is_finite = kernels::all_finite(outputs.row_grads);
            },
        );
        passes[..n_shards].iter().all(|shard_pass| shard_pass.is_finite)
    }

    fn update(
        &mut self,
        team: &ThreadTeam,
        n_shards: usize,
        accumulate: Accumulate,
        step: Option<Step>,
    ) {
        let passes = &self.passes.get_mut().unwrap_or_else(PoisonError::into_inner)[..n_shards];
        team.for_each(self.network.tiles(), |(index, mut tile)| {
            tile.accumulate(
                passes.iter().map(|shard_pass| N::record(&shard_pass.pass, index)),
                accumulate,
            );
            if let Some(step) = step {
                tile.step(step);
            }
        });
    }

    fn layers(&self) -> Vec<(String, &Layer)> {
        self.network.layers()
    }

    fn layers_mut(&mut self) -> Vec<&mut Layer> {
        self.network.layers_mut()
    }
}
