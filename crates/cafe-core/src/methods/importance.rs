//! What a feature's score measures, in CAFE and CAFE+.

use crate::batch::Batch;
use crate::batch::by_field::FieldPart;
use crate::batch::coalesce::{KeyIndex, RowSums};
use crate::batch::importance::norms;
use crate::feature::FeatureId;

/// What a score measures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Importance {
    /// Gradient norms, scaled to a mean of one for each field and batch: `K = 500` is what 500
    /// average occurrences bring.
    #[default]
    GradientNorm,
    /// One for each occurrence.
    Frequency,
}

/// Stands for the score of a feature that adds nothing to the sketch.
pub(super) const NO_SCORE: f32 = -1.0;

/// What a thread needs for one field at a time.
#[derive(Debug, Default)]
pub(super) struct FieldBuffers {
    pub(super) keys: KeyIndex,
    /// Of each occurrence.
    importance: Vec<f64>,
    pub(super) row_sums: RowSums,
}

impl Importance {
    /// Sums a field's gradients by feature, and its importance into `sums`; returns the total
    /// importance of its occurrences.
    pub(super) fn coalesce(
        self,
        part: &mut FieldPart<'_>,
        batch: Batch<'_>,
        buffers: &mut FieldBuffers,
        sums: &mut [f64],
    ) -> f64 {
        let FieldBuffers { keys, importance, .. } = buffers;
        match self {
            Self::GradientNorm => norms(part.occurrences, batch.grads, batch.dim, importance),
            Self::Frequency => {
                importance.clear();
                importance.resize(part.occurrences.len(), 1.0);
            }
        }
        sums.fill(0.0);
        part.coalesce(keys, batch, FeatureId::raw, |number, position| {
            sums[position] += importance[number];
        });
        importance.iter().sum()
    }
}
