//! What runs a model: one engine over the blocks of [`crate::native`], one over those of candle.

#[cfg(feature = "candle")]
pub(crate) mod candle;
pub(crate) mod native;
