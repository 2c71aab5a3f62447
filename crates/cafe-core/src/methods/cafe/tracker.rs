//! The sketch that leads a CAFE embedding, in either layout. What a step asks of it for each
//! feature is compiled apart for each.

use super::CafeConfig;
use crate::feature::FeatureId;
use crate::methods::cafe::SlotLayout;
use crate::sketch::{Buckets, CompactSketch, HotSketch, SketchConfig};
use crate::state::{StateError, StateMap, StateView};

/// From which score on a feature wants a row, and by which factor it must outweigh whoever has it.
pub(super) type Wants = (f32, f32);

/// What an observation led to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Whether the feature now wants a row.
    pub(super) wants_row: bool,
    /// Who lost a row to make room.
    pub(super) evicted: Option<(FeatureId, u32)>,
}

/// What is asked for each feature of a batch.
pub(super) trait Tracker: Sync {
    /// Stands for no row.
    const NO_ROW: u32;

    fn bucket_idx(&self, id: FeatureId) -> usize;
    fn prefetch(&self, bucket_idx: usize);
    /// `NO_ROW` if it owns none, and 0 if it isn't held.
    fn row_bits_and_score(&self, bucket_idx: usize, id: FeatureId) -> (u32, f32);
    fn observe_in(&mut self, bucket_idx: usize, id: FeatureId, weight: f32, wants: Wants) -> Seen;

    #[inline]
    fn row_and_score(&self, bucket_idx: usize, id: FeatureId) -> (Option<u32>, f32) {
        let (row_bits, score) = self.row_bits_and_score(bucket_idx, id);
        ((row_bits != Self::NO_ROW).then_some(row_bits), score)
    }
}

impl Tracker for HotSketch {
    const NO_ROW: u32 = Self::NO_ROW_BITS;

    #[inline]
    fn bucket_idx(&self, id: FeatureId) -> usize {
        self.bucket_idx(id)
    }

    #[inline]
    fn prefetch(&self, bucket_idx: usize) {
        self.prefetch(bucket_idx);
    }

    #[inline]
    fn row_bits_and_score(&self, bucket_idx: usize, id: FeatureId) -> (u32, f32) {
        self.row_bits_and_score(bucket_idx, id)
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as the sketch's own: what isn't asked for isn't made")]
    fn observe_in(
        &mut self,
        bucket_idx: usize,
        id: FeatureId,
        weight: f32,
        (threshold, _): Wants,
    ) -> Seen {
        let observed = self.observe_in(bucket_idx, id, weight);
        Seen {
            wants_row: observed
                .held
                .is_some_and(|held| held.row.is_none() && held.score >= threshold),
            evicted: observed.victim.zip(observed.freed_row),
        }
    }
}

impl Tracker for CompactSketch {
    const NO_ROW: u32 = u32::MAX;

    #[inline]
    fn bucket_idx(&self, id: FeatureId) -> usize {
        self.bucket_idx(id)
    }

    #[inline]
    fn prefetch(&self, bucket_idx: usize) {
        self.prefetch(bucket_idx);
    }

    #[inline]
    fn row_bits_and_score(&self, bucket_idx: usize, id: FeatureId) -> (u32, f32) {
        self.row_bits_and_score(bucket_idx, id)
    }

    #[inline]
    fn observe_in(&mut self, bucket_idx: usize, id: FeatureId, weight: f32, wants: Wants) -> Seen {
        Seen { wants_row: self.observe_in(bucket_idx, id, weight, wants), evicted: None }
    }
}

/// A sketch of either layout.
#[derive(Clone, Debug)]
pub(super) enum Sketch {
    Full(HotSketch),
    Compact(CompactSketch),
}

impl Sketch {
    pub(super) fn new(config: &CafeConfig, seed: u64) -> Self {
        let CafeConfig { n_buckets, slots, victim, .. } = *config;
        match config.layout {
            SlotLayout::Full => {
                let sketch = SketchConfig { n_buckets, slots, victim, seed };
                Self::Full(HotSketch::by_field(sketch, &config.field_buckets))
            }
            SlotLayout::Compact { rows_per_bucket } => {
                let buckets = Buckets::new(seed, n_buckets, &config.field_buckets);
                Self::Compact(CompactSketch::new(buckets, (slots, rows_per_bucket), victim, seed))
            }
        }
    }

    pub(super) fn mass(&self) -> f64 {
        match self {
            Self::Full(sketch) => sketch.mass(),
            Self::Compact(sketch) => sketch.mass(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Full(sketch) => sketch.bytes(),
            Self::Compact(sketch) => sketch.bytes(),
        }
    }

    /// The row of a feature, and its score.
    pub(super) fn row_and_score(&self, id: FeatureId) -> (Option<u32>, f32) {
        match self {
            Self::Full(sketch) => sketch.row_and_score(sketch.bucket_idx(id), id),
            Self::Compact(sketch) => Tracker::row_and_score(sketch, sketch.bucket_idx(id), id),
        }
    }

    pub(super) fn state(&self) -> [(&'static str, StateView<'_>); 2] {
        match self {
            Self::Full(sketch) => sketch.state(),
            Self::Compact(sketch) => sketch.state(),
        }
    }

    pub(super) fn restored(&self, state: &StateMap<'_>) -> Result<Self, StateError> {
        Ok(match self {
            Self::Full(sketch) => Self::Full(sketch.restored(state)?),
            Self::Compact(sketch) => Self::Compact(sketch.restored(state)?),
        })
    }
}

/// Bytes of a slot.
pub(crate) fn slot_bytes(layout: SlotLayout) -> usize {
    match layout {
        SlotLayout::Full => HotSketch::SLOT_BYTES,
        SlotLayout::Compact { .. } => CompactSketch::SLOT_BYTES,
    }
}
