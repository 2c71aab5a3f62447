//! One experiment from its configuration to its report, in one process or several.

mod saving;
mod training;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use criteo_io::{BadRowCounts, FileStamp, StreamPosition};
use dlrm_model::TrainableModel;

use crate::build::memory::check_memory;
use crate::build::{self, EmbeddingPlan};
use crate::checkpoint::{Checkpoint, Disk, Store};
use crate::config::{Config, Named, Paths, cafe, dialect, models};
use crate::data::{self, DataSet, names};
use crate::exit::ExitCode;
use crate::memory::peak_rss_bytes;
use crate::metrics::line::Counters;
use crate::metrics::online::Online;
use crate::results::report::{BadRowsOfPasses, Report, TierReport, TrainingReport};
use crate::results::warnings;
use crate::run_dir::saver::Saver;
use crate::run_dir::{self, RunDir, RunDirError, RunLock};
use crate::stop::Stop;
use crate::text::bytes;
use crate::train::eval::Evaluation;
use crate::train::resume::{self, ResumeError};
use crate::train::state::{Arrays, Best, RunState, Seconds};
use crate::train::step::Learner;
use crate::train::trained;

/// Whether a run is resumed where another process stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Resume {
    /// A new run; a directory that holds one is refused.
    #[default]
    No,
    /// Resumes the run of the directory.
    Yes,
    /// Resumes it if there is one, else starts a new one.
    Auto,
}

/// The run was interrupted.
#[derive(Debug, thiserror::Error)]
#[error("stopped by a signal after step {step}; {}", way_on(*saved, dir))]
pub struct Interrupted {
    /// The step after which it was.
    pub step: u64,
    /// The step of the newest checkpoint.
    pub saved: Option<u64>,
    /// The run's directory.
    pub dir: PathBuf,
    /// What the process is to exit with.
    pub exit_code: u8,
}

