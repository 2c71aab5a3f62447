//! The command line: arguments in, exit code out.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Result;
use cafe_core::BudgetError;
use clap::{Parser, Subcommand};
use criteo_io::ReadError;
use dlrm_model::ModelError;

use crate::checkpoint::{LoadError, StoreError};
use crate::commands::bench::BenchArgs;
use crate::commands::eval::EvalArgs;
use crate::commands::experiment::Experiment;
use crate::commands::export::ExportArgs;
use crate::commands::inspect::InspectArgs;
use crate::commands::plan::plan;
use crate::commands::predict::PredictArgs;
use crate::commands::scan::ScanArgs;
use crate::commands::sketch::SketchArgs;
use crate::commands::synth::SynthArgs;
use crate::commands::{bench, eval, export, inspect, predict, scan, sketch, synth};
use crate::config::ConfigError;
use crate::data::DataError;
use crate::exit::{self, ExitCode};
use crate::memory::MemoryError;
use crate::report::compare::{self, CompareArgs};
use crate::report::page::{self, ReportArgs};
use crate::results::outcome::{Ending, Outcome};
use crate::run_dir::RunDirError;
use crate::sweep::{SweepArgs, SweepStopped, Swept, sweep};
use crate::train::diverged::NotFinite;
use crate::train::resume::ResumeError;
use crate::train::run::{Interrupted, Resume, run};
use crate::train::step::NotFiniteArray;
use crate::train::trained::NoModel;

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
    /// Resumes the run of --run-dir from its newest checkpoint; `--resume=auto` starts one where
    /// there is none
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_value = "no", default_missing_value = "yes")]
    resume: Resume,
    /// Writes how the run ended to a file, for the sweep that started it
    #[arg(long, value_name = "FILE", hide = true)]
    outcome: Option<PathBuf>,
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

/// Where the record of how the process ended is written, if a sweep asks for one.
static OUTCOME: OnceLock<PathBuf> = OnceLock::new();

/// Runs the program; returns its exit code. What went wrong is printed once, to standard error.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    report_panics();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Where help can't be printed, there is no way to report that either.
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE } else { 0 };
        }
    };
    start_log();
    if let Some(path) = &cli.outcome {
        let _ = OUTCOME.set(path.clone());
    }
    let (ending, exit_code, message) = match dispatch(cli) {
        Ok(()) => (Ending::Finished, 0, String::new()),
        Err(error) if is_closed_pipe(&error) => (Ending::Finished, 0, String::new()),
        Err(error) => {
            let message = format!("{error:#}");
            let _ = writeln!(io::stderr(), "error: {message}");
            (ending(&error), exit_code(&error), message)
        }
    };
    record_outcome(&Outcome { ending, exit_code, message });
    exit_code
}

/// Writes the record that a sweep asked for. Without it the sweep falls back on the exit status.
fn record_outcome(outcome: &Outcome) {
    if let Some(path) = OUTCOME.get()
        && let Err(error) = outcome.write(path)
    {
        tracing::warn!("{error:#}");
    }
}

fn dispatch(cli: Cli) -> Result<()> {
    let output = match (cli.command, cli.experiment) {
        (Some(Command::Synth(args)), _) => return synth::synth(&args),
        (Some(Command::Plan(experiment)), _) => {
            let plan = plan(&experiment.load()?)?;
            print(&plan.text)?;
            return plan.refusal.map_or(Ok(()), |refusal| Err(refusal.into()));
        }
        (Some(Command::Sweep(args)), _) => return print_sweep(sweep(&args)?),
        (Some(Command::Scan(args)), _) => scan::scan(&args)?,
        (Some(Command::Sketch(args)), _) => sketch::sketch(&args)?,
        (Some(Command::Bench(args)), _) => bench::bench(&args)?,
        (Some(Command::Eval(args)), _) => eval::eval(&args)?,
        (Some(Command::Predict(args)), _) => predict::predict(&args)?,
        (Some(Command::Export(args)), _) => export::export(&args)?,
        (Some(Command::Inspect(args)), _) => inspect::inspect(&args)?,
        (Some(Command::Compare(args)), _) => compare::compare(&args)?,
        (Some(Command::Report(args)), _) => page::report(&args)?,
        (None, Some(experiment)) => {
            let (report, path) = run(&experiment.load()?, cli.run_dir, cli.resume)?;
            format!("{}written      {}\n", report.table(), path.display())
        }
        (None, None) => unreachable!("clap asks for a configuration where there is no subcommand"),
    };
    print(&output)
}

/// The comparison of a sweep's runs, or what it would run.
fn print_sweep(swept: Swept) -> Result<()> {
    match swept {
        Swept::DryRun(list) => print(&list),
        Swept::Finished { record, runs, out, failure } => {
            let text = compare::text(&runs, &[record]);
            print(&format!("{text}\nwritten to {}\n", out.display()))?;
            failure.map_or(Ok(()), |failure| Err(failure.into()))
        }
    }
}

fn print(output: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(output.as_bytes())?;
    Ok(out.flush()?)
}

/// Installs the panic hook: a panic is an internal error and prints one line instead of a trace.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("no message").replace('\n', " ");
        let location = panic.location().map_or_else(String::new, |at| format!(" ({at})"));
        let trace = std::backtrace::Backtrace::capture();
        let trace = match trace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        let message = format!(
            "{message}{location}; this is a mistake of the program: please report it, with what \
             the environment RUST_BACKTRACE=1 adds"
        );
        // Where standard error is closed, there is no way to report that either.
        let _ = writeln!(io::stderr(), "internal error: {message}{trace}");
        record_outcome(&Outcome { ending: Ending::Failed, exit_code: exit::PANIC, message });
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
    // By default a log line that can't be written is reported on standard error, which panics where
    // that is what was closed.
    let log = log.log_internal_errors(false);
    // A second start, as in tests, keeps the first log.
    let _ = log.try_init();
}

/// Whether the reader of our output closed the pipe (EPIPE): exit quietly.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let broken = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(broken)
}

/// The exit code of an error, if it is of a certain type.
type CodeOf = fn(&(dyn Error + 'static)) -> Option<u8>;

fn code_of<E: ExitCode + 'static>(cause: &(dyn Error + 'static)) -> Option<u8> {
    cause.downcast_ref::<E>().map(ExitCode::exit_code)
}

/// Every error type that has an exit code of its own.
const EXIT_CODES: [CodeOf; 16] = [
    code_of::<Interrupted>,
    code_of::<SweepStopped>,
    code_of::<RunDirError>,
    code_of::<ResumeError>,
    code_of::<LoadError>,
    code_of::<StoreError>,
    code_of::<NoModel>,
    code_of::<ReadError>,
    code_of::<ModelError>,
    code_of::<NotFinite>,
    code_of::<NotFiniteArray>,
    code_of::<DataError>,
    code_of::<ConfigError>,
    code_of::<BudgetError>,
    code_of::<MemoryError>,
    code_of::<io::Error>,
];

/// The code of the outermost cause that has one.
fn exit_code(error: &anyhow::Error) -> u8 {
    let code = |cause| EXIT_CODES.iter().find_map(|code_of| code_of(cause));
    error.chain().find_map(code).unwrap_or(exit::FAILURE)
}

/// What a sweep has to know of an error.
fn ending(error: &anyhow::Error) -> Ending {
    if error.chain().any(<dyn Error>::is::<MemoryError>) {
        Ending::ShortOfMemory
    } else if error.chain().any(<dyn Error>::is::<Interrupted>) {
        Ending::Interrupted
    } else if exit_code(error) == exit::BUSY {
        Ending::Busy
    } else {
        Ending::Failed
    }
}
