//! The loop: epochs, steps, and evaluations between them.

use std::time::{Duration, Instant};

use anyhow::Result;
use criteo_io::{Batch, PassEnd, Prefetch, ReadError, RecordSource, StreamPosition};

use super::{Run, Totals, Window, by_name};
use crate::config::Every;
use crate::data::{EVAL_BATCH, tell_bad_rows};
use crate::metrics::Predictions;
use crate::metrics::line::{Counters, TestLine};
use crate::stop::Stop;
use crate::train::diverged::BatchPlace;
use crate::train::eval::{Evaluation, evaluate};
use crate::train::progress::Progress;
use crate::train::state::Best;
use crate::train::step::{Rates, StepReport};

impl Run<'_> {
    /// All epochs that are left. Returns the stream of the last, positioned after its training
    /// rows, if this process read it.
    pub(super) fn train(&mut self) -> Result<Option<Box<dyn RecordSource>>> {
        let epochs = self.config.train.epochs;
        let progress = Progress::new(self.data.n_train().map(|n| n * u64::from(epochs)));
        let mut progress = progress.after(self.totals.counters.rows);
        // A process that was stopped in an evaluation left it to the next.
        if self.is_evaluation_due() {
            self.evaluate_between(&progress)?;
        }
        let mut after_training = None;
        while self.epochs_done < epochs {
            after_training = Some(self.train_epoch(&mut progress)?);
            self.epochs_done += 1;
            self.position = StreamPosition::default();
            if self.save_wanted {
                self.hand_over()?;
            }
        }
        // Before the window is closed, which a run of more epochs would not do here.
        self.save()?;
        self.log_training(&mut progress, None)?;
        progress.finish();
        Ok(after_training)
    }

    fn train_epoch(&mut self, progress: &mut Progress) -> Result<Box<dyn RecordSource>> {
        if self.position == StreamPosition::default() {
            self.totals.epoch = Window::default();
        }
        let mut batches = self.data.train(self.config.train.batch, self.position)?;
        self.totals.training_since = Some(Instant::now());
        while let Some(batch) = self.next_batch(&mut batches)? {
            self.train_on(&batch, progress)?;
            batches.recycle(batch);
            if self.is_evaluation_due() {
                self.totals.pause();
                let paused = Instant::now();
                self.evaluate_between(progress)?;
                progress.exclude(paused.elapsed());
                self.totals.training_since = Some(Instant::now());
            }
            self.save_if_due()?;
        }
        self.totals.pause();
        if self.stop.is_requested() {
            return Err(self.interrupted());
        }
        if let Some(day) = self.online.end_day() {
            self.dir.log(&day)?;
        }
        let PassEnd { end, bad_rows } = batches.pass();
        self.data.check_train_rows(end.n_rows)?;
        tell_bad_rows("training", end.n_rows, &bad_rows);
        self.bad_rows.train = by_name(&bad_rows);
        Ok(batches.finish()?)
    }

    /// The next batch. Rows that can't be read end the run, but what it has learned is saved.
    fn next_batch(&mut self, batches: &mut Prefetch) -> Result<Option<Batch>> {
        let error = match self.totals.wait_for(batches, self.stop) {
            Ok(batch) => return Ok(batch),
            Err(error) => error,
        };
        let step = self.totals.counters.step;
        if step == 0 {
            return Err(error.into());
        }
        match self.save() {
            Ok(()) => {
                tracing::info!(
                    "the state after step {step} is saved; --resume continues once the rows can be read"
                );
            }
            Err(unsaved) => tracing::warn!("the state after step {step} is lost: {unsaved:#}"),
        }
        Err(error.into())
    }

    fn train_on(&mut self, batch: &Batch, progress: &mut Progress) -> Result<()> {
        let step = self.totals.counters.step + 1;
        let first_row = self.totals.epoch.rows + 1;
        let is_logged = step.is_multiple_of(self.config.train.log_every);
        // Of one batch a window, and in no other step: so it costs nothing, and no state has to
        // keep it.
        let hot_share = if is_logged { self.learner.hot_share(batch) } else { None };
        let report =
            self.learner.train(batch, Rates::at(&self.config.train, step)).map_err(|error| {
                let rows = first_row..=first_row + batch.len() as u64 - 1;
                let (config, learner, last_checkpoint) =
                    (self.config, &self.learner, self.saver.newest());
                BatchPlace { config, learner, step, rows, last_checkpoint }.explain(error)
            })?;
        self.position = batch.end;
        self.take_note(batch, &report)?;
        progress.step(batch.len(), report.loss_sum / batch.len() as f64, report.stats.hot_rows);
        if is_logged {
            self.log_training(progress, hot_share)?;
        }
        Ok(())
    }

    /// Adds up what a step did, and logs the days that ended.
    fn take_note(&mut self, batch: &Batch, report: &StepReport) -> Result<()> {
        let Self { learner, dir, totals, online, .. } = self;
        totals.add(report, batch.len());
        let predictions =
            Predictions::with_loss_sum(learner.logits(), &batch.labels, report.loss_sum);
        let ended = online.add(predictions, &batch.days, totals.counters);
        ended.iter().try_for_each(|day| dir.log(day))
    }

    /// Logs the window that ends here; `hot_share` is that of its last batch, if it was measured.
    fn log_training(&mut self, progress: &mut Progress, hot_share: Option<f64>) -> Result<()> {
        let Some(line) = self.online.end_window(self.totals.counters) else { return Ok(()) };
        let line = line.with_hot_share(hot_share);
        self.dir.log(&line)?;
        self.dir.log_speed(self.totals.counters.step, progress.end_window(line.train_auc))
    }

    /// Whether `train.eval_every` asks for an evaluation that has not been made.
    fn is_evaluation_due(&self) -> bool {
        let step = self.totals.counters.step;
        // No step but 0 is a multiple of 0.
        step > 0
            && step.is_multiple_of(self.config.train.eval_every)
            && self.last_evaluation.is_none_or(|(last, _)| last != step)
    }

    /// Evaluates between two steps; the best model is saved.
    fn evaluate_between(&mut self, progress: &Progress) -> Result<()> {
        let step = self.totals.counters.step;
        let Evaluation { quality, .. } = self.evaluate_on(None)?;
        let auc = quality.auc.map_or_else(|| "none".to_owned(), |auc| format!("{auc:.5}"));
        progress.note(&format!("step {step}: test AUC {auc}, log-loss {:.5}", quality.logloss));
        let is_best = |auc: &f64| self.best.is_none_or(|best| *auc > best.auc);
        // Where nothing is saved before the end there is no best model to come back to.
        let saves = self.config.checkpoint.every != Every::Steps(0);
        if let Some(auc) = quality.auc.filter(is_best).filter(|_| saves) {
            self.best = Some(Best { step, auc });
            self.save_wanted = true;
        }
        Ok(())
    }

    pub(super) fn evaluate(
        &mut self,
        after_training: Option<Box<dyn RecordSource>>,
    ) -> Result<Evaluation> {
        // The last step may have been one to evaluate after.
        if let Some((step, evaluation)) = self.last_evaluation
            && step == self.totals.counters.step
        {
            return Ok(evaluation);
        }
        tracing::info!("evaluating");
        self.evaluate_on(after_training)
    }

    fn evaluate_on(&mut self, after_training: Option<Box<dyn RecordSource>>) -> Result<Evaluation> {
        let since = Instant::now();
        let test = self.data.test(EVAL_BATCH, after_training)?;
        let evaluation = evaluate(&mut self.learner, test, self.stop.flag())?;
        self.totals.evaluation += since.elapsed();
        let Some((evaluation, PassEnd { end, bad_rows })) = evaluation else {
            return Err(self.interrupted());
        };
        let quality = evaluation.quality;
        self.data.check_test_rows(end.n_rows)?;
        tell_bad_rows("test", end.n_rows, &bad_rows);
        self.bad_rows.test = by_name(&bad_rows);
        let Counters { step, rows, .. } = self.totals.counters;
        self.dir.log(&TestLine::new(step, rows, &quality))?;
        self.last_evaluation = Some((step, evaluation));
        Ok(evaluation)
    }
}

impl Totals {
    /// Time spent in the training loop.
    pub(super) fn trained_for(&self) -> Duration {
        self.training + self.training_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn pause(&mut self) {
        (self.training, self.training_since) = (self.trained_for(), None);
    }

    /// The next batch; `None` at the end of the epoch, and after a request to stop.
    fn wait_for(
        &mut self,
        batches: &mut Prefetch,
        stop: &Stop,
    ) -> Result<Option<Batch>, ReadError> {
        if stop.is_requested() {
            return Ok(None);
        }
        let since = Instant::now();
        let batch = batches.next_batch_until(stop.flag());
        self.waiting += since.elapsed();
        batch
    }

    fn add(&mut self, report: &StepReport, rows: usize) {
        let counters = &mut self.counters;
        counters.step += 1;
        counters.rows += rows as u64;
        counters.promoted += report.stats.promoted;
        counters.demoted += report.stats.demoted;
        counters.hot_rows = report.stats.hot_rows;
        self.epoch.add(report.loss_sum, rows);
    }
}
