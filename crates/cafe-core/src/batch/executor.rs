//! Who works on a batch: the caller alone, or threads that the caller has.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::embedding::{Alone, Workers};
use crate::feature::FeatureId;

/// Ids of a batch from which on it is worth while to wake other threads.
pub(crate) const MIN_SHARED: usize = 1024;
/// Ids that one task of a lookup takes.
const LOOKUP_TASK: usize = 512;

/// `workers`, or nobody where a batch of `n_ids` is too small to share.
pub(crate) fn for_batch(workers: &dyn Workers, n_ids: usize) -> &dyn Workers {
    if n_ids < MIN_SHARED { &Alone } else { workers }
}

/// Calls `lookup` for parts of `ids` and of `out`, which holds `dim` values for each id.
pub(crate) fn lookup_parts(
    (ids, out, dim): (&[FeatureId], &mut [f32], usize),
    workers: &dyn Workers,
    lookup: impl Fn(&[FeatureId], &mut [f32]) + Sync,
) {
    assert_eq!(out.len(), ids.len() * dim, "lookup writes dim values for each id");
    let parts = ids.chunks(LOOKUP_TASK).zip(out.chunks_mut(LOOKUP_TASK * dim));
    for_each(for_batch(workers, ids.len()), parts, |(ids, out)| lookup(ids, out));
}

/// Applies `task` to every item; who does which is chance, so a task writes only to what its item
/// borrows.
pub(crate) fn for_each<I: Iterator + Send>(
    workers: &dyn Workers,
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
    workers.run(&work);
    // Nothing is left undone, whatever `workers` did.
    work();
}

/// Buffers of tasks: as many as there were threads at the same time, kept from call to call.
pub(crate) struct Buffers<T>(Mutex<Vec<T>>);

impl<T: Default> Buffers<T> {
    /// Lends `work` a buffer that nobody else has meanwhile.
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

    impl Workers for Idle {
        fn run(&self, _work: &(dyn Fn() + Sync)) {}
    }

    #[test]
    fn every_item_is_done_once() {
        for workers in [&Alone as &dyn Workers, &Idle] {
            let mut items = [0; 10];
            for_each(workers, items.iter_mut().enumerate(), |(idx, item)| *item += idx);
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
