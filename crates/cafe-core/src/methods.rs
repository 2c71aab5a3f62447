//! The embedding methods: CAFE, CAFE+, and those that they are compared with.

pub(crate) mod cafe;
pub(crate) mod cafe_plus;
pub(crate) mod counts;

mod ada;
mod full;
mod hash2;
mod hashed;
mod mde;
mod offline;
mod pair_table;
mod qr;
mod unified;

#[cfg(test)]
mod tests;

pub use ada::{AdaConfig, AdaEmbedding};
pub use full::FullEmbedding;
pub use hash2::{Hash2Config, Hash2Embedding};
pub use hashed::{HashedConfig, HashedEmbedding};
pub use mde::{MdeConfig, MdeEmbedding};
pub use offline::{OfflineConfig, OfflineEmbedding};
pub use qr::{QrConfig, QrEmbedding};
pub use unified::{UnifiedConfig, UnifiedEmbedding};