impl ExitCode for Interrupted {
    fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

fn way_on(saved: Option<u64>, dir: &Path) -> String {
    match saved {
        Some(step) => {
            format!(
                "saved at step {step}, the same command with `--run-dir {} --resume` resumes",
                dir.display()
            )
        }
        None => "nothing was trained that could be saved".to_owned(),
    }
}

/// Trains and evaluates `config`; writes everything to the run's directory.
///
/// # Errors
/// Whatever stopped the run, with its place; [`Interrupted`] if it was a signal.
pub fn run(config: &Config, run_dir: Option<PathBuf>, resume: Resume) -> Result<(Report, PathBuf)> {
    let started = Instant::now();
    let origin = match claim(config, run_dir, resume)? {
        Origin::Finished(report, path) => return Ok((*report, path)),
        origin => origin,
    };
    let plan = build::plan_embedding(config)?;
    let peak = check_memory(config, &plan, &models::model_config(config)?)?;
    tracing::info!("memory: about {} at the peak", bytes(peak));
    tracing::info!("training: {}", TrainingReport::new(config).line());
    let mut run = Run::open(config, &plan, origin, started)?;
    let after_training = run.train()?;
    let evaluation = run.evaluate(after_training)?;
    let report = run.report(&plan, evaluation)?;
    run.dir.finish(&report)?;
    if !config.checkpoint.keep_at_end {
        run.dir.remove_checkpoints()?;
    }
    Ok((report, run.dir.path().to_owned()))
}

/// Where a run starts from.
enum Origin {
    /// Nothing. The directory, if it was named.
    New(Option<PathBuf>),
    /// A directory in which a process began without coming to its first checkpoint.
    Begun(RunLock),
    /// A checkpoint.
    Saved(RunLock, Box<Checkpoint>),
    /// The end: there is nothing left to do.
    Finished(Box<Report>, PathBuf),
}

/// Finds out what is there, and locks it if it is resumed.
fn claim(config: &Config, run_dir: Option<PathBuf>, resume: Resume) -> Result<Origin> {
    let path = match (resume, run_dir) {
        (Resume::No, run_dir) => {
            RunDir::check(run_dir.as_deref())?;
            return Ok(Origin::New(run_dir));
        }
        (Resume::Yes, None) => return Err(ResumeError::NoDir.into()),
        (Resume::Auto, None) => Path::new("runs").join(&config.name),
        (_, Some(path)) => path,
    };
    if !path.join("config.toml").exists() {
        return match resume {
            Resume::Yes => Err(ResumeError::Nothing { dir: path }.into()),
            _ => Ok(Origin::New(Some(path))),
        };
    }
    let claim = RunLock::take(&path)?;
    let store = Store::open(Disk, &run_dir::checkpoints(&path))?;
    let loaded = store.load_newest()?;
    for (step, error) in &loaded.passed_over {
        tracing::warn!("the checkpoint of step {step} is passed over: {error}");
    }
    let Some(checkpoint) = loaded.checkpoint else {
        return match claim.report()? {
            None => Ok(Origin::Begun(claim)),
            // Checkpoints take room, and may have been removed; the report stays what it is.
            Some(report) => {
                if !resume::is_same(&claim.config()?, config)? {
                    return Err(RunDirError::NoCheckpoint { path }.into());
                }
                tracing::info!("the run is finished");
                Ok(Origin::Finished(Box::new(report), path))
            }
        };
    };
    let state = run_state(&checkpoint)?;
    let differences = resume::check_config(&state, config)?;
    for difference in &differences {
        tracing::info!("resuming with another {difference}");
    }
    match claim.report()? {
        Some(report) if state.epochs_done >= config.train.epochs => {
            check_finished(&state, config, &differences)?;
            tracing::info!("the run is finished; more train.epochs would resume it from its end");
            Ok(Origin::Finished(Box::new(report), path))
        }
        _ => Ok(Origin::Saved(claim, Box::new(checkpoint))),
    }
}

/// That the report of a finished run is of the files that are asked for. Those that it was started
/// with may be gone since.
fn check_finished(
    state: &RunState,
    config: &Config,
    differences: &[resume::Difference],
) -> Result<()> {
    let paths: Vec<PathBuf> =
        config.data.path.iter().chain(&config.data.test_path).flat_map(Paths::to_vec).collect();
    let are_others =
        differences.iter().any(|it| ["data.path", "data.test_path"].contains(&it.key.as_str()));
    if are_others || paths.iter().all(|path| path.exists()) {
        resume::check_inputs(&state.inputs, &data::stamps(paths.iter().map(PathBuf::as_path))?)?;
    }
    Ok(())
}

fn run_state(checkpoint: &Checkpoint) -> Result<RunState, ResumeError> {
    serde_json::from_value(checkpoint.state.clone())
        .map_err(|error| ResumeError::Damaged { message: error.to_string() })
}

struct Run<'a> {
    config: &'a Config,
    data: DataSet,
    learner: Learner,
    dir: RunDir,
    saver: Saver,
    stop: &'static Stop,
    totals: Totals,
    online: Online,
    inputs: Vec<FileStamp>,
    epochs_done: u32,
    /// In the current epoch.
    position: StreamPosition,
    /// The step after which it was, and what it found.
    last_evaluation: Option<(u64, Evaluation)>,
    best: Option<Best>,
    /// Malformed rows that the last passes left out.
    bad_rows: BadRowsOfPasses,
    /// The model is the best so far, or it was time to save it when that could not be done.
    save_wanted: bool,
    /// When the last checkpoint was, and the epochs that had ended by then.
    checkpointed: Instant,
    checkpointed_epochs: u32,
    started: Instant,
    /// What earlier processes spent.
    before: Seconds,
}

/// What adds up over a run.
#[derive(Default)]
struct Totals {
    counters: Counters,
    epoch: Window,
    training: Duration,
    /// Since when it runs, if it does: a checkpoint is written in the middle of it.
    training_since: Option<Instant>,
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

/// What a run starts from: its directory, and what a checkpoint holds.
struct Start {
    claim: Option<RunLock>,
    path: Option<PathBuf>,
    /// The state of the run that is resumed.
    state: Option<RunState>,
    /// The arrays of that state, or of the model that `train.init` names.
    arrays: Option<Arrays>,
}

impl Start {
    fn new(origin: Origin, config: &Config, inputs: &[FileStamp]) -> Result<Self> {
        let (claim, path) = match origin {
            Origin::New(path) => (None, path),
            Origin::Begun(claim) => (Some(claim), None),
            Origin::Saved(claim, checkpoint) => {
                let state = run_state(&checkpoint)?;
                resume::check_inputs(&state.inputs, inputs)?;
                let arrays = Some(Arrays::new(checkpoint.tensors));
                return Ok(Self { claim: Some(claim), path: None, state: Some(state), arrays });
            }
            Origin::Finished(..) => unreachable!("a finished run is not opened"),
        };
        let init = config.train.init.as_ref();
        let arrays = init.map(|run| trained::to_start_from(run, config)).transpose()?;
        Ok(Self { claim, path, state: None, arrays })
    }

