//! CAFE embedding compression: [`CafeEmbedding`](methods::CafeEmbedding) and its [`HotSketch`], and
//! the methods that it is compared with, behind one trait, [`Embedding`]. Plain slices in and out;
//! no tensor library, no files, no threads, no clock.
//!
//! In a recommendation model almost all memory is embedding rows, and almost all rows hardly
//! matter. CAFE measures what matters while it trains, by the norm of each feature's gradient, and
//! lets memory follow:
//!
//! ```text
//! ids ── lookup ──► HotSketch: held? score? row?
//!                     owns a row ───────────► hot     H[row]
//!                     score ≥ 0.2 K ────────► medium  T1[h1(id)] + T2[h2(id)]
//!                     else ─────────────────► cold    T1[h1(id)]
//!
//! ids, gradients ── update ──► rows step ─► scores into the sketch ─► decay ─► promote, demote
//! ```
//!
//! * A feature is a field and a 32-bit token, [`FeatureId`]: no vocabulary, and no feature is
//!   unknown.
//! * [`Budget`] turns bytes or a compression ratio into sizes, everything counted.
//! * [`theory`] computes the bounds that the paper proves.
//! * Everything is seeded: the same calls give the same bytes, on every platform.
//!
//! # In your own training loop
//! The crate has the embedding alone; the model, its loss and its gradients are yours. A step is:
//!
//! 1. [`lookup`](Embedding::lookup): ids in, `dim` values for each out;
//! 2. your model's forward and backward pass, down to the gradient of the loss with respect to
//!    those values;
//! 3. [`update`](Embedding::update) with the same ids and that gradient: one optimizer step for
//!    each row, and memory follows importance.
//!
//! ```
//! use cafe_core::methods::{CafeConfig, CafeEmbedding, CafeSettings};
//! use cafe_core::{Budget, Embedding, FeatureId, RowFormat, RowOptimizer, Sizing};
//!
//! // Two categorical fields, and a hundredth of the bytes of a full table.
//! let sizing = Sizing {
//!     features: &[50_000, 2_000],
//!     dim: 8,
//!     budget: Budget::Compression(100.0),
//!     format: RowFormat::from(RowOptimizer::row_wise_adagrad(1e-10)),
//!     seed: 1,
//! };
//! let config = CafeConfig::within(&sizing, &CafeSettings::paper(100.0))?;
//! let mut embedding = CafeEmbedding::new(&config);
//!
//! // A batch of two samples, each with a token of either field; tokens are hashes of values.
//! let ids = [(0, 71), (1, 3), (0, 99), (1, 3)].map(|(field, token)| FeatureId::new(field, token));
//! let targets = [1.0, 0.0];
//! let mut rows = vec![0.0; ids.len() * sizing.dim];
//! let mut losses = Vec::new();
//! for _ in 0..50 {
//!     embedding.lookup(&ids, &mut rows);
//!     // The model: a sample's output is the sum of its values, the loss half its squared error.
//!     let mut grads = Vec::new();
//!     let mut loss = 0.0;
//!     for (values, target) in rows.chunks(2 * sizing.dim).zip(targets) {
//!         let error = values.iter().sum::<f32>() - target;
//!         loss += error * error / 2.0;
//!         grads.extend(values.iter().map(|_| error));
//!     }
//!     losses.push(loss);
//!     embedding.update(&ids, &grads, 0.02);
//! }
//! assert!(losses[49] < losses[0] / 10.0);
//! # Ok::<(), cafe_core::BudgetError>(())
//! ```
//!
//! Evaluation is `lookup` alone. [`state`](Embedding::state) and [`restore`](Embedding::restore)
//! carry everything through a checkpoint, so that a resumed run is the same to the bit. Threads are
//! lent through an [`Executor`]; results do not depend on them. `examples/train_loop.rs` is a
//! longer loop, `examples/sketch.rs` uses the sketch alone.

mod batch;
mod budget;
mod embedding;
mod feature;
pub mod frequency;
mod hash;
#[cfg(test)]
#[path = "../tests/common/kaggle.rs"]
mod kaggle;
pub mod methods;
pub mod sketch;
pub mod state;
pub mod table;
pub mod theory;
mod tier_summary;

pub use budget::{Budget, BudgetError, full_bytes};
pub use embedding::{Embedding, Executor, Inline, MemoryUsage, UpdateStats};
pub use feature::FeatureId;
pub use hash::{mix64, reduce, unit_f64};
pub use sketch::{HotSketch, SketchConfig, VictimPolicy};
pub use state::{StateError, StateMap, StateView};
pub use table::{Accumulator, RowFormat, RowOptimizer, RowPrecision, Sizing};
pub use tier_summary::{HotFeature, TierSummary};
