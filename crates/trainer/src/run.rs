//! One experiment from its configuration to its report.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use criteo_io::{Batch, Prefetch, ReadError, RecordSource};

use crate::config::Config;
use crate::data::DataSet;
use crate::eval::{Evaluation, evaluate};
use crate::metrics::Predictions;
use crate::online::{Online, Standing, TestLine};
use crate::plan::check_memory;
use crate::progress::Progress;
use crate::report::{PhaseSeconds, Report, peak_rss_bytes};
use crate::run_dir::RunDir;
use crate::setup::{self, EmbeddingPlan};
use crate::step::{Learner, Rates, StepReport};

/// Rows a batch in evaluation, whatever the batch of training.
pub const EVAL_BATCH: usize = 2048;

/// Trains and evaluates as `config` says; leaves everything in the run's directory.
///
/// # Errors
/// Whatever stopped the run, with its place.
pub fn run(config: &Config, run_dir: Option<PathBuf>) -> Result<(Report, PathBuf)> {
    let started = Instant::now();
    RunDir::check(run_dir.as_deref())?;
    let plan = setup::plan_embedding(config)?;
    check_memory(config, &plan, &setup::model_config(config)?)?;
    let model = setup::build_model(config)?;
    let data = DataSet::open(config)?;
    let embedding = setup::build_embedding(&plan, config, &data)?;
    let dir = RunDir::create(run_dir, config)?;
    tracing::info!("writing to {}", dir.path().display());
    let learner = Learner::new(embedding, model, config.threads)?;
    let (totals, online) = (Totals::default(), Online::default());
    let mut run = Run { config, data, learner, dir, totals, online, last_evaluation: None };
    let after_training = run.train()?;
    let evaluation = run.evaluate(after_training)?;
    let report = run.report(&plan, evaluation, started);
    let path = run.dir.path().to_owned();
    run.dir.finish(&report)?;
    Ok((report, path))
}

struct Run<'a> {
    config: &'a Config,
    data: DataSet,
    learner: Learner,
    dir: RunDir,
    totals: Totals,
    online: Online,
    /// The step after which it was, and what it found.
    last_evaluation: Option<(u64, Evaluation)>,
}

/// What adds up over a run.
#[derive(Default)]
struct Totals {
    standing: Standing,
    epoch: Window,
    training: Duration,
    /// The part of `training` in which no batch was ready.
    waiting: Duration,
    evaluation: Duration,
}

/// A mean loss in the making.
#[derive(Clone, Copy, Default)]
struct Window {
    loss_sum: f64,
    rows: u64,
}

impl Window {
    fn add(&mut self, loss_sum: f64, rows: usize) {
        self.loss_sum += loss_sum;
        self.rows += rows as u64;
    }

    fn mean(self) -> f64 {
        self.loss_sum / self.rows as f64
    }
}

