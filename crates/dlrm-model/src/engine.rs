//! The engine for CPUs: blocks with a hand-written way forward and back on plain slices, and the model that runs them.
//! Nothing in here knows a tensor; the candle graph says what it has to compute.

mod any;
pub mod bench;
mod cross;
mod cross_matrix;
mod cross_vector;
mod factorization;
mod interaction;
mod join;
mod kernels;
mod layer;
mod mlp;
mod native;
mod network;
mod product;
mod team;
mod wide;

pub use any::{EngineKind, Model};
pub use native::NativeModel;
pub use team::Team;
