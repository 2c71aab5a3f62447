//! Checkpoints written while training goes on.

use std::fs::File;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::checkpoint::{Checkpoint, Disk, Store};

/// What is to be written.
pub struct Job {
    /// The state, a copy that nobody changes any more.
    pub checkpoint: Checkpoint,
    /// The step whose checkpoint stays whatever its age.
    pub best: Option<u64>,
    /// Files that the state counts on: they are durable before it is.
    pub logs: Vec<File>,
}

/// A thread that owns the checkpoints of a run and writes one at a time.
///
/// The training loop pays for the copy of its state and no more. A checkpoint that can't be written
/// is reported, and the one before it stays; only [`Saver::finish`], after the last, makes that an
/// error.
pub struct Saver {
    jobs: Option<SyncSender<Job>>,
    written: Receiver<(u64, Result<()>)>,
    thread: Option<JoinHandle<()>>,
    in_flight: bool,
    newest: Option<u64>,
    failed: Option<anyhow::Error>,
}

impl Saver {
    /// Takes the store; `newest` is the step of its newest checkpoint.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn new(store: Store<Disk>, keep: usize, newest: Option<u64>) -> Result<Self> {
        let (jobs, to_do) = sync_channel::<Job>(1);
        let (done, written) = sync_channel(1);
        let thread = thread::Builder::new().name("checkpoint".to_owned());
        let thread = thread.spawn(move || {
            for job in to_do {
                let step = job.checkpoint.step;
                // Nobody waits for the last one where the run has failed.
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

    /// Hands a state over to be written, after the one before it.
    pub fn save(&mut self, job: Job) {
        self.wait();
        if let Some(jobs) = &self.jobs {
            self.in_flight = jobs.send(job).is_ok();
        }
        if !self.in_flight {
            self.join();
        }
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// If the last checkpoint could not be.
    pub fn finish(&mut self) -> Result<()> {
        self.wait();
        self.failed.take().map_or(Ok(()), Err)
    }

    /// The step of the newest checkpoint that is durable.
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

    /// The thread ended before its time: hands its panic on.
    fn join(&mut self) {
        self.in_flight = false;
        self.jobs = None;
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Saver {
    /// A checkpoint that is being written is finished: the run may have failed, its state was good.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The receiver still is there, so that the thread can't wait for it in vain: one
            // message fits.
            drop(thread.join());
        }
    }
}

fn write(store: &Store<Disk>, job: &Job, keep: usize) -> Result<()> {
    for log in &job.logs {
        log.sync_data().context("the logs can't be made durable")?;
    }
    let since = Instant::now();
    store.save(&job.checkpoint)?;
    let (step, seconds) = (job.checkpoint.step, since.elapsed().as_secs_f64());
    tracing::debug!("step {step}: checkpoint durable after {:.1} ms", 1e3 * seconds);
    // The new one is safe: old ones in the way are no reason to stop.
    if let Err(error) = store.prune(keep, job.best) {
        tracing::warn!("old checkpoints stay: {error:#}");
    }
    Ok(())
}
