//! The engine for CPUs: blocks with a hand-written way forward and back on plain slices, and the
//! model that runs them. Nothing in here knows a tensor; the candle graph says what it has to
//! compute.

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
