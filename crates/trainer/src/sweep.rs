//! `trainer sweep`: runs every configuration of a file that has no finished result yet, in parallel
//! as far as cores and memory allow.
//!
//! Each run is a separate process with its own directory, and resumes by itself if it was
//! interrupted (`--resume=auto`). So a failed run does not affect the others, and an interrupted or
//! killed sweep loses nothing.

mod plan;
mod schedule;
mod spec;

use std::path::PathBuf;

use anyhow::Result;

use crate::exit::ExitCode;
use crate::results::runs::{self, RunRecord};
use crate::results::sweep_record::{RunStatus, SweepRecord};
use crate::stop::Stop;

/// Arguments of `trainer sweep`.
#[derive(Clone, Debug, clap::Args)]
pub struct SweepArgs {
    /// The sweep, a TOML file; see configs/sweeps/
    file: PathBuf,
    /// Runs in parallel, each with its share of the cores; by default one per core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    jobs: Option<u32>,
    /// Directory of the runs; by default that given in the file, or runs/NAME-OF-THE-FILE
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Overrides a key of all runs, except those that the sweep varies; may be repeated
    #[arg(long = "set", value_name = "KEY.PATH=VALUE")]
    overrides: Vec<String>,
    /// Lists what would be run, and runs nothing
    #[arg(long)]
    dry_run: bool,
}

/// The sweep was interrupted.
#[derive(Debug, thiserror::Error)]
#[error("interrupted by a signal; the same command resumes")]
pub struct SweepStopped {
    /// The exit code of the process.
    pub exit_code: u8,
}

impl ExitCode for SweepStopped {
    fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

/// Some of a sweep's runs have failed.
#[derive(Debug, thiserror::Error)]
#[error(
    "{n_failed} of {n_runs} runs failed, the others are in {}; the same command tries them again",
    out.display()
)]
pub struct SweepFailed {
    n_failed: usize,
    n_runs: usize,
    out: PathBuf,
}

/// The directory of a sweep is that of a run. Runs are not searched for below a run.
#[derive(Debug, thiserror::Error)]
#[error("{}: holds a run, not runs; give another --out", out.display())]
pub struct OutIsRun {
    out: PathBuf,
}

/// The result of a sweep.
pub enum Swept {
    /// The runs of a dry run, one per line.
    DryRun(String),
    /// All runs have ended.
    Finished {
        /// The question and the status of each run.
        record: SweepRecord,
        /// The finished runs.
        runs: Vec<RunRecord>,
        /// The directory of the sweep.
        out: PathBuf,
        /// Set if runs failed.
        failure: Option<SweepFailed>,
    },
}

/// Runs every configuration of the file that has no finished result yet.
///
/// # Errors
/// If the file or a configuration in it is invalid, or the sweep is interrupted. A failed run is
/// not an error here, but part of the result.
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
    let n_failed =
        record.runs.iter().filter(|run| matches!(run.status, RunStatus::Failed(_))).count();
    let n_runs = record.runs.len();
    let failure = (n_failed > 0).then(|| SweepFailed { n_failed, n_runs, out: out.clone() });
    Ok(Swept::Finished { record, runs, out, failure })
}
