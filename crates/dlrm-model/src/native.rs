//! The engine for CPUs: blocks with a hand-written forward and backward pass on plain slices, and
//! the model that runs them. It uses no tensor library; the candle graph is the specification of
//! what it has to compute.

#[cfg(feature = "bench")]
pub mod bench;
pub(crate) mod cross;
pub(crate) mod cross_matrix;
pub(crate) mod cross_vector;
pub(crate) mod factorization;
pub(crate) mod interaction;
pub(crate) mod join;
mod kernels;
pub(crate) mod layer;
pub(crate) mod mlp;
pub(crate) mod model;
pub(crate) mod network;
mod product;
mod simd;
pub(crate) mod team;
