//! CAFE embedding compression: [`CafeEmbedding`] and its [`HotSketch`], and the baselines that it
//! is compared with, behind one trait, [`Embedding`]. Plain slices in and out; no tensor library,
//! no files, no threads, no clock.
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

mod batch;
mod budget;
mod embedding;
mod feature;
mod frequency;
mod hash;
mod methods;
mod sketch;
mod state;
mod table;
pub mod theory;
mod tier_summary;

pub use budget::{Budget, BudgetError, full_bytes, proportional_rows};
pub use embedding::{Alone, Embedding, Memory, UpdateStats, Workers};
pub use feature::FeatureId;
pub use frequency::{FrequencyConfig, FrequencyEmbedding, FrequencySketch};
pub use hash::{mix64, reduce, unit_f64};
pub use methods::cafe::{
    CafeConfig, CafeEmbedding, CafeSettings, Cold, Decay, HotRows, HotRule, Importance, Medium,
    PaperData, Sketches, SlotLayout, Tier,
};
pub use methods::cafe_plus::{CafePlusConfig, CafePlusEmbedding, CafePlusSettings};
pub use methods::counts::FeatureCounts;
pub use methods::{
    AdaConfig, AdaEmbedding, FullEmbedding, Hash2Config, Hash2Embedding, HashedConfig,
    HashedEmbedding, MdeConfig, MdeEmbedding, OfflineConfig, OfflineEmbedding, QrConfig,
    QrEmbedding, UnifiedConfig, UnifiedEmbedding,
};
pub use sketch::{Held, HotSketch, Observed, SketchConfig, VictimPolicy};
pub use state::{StateError, StateMap, StateView};
pub use table::claimed::OwnRowSizes;
pub use table::cold::{FieldKind, FieldRows};
pub use table::rows::{Accumulator, RowFormat, RowOptimizer, RowPrecision};
pub use table::signed_table::{Signs, UnifiedSettings};
pub use tier_summary::{HotFeature, TierSummary};
