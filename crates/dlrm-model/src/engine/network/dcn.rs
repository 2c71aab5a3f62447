//! Both Deep & Cross Networks from the blocks: cross layers of one kind or the other beside a stack of layers, forward
//! and backward over a shard.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Network, Position, in_stack};
use crate::config::{DcnConfig, DcnV2Config};
use crate::engine::cross::{Back, CrossLayers};
use crate::engine::cross_matrix::MatrixCross;
use crate::engine::cross_vector::VectorCross;
use crate::engine::join::{Join, outer, side_by_side};
use crate::engine::layer::{Layer, LayerRecord, Method, Tile};
use crate::engine::mlp::{Mlp, Tape};
use crate::model::Inputs;

const DEEP: usize = 0;
const CROSS: usize = 1;
const LOGIT: usize = 2;

/// The network and its parameters.
#[derive(Debug)]
pub(crate) struct Dcn<C> {
    join: Join,
    deep: Mlp,
    cross: C,
    /// One layer.
    logit: Mlp,
}

/// What one pass over a shard leaves behind, and its buffers.
#[derive(Debug)]
pub(crate) struct Pass<T> {
    x: Vec<f32>,
    x_gradient: Vec<f32>,
    deep: Tape,
    cross: T,
    /// Outputs of the cross and the deep layers, side by side.
    features: Vec<f32>,
    logit: Tape,
}

impl Dcn<VectorCross> {
    /// Draws the deep layers, the cross layers and the last one.
    pub(crate) fn new(config: &DcnConfig, seed: u64, method: Method) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let join = Join { n_dense: config.n_dense, row_floats: config.n_fields * config.dim };
        let deep = Mlp::new(&mut rng, join.len(), &config.deep, true, method);
        let cross = VectorCross::new(&mut rng, join.len(), config.n_cross, method);
        let logit = Mlp::new(&mut rng, config.logit_input(), &[1], false, method);
        Self { join, deep, cross, logit }
    }
}

impl Dcn<MatrixCross> {
    /// Draws the deep layers, the cross layers and the last one.
    pub(crate) fn new(config: &DcnV2Config, seed: u64, method: Method) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let join = Join { n_dense: config.n_dense, row_floats: config.n_fields * config.dim };
        let deep = Mlp::new(&mut rng, join.len(), &config.deep, true, method);
        let cross = MatrixCross::new(&mut rng, join.len(), config.rank, config.n_cross, method);
        let logit = Mlp::new(&mut rng, config.logit_input(), &[1], false, method);
        Self { join, deep, cross, logit }
    }
}

impl<C: CrossLayers> Network for Dcn<C> {
    type Pass = Pass<C::Tape>;

    fn pass(&self) -> Self::Pass {
        let (deep, cross, logit) = (self.deep.tape(), self.cross.tape(), self.logit.tape());
        Pass { x: Vec::new(), x_gradient: Vec::new(), deep, cross, features: Vec::new(), logit }
    }

    fn forward(&self, inputs: Inputs<'_>, logits: &mut [f32], pass: &mut Self::Pass) {
        let Pass { x, deep, cross, features, logit, .. } = pass;
        self.join.forward(inputs, x);
        self.deep.forward(x, logits.len(), deep);
        self.cross.forward(x, logits.len(), cross);
        side_by_side(C::output(cross), deep.output(), logits.len(), features);
        self.logit.forward(features, logits.len(), logit);
        logits.copy_from_slice(logit.output());
    }

    fn backward(&self, _: Inputs<'_>, slopes: &[f32], row_grads: &mut [f32], pass: &mut Self::Pass) {
        let Pass { x, x_gradient, deep, cross, features, logit } = pass;
        self.logit.prepare_backward(slopes.len(), logit);
        logit.output_gradient_mut().copy_from_slice(slopes);
        self.logit.backward(features, logit, None);

        let (to_cross, to_deep) = self.logit.layers[0].weight().split_at(self.join.len());
        x_gradient.resize(x.len(), 0.0);
        self.deep.prepare_backward(slopes.len(), deep);
        outer(slopes, to_deep, deep.output_gradient_mut());
        self.deep.backward(x, deep, Some(x_gradient));
        self.cross.backward(Back { x, slopes, weight: to_cross }, cross, x_gradient);
        self.join.backward(x_gradient, row_grads);
    }

    fn record(pass: &Self::Pass, Position { stack, layer }: Position) -> LayerRecord<'_> {
        match stack {
            DEEP => pass.deep.record(layer, &pass.x),
            CROSS => C::record(&pass.cross, layer, &pass.x),
            _ => pass.logit.record(layer, &pass.features),
        }
    }

    fn tiles(&mut self) -> impl Iterator<Item = (Position, Tile<'_>)> + Send {
        let (deep, cross) = (in_stack(DEEP, self.deep.tiles()), in_stack(CROSS, self.cross.tiles()));
        deep.chain(cross).chain(in_stack(LOGIT, self.logit.tiles()))
    }

    fn layers(&self) -> Vec<(String, &Layer)> {
        let logit = ("logit".to_owned(), &self.logit.layers[0]);
        self.deep.named("deep").chain(self.cross.named("cross")).chain([logit]).collect()
    }

    fn layers_mut(&mut self) -> Vec<&mut Layer> {
        self.deep.layers.iter_mut().chain(self.cross.layers_mut()).chain(&mut self.logit.layers).collect()
    }
}
