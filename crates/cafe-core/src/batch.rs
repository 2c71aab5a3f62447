//! Work on one batch: sorting it by field, summing equal keys, sharing it among threads.

pub(crate) mod by_field;
pub(crate) mod cache_hint;
pub(crate) mod coalesce;
pub(crate) mod executor;
pub(crate) mod importance;

use crate::feature::FeatureId;

/// The ids of an update, with `dim` gradients for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    pub(crate) ids: &'a [FeatureId],
    pub(crate) grads: &'a [f32],
    pub(crate) dim: usize,
}

impl<'a> Batch<'a> {
    /// # Panics
    /// If there are not `dim` gradients for each id.
    pub(crate) fn new(ids: &'a [FeatureId], grads: &'a [f32], dim: usize) -> Self {
        assert_eq!(grads.len(), ids.len() * dim, "update takes dim gradients for each id");
        Self { ids, grads, dim }
    }
}