impl Run<'_> {
    /// All epochs. Returns the stream of the last, standing after its training rows.
    fn train(&mut self) -> Result<Box<dyn RecordSource>> {
        let epochs = self.config.train.epochs;
        let mut progress = Progress::new(self.data.n_train().map(|n| n * u64::from(epochs)));
        let mut after_training = None;
        for _ in 0..epochs {
            self.totals.epoch = Window::default();
            after_training = Some(self.train_epoch(&mut progress)?);
        }
        self.log_training(&mut progress)?;
        progress.finish();
        after_training.context("train.epochs is at least 1")
    }

    fn train_epoch(&mut self, progress: &mut Progress) -> Result<Box<dyn RecordSource>> {
        let mut since = Instant::now();
        let mut batches = self.data.train(self.config.train.batch)?;
        while let Some(batch) = self.totals.wait_for(&mut batches)? {
            let step = self.totals.standing.step + 1;
            let first_row = self.totals.standing.rows + 1;
            let report = self.learner.train(&batch, Rates::at(&self.config.train, step)).with_context(|| {
                format!("step {step}, training rows from {first_row}: the last good state is lost with this run; a lower train.lr usually helps")
            })?;
            self.take_note(&batch, &report)?;
            progress.step(batch.len(), report.loss_sum / batch.len() as f64, report.stats.hot_rows);
            batches.recycle(batch);
            if step.is_multiple_of(self.config.train.log_every) {
                self.log_training(progress)?;
            }
            // No step is a multiple of 0.
            if step.is_multiple_of(self.config.train.eval_every) {
                self.totals.training += since.elapsed();
                let paused = Instant::now();
                self.evaluate_between(progress)?;
                progress.exclude(paused.elapsed());
                since = Instant::now();
            }
        }
        self.totals.training += since.elapsed();
        if let Some(day) = self.online.end_day() {
            self.dir.log(&day)?;
        }
        self.data.check_train_rows(self.totals.epoch.rows)?;
        Ok(batches.finish()?)
    }

    /// Adds up what a step did, and logs the days that ended.
    fn take_note(&mut self, batch: &Batch, report: &StepReport) -> Result<()> {
        let Self { learner, dir, totals, online, .. } = self;
        totals.add(report, batch.len());
        let predictions = Predictions::with_loss_sum(learner.logits(), &batch.labels, report.loss_sum);
        let ended = online.add(predictions, &batch.days, totals.standing);
        ended.iter().try_for_each(|day| dir.log(day))
    }

    fn log_training(&mut self, progress: &mut Progress) -> Result<()> {
        let Some(line) = self.online.end_window(self.totals.standing) else { return Ok(()) };
        self.dir.log(&line)?;
        self.dir.log_speed(self.totals.standing.step, progress.end_window(line.auc()))
    }

    fn evaluate_between(&mut self, progress: &Progress) -> Result<()> {
        let Evaluation { quality, .. } = self.evaluate_on(None)?;
        let auc = quality.auc.map_or_else(|| "none".to_owned(), |auc| format!("{auc:.5}"));
        let note = format!("step {}: test AUC {auc}, log-loss {:.5}", self.totals.standing.step, quality.logloss);
        progress.note(&note);
        Ok(())
    }

    fn evaluate(&mut self, after_training: Box<dyn RecordSource>) -> Result<Evaluation> {
        // The last step may have been one to evaluate after.
        if let Some((step, evaluation)) = self.last_evaluation
            && step == self.totals.standing.step
        {
            return Ok(evaluation);
        }
        tracing::info!("evaluating");
        self.evaluate_on(Some(after_training))
    }

    fn evaluate_on(&mut self, after_training: Option<Box<dyn RecordSource>>) -> Result<Evaluation> {
        let since = Instant::now();
        let test = self.data.test(EVAL_BATCH, after_training)?;
        let evaluation = evaluate(&mut self.learner, test)?;
        self.totals.evaluation += since.elapsed();
        let quality = evaluation.quality;
        self.data.check_test_rows(quality.rows)?;
        let Standing { step, rows, .. } = self.totals.standing;
        self.dir.log(&TestLine::new(step, rows, &quality))?;
        self.last_evaluation = Some((step, evaluation));
        Ok(evaluation)
    }

    fn report(&self, plan: &EmbeddingPlan, evaluation: Evaluation, started: Instant) -> Report {
        let Self { config, learner, totals, .. } = self;
        let (memory, quality) = (learner.embedding.memory(), evaluation.quality);
        let Standing { rows, hot_rows, promoted, demoted, .. } = totals.standing;
        let is_generated = config.data.synthetic.is_some();
        Report {
            name: config.name.clone(),
            method: config.embedding.method.name().to_owned(),
            model: config.model.kind.name().to_owned(),
            seed: config.seed,
            device: config.device.clone(),
            engine: config.engine.clone(),
            precision: config.precision.clone(),
            kernel: learner.model.kernel().to_string(),
            data: if is_generated { "generated".to_owned() } else { config.data.format.clone() },
            train_rows: rows,
            test_rows: quality.rows,
            test_positives: quality.positives,
            test_auc: quality.auc,
            test_logloss: quality.logloss,
            test_normalised_entropy: quality.normalised_entropy,
            test_calibration: quality.calibration,
            train_logloss: totals.epoch.mean(),
            best_possible_auc: evaluation.best_possible_auc,
            embedding_bytes: memory.embedding_bytes(),
            sketch_bytes: memory.sketch_bytes,
            budget_bytes: plan.budget_bytes,
            full_bytes: plan.full_bytes,
            compression_ratio: plan.full_bytes as f64 / memory.embedding_bytes() as f64,
            embedding_total_bytes: memory.total_bytes(),
            dense_parameters: learner.model.n_parameters() as u64,
            hot_rows,
            promoted,
            demoted,
            threads: config.threads,
            samples_per_second: rows as f64 / totals.training.as_secs_f64(),
            phase_seconds: PhaseSeconds::new(totals.waiting, learner.phases()),
            wall_seconds: started.elapsed().as_secs_f64(),
            evaluation_seconds: totals.evaluation.as_secs_f64(),
            peak_rss_bytes: peak_rss_bytes(),
        }
    }
}

impl Totals {
    fn wait_for(&mut self, batches: &mut Prefetch) -> Result<Option<Batch>, ReadError> {
        let since = Instant::now();
        let batch = batches.next_batch();
        self.waiting += since.elapsed();
        batch
    }

    fn add(&mut self, report: &StepReport, rows: usize) {
        let standing = &mut self.standing;
        standing.step += 1;
        standing.rows += rows as u64;
        standing.promoted += report.stats.promoted;
        standing.demoted += report.stats.demoted;
        standing.hot_rows = report.stats.hot_rows;
        self.epoch.add(report.loss_sum, rows);
    }
}
