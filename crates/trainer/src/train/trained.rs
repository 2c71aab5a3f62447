//! A trained model, out of the directory of its run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cafe_core::methods::FeatureCounts;
use dlrm_model::{DeviceSpec, Model, ModelError, Precision, PrecisionError};

use crate::build::memory::check_memory;
use crate::checkpoint::{Checkpoint, Disk, Store};
use crate::config::{Config, models};
use crate::exit::{self, ExitCode};
use crate::train::resume::{self, ResumeError};
use crate::train::state::{Arrays, RunState};
use crate::train::step::Learner;
use crate::{build, run_dir};

/// Which checkpoint of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// The newest good one; of a finished run the end of training.
    #[default]
    Last,
    /// The one with the best test AUC, which is looked for with `train.eval_every`.
    Best,
    /// That of a step.
    Step(u64),
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "last" => Ok(Self::Last),
            "best" => Ok(Self::Best),
            _ => text
                .parse()
                .map(Self::Step)
                .map_err(|_| format!("expected last, best or a step, got {text:?}")),
        }
    }
}

/// Where the network of a trained model is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the device that trained it, with the same engine and precision.
    AsTrained,
    /// On this device, with the engine that is the default there.
    On(DeviceSpec),
    /// Any device that exists, for commands that do not compute with the model.
    Anywhere,
}

/// A model as it was at a step of its training.
pub struct Trained {
    /// What the run was configured as.
    pub config: Config,
    /// Embedding and network.
    pub learner: Learner,
    /// The rest of the checkpoint.
    pub state: RunState,
}

/// There is no model in a directory.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", dir.display())]
pub struct NoModel {
    /// The directory.
    pub dir: PathBuf,
    /// What is missing, and the way out.
    pub why: String,
}

impl ExitCode for NoModel {
    fn exit_code(&self) -> u8 {
        exit::NO_INPUT
    }
}

/// Reads the model of a run.
///
/// # Errors
/// If there is no such checkpoint, or it is damaged, or there is no memory for it.
pub fn open(run: &Path, which: Which, place: Place) -> Result<Trained> {
    let (checkpoint, state) = load(run, which)?;
    let config = config_of(&state, run)?;
    let plan = build::plan_embedding(&config)?;
    check_memory(&config, &plan, &models::model_config(&config)?)?;
    let arrays = Arrays::new(checkpoint.tensors);
    // What the method would count in the rows is in the checkpoint.
    let embedding = plan.sizes.build(&FeatureCounts::default());
    let mut learner = Learner::new(embedding, build_model(&config, place)?, config.threads)?;
    arrays.restore(&mut learner)?;
    Ok(Trained { config, learner, state })
}

fn build_model(config: &Config, place: Place) -> Result<Model> {
    let moved = match place {
        Place::AsTrained => config.clone(),
        Place::On(device) => config.moved_to(device),
        // In f32, which every CPU has.
        Place::Anywhere => {
            Config { precision: Precision::F32.to_string(), ..config.moved_to(DeviceSpec::Cpu) }
        }
    };
    if matches!(place, Place::On(_)) && moved.precision != config.precision {
        tracing::warn!(
            "trained with products in {}; {} computes them in {}",
            config.precision,
            moved.device,
            moved.precision
        );
    }
    let model = build_here(&moved);
    if place == Place::AsTrained && config.device != DeviceSpec::Cpu.to_string() {
        return model.with_context(|| {
            format!("it was trained on {}; give --device cpu to use it without", config.device)
        });
    }
    model
}

/// A CPU without bf16 has the same numbers by emulation: too slow to train with, but nothing else
/// uses such a model there.
fn build_here(config: &Config) -> Result<Model> {
    let built = build::build_model(config);
    let is_lacking = |error: &anyhow::Error| {
        let cause = error.downcast_ref();
        matches!(cause, Some(ModelError::Precision(PrecisionError::NoBf16)))
    };
    if !built.as_ref().is_err_and(is_lacking) {
        return built;
    }
    tracing::warn!(
        "trained with products in bf16, which this CPU does not have: they are emulated, slowly"
    );
    build::build_model(&Config { precision: Precision::Bf16Emulated.to_string(), ..config.clone() })
}