    /// Moves the arrays into `learner`; returns the metrics of the current window and day.
    fn restore(&mut self, learner: &mut Learner) -> Result<Online> {
        let Some(mut arrays) = self.arrays.take() else { return Ok(Online::default()) };
        let online = match &self.state {
            Some(state) => arrays.online(state)?,
            None => Online::default(),
        };
        arrays.restore(learner)?;
        Ok(online)
    }
}

impl<'a> Run<'a> {
    /// Builds the learner and restores it to the state of `origin`.
    fn open(
        config: &'a Config,
        plan: &EmbeddingPlan,
        origin: Origin,
        started: Instant,
    ) -> Result<Self> {
        let model = build::build_model(config)?;
        let data = DataSet::open(config)?;
        let inputs = data.stamps()?;
        let mut start = Start::new(origin, config, &inputs)?;
        let embedding = match &start.arrays {
            // What a pass over the rows would find is in the checkpoint.
            Some(_) => plan.sizes.build(&cafe_core::methods::FeatureCounts::default()),
            None => build::build_embedding(plan, config, &data)?,
        };
        let mut learner = Learner::new(embedding, model, config.threads)?;
        let online = start.restore(&mut learner)?;
        let Start { claim, path, state, .. } = start;
        let dir = match claim {
            None => RunDir::create(path, config)?,
            Some(claim) => {
                let lengths =
                    state.as_ref().map_or_else(run_dir::LogLengths::default, |state| state.logs);
                RunDir::open(claim, config, lengths)?
            }
        };
        tracing::info!("writing to {}", dir.path().display());
        let store = Store::open(Disk, &run_dir::checkpoints(dir.path()))?;
        let step = state.as_ref().map(|state| state.counters.step);
        let mut run = Run {
            config,
            data,
            learner,
            saver: Saver::new(store, config.checkpoint.keep, step)?,
            dir,
            stop: Stop::on_signals()?,
            totals: Totals::default(),
            online,
            inputs,
            epochs_done: 0,
            position: StreamPosition::default(),
            last_evaluation: None,
            best: None,
            bad_rows: BadRowsOfPasses::default(),
            save_wanted: false,
            checkpointed: Instant::now(),
            checkpointed_epochs: 0,
            started,
            before: Seconds::default(),
        };
        if let Some(state) = state {
            run.take_up(&state);
        }
        Ok(run)
    }

    /// Continues the counts of `state`.
    fn take_up(&mut self, state: &RunState) {
        let Counters { step, rows, .. } = state.counters;
        tracing::info!("resuming after step {step}, row {rows}");
        self.totals.counters = state.counters;
        self.totals.epoch = Window { loss_sum: state.epoch_loss.0, rows: state.epoch_loss.1 };
        (self.epochs_done, self.checkpointed_epochs) = (state.epochs_done, state.epochs_done);
        self.position = state.position();
        self.last_evaluation = state.last_evaluation;
        self.best = state.best;
        self.bad_rows = state.bad_rows.clone();
        self.before = state.seconds;
    }

    fn report(&self, plan: &EmbeddingPlan, evaluation: Evaluation) -> Result<Report> {
        let Self { config, learner, totals, .. } = self;
        let seconds = self.seconds();
        let (memory, quality) = (learner.embedding.memory(), evaluation.quality);
        let Counters { rows, hot_rows, promoted, demoted, .. } = totals.counters;
        let warnings =
            warnings::not_learned(&quality, config, rows / u64::from(self.epochs_done.max(1)));
        for warning in &warnings {
            tracing::warn!("{}: {}", warning.code, warning.message);
        }
        let field_names = names::fields(&dialect::dialect(config)?);
        let is_generated = config.data.synthetic.is_some();
        Ok(Report {
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
            warnings,
            training: Some(TrainingReport::new(config)),
            train_logloss: totals.epoch.mean(),
            bad_rows: self.bad_rows.clone(),
            best_possible_auc: evaluation.best_possible_auc,
            row_precision: Some(plan.format.precision),
            cafe: cafe::cafe_in_full(config),
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
            tiers: learner.embedding.tiers().map(|summary| TierReport::new(summary, field_names)),
            threads: config.threads,
            samples_per_second: rows as f64 / seconds.training,
            phase_seconds: seconds.phases,
            wall_seconds: seconds.wall,
            evaluation_seconds: seconds.evaluation,
            peak_rss_bytes: peak_rss_bytes(),
        })
    }
}

/// The reasons that occurred.
fn by_name(bad_rows: &BadRowCounts) -> BTreeMap<String, u64> {
    bad_rows.iter().map(|(reason, n)| (reason.name().to_owned(), n)).collect()
}
