//! The one trait that every embedding method implements, and what it reports.

use crate::feature::FeatureId;
use crate::state::{StateError, StateMap, StateView};
use crate::tier_summary::{HotFeature, TierSummary};

/// A trainable map from feature ids to vectors, of whatever memory a method spends on it.
///
/// One training step is [`lookup`](Embedding::lookup), the model's forward and backward pass
/// outside of this crate, then [`update`](Embedding::update) with the same ids and the gradient of
/// the loss with respect to what `lookup` returned. Nothing but `update` and `restore` changes an
/// embedding, so evaluation is `lookup` alone.
///
/// Ids may come in any order and any number per field; a duplicate counts once per occurrence.
pub trait Embedding: Send {
    /// The length of a row, `dim`.
    fn dim(&self) -> usize;

    /// Writes the vector of `ids[i]` to `out[i * dim .. (i + 1) * dim]`.
    ///
    /// # Panics
    /// If `out.len() != ids.len() * dim`, or an id is of a field that the embedding lacks.
    fn lookup(&self, ids: &[FeatureId], out: &mut [f32]) {
        self.lookup_on(ids, out, &Inline);
    }

    /// [`lookup`](Embedding::lookup) with the help of `executor`, where the batch is large enough
    /// to pay for it. The result is the same to the bit.
    ///
    /// # Panics
    /// If `out.len() != ids.len() * dim`, or an id is of a field that the embedding lacks.
    fn lookup_on(&self, ids: &[FeatureId], out: &mut [f32], executor: &dyn Executor);

    /// Takes one optimizer step with `grads[i * dim .. (i + 1) * dim]` as the gradient of the loss
    /// with respect to the vector of `ids[i]`, then lets memory follow importance.
    ///
    /// # Panics
    /// If `grads.len() != ids.len() * dim`, or an id is of a field that the embedding lacks. A
    /// gradient that is not finite is the caller's to stop; methods that measure importance panic.
    fn update(&mut self, ids: &[FeatureId], grads: &[f32], learning_rate: f32) -> UpdateStats {
        self.update_on(ids, grads, learning_rate, &Inline)
    }

    /// [`update`](Embedding::update) with the help of `executor`, where the batch is large enough
    /// to pay for it. What comes out, the state included, is the same to the bit.
    ///
    /// # Panics
    /// If `grads.len() != ids.len() * dim`, an id is of a field that the embedding lacks, or, in
    /// methods that measure importance, a gradient is not finite.
    fn update_on(
        &mut self,
        ids: &[FeatureId],
        grads: &[f32],
        learning_rate: f32,
        executor: &dyn Executor,
    ) -> UpdateStats;

    /// What it occupies now.
    fn memory(&self) -> MemoryUsage;

    /// The features that own a row for their importance, from the highest score to the lowest and
    /// those of equal scores by id. None where a method has no tiers or does not keep ids: see
    /// [`TierSummary::knows_features`].
    fn hot_features(&self) -> Vec<HotFeature> {
        Vec::new()
    }

    /// Which rows are owned for importance, and by which scores; `None` for a method without tiers.
    fn tiers(&self) -> Option<TierSummary> {
        None
    }

    /// How many of `ids`, each occurrence by itself, a lookup would now serve from a row that is
    /// owned for importance; `None` where [`tiers`](Embedding::tiers) is. It allocates nothing.
    ///
    /// # Panics
    /// If an id is of a field that the embedding lacks.
    fn n_hot(&self, _ids: &[FeatureId]) -> Option<u64> {
        None
    }

    /// Writes to `out[i]` how often `ids[i]` occurred in training before, relative to its field:
    /// see [`FrequencySketch::relative`](crate::frequency::FrequencySketch::relative). Returns
    /// `false` and writes nothing where frequencies are not counted, which only
    /// [`FrequencyEmbedding`](crate::frequency::FrequencyEmbedding) does. It allocates nothing.
    ///
    /// # Panics
    /// If `out.len() != ids.len()`, or an id is of a field that the embedding lacks.
    fn frequencies(&self, _ids: &[FeatureId], _out: &mut [f32]) -> bool {
        false
    }

    /// Everything that a restored embedding needs to go on as if never interrupted.
    fn state(&self) -> Vec<(&'static str, StateView<'_>)>;

    /// Takes over a state that [`state`](Embedding::state) of an embedding of the same
    /// configuration gave. Arrays of rows are taken out of it, so that those that are owned are not
    /// held twice. On an error nothing has changed in the embedding.
    ///
    /// # Errors
    /// If an array is missing, of another kind or length, or contradicts itself.
    fn restore(&mut self, state: &mut StateMap<'_>) -> Result<(), StateError>;
}

/// Threads that an embedding may borrow for the length of a call.
///
/// This crate starts no threads. A caller that has a pool lends it through this trait; what a
/// call computes does not depend on it, to the bit.
///
/// ```
/// struct Pair;
///
/// impl cafe_core::Executor for Pair {
///     fn run(&self, work: &(dyn Fn() + Sync)) {
///         std::thread::scope(|scope| {
///             scope.spawn(work); // better a pool: starting a thread takes longer than most calls
///             work();
///         });
///     }
/// }
/// ```
pub trait Executor: Sync {
    /// Calls `work` once or more, best on every thread at the same time, and returns when all calls
    /// have returned.
    ///
    /// `work` takes tasks from a queue until none is left.
    fn run(&self, work: &(dyn Fn() + Sync));
}

/// The calling thread alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

impl Executor for Inline {
    fn run(&self, work: &(dyn Fn() + Sync)) {
        work();
    }
}

/// What one [`Embedding::update`] did. A method without tiers leaves it at zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateStats {
    /// Features that own a hot row after the step.
    pub hot_rows: u64,
    /// Features that were given a hot row in the step.
    pub promoted: u64,
    /// Features that lost their hot row in the step.
    pub demoted: u64,
}

/// Bytes in use, by purpose. Not counted are the buffers of one batch, and the room that a growing
/// full table keeps ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Embedding values.
    pub rows_bytes: u64,
    /// The sketch: ids, scores and row numbers of its slots.
    pub sketch_bytes: u64,
    /// Maps from features to rows, where a method keeps one.
    pub index_bytes: u64,
    /// Numbers of the rows that no feature owns.
    pub free_list_bytes: u64,
    /// Optimizer state of the rows.
    pub optimizer_bytes: u64,
    /// Whether the optimizer state is a part of the budget
    /// ([`RowFormat::count_optimizer`](crate::RowFormat)).
    pub optimizer_is_counted: bool,
}

impl MemoryUsage {
    /// What the compression ratio divides by: rows and sketch, as in the literature, and the
    /// optimizer state where a budget counts it.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        let counted = if self.optimizer_is_counted { self.optimizer_bytes } else { 0 };
        self.rows_bytes + self.sketch_bytes + counted
    }

    /// Everything counted.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        let Self {
            rows_bytes, sketch_bytes, index_bytes, free_list_bytes, optimizer_bytes, ..
        } = *self;
        rows_bytes + sketch_bytes + index_bytes + free_list_bytes + optimizer_bytes
    }

    /// Both together, of one row format.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            rows_bytes: self.rows_bytes + other.rows_bytes,
            sketch_bytes: self.sketch_bytes + other.sketch_bytes,
            index_bytes: self.index_bytes + other.index_bytes,
            free_list_bytes: self.free_list_bytes + other.free_list_bytes,
            optimizer_bytes: self.optimizer_bytes + other.optimizer_bytes,
            optimizer_is_counted: self.optimizer_is_counted || other.optimizer_is_counted,
        }
    }
}
