//! The command line: arguments in, exit code out.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use criteo_io::ReadError;
use dlrm_model::ModelError;

use crate::bench::BenchArgs;
use crate::checkpoint::{LoadError, StoreError};
use crate::compare::CompareArgs;
use crate::config::{Config, ConfigError};
use crate::data::DataError;
use crate::memory::MemoryError;
use crate::not_finite::{NotFinite, NotFiniteArray};
use crate::page::ReportArgs;
use crate::resume::ResumeError;
use crate::run::{Interrupted, Resume};
use crate::run_dir::RunDirError;
use crate::scan::ScanArgs;
use crate::sketch::SketchArgs;
use crate::sweep::{SweepArgs, SweepStopped};
use crate::synth::SynthArgs;
use crate::trained::NoModel;
use crate::using::eval::EvalArgs;
use crate::using::export::ExportArgs;
use crate::using::inspect::InspectArgs;
use crate::using::predict::PredictArgs;

/// Trains recommendation models with compressed embeddings, from the raw click log to the test AUC.
#[derive(Debug, Parser)]
#[command(
    name = "trainer",
    version,
    subcommand_negates_reqs = true,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    experiment: Option<Experiment>,
    /// Where the run is written; by default runs/NAME, or the next free runs/NAME-2, ...
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Goes on with the run of --run-dir from its newest checkpoint; `--resume=auto` starts one
    /// where there is none
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_value = "no", default_missing_value = "yes")]
    resume: Resume,
}

/// A configuration and its overrides.
#[derive(Clone, Debug, clap::Args)]
pub struct Experiment {
    /// The experiment, a TOML file; see configs/
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Overrides a key, such as `--set embedding.method=hash`; may be repeated
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    overrides: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints sizes and bytes of everything that a configuration will hold; touches no data
    Plan(Experiment),
    /// Counts rows, positives, and the features of each field; prints the `[embedding] features` to
    /// paste
    Scan(ScanArgs),
    /// Writes generated rows in the format of a data set
    Synth(SynthArgs),
    /// Compares HotSketch's proven hold rate with an experiment on a Zipf stream, or measures many
    /// sizes
    Sketch(SketchArgs),
    /// Times training and prediction of a configuration on rows in memory; writes nothing
    Bench(BenchArgs),
    /// Evaluates a trained model, on the test rows of its run or on other files
    Eval(EvalArgs),
    /// Writes the probability of a click for each row of files
    Predict(PredictArgs),
    /// Writes a trained model as tables that other programs can read
    Export(ExportArgs),
    /// Says how large a trained model is and which features it holds to be important
    Inspect(InspectArgs),
    /// Runs what a file of methods, ratios and seeds asks for, as far as it is not there yet
    Sweep(SweepArgs),
    /// Puts finished runs side by side, as text
    Compare(CompareArgs),
    /// Draws runs as one page that needs no network
    Report(ReportArgs),
}

/// Exit codes, after `sysexits.h`; the README has the table.
mod exit {
    pub(super) const FAILURE: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const DATA: u8 = 65;
    pub(super) const NO_INPUT: u8 = 66;
    pub(super) const NOT_FINITE: u8 = 70;
    pub(super) const IO: u8 = 74;
    pub(super) const BUSY: u8 = 75;
    pub(super) const CONFIG: u8 = 78;
}

/// Runs the program; returns its exit code. What went wrong is printed once, to standard error.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    report_panics();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help that can't be shown has nobody to be reported to.
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE } else { 0 };
        }
    };
    start_log();
    match dispatch(cli) {
        Ok(()) => 0,
        Err(error) if is_closed_pipe(&error) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            exit_code(&error)
        }
    }
}

fn dispatch(cli: Cli) -> Result<()> {
    let output = match (cli.command, cli.experiment) {
        (Some(Command::Synth(args)), _) => return crate::synth::synth(&args),
        (Some(Command::Plan(experiment)), _) => {
            let plan = crate::plan::plan(&experiment.load()?)?;
            print(&plan.text)?;
            return plan.refusal.map_or(Ok(()), |refusal| Err(refusal.into()));
        }
        (Some(Command::Sweep(args)), _) => {
            let swept = crate::sweep::sweep(&args)?;
            print(&swept.text)?;
            return swept.failure.map_or(Ok(()), |failure| Err(failure.into()));
        }
        (Some(Command::Scan(args)), _) => crate::scan::scan(&args)?,
        (Some(Command::Sketch(args)), _) => crate::sketch::sketch(&args)?,
        (Some(Command::Bench(args)), _) => crate::bench::bench(&args)?,
        (Some(Command::Eval(args)), _) => crate::using::eval::eval(&args)?,
        (Some(Command::Predict(args)), _) => crate::using::predict::predict(&args)?,
        (Some(Command::Export(args)), _) => crate::using::export::export(&args)?,
        (Some(Command::Inspect(args)), _) => crate::using::inspect::inspect(&args)?,
        (Some(Command::Compare(args)), _) => crate::compare::compare(&args)?,
        (Some(Command::Report(args)), _) => crate::page::report(&args)?,
        (None, Some(experiment)) => {
            let (report, path) = crate::run::run(&experiment.load()?, cli.run_dir, cli.resume)?;
            format!("{}written      {}\n", report.table(), path.display())
        }
        (None, None) => unreachable!("clap asks for a configuration where there is no subcommand"),
    };
    print(&output)
}

