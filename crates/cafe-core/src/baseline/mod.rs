//! The methods that CAFE is compared with.

mod ada;
mod full;
mod hash2;
mod hashed;
mod mde;
mod offline;
mod pair_table;
mod qr;
mod unified;

pub use ada::{AdaConfig, AdaEmbedding};
pub use full::FullEmbedding;
pub use hash2::{Hash2Config, Hash2Embedding};
pub use hashed::{HashedConfig, HashedEmbedding};
pub use mde::{MdeConfig, MdeEmbedding};
pub use offline::{OfflineConfig, OfflineEmbedding};
pub use qr::{QrConfig, QrEmbedding};
pub use unified::{UnifiedConfig, UnifiedEmbedding};
