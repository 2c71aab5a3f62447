//! Batches read ahead on a separate thread, so that parsing and encoding cost the training loop
//! nothing.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::batch::digest::{Digester, RowStart};
use crate::batch::{Batch, StreamPosition};
use crate::error::ReadError;
use crate::error::bad_row::BadRowCounts;
use crate::record::bad_rows::{BadRowFilter, BadRows, FilteredRow};
use crate::record::{Record, RecordSource};

/// How often a wait for a batch checks for a stop: soon enough for a person, rarely enough to cost
/// nothing.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What to read ahead, and in which batches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefetchConfig {
    /// Rows in a batch; the last one may have fewer.
    pub batch_size: usize,
    /// Rows of the stream to read, including those before `from` and malformed ones; all if `None`.
    pub max_rows: Option<u64>,
    /// Batches that may wait in the channel, read and not yet taken.
    pub depth: usize,
    /// Where to begin: the end of a batch that was read before, or the default for the first row.
    ///
    /// The source must be at its first row. The rows before this position are read and compared by
    /// their digest, and not delivered ([`ReadError::Changed`] if they differ); sources that
    /// [jump](RecordSource::jumps) skip them.
    pub from: StreamPosition,
    /// The policy for malformed rows.
    pub bad_rows: BadRows,
}

impl PrefetchConfig {
    /// All rows, from the first on, in batches of `batch_size`, of which `depth` may wait.
    #[must_use]
    pub fn new(batch_size: usize, depth: usize) -> Self {
        Self {
            batch_size,
            max_rows: None,
            depth,
            from: StreamPosition::default(),
            bad_rows: BadRows::Error,
        }
    }
}

/// The state at the end of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassEnd {
    /// The position after the last row, malformed ones included.
    pub end: StreamPosition,
    /// The malformed rows that were left out, counted from the first row of the stream, wherever
    /// reading began.
    pub bad_rows: BadRowCounts,
}

impl PassEnd {
    /// The number of good rows from the first row of the stream on.
    #[must_use]
    pub fn n_good(&self) -> u64 {
        self.end.n_rows - self.bad_rows.total()
    }
}

/// A thread that reads batches ahead.
///
/// Buffers are reused: a batch that comes back by [`Prefetch::recycle`] is refilled, so that at
/// most `depth + 2` batches exist (one being filled, one being used), and no more are allocated. A
/// batch that does not come back costs an allocation.
///
/// ```text
///             ┌─ batches ahead, at most depth ─┐
///   reader thread                          next_batch ─► step ─► recycle
///             └─────── empty batches, back ◄───────────────────────┘
/// ```
///
/// Dropped early, it stops the thread and waits for it. A read from a silent pipe cannot be
/// interrupted: after a second the thread is detached, and ends with that read.
pub struct Prefetch {
    /// `None` after the thread was stopped.
    ahead: Option<Receiver<Batch>>,
    back: SyncSender<Batch>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<ThreadResult>>,
    source: Option<Box<dyn RecordSource>>,
    pass: PassEnd,
}

/// What the thread returns. All complete batches are delivered before the error. A batch that the
/// error cuts short is not delivered, because without the error the stream would have another batch
/// at this position.
struct ThreadResult {
    source: Box<dyn RecordSource>,
    pass: PassEnd,
    error: Option<ReadError>,
}

