//! Blocks with a hand-written forward and backward pass on plain slices, for CPUs. They use no
//! tensor library; the candle graph is the specification of what they have to compute.

#[cfg(feature = "bench")]
pub mod bench;
pub(crate) mod cross;
pub(crate) mod cross_matrix;
pub(crate) mod cross_vector;
pub(crate) mod factorization;
pub(crate) mod interaction;
pub(crate) mod join;
pub(crate) mod kernels;
pub(crate) mod layer;
pub(crate) mod mlp;
pub(crate) mod network;
pub(crate) mod product;
pub(crate) mod simd;
pub(crate) mod team;
