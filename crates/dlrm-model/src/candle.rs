//! The model as a candle graph: the specification, and what a GPU runs. The only module that uses
//! tensors, apart from the graphs of the models in `models/`.

mod device;
mod fused_mlp;
pub(crate) mod graph;
pub(crate) mod interaction;
mod layer;
pub(crate) mod mlp;
pub(crate) mod model;
mod optim;
mod workers;
