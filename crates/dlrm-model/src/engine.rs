//! The engine for CPUs: blocks with a hand-written way forward and back on plain slices, and the
//! model that runs them. Nothing in here knows a tensor; the candle graph says what it has to
//! compute.

mod any;
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
mod native;
pub(crate) mod network;
mod product;
mod team;
mod wide;

pub use any::{EngineKind, Model};
pub use native::NativeModel;
pub use team::Team;
