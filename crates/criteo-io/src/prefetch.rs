//! Batches read ahead on a thread of their own, so that decompression and parsing cost the
//! training loop nothing.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::{Batch, ReadError, Record, RecordSource};

/// What to read ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefetchConfig {
    /// Rows in a batch; the last one may have fewer.
    pub batch_size: usize,
    /// Rows to read before stopping; all of them if `None`.
    pub max_rows: Option<u64>,
    /// Batches that may wait, read and not yet taken.
    pub depth: usize,
}

/// A thread that reads batches ahead, and the way to them.
///
/// Buffers go round: a batch that comes back by [`Prefetch::recycle`] is refilled, so `depth + 2`
/// of them are all there ever are (one being filled, one being used), and none is allocated once
/// they exist. A batch that never comes back costs an allocation and nothing else.
///
/// ```text
///             ┌─ batches ahead, at most depth ─┐
///   reader thread                          next_batch ─► step ─► recycle
///             └─────── empty batches, back ◄───────────────────────┘
/// ```
///
/// Dropped early, it stops the thread and waits for it. A read from a pipe that says nothing can't
/// be interrupted: after a second the thread is let go, and ends with that read.
pub struct Prefetch {
    /// `None` once the thread is done for.
    ahead: Option<Receiver<Batch>>,
    back: SyncSender<Batch>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Ended>>,
    source: Option<Box<dyn RecordSource>>,
}

/// What the thread leaves behind: batches are all delivered before anyone sees the error.
struct Ended {
    source: Box<dyn RecordSource>,
    error: Option<ReadError>,
}

impl Prefetch {
    /// Starts reading `source` ahead.
    ///
    /// # Panics
    /// If the batch size is 0, or the system refuses a thread.
    #[must_use]
    pub fn spawn(source: Box<dyn RecordSource>, config: PrefetchConfig) -> Self {
        let PrefetchConfig { batch_size, max_rows, depth } = config;
        assert!(batch_size > 0, "a batch has at least one row");
        let (ahead_sender, ahead) = sync_channel(depth);
        let (back, back_receiver) = sync_channel(depth + 2);
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            source,
            batch_size,
            n_rows_left: max_rows.unwrap_or(u64::MAX),
            ahead: ahead_sender,
            back: back_receiver,
            stop: Arc::clone(&stop),
        };
        let thread = thread::Builder::new().name("criteo-reader".to_owned());
        let thread = thread.spawn(move || worker.run()).expect("the system has a thread to spare");
        Self { ahead: Some(ahead), back, stop, thread: Some(thread), source: None }
    }

    /// The next batch; `None` after the last one, and after an error.
    ///
    /// # Errors
    /// If the source failed: once, after all the batches before it.
    ///
    /// # Panics
    /// If the reader thread panicked, with its panic.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, ReadError> {
        if let Some(batch) = self.ahead.as_ref().and_then(|ahead| ahead.recv().ok()) {
            return Ok(Some(batch));
        }
        self.join()?;
        Ok(None)
    }

    /// Gives a batch back to be refilled.
    pub fn recycle(&mut self, batch: Batch) {
        // Refused only where the thread is gone, or a batch of another origin is one too many.
        drop(self.back.try_send(batch));
    }

    /// Stops reading ahead and gives the source back, standing after the last row read.
    ///
    /// After [`Prefetch::next_batch`] gave `None`, that is the row after the last one delivered.
    /// Before it, rows read ahead and not taken are lost.
    ///
    /// # Errors
    /// If the source failed, and [`Prefetch::next_batch`] has not said so yet.
    ///
    /// # Panics
    /// If the reader thread panicked, with its panic.
    pub fn finish(mut self) -> Result<Box<dyn RecordSource>, ReadError> {
        self.join()?;
        Ok(self.source.take().expect("a thread that was joined left its source"))
    }

    /// Ends the thread, if that has not been done, and takes what it left.
    fn join(&mut self) -> Result<(), ReadError> {
        self.stop.store(true, Ordering::Relaxed);
        self.ahead = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let Ended { source, error } = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        self.source = Some(source);
        error.map_or(Ok(()), Err)
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        self.stop.store(true, Ordering::Relaxed);
        self.ahead = None;
        let Some(thread) = self.thread.take() else { return };
        let since = Instant::now();
        while !thread.is_finished() && since.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        if thread.is_finished()
            && let Err(panic) = thread.join()
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}

