//! Threads for whole shards. Each worker is a rayon pool of one thread, because candle's products
//! ask rayon for parallelism: inside such a pool the request stays on the one thread, where the
//! shard's data is in cache.

use std::sync::Mutex;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::ModelError;
use crate::queue::work_through;

/// Workers that divide a list of items among them; without any, the calling thread does the work.
pub(crate) struct Workers {
    pools: Vec<ThreadPool>,
}

impl Workers {
    pub(crate) fn new(n_threads: usize) -> Result<Self, ModelError> {
        let build = |thread_idx| {
            let builder = ThreadPoolBuilder::new().num_threads(1);
            builder.thread_name(move |_| format!("dlrm-{thread_idx}")).build()
        };
        let pools = (0..n_threads).map(build).collect::<Result<_, _>>();
        pools
            .map(|pools| Self { pools })
            .map_err(|source| ModelError::Threads { n_threads, source })
    }

    /// Whether the calling thread does the work.
    pub(crate) fn is_empty(&self) -> bool {
        self.pools.is_empty()
    }

    /// Applies `task` to every item and returns the results in the order of the items, whichever
    /// worker took which.
    pub(crate) fn map<T: Send, R: Send>(
        &self,
        items: Vec<T>,
        task: impl Fn(T) -> R + Sync,
    ) -> Vec<R> {
        if self.is_empty() {
            return items.into_iter().map(task).collect();
        }
        let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
        let queue = Mutex::new(items.into_iter().zip(&mut results));
        let work = || work_through(&queue, |(item, result)| *result = Some(task(item)));
        on_each(&self.pools, &work);
        drop(queue);
        results
            .into_iter()
            .map(|result| result.expect("the queue is empty, so every item has a result"))
            .collect()
    }
}

/// Runs `work` once on every pool at the same time, and returns when all are done.
fn on_each(pools: &[ThreadPool], work: &(impl Fn() + Sync)) {
    if let Some((first, rest)) = pools.split_first() {
        first.in_place_scope(|scope| {
            scope.spawn(|_| work());
            on_each(rest, work);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn results_keep_the_order_of_the_items() {
        for n_threads in [0, 1, 2, 5] {
            let workers = Workers::new(n_threads).unwrap();
            let squares = workers.map((0..37).collect(), |i: u64| i * i);
            assert!(squares.into_iter().eq((0..37).map(|i| i * i)));
            assert!(workers.map(Vec::<u64>::new(), |i| i).is_empty());
        }
    }

    #[test]
    fn workers_run_at_the_same_time() {
        let barrier = Barrier::new(3);
        let leaders = Workers::new(3).unwrap().map(vec![(); 3], |()| barrier.wait().is_leader());
        assert_eq!(leaders.into_iter().filter(|&leader| leader).count(), 1);
    }

    #[test]
    fn inside_a_worker_rayon_has_one_thread() {
        assert_eq!(
            Workers::new(2).unwrap().map(vec![(); 4], |()| rayon::current_num_threads()),
            [1; 4]
        );
    }
}
