//! Threads that work through a queue together with the calling thread. Apart from
//! `candle/workers.rs`, whose pools candle needs and whose results are lists: here nothing is
//! allocated except rayon's own few bytes for each helper.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::ModelError;
use crate::queue::work_through;

/// How often an idle caller polls its helpers before it sleeps: about as long as one task of a step
/// takes, because falling asleep and being woken costs more than the wait.
const N_SPINS: usize = 20_000;

/// The calling thread and its helpers, which sleep between calls.
///
/// A native model has one, and lends it for work between its steps
/// ([`Model::team`](crate::Model::team)).
pub struct ThreadTeam {
    /// `None` if the calling thread works alone.
    helpers: Option<ThreadPool>,
}

impl fmt::Debug for ThreadTeam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_helpers = self.helpers.as_ref().map_or(0, ThreadPool::current_num_threads);
        f.debug_struct("ThreadTeam").field("n_threads", &(n_helpers + 1)).finish()
    }
}

impl ThreadTeam {
    /// `n_threads` threads, one of which is the caller's.
    ///
    /// # Errors
    /// If the system refuses threads.
    ///
    /// # Panics
    /// If `n_threads` is 0.
    pub fn new(n_threads: usize) -> Result<Self, ModelError> {
        assert!(n_threads > 0, "expected at least one thread");
        let n_helpers = n_threads - 1;
        if n_helpers == 0 {
            return Ok(Self { helpers: None });
        }
        let builder = ThreadPoolBuilder::new()
            .num_threads(n_helpers)
            .thread_name(|idx| format!("dlrm-native-{idx}"));
        let helpers =
            builder.build().map_err(|source| ModelError::Threads { n_threads, source })?;
        Ok(Self { helpers: Some(helpers) })
    }

    /// Applies `task` to every item: each thread takes the next one when it is free.
    ///
    /// Which thread takes which item depends on timing, so a task writes only to what its own item
    /// borrows.
    pub(crate) fn for_each<I: Iterator + Send>(&self, items: I, task: impl Fn(I::Item) + Sync) {
        if self.helpers.is_none() {
            return items.for_each(task);
        }
        let queue = Mutex::new(items);
        self.run(&|| work_through(&queue, &task));
    }

    /// Calls `work` on every thread at the same time, and returns when all calls have returned. A
    /// panic in one of them reaches the caller.
    pub fn run(&self, work: &(dyn Fn() + Sync)) {
        let Some(helpers) = &self.helpers else { return work() };
        let n_done = AtomicUsize::new(0);
        let n_helpers = helpers.current_num_threads();
        helpers.in_place_scope(|scope| {
            for _ in 0..n_helpers {
                scope.spawn(|_| {
                    work();
                    n_done.fetch_add(1, Ordering::Release);
                });
            }
            work();
            // The last tasks of the helpers end within moments.
            for _ in 0..N_SPINS {
                if n_done.load(Ordering::Acquire) == n_helpers {
                    break;
                }
                std::hint::spin_loop();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn every_item_is_done_once() {
        for n_threads in [1, 2, 5] {
            let team = ThreadTeam::new(n_threads).unwrap();
            for n_items in [0, 1, 37] {
                let mut items = vec![0; n_items];
                team.for_each(items.iter_mut().enumerate(), |(idx, item)| *item += idx);
                assert!(items.iter().enumerate().all(|(idx, &item)| item == idx));
            }
        }
    }

    #[test]
    fn the_caller_and_its_helpers_work_at_the_same_time() {
        let (barrier, leaders) = (Barrier::new(3), AtomicUsize::new(0));
        ThreadTeam::new(3).unwrap().for_each(0..3, |_| {
            leaders.fetch_add(usize::from(barrier.wait().is_leader()), Ordering::Relaxed);
        });
        assert_eq!(leaders.into_inner(), 1);
    }

    #[test]
    #[should_panic(expected = "a task that fails")]
    fn a_panic_of_a_task_reaches_the_caller() {
        ThreadTeam::new(2).unwrap().for_each(0..8, |idx| assert!(idx != 5, "a task that fails"));
    }
}
