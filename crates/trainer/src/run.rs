//! One experiment from its configuration to its report.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use criteo_io::{Batch, Prefetch, ReadError, RecordSource};
use serde::Serialize;

use crate::config::Config;
use crate::data::DataSet;
use crate::eval::{Evaluation, evaluate};
use crate::progress::Progress;
use crate::report::{PhaseSeconds, Report, peak_rss_bytes};
use crate::run_dir::RunDir;
use crate::setup::{self, EmbeddingPlan};
use crate::step::Learner;

/// Rows a batch in evaluation, whatever the batch of training.
pub const EVAL_BATCH: usize = 2048;

/// Trains and evaluates as `config` says; leaves everything in the run's directory.
///
/// # Errors
/// Whatever stopped the run, with its place.
pub fn run(config: &Config, run_dir: Option<PathBuf>) -> Result<(Report, PathBuf)> {
    let started = Instant::now();
    let plan = setup::plan_embedding(config)?;
    let model = setup::build_model(config)?;
    let data = DataSet::open(config)?;
    let embedding = setup::build_embedding(&plan, config);
    let dir = RunDir::create(run_dir, config)?;
    tracing::info!("writing to {}", dir.path().display());
    let learner = Learner::new(embedding, model, config.train.lr, config.threads)?;
    let mut run = Run { config, data, learner, dir, totals: Totals::default(), last_evaluation: None };
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
    /// The step after which it was, and what it found.
    last_evaluation: Option<(u64, Evaluation)>,
}

/// What adds up over a run.
#[derive(Default)]
struct Totals {
    step: u64,
    rows: u64,
    promoted: u64,
    demoted: u64,
    hot_rows: u64,
    epoch: Window,
    since_log: Window,
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

/// A line of `metrics.jsonl`. No times: equal runs write equal files.
#[derive(Serialize)]
struct TrainLine {
    step: u64,
    rows: u64,
    train_logloss: f64,
    hot_rows: u64,
    promoted: u64,
    demoted: u64,
}

/// The other kind of line.
#[derive(Serialize)]
struct TestLine {
    step: u64,
    rows: u64,
    test_auc: Option<f64>,
    test_logloss: f64,
    test_normalised_entropy: Option<f64>,
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
        progress.finish();
        if self.totals.since_log.rows > 0 {
            self.log_training()?;
        }
        after_training.context("train.epochs is at least 1")
    }

    fn train_epoch(&mut self, progress: &mut Progress) -> Result<Box<dyn RecordSource>> {
        let mut since = Instant::now();
        let mut batches = self.data.train(self.config.train.batch)?;
        while let Some(batch) = self.totals.wait_for(&mut batches)? {
            let step = self.totals.step + 1;
            let first_row = self.totals.rows + 1;
            let report = self.learner.train(&batch).with_context(|| {
                format!("step {step}, training rows from {first_row}: the last good state is lost with this run; a lower train.lr usually helps")
            })?;
            self.totals.add(&report, batch.len());
            progress.step(batch.len(), report.loss_sum / batch.len() as f64, report.stats.hot_rows);
            batches.recycle(batch);
            if step.is_multiple_of(self.config.train.log_every) {
                self.log_training()?;
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
        self.data.check_train_rows(self.totals.epoch.rows)?;
        Ok(batches.finish()?)
    }

    fn log_training(&mut self) -> Result<()> {
        let Totals { step, rows, promoted, demoted, hot_rows, since_log, .. } = self.totals;
        self.totals.since_log = Window::default();
        self.dir.log(&TrainLine { step, rows, train_logloss: since_log.mean(), hot_rows, promoted, demoted })
    }

    fn evaluate_between(&mut self, progress: &Progress) -> Result<()> {
        let Evaluation { quality, .. } = self.evaluate_on(None)?;
        let auc = quality.auc.map_or_else(|| "none".to_owned(), |auc| format!("{auc:.5}"));
        let note = format!("step {}: test AUC {auc}, log-loss {:.5}", self.totals.step, quality.logloss);
        progress.note(&note);
        Ok(())
    }

    fn evaluate(&mut self, after_training: Box<dyn RecordSource>) -> Result<Evaluation> {
        // The last step may have been one to evaluate after.
        if let Some((step, evaluation)) = self.last_evaluation
            && step == self.totals.step
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
        self.dir.log(&TestLine {
            step: self.totals.step,
            rows: self.totals.rows,
            test_auc: quality.auc,
            test_logloss: quality.logloss,
            test_normalised_entropy: quality.normalised_entropy,
        })?;
        self.last_evaluation = Some((self.totals.step, evaluation));
        Ok(evaluation)
    }

    fn report(&self, plan: &EmbeddingPlan, evaluation: Evaluation, started: Instant) -> Report {
        let Self { config, learner, totals, .. } = self;
        let (memory, quality) = (learner.embedding.memory(), evaluation.quality);
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
            train_rows: totals.rows,
            test_rows: quality.rows,
            test_positives: quality.positives,
            test_auc: quality.auc,
            test_logloss: quality.logloss,
            test_normalised_entropy: quality.normalised_entropy,
            train_logloss: totals.epoch.mean(),
            best_possible_auc: evaluation.best_possible_auc,
            embedding_bytes: memory.embedding_bytes(),
            sketch_bytes: memory.sketch_bytes,
            budget_bytes: plan.budget_bytes,
            full_bytes: plan.full_bytes,
            compression_ratio: plan.full_bytes as f64 / memory.embedding_bytes() as f64,
            embedding_total_bytes: memory.total_bytes(),
            dense_parameters: learner.model.n_parameters() as u64,
            hot_rows: totals.hot_rows,
            promoted: totals.promoted,
            demoted: totals.demoted,
            threads: config.threads,
            samples_per_second: totals.rows as f64 / totals.training.as_secs_f64(),
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

    fn add(&mut self, report: &crate::step::StepReport, rows: usize) {
        self.step += 1;
        self.rows += rows as u64;
        self.promoted += report.stats.promoted;
        self.demoted += report.stats.demoted;
        self.hot_rows = report.stats.hot_rows;
        self.epoch.add(report.loss_sum, rows);
        self.since_log.add(report.loss_sum, rows);
    }
}