impl Prefetch {
    /// Starts reading `source` ahead.
    ///
    /// # Panics
    /// If the batch size is 0, or the system refuses a thread.
    #[must_use]
    pub fn spawn(source: Box<dyn RecordSource>, config: PrefetchConfig) -> Self {
        let PrefetchConfig { batch_size, depth, .. } = config;
        assert!(batch_size > 0, "a batch has at least one row");
        let (ahead_sender, ahead) = sync_channel(depth);
        let (back, back_receiver) = sync_channel(depth + 2);
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            source,
            config,
            filter: BadRowFilter::new(config.bad_rows),
            position: StreamPosition::default(),
            digester: Digester::default(),
            ahead: ahead_sender,
            back: back_receiver,
            stop: Arc::clone(&stop),
        };
        let thread = thread::Builder::new().name("criteo-reader".to_owned());
        let thread = thread.spawn(move || worker.run()).expect("the system has a thread to spare");
        Self {
            ahead: Some(ahead),
            back,
            stop,
            thread: Some(thread),
            source: None,
            pass: PassEnd::default(),
        }
    }

    /// The next batch; `None` after the last one, and after an error.
    ///
    /// # Errors
    /// If the source failed: once, after all complete batches before the failure.
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

    /// The next batch; `None` after the last one, after an error, and soon after `stop` is set,
    /// even while the source is silent. After a stop the stream can be read further.
    ///
    /// # Errors
    /// If the source failed: once, after all complete batches before the failure.
    ///
    /// # Panics
    /// If the reader thread panicked, with its panic.
    pub fn next_batch_until(&mut self, stop: &AtomicBool) -> Result<Option<Batch>, ReadError> {
        while let Some(ahead) = &self.ahead {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            match ahead.recv_timeout(LOOK_EVERY) {
                Ok(batch) => return Ok(Some(batch)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.join()?,
            }
        }
        Ok(None)
    }

    /// Returns a batch to be refilled.
    pub fn recycle(&mut self, batch: Batch) {
        // Refused only if the thread has ended, or the batch came from elsewhere and is one too
        // many.
        drop(self.back.try_send(batch));
    }

    /// The end of the pass and what it left out, after [`Prefetch::next_batch`] returned `None` or
    /// an error.
    #[must_use]
    pub fn pass(&self) -> PassEnd {
        self.pass
    }

    /// Stops reading ahead and returns the source, positioned after the last row read.
    ///
    /// After [`Prefetch::next_batch`] returned `None`, that is after the last row delivered.
    /// Before, rows that were read ahead and not taken are lost.
    ///
    /// # Errors
    /// If the source failed, and [`Prefetch::next_batch`] has not returned the error yet.
    ///
    /// # Panics
    /// If the reader thread panicked, with its panic.
    pub fn finish(mut self) -> Result<Box<dyn RecordSource>, ReadError> {
        self.join()?;
        Ok(self.source.take().expect("a thread that was joined left its source"))
    }

    /// Ends the thread, unless that was done before, and takes its result.
    fn join(&mut self) -> Result<(), ReadError> {
        self.stop.store(true, Ordering::Relaxed);
        self.ahead = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let ThreadResult { source, pass, error } =
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        (self.source, self.pass) = (Some(source), pass);
        error.map_or(Ok(()), Err)
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        /// Enough for every read but one that waits for data; short for a person who stops a run.
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

/// The side of the thread.
struct Worker {
    source: Box<dyn RecordSource>,
    config: PrefetchConfig,
    filter: BadRowFilter,
    /// The position after the row that was read last.
    position: StreamPosition,
    digester: Digester,
    ahead: SyncSender<Batch>,
    back: Receiver<Batch>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self) -> ThreadResult {
        let (mut record, mut batch) = (Record::default(), Batch::default());
        let skipped = self.skip_to_start(&mut batch, &mut record);
        let read = skipped.and_then(|()| self.deliver(batch, &mut record));
        let pass = PassEnd { end: self.position, bad_rows: self.filter.counts() };
        ThreadResult { source: self.source, pass, error: read.err() }
    }

    /// Skips the rows before `from`, and checks that they are the same as before.
    fn skip_to_start(&mut self, batch: &mut Batch, record: &mut Record) -> Result<(), ReadError> {
        let PrefetchConfig { from, batch_size, .. } = self.config;
        let n_before = from.n_rows.min(self.max_rows());
        if self.source.jumps() {
            self.position.n_rows = self.source.skip_records(n_before)?;
            self.position.digest = from.digest;
            self.filter.count_good(self.position.n_rows);
        } else {
            while self.position.n_rows < n_before {
                batch.clear();
                self.fill(batch, record, n_before)?;
                if batch.len() < batch_size {
                    break;
                }
            }
        }
        // After a stop not all of the rows have been read.
        if self.position == from || self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(ReadError::Changed { n_rows: from.n_rows, n_read: self.position.n_rows })
    }

    /// Sends batches up to the last row, or up to an error, whose incomplete batch is dropped.
    fn deliver(&mut self, first: Batch, record: &mut Record) -> Result<(), ReadError> {
        let mut batch = first;
        loop {
            batch.clear();
            self.fill(&mut batch, record, self.max_rows())?;
            let is_last = batch.len() < self.config.batch_size;
            batch.end = self.position;
            // Refused if the receiver is gone.
            let is_wanted = batch.is_empty() || self.ahead.send(batch).is_ok();
            if is_last || !is_wanted {
                // After a stop not all rows have been read, so that their share means nothing.
                return if self.stop.load(Ordering::Relaxed) {
                    Ok(())
                } else {
                    self.filter.finish()
                };
            }
            batch = self.back.try_recv().unwrap_or_default();
        }
    }

    fn max_rows(&self) -> u64 {
        self.config.max_rows.unwrap_or(u64::MAX)
    }

    /// Fills the batch, or a part of it at the end of the source, after `max_rows` rows in all, at
    /// a stop, or at an error.
    fn fill(
        &mut self,
        batch: &mut Batch,
        record: &mut Record,
        max_rows: u64,
    ) -> Result<(), ReadError> {
        while batch.len() < self.config.batch_size
            && self.position.n_rows < max_rows
            && !self.stop.load(Ordering::Relaxed)
        {
            match self.filter.read(&mut *self.source, record)? {
                FilteredRow::Row => {
                    let start = RowStart::next_of(batch);
                    batch.push(record);
                    self.digester.add(&mut self.position, batch, start);
                }
                FilteredRow::Bad(_) => self.position.n_rows += 1,
                FilteredRow::End => break,
            }
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
        PrefetchConfig { max_rows, ..PrefetchConfig::new(batch_size, 2) }
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
    fn source_comes_back_after_the_last_row() {
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
    fn error_comes_once_in_place_of_the_incomplete_batch() {
        let mut prefetch = Prefetch::spawn(Counting::boxed(10, broken), config(4, None));
        for expected in [4, 4] {
            assert_eq!(prefetch.next_batch().unwrap().unwrap().len(), expected);
        }
        assert!(prefetch.next_batch().is_err());
        assert!(prefetch.next_batch().unwrap().is_none());
        assert!(prefetch.finish().is_ok());
    }

    #[test]
    fn finish_returns_an_error_not_yet_seen() {
        let prefetch = Prefetch::spawn(Counting::boxed(2, broken), config(4, None));
        while !prefetch.thread.as_ref().unwrap().is_finished() {
            thread::yield_now();
        }
        assert!(prefetch.finish().is_err());
    }

    #[test]
    fn panic_of_the_thread_is_passed_on() {
        let boom = || -> Result<bool, ReadError> { panic!("boom") };
        let caught = std::panic::catch_unwind(move || {
            let mut prefetch = Prefetch::spawn(Counting::boxed(1, boom), config(4, None));
            prefetch.next_batch().unwrap();
        });
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"boom"));
    }

    #[test]
    fn buffers_are_reused() {
        let mut prefetch = Prefetch::spawn(Counting::boxed(4000, over), config(4, None));
        let mut addresses = BTreeSet::new();
        while let Some(batch) = prefetch.next_batch().unwrap() {
            addresses.insert(batch.labels.as_ptr());
            prefetch.recycle(batch);
        }
        assert!(addresses.len() <= 4, "{} buffers for a depth of 2", addresses.len());
    }

    #[test]
    fn early_drop_ends_the_thread_and_drops_the_source() {
        struct Endless(
            #[expect(dead_code, reason = "its drop is the signal")] std::sync::mpsc::Sender<()>,
        );
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

    /// A drop must return while the source is still blocked. The source is released by a second
    /// thread after a minute at the latest: a drop that waits for it fails, and does not hang.
    #[test]
    fn drop_does_not_wait_for_a_silent_source() {
        struct Silent {
            release: Receiver<()>,
            has_returned: Arc<AtomicBool>,
        }
        impl RecordSource for Silent {
            fn read_record(&mut self, _: &mut Record) -> Result<bool, ReadError> {
                let is_record = self.release.recv().is_ok();
                self.has_returned.store(true, Ordering::SeqCst);
                Ok(is_record)
            }
            fn skip_records(&mut self, _: u64) -> Result<u64, ReadError> {
                Ok(0)
            }
        }
        let (release_sender, release) = channel();
        let (dropped_sender, dropped) = channel::<()>();
        let has_returned = Arc::new(AtomicBool::new(false));
        let source = Silent { release, has_returned: Arc::clone(&has_returned) };
        let prefetch = Prefetch::spawn(Box::new(source), config(1, None));
        let releaser = thread::spawn(move || {
            let _ = dropped.recv_timeout(Duration::from_secs(60));
            drop(release_sender);
        });
        drop(prefetch);
        assert!(!has_returned.load(Ordering::SeqCst), "the drop waited for the source");
        drop(dropped_sender);
        releaser.join().unwrap();
    }

    #[test]
    fn stop_does_not_wait_for_a_silent_source() {
        struct Waiting(Receiver<()>, Counting);
        impl RecordSource for Waiting {
            fn read_record(&mut self, record: &mut Record) -> Result<bool, ReadError> {
                let _ = self.0.recv();
                self.1.read_record(record)
            }
            fn skip_records(&mut self, _: u64) -> Result<u64, ReadError> {
                Ok(0)
            }
        }
        let (sender, receiver) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let source = Box::new(Waiting(receiver, *Counting::boxed(3, over)));
        let mut prefetch = Prefetch::spawn(source, config(2, None));
        sender.send(()).unwrap();
        sender.send(()).unwrap();
        assert_eq!(prefetch.next_batch_until(&stop).unwrap().unwrap().len(), 2);
        let setter = thread::spawn({
            let stop = Arc::clone(&stop);
            move || stop.store(true, Ordering::Relaxed)
        });
        assert_eq!(prefetch.next_batch_until(&stop).unwrap(), None);
        setter.join().unwrap();
        drop(sender);
        stop.store(false, Ordering::Relaxed);
        assert_eq!(prefetch.next_batch_until(&stop).unwrap().unwrap().len(), 1);
        assert_eq!(prefetch.next_batch_until(&stop).unwrap(), None);
        assert!(prefetch.finish().is_ok());
    }
}