/// The thread's side.
struct Worker {
    source: Box<dyn RecordSource>,
    batch_size: usize,
    n_rows_left: u64,
    ahead: SyncSender<Batch>,
    back: Receiver<Batch>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self) -> Ended {
        let mut record = Record::default();
        loop {
            let mut batch = self.back.try_recv().unwrap_or_default();
            batch.clear();
            let filled = self.fill(&mut batch, &mut record);
            let is_last = batch.len() < self.batch_size;
            // Refused where nobody is listening any more.
            let is_wanted = batch.is_empty() || self.ahead.send(batch).is_ok();
            if is_last || !is_wanted || filled.is_err() {
                return Ended { source: self.source, error: filled.err() };
            }
        }
    }

    /// Fills the batch, or less: at the end of the source, the last row wanted, a stop, an error.
    fn fill(&mut self, batch: &mut Batch, record: &mut Record) -> Result<(), ReadError> {
        while batch.len() < self.batch_size
            && self.n_rows_left > 0
            && !self.stop.load(Ordering::Relaxed)
            && self.source.read_record(record)?
        {
            batch.push(record);
            self.n_rows_left -= 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::mpsc::channel;

    /// Rows whose first token counts up; after `n_rows` of them comes `end`.
    struct Counting {
        n_read: u32,
        n_rows: u32,
        end: fn() -> Result<bool, ReadError>,
    }

    impl Counting {
        fn boxed(n_rows: u32, end: fn() -> Result<bool, ReadError>) -> Box<Self> {
            Box::new(Self { n_read: 0, n_rows, end })
        }
    }

    impl RecordSource for Counting {
        fn read_record(&mut self, record: &mut Record) -> Result<bool, ReadError> {
            if self.n_read == self.n_rows {
                return (self.end)();
            }
            record.integers.resize(2, None);
            record.tokens.clear();
            record.tokens.push(Some(self.n_read));
            self.n_read += 1;
            Ok(true)
        }

        fn skip_records(&mut self, _n_rows: u64) -> Result<u64, ReadError> {
            unreachable!("nothing here skips")
        }
    }

    fn config(batch_size: usize, max_rows: Option<u64>) -> PrefetchConfig {
        PrefetchConfig { batch_size, max_rows, depth: 2 }
    }

    fn tokens(batch: &Batch) -> Vec<u32> {
        batch.ids.iter().map(|id| id.token().unwrap()).collect()
    }

    #[expect(clippy::unnecessary_wraps, reason = "its other instances fail")]
    fn over() -> Result<bool, ReadError> {
        Ok(false)
    }

    fn broken() -> Result<bool, ReadError> {
        Err(ReadError::NoFiles)
    }

    #[test]
    fn batches_come_in_order_and_the_last_is_short() {
        for (n_rows, sizes) in [(10, vec![4, 4, 2]), (8, vec![4, 4]), (1, vec![1]), (0, vec![])] {
            let mut prefetch = Prefetch::spawn(Counting::boxed(n_rows, over), config(4, None));
            let (mut got, mut seen) = (Vec::new(), Vec::new());
            while let Some(batch) = prefetch.next_batch().unwrap() {
                seen.extend(tokens(&batch));
                got.push(batch.len());
                prefetch.recycle(batch);
            }
            assert_eq!(got, sizes);
            assert!(seen.into_iter().eq(0..n_rows));
            assert!(prefetch.next_batch().unwrap().is_none());
        }
    }

    #[test]
    fn the_source_comes_back_where_it_stopped() {
        for max_rows in [0, 3, 4, 6, 8] {
            let source = Counting::boxed(10, over);
            let mut prefetch = Prefetch::spawn(source, config(4, Some(max_rows)));
            let mut n_rows = 0;
            while let Some(batch) = prefetch.next_batch().unwrap() {
                n_rows += batch.len() as u64;
            }
            assert_eq!(n_rows, max_rows);
            let source = prefetch.finish().unwrap();
            let mut rest = Prefetch::spawn(source, config(100, None));
            let batch = rest.next_batch().unwrap().unwrap();
            assert!(tokens(&batch).into_iter().eq(max_rows as u32..10));
        }
    }

    #[test]
    fn an_error_comes_once_and_after_the_batches_before_it() {
        let mut prefetch = Prefetch::spawn(Counting::boxed(10, broken), config(4, None));
        for expected in [4, 4, 2] {
            assert_eq!(prefetch.next_batch().unwrap().unwrap().len(), expected);
        }
        assert!(prefetch.next_batch().is_err());
        assert!(prefetch.next_batch().unwrap().is_none());
        assert!(prefetch.finish().is_ok());
    }

    #[test]
    fn an_error_not_yet_seen_comes_from_finish() {
        let prefetch = Prefetch::spawn(Counting::boxed(2, broken), config(4, None));
        while !prefetch.thread.as_ref().unwrap().is_finished() {
            thread::yield_now();
        }
        assert!(prefetch.finish().is_err());
    }

    #[test]
    fn a_panic_in_the_thread_is_one_here() {
        let boom = || -> Result<bool, ReadError> { panic!("boom") };
        let caught = std::panic::catch_unwind(move || {
            let mut prefetch = Prefetch::spawn(Counting::boxed(1, boom), config(4, None));
            prefetch.next_batch().unwrap();
        });
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"boom"));
    }

    #[test]
    fn buffers_go_round() {
        let mut prefetch = Prefetch::spawn(Counting::boxed(4000, over), config(4, None));
        let mut places = BTreeSet::new();
        while let Some(batch) = prefetch.next_batch().unwrap() {
            places.insert(batch.labels.as_ptr());
            prefetch.recycle(batch);
        }
        assert!(places.len() <= 4, "{} buffers for a depth of 2", places.len());
    }

    #[test]
    fn dropped_early_the_thread_ends_and_lets_the_source_go() {
        struct Endless(#[expect(dead_code, reason = "its drop is the signal")] std::sync::mpsc::Sender<()>);
        impl RecordSource for Endless {
            fn read_record(&mut self, _: &mut Record) -> Result<bool, ReadError> {
                Ok(true)
            }
            fn skip_records(&mut self, n_rows: u64) -> Result<u64, ReadError> {
                Ok(n_rows)
            }
        }
        // With a full channel the thread waits to send; with a huge batch it is still filling.
        for batch_size in [1, usize::MAX >> 40] {
            let (sender, receiver) = channel();
            let mut prefetch = Prefetch::spawn(Box::new(Endless(sender)), config(batch_size, None));
            if batch_size == 1 {
                prefetch.next_batch().unwrap();
            }
            drop(prefetch);
            assert!(receiver.recv().is_err());
        }
    }

    #[test]
    fn a_source_that_says_nothing_does_not_hold_up_a_drop() {
        struct Silent(Receiver<()>);
        impl RecordSource for Silent {
            fn read_record(&mut self, _: &mut Record) -> Result<bool, ReadError> {
                Ok(self.0.recv().is_ok())
            }
            fn skip_records(&mut self, _: u64) -> Result<u64, ReadError> {
                Ok(0)
            }
        }
        let (sender, receiver) = channel();
        let since = Instant::now();
        drop(Prefetch::spawn(Box::new(Silent(receiver)), config(1, None)));
        assert!(since.elapsed() < Duration::from_secs(10));
        drop(sender);
    }
}
