//! Writes checkpoints in the background, while training continues.

use std::fs::File;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::checkpoint::{Checkpoint, Disk, Store};

/// A checkpoint to write.
pub struct Job {
    /// A copy of the state.
    pub checkpoint: Checkpoint,
    /// The step whose checkpoint is kept whatever its age.
    pub best: Option<u64>,
    /// Logs that the state refers to; they are synced before it.
    pub logs: Vec<File>,
}

/// A thread that owns the checkpoints of a run and writes them one at a time.
///
/// The training loop spends time only on the copy of its state. A checkpoint that cannot be written
/// is a warning, and the previous one is kept; only for the last one it is an error, returned by
/// [`Saver::finish`].
pub struct Saver {
    jobs: Option<SyncSender<Job>>,
    written: Receiver<(u64, Result<()>)>,
    thread: Option<JoinHandle<()>>,
    in_flight: bool,
    newest: Option<u64>,
    failed: Option<anyhow::Error>,
}

impl Saver {
    /// Starts the thread; `newest` is the step of the newest checkpoint in `store`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn new(store: Store<Disk>, keep: usize, newest: Option<u64>) -> Result<Self> {
        let (jobs, to_do) = sync_channel::<Job>(1);
        let (done, written) = sync_channel(1);
        let thread = thread::Builder::new().name("checkpoint".to_owned());
        let thread = thread.spawn(move || {
            for job in to_do {
                let step = job.checkpoint.step;
                // After a failed run the receiver is gone.
                let _ = done.send((step, write(&store, &job, keep)));
            }
        })?;
        Ok(Self {
            jobs: Some(jobs),
            written,
            thread: Some(thread),
            in_flight: false,
            newest,
            failed: None,
        })
    }

    /// Whether a checkpoint is still being written.
    pub fn is_busy(&mut self) -> bool {
        if self.in_flight {
            match self.written.try_recv() {
                Ok((step, result)) => self.take_note(step, result),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.join(),
            }
        }
        self.in_flight
    }

    /// Queues a checkpoint; waits until the previous one is written.
    pub fn save(&mut self, job: Job) {
        self.wait();
        if let Some(jobs) = &self.jobs {
            self.in_flight = jobs.send(job).is_ok();
        }
        if !self.in_flight {
            self.join();
        }
    }

    /// Waits until all checkpoints are written.
    ///
    /// # Errors
    /// If the last checkpoint could not be written.
    pub fn finish(&mut self) -> Result<()> {
        self.wait();
        self.failed.take().map_or(Ok(()), Err)
    }

    /// The step of the newest durable checkpoint.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.newest
    }

    fn wait(&mut self) {
        if self.in_flight {
            match self.written.recv() {
                Ok((step, result)) => self.take_note(step, result),
                Err(_) => self.join(),
            }
        }
    }

    fn take_note(&mut self, step: u64, result: Result<()>) {
        self.in_flight = false;
        self.failed = result.err();
        match &self.failed {
            None => self.newest = Some(step),
            Some(error) => tracing::warn!("step {step}: no checkpoint: {error:#}"),
        }
    }

    /// The thread has ended early: resumes its panic here.
    fn join(&mut self) {
        self.in_flight = false;
        self.jobs = None;
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Saver {
    /// Waits for a checkpoint that is being written: even if the run has failed, that state is
    /// good.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The thread cannot block: the channel has room for its last message, and the receiver
            // still exists.
            drop(thread.join());
        }
    }
}

fn write(store: &Store<Disk>, job: &Job, keep: usize) -> Result<()> {
    for log in &job.logs {
        log.sync_data().context("the logs cannot be made durable")?;
    }
    let since = Instant::now();
    store.save(&job.checkpoint)?;
    let (step, seconds) = (job.checkpoint.step, since.elapsed().as_secs_f64());
    tracing::debug!("step {step}: checkpoint durable after {:.1} ms", 1e3 * seconds);
    // The new checkpoint is safe: failing to remove old ones is no reason to stop.
    if let Err(error) = store.prune(keep, job.best) {
        tracing::warn!("old checkpoints cannot be removed: {error:#}");
    }
    Ok(())
}
