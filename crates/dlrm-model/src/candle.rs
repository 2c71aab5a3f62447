//! Blocks of a candle graph: the specification, and what a GPU runs. Tensors are used only here, in
//! the graphs of the models and in the engine that runs them.

pub(crate) mod device;
pub(crate) mod fused_mlp;
pub(crate) mod graph;
pub(crate) mod interaction;
pub(crate) mod layer;
pub(crate) mod mlp;
pub(crate) mod optim;
pub(crate) mod workers;