fn print(output: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(output.as_bytes())?;
    Ok(out.flush()?)
}

impl Experiment {
    /// The checked configuration.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.config, &self.overrides)
    }

    /// The configuration with only its data checked.
    ///
    /// # Errors
    /// As [`Config::load_data`].
    pub fn load_data(&self) -> Result<Config, ConfigError> {
        Config::load_data(&self.config, &self.overrides)
    }
}

/// What can't happen, if it does: one line instead of a trace. The exit code of a panic is 101.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("no message").replace('\n', " ");
        let place = panic.location().map_or_else(String::new, |place| format!(" ({place})"));
        let trace = std::backtrace::Backtrace::capture();
        let trace = match trace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        // Where nobody reads there is nobody to tell.
        let _ = writeln!(
            io::stderr(),
            "internal error: {message}{place}; this is a mistake of the program: please report it, with what the \
             environment RUST_BACKTRACE=1 adds{trace}"
        );
    }));
}

/// Log lines on standard error; `RUST_LOG` chooses their level.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .without_time()
        .with_target(false);
    let log = log.with_ansi(io::stderr().is_terminal());
    // Otherwise a log line that nobody reads any more is complained about where nobody reads, which
    // is a panic.
    let log = log.log_internal_errors(false);
    // A second start, as in tests, keeps the first log.
    let _ = log.try_init();
}

/// Whoever read our output has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let broken = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(broken)
}

fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(stopped) = cause.downcast_ref::<Interrupted>() {
            return stopped.exit_code;
        }
        if let Some(stopped) = cause.downcast_ref::<SweepStopped>() {
            return stopped.exit_code;
        }
        if let Some(code) = run_dir_code(cause) {
            return code;
        }
        if let Some(read) = cause.downcast_ref::<ReadError>() {
            return if read.is_data_error() { exit::DATA } else { exit::NO_INPUT };
        }
        if let Some(model) = cause.downcast_ref::<ModelError>() {
            return match model {
                ModelError::NonFiniteLogit { .. } | ModelError::NonFiniteGradient { .. } => {
                    exit::NOT_FINITE
                }
                ModelError::Config(_)
                | ModelError::Device(_)
                | ModelError::Precision(_)
                | ModelError::Optimizer(_) => exit::CONFIG,
                _ => exit::FAILURE,
            };
        }
        if cause.is::<NotFinite>() || cause.is::<NotFiniteArray>() {
            return exit::NOT_FINITE;
        }
        if let Some(data) = cause.downcast_ref::<DataError>() {
            let is_config = matches!(data, DataError::ReadOnce { .. } | DataError::NoDays { .. });
            return if is_config { exit::CONFIG } else { exit::DATA };
        }
        if cause.is::<ConfigError>()
            || cause.is::<cafe_core::BudgetError>()
            || cause.is::<MemoryError>()
        {
            return exit::CONFIG;
        }
        if cause.is::<io::Error>() {
            return exit::IO;
        }
    }
    exit::FAILURE
}

/// Of what is wrong with a run's directory or its checkpoints.
fn run_dir_code(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(error) = cause.downcast_ref::<RunDirError>() {
        return Some(match error {
            RunDirError::Finished { .. }
            | RunDirError::Unfinished { .. }
            | RunDirError::NoCheckpoint { .. } => exit::FAILURE,
            RunDirError::Locked { .. } => exit::BUSY,
        });
    }
    if let Some(error) = cause.downcast_ref::<ResumeError>() {
        return Some(match error {
            ResumeError::Config { .. } | ResumeError::Model { .. } | ResumeError::Epochs { .. } => {
                exit::CONFIG
            }
            ResumeError::Inputs { .. } | ResumeError::Damaged { .. } => exit::DATA,
            ResumeError::Nothing { .. } => exit::NO_INPUT,
            ResumeError::NoDir => exit::USAGE,
        });
    }
    if cause.is::<LoadError>() {
        return Some(exit::DATA);
    }
    if cause.is::<NoModel>() {
        return Some(exit::NO_INPUT);
    }
    cause.is::<StoreError>().then_some(exit::IO)
}
