//! `trainer sweep`: all runs that a file asks for, those that are missing, at once as far as cores
//! and memory go.
//!
//! Each run is a process of its own that writes to a directory of its own and goes on by itself
//! where it was stopped (`--resume=auto`), so that one that fails ends no other, and a sweep that
//! is stopped or killed loses nothing.

mod plan;
mod schedule;
mod spec;

use std::path::PathBuf;

use anyhow::Result;

use crate::exit::ExitCode;
use crate::stop::Stop;

use crate::results::runs::{self, RunRecord};
use crate::results::sweep_record::{Fate, SweepRecord};

/// Arguments of `trainer sweep`.
#[derive(Clone, Debug, clap::Args)]
pub struct SweepArgs {
    /// What to run, a TOML file; see configs/sweeps/
    file: PathBuf,
    /// Runs at a time, each with its share of the cores; by default one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    jobs: Option<u32>,
    /// Where the runs are written; by default what the file says, or runs/NAME-OF-THE-FILE
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Overrides a key of all runs, but not what the sweep varies; may be repeated
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    overrides: Vec<String>,
    /// Says what would be run, and runs nothing
    #[arg(long)]
    dry_run: bool,
}

/// Somebody stopped a sweep.
#[derive(Debug, thiserror::Error)]
#[error("stopped by a signal; the same command goes on")]
pub struct SweepStopped {
    /// What the process is to exit with.
    pub exit_code: u8,
}

impl ExitCode for SweepStopped {
    fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

/// Some of a sweep's runs have failed.
#[derive(Debug, thiserror::Error)]
#[error("{n_failed} of {n_runs} runs failed, the others are in {}; the same command tries them again", out.display())]
pub struct SweepFailed {
    n_failed: usize,
    n_runs: usize,
    out: PathBuf,
}

/// The directory of a sweep is that of a run: what is below a run is not looked for.
#[derive(Debug, thiserror::Error)]
#[error("{}: holds a run, not runs; give another --out", out.display())]
pub struct OutIsRun {
    out: PathBuf,
}

/// What came of a sweep.
pub enum Swept {
    /// What would be run, a line each.
    DryRun(String),
    /// Nothing is left to run.
    Finished {
        /// What was asked, and what became of each run.
        record: SweepRecord,
        /// The runs that have a report.
        runs: Vec<RunRecord>,
        /// Where they are.
        out: PathBuf,
        /// Set if some of them failed.
        failure: Option<SweepFailed>,
    },
}

/// Runs every configuration of the file that has no finished result yet.
///
/// # Errors
/// If the file or a configuration in it is wrong, or a signal came. A run that fails is no error
/// here.
pub fn sweep(args: &SweepArgs) -> Result<Swept> {
    let spec = spec::Spec::read(&args.file)?;
    let n_cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.map_or(n_cores, |jobs| jobs as usize);
    let points = spec.points((n_cores / jobs).max(1), &args.overrides)?;
    let out = args.out.clone().unwrap_or_else(|| spec.out());
    if runs::is_run(&out) {
        return Err(OutIsRun { out }.into());
    }
    let mut plan = plan::Plan::make(&spec, points, &out)?;
    tracing::info!("{}", plan.summary());
    if args.dry_run {
        return Ok(Swept::DryRun(plan.list()));
    }
    let stop = Stop::on_signals()?;
    plan.build_caches()?;
    schedule::run(&mut plan, jobs, stop)?;
    if stop.is_requested() {
        return Err(SweepStopped { exit_code: stop.exit_code() }.into());
    }
    let runs = runs::find(&plan.dirs())?;
    let record = plan.record();
    let n_failed = record.runs.iter().filter(|run| matches!(run.fate, Fate::Failed(_))).count();
    let n_runs = record.runs.len();
    let failure = (n_failed > 0).then(|| SweepFailed { n_failed, n_runs, out: out.clone() });
    Ok(Swept::Finished { record, runs, out, failure })
}
