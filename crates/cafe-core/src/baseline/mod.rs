//! The methods that CAFE is compared with.

mod full;
mod hashed;

pub use full::FullEmbedding;
pub use hashed::{HashedConfig, HashedEmbedding};
