//! What a network is to the model that runs it. `native.rs` shares out batches and knows no kind of
//! network; a file in `models/` has one, from the blocks, and knows no threads.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::kernels;
use super::layer::{Layer, LayerRecord, Tile};
use super::product::Place;
use super::team::Team;
use crate::batch::Inputs;
use crate::batch::shard::{Pieces, Shard};
use crate::loss::logit_gradients;
use crate::optim::Step;

/// A network of layers: forward and backward over a shard, and its layers for whoever reads or
/// changes them.
pub(crate) trait Network: fmt::Debug + Send + Sync {
    /// What one pass over a shard leaves behind, and its buffers, which are kept for the next one.
    type Pass: fmt::Debug + Send + Sync;

    /// Buffers for passes over shards of any size.
    fn pass(&self) -> Self::Pass;

    /// Writes the logits of a shard.
    fn forward(&self, inputs: Inputs<'_>, logits: &mut [f32], pass: &mut Self::Pass);

    /// After a pass forward over the same `inputs`: from the derivative of the loss by each logit
    /// to that by each float of the rows. What the gradients of the parameters are made of stays in
    /// the pass.
    fn backward(
        &self,
        inputs: Inputs<'_>,
        slopes: &[f32],
        row_grads: &mut [f32],
        pass: &mut Self::Pass,
    );

    /// What the pass says about the gradient of a layer.
    fn record(pass: &Self::Pass, position: Position) -> LayerRecord<'_>;

    /// All parameters in tiles, which threads may work on at the same time.
    fn tiles(&mut self) -> impl Iterator<Item = (Position, Tile<'_>)> + Send;

    /// The layers with their names.
    fn layers(&self) -> Vec<(String, &Layer)>;

    /// The layers in the order of [`layers`](Self::layers).
    fn layers_mut(&mut self) -> Vec<&mut Layer>;
}

/// A layer's place: which of the network's stacks, and which layer there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    pub(crate) stack: usize,
    pub(crate) layer: usize,
}

/// Tiles of a stack with their positions.
pub(crate) fn in_stack<'a>(
    stack: usize,
    tiles: impl Iterator<Item = (usize, Tile<'a>)> + Send,
) -> impl Iterator<Item = (Position, Tile<'a>)> + Send {
    tiles.map(move |(layer, tile)| (Position { stack, layer }, tile))
}

/// A network of any kind.
pub(crate) fn boxed(network: impl Network + 'static) -> Box<dyn Runner> {
    Box::new(Running { network, passes: Mutex::default() })
}

/// A network of whatever kind with the passes over its shards.
pub(crate) trait Runner: fmt::Debug + Send + Sync {
    /// Writes the logits of the shards.
    fn forward(&self, team: &Team, shards: Pieces<'_>);

    /// Logits and row gradients of some shards of a batch of `n_samples`; returns whether all
    /// gradients are finite.
    fn backward(&mut self, team: &Team, shards: Pieces<'_>, n_samples: usize) -> bool;

    /// Adds the gradient of the first `n_shards` passes to what there is; with a step, changes the
    /// parameters.
    fn update(&mut self, team: &Team, n_shards: usize, place: Place, step: Option<Step>);

    /// The layers with their names.
    fn layers(&self) -> Vec<(String, &Layer)>;

    /// The layers in the order of [`layers`](Self::layers).
    fn layers_mut(&mut self) -> Vec<&mut Layer>;
}

/// A network with the passes over its shards.
#[derive(Debug)]
struct Running<N: Network> {
    network: N,
    /// One for each shard of a chunk; locked by a prediction.
    passes: Mutex<Vec<ShardPass<N::Pass>>>,
}

#[derive(Debug)]
struct ShardPass<P> {
    pass: P,
    /// Derivative of the loss by each logit.
    slopes: Vec<f32>,
    /// Whether all row gradients of the shard are.
    is_finite: bool,
}

impl<N: Network> Running<N> {
    /// The passes, of which there are at least `n_shards`.
    fn lock(&self, n_shards: usize) -> MutexGuard<'_, Vec<ShardPass<N::Pass>>> {
        let mut passes = self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        while passes.len() < n_shards {
            passes.push(ShardPass {
                pass: self.network.pass(),
                slopes: Vec::new(),
                is_finite: true,
            });
        }
        passes
    }
}

impl<N: Network> Runner for Running<N> {
    fn forward(&self, team: &Team, shards: Pieces<'_>) {
        let mut passes = self.lock(shards.len());
        team.for_each(shards.zip(&mut *passes), |(shard, of_shard)| {
            self.network.forward(shard.inputs, shard.outputs.logits, &mut of_shard.pass);
        });
    }

    fn backward(&mut self, team: &Team, shards: Pieces<'_>, n_samples: usize) -> bool {
        let n_shards = shards.len();
        let mut passes = self.lock(n_shards);
        team.for_each(
            shards.zip(&mut *passes),
            |(shard, ShardPass { pass, slopes, is_finite })| {
                let Shard { inputs, outputs } = shard;
                self.network.forward(inputs, outputs.logits, pass);
                slopes.resize(outputs.logits.len(), 0.0);
                logit_gradients(outputs.logits, inputs.labels, n_samples, slopes);
                self.network.backward(inputs, slopes, outputs.row_grads, pass);
                *is_finite = kernels::all_finite(outputs.row_grads);
            },
        );
        passes[..n_shards].iter().all(|of_shard| of_shard.is_finite)
    }

    fn update(&mut self, team: &Team, n_shards: usize, place: Place, step: Option<Step>) {
        let passes = &self.passes.get_mut().unwrap_or_else(PoisonError::into_inner)[..n_shards];
        team.for_each(self.network.tiles(), |(position, mut tile)| {
            tile.accumulate(
                passes.iter().map(|of_shard| N::record(&of_shard.pass, position)),
                place,
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
