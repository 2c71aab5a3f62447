//! Sharing the work on a batch among the threads that the caller lends.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::embedding::{Executor, Inline};
use crate::feature::FeatureId;

/// Ids of a batch from which on it pays to wake other threads. Results do not depend on it.
pub(crate) const MIN_SHARED: usize = 1024;
/// Ids that one task of a lookup takes. Results do not depend on it.
const LOOKUP_TASK: usize = 512;

/// `executor`, or the calling thread where a batch of `n_ids` is too small to share.
pub(crate) fn for_batch(executor: &dyn Executor, n_ids: usize) -> &dyn Executor {
    if n_ids < MIN_SHARED { &Inline } else { executor }
}

/// Calls `lookup` for parts of `ids` and of `out`, which holds `dim` values for each id.
pub(crate) fn lookup_parts(
    ids: &[FeatureId],
    out: &mut [f32],
    dim: usize,
    executor: &dyn Executor,
    lookup: impl Fn(&[FeatureId], &mut [f32]) + Sync,
) {
    assert_eq!(out.len(), ids.len() * dim, "lookup writes dim values for each id");
    let parts = ids.chunks(LOOKUP_TASK).zip(out.chunks_mut(LOOKUP_TASK * dim));
    for_each(for_batch(executor, ids.len()), parts, |(ids, out)| lookup(ids, out));
}

/// Applies `task` to every item. Which thread gets which item is not determined, so a task writes
/// only to what its item borrows.
pub(crate) fn for_each<I: Iterator + Send>(
    executor: &dyn Executor,
    items: I,
    task: impl Fn(I::Item) + Sync,
) {
    let queue = Mutex::new(items.fuse());
    let work = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = next else { break };
            task(item);
        }
    };
    executor.run(&work);
    // Nothing is left undone, whatever `executor` did.
    work();
}

/// Buffers of tasks: as many as there were threads at the same time, kept from call to call.
pub(crate) struct Buffers<T>(Mutex<Vec<T>>);

impl<T: Default> Buffers<T> {
    /// Lends `work` a buffer that no other thread has meanwhile.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = lock().pop().unwrap_or_default();
        let result = work(&mut buffer);
        lock().push(buffer);
        result
    }
}

impl<T> Default for Buffers<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

/// Buffers hold nothing that lasts, so a clone starts without.
impl<T> Clone for Buffers<T> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<T> fmt::Debug for Buffers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Buffers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls nothing.
    struct Idle;

    impl Executor for Idle {
        fn run(&self, _work: &(dyn Fn() + Sync)) {}
    }

    #[test]
    fn every_item_is_done_once() {
        for executor in [&Inline as &dyn Executor, &Idle] {
            let mut items = [0; 10];
            for_each(executor, items.iter_mut().enumerate(), |(idx, item)| *item += idx);
            assert_eq!(items, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        }
    }

    #[test]
    fn a_buffer_comes_back() {
        let buffers = Buffers::<Vec<u32>>::default();
        buffers.with(|outer| {
            outer.push(1);
            buffers.with(|inner| assert!(inner.is_empty(), "the other one is lent"));
        });
        assert_eq!(buffers.0.lock().expect("nothing panicked").len(), 2);
    }
}