/// The arrays of a run's model, for a new run of `config` that starts from it.
///
/// # Errors
/// If there is no checkpoint, or it is damaged or of another model.
pub fn to_start_from(run: &Path, config: &Config) -> Result<Arrays> {
    let (checkpoint, state) = load(run, Which::Last).context("train.init")?;
    resume::check_model(&state, config, run)?;
    tracing::info!("starting from the model of {} after step {}", run.display(), checkpoint.step);
    Ok(Arrays::new(checkpoint.tensors))
}

/// The checkpoint, and its state beside the arrays.
fn load(run: &Path, which: Which) -> Result<(Checkpoint, RunState)> {
    let no_model = |why: String| NoModel { dir: run.to_owned(), why };
    let checkpoints = run_dir::checkpoints(run);
    if !checkpoints.is_dir() {
        return Err(no_model("holds no checkpoints; give the directory of a run".to_owned()).into());
    }
    // The run may still be training.
    let store = Store::view(Disk, &checkpoints);
    let newest = || -> Result<_> {
        let loaded = store.load_newest()?;
        for (step, error) in &loaded.passed_over {
            tracing::warn!("the checkpoint of step {step} is passed over: {error}");
        }
        let none = || no_model("holds no checkpoint yet".to_owned());
        Ok(loaded.checkpoint.ok_or_else(none)?)
    };
    let load = |step: u64| -> Result<_> {
        let steps = store.steps()?;
        if !steps.contains(&step) {
            return Err(
                no_model(format!("holds no checkpoint of step {step}, but of {steps:?}")).into()
            );
        }
        Ok(store.load(step)?)
    };
    let checkpoint = match which {
        Which::Last => newest()?,
        Which::Step(step) => load(step)?,
        Which::Best => {
            let last = newest()?;
            match best_before(run, &run_state(&last.state)?) {
                Some(step) if step != last.step => load(step)?,
                _ => last,
            }
        }
    };
    let state = run_state(&checkpoint.state)?;
    Ok((checkpoint, state))
}

/// What the run was configured as, checked like any configuration: a checkpoint may come from
/// anywhere. What it was allowed of another machine does not count here.
fn config_of(state: &RunState, run: &Path) -> Result<Config, ResumeError> {
    let config = Config::parse_saved(&state.config, run);
    let mut config = config.map_err(|error| ResumeError::Damaged { message: error.to_string() })?;
    config.max_memory = None;
    config.threads =
        config.threads.min(std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    Ok(config)
}

fn run_state(state: &serde_json::Value) -> Result<RunState> {
    serde_json::from_value(state.clone()).context("the checkpoint's state can't be read")
}

/// The step of the best model before the last, if it is better than the last is by the run's
/// report.
fn best_before(run: &Path, last: &RunState) -> Option<u64> {
    let best = last.best?;
    let report = std::fs::read_to_string(run.join("report.json")).ok();
    let report: Option<serde_json::Value> =
        report.and_then(|text| serde_json::from_str(&text).ok());
    let at_end = report.and_then(|report| report["test_auc"].as_f64());
    at_end.is_none_or(|auc| best.auc > auc).then_some(best.step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(lines: &str) -> Config {
        let text = format!(
            "{lines}[data]\nsynthetic = {{ rows = 700 }}\n[embedding]\ncompression = 100\n"
        );
        Config::parse(&text, Path::new("a.toml"), &[]).expect("a configuration")
    }

    /// Whatever this CPU has.
    #[test]
    fn a_model_trained_in_bf16_can_be_used_anywhere() {
        for (place, expected) in [
            (Place::AsTrained, [Precision::Bf16, Precision::Bf16Emulated]),
            (Place::On(DeviceSpec::Cpu), [Precision::Bf16, Precision::Bf16Emulated]),
            (Place::Anywhere, [Precision::F32, Precision::F32]),
        ] {
            let model = build_model(&config("precision = \"bf16\"\n"), place).expect("a model");
            assert!(expected.contains(&model.precision()), "{place:?}: {}", model.precision());
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_model_trained_on_a_gpu_says_how_to_do_without() {
        let config = config("device = \"cuda:0\"\n");
        let error =
            format!("{:#}", build_model(&config, Place::AsTrained).expect_err("no CUDA here"));
        assert!(
            error.starts_with("it was trained on cuda:0; give --device cpu to use it without: "),
            "{error}"
        );
        for place in [Place::Anywhere, Place::On(DeviceSpec::Cpu)] {
            assert!(build_model(&config, place).is_ok(), "{place:?}");
        }
    }
}
