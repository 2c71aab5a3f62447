//! The queue that the threads of both engines take their work from.

use std::sync::{Mutex, PoisonError};

/// Applies `task` to the items of a shared queue, one after another, until none is left. Every
/// thread that takes part calls this.
///
/// A poisoned lock is taken anyway: another thread's panic reaches the caller through its scope,
/// and an iterator that has been advanced is in no broken state.
pub(crate) fn work_through<I: Iterator>(queue: &Mutex<I>, task: impl Fn(I::Item)) {
    loop {
        // A statement of its own, so that the lock is released before the task runs.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some(item) = next else { break };
        task(item);
    }
}
