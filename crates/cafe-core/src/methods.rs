//! The embedding methods: CAFE, CAFE+, and those that they are compared with.
//!
//! Each has a configuration, whose constructor `within` turns a [`Sizing`](crate::Sizing) into
//! sizes, and an embedding, made by `new` from a configuration.

mod ada;
mod cafe;
mod cafe_plus;
mod counts;
mod full;
mod hashed;
mod importance;
mod mde;
mod offline;
mod pair_table;
mod qr;
#[cfg(test)]
mod tests;
mod unified;

pub use ada::{AdaConfig, AdaEmbedding};
pub use cafe::{
    CafeConfig, CafeEmbedding, CafeSettings, Decay, Hysteresis, Middle, OutOfRange, PaperData,
    Promotion, Shared, Tier,
};
pub use cafe_plus::{CafePlusConfig, CafePlusEmbedding, CafePlusSettings};
pub use counts::FeatureCounts;
pub use full::{FullConfig, FullEmbedding};
pub use hashed::{HashedConfig, HashedEmbedding};
pub use importance::Importance;
pub use mde::{MdeConfig, MdeEmbedding};
pub use offline::{OfflineConfig, OfflineEmbedding};
pub use qr::{QrConfig, QrEmbedding};
pub use unified::{UnifiedConfig, UnifiedEmbedding};
