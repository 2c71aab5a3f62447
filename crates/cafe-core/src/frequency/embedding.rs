//! An embedding of any method, beside a sketch of its features' frequencies.

use super::{FrequencyConfig, FrequencySketch};
use crate::embedding::{Embedding, Executor, MemoryUsage, UpdateStats};
use crate::feature::FeatureId;
use crate::state::{StateError, StateMap, StateView};
use crate::tier_summary::{HotFeature, TierSummary};

/// Counts what another embedding is trained on, and answers [`Embedding::frequencies`].
pub struct FrequencyEmbedding {
    inner: Box<dyn Embedding>,
    frequencies: FrequencySketch,
}

impl FrequencyEmbedding {
    /// `inner`, with a sketch that has seen nothing.
    ///
    /// # Panics
    /// If the sketch has no bucket.
    #[must_use]
    pub fn new(inner: Box<dyn Embedding>, config: &FrequencyConfig) -> Self {
        Self { inner, frequencies: FrequencySketch::new(config) }
    }
}

impl Embedding for FrequencyEmbedding {
    fn dim(&self) -> usize {
        self.inner.dim()
    }

    fn lookup_on(&self, ids: &[FeatureId], out: &mut [f32], executor: &dyn Executor) {
        self.inner.lookup_on(ids, out, executor);
    }

    /// The batch is counted after the step: its own lookups knew nothing of it.
    fn update_on(
        &mut self,
        ids: &[FeatureId],
        grads: &[f32],
        learning_rate: f32,
        executor: &dyn Executor,
    ) -> UpdateStats {
        let stats = self.inner.update_on(ids, grads, learning_rate, executor);
        self.frequencies.observe(ids);
        stats
    }

    fn frequencies(&self, ids: &[FeatureId], out: &mut [f32]) -> bool {
        assert_eq!(out.len(), ids.len(), "one number for each id");
        out.iter_mut().zip(ids).for_each(|(out, &id)| *out = self.frequencies.relative(id));
        true
    }

    fn memory(&self) -> MemoryUsage {
        MemoryUsage { sketch_bytes: self.frequencies.bytes(), ..MemoryUsage::default() }
            .plus(self.inner.memory())
    }

    fn hot_features(&self) -> Vec<HotFeature> {
        self.inner.hot_features()
    }

    fn tiers(&self) -> Option<TierSummary> {
        self.inner.tiers()
    }

    fn n_hot(&self, ids: &[FeatureId]) -> Option<u64> {
        self.inner.n_hot(ids)
    }

    fn state(&self) -> Vec<(&'static str, StateView<'_>)> {
        self.inner.state().into_iter().chain(self.frequencies.state()).collect()
    }

    fn restore(&mut self, state: &mut StateMap<'_>) -> Result<(), StateError> {
        let frequencies = self.frequencies.restored(state)?;
        self.inner.restore(state)?;
        self.frequencies = frequencies;
        Ok(())
    }
}
