//! `trainer report`: runs as one self-contained HTML page with an answer at the top, figures, and
//! the table behind each.
//!
//! ```text
//! runs.rs ─► compare.rs ─► page/figures/ ─► page/chart.rs ─┬─► page/svg.rs    a mark per point
//!  (files)    (groups)      (selection)       (points)     └─► page/table.rs  a row per point, CSV
//!                                                                  └──────► page/html.rs  the page
//! ```

mod chart;
mod escape;
mod figures;
mod html;
mod svg;
mod table;
mod ticks;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::atomic_file::write_to;
use crate::report::compare::Comparison;
use crate::results::runs::{self, RunRecord};
use crate::results::sketch_findings::Findings;
use crate::results::sweep_record::SweepRecord;
use crate::stop::Stop;
use crate::text::grouped;

/// Interval at which a stop request is checked for, short enough for Ctrl-C to feel immediate.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Arguments of `trainer report`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReportArgs {
    /// Directories that hold runs, or runs
    #[arg(required = true, value_name = "RUNS_DIR")]
    dirs: Vec<PathBuf>,
    /// The page; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// Rewrites the page at this interval until Ctrl-C, while runs are in progress; it reloads
    /// itself
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "5", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    watch: Option<u32>,
}

/// Everything that is drawn.
struct Source {
    runs: Vec<RunRecord>,
    sweeps: Vec<SweepRecord>,
    sketches: Vec<Findings>,
}

/// Writes the page; returns the text to print.
///
/// # Errors
/// If there is nothing to draw, a file cannot be read, or the page cannot be written.
pub fn report(args: &ReportArgs) -> Result<String> {
    let Some(seconds) = args.watch else { return write(args, None) };
    let stop = Stop::on_signals()?;
    let every = Duration::from_secs(seconds.into());
    tracing::info!("writing {} every {seconds} s until Ctrl-C", args.out.display());
    while !stop.is_requested() {
        let since = Instant::now();
        // Watching may start before the first run does, and a file may be replaced meanwhile.
        if let Err(error) = write(args, Some(seconds)) {
            tracing::warn!("{error:#}");
        }
        while since.elapsed() < every && !stop.is_requested() {
            std::thread::sleep(POLL_EVERY);
        }
    }
    // The final page does not reload itself.
    write(args, None)
}

fn write(args: &ReportArgs, reload: Option<u32>) -> Result<String> {
    let source = Source::read(&args.dirs)?;
    let dirs: Vec<_> = args.dirs.iter().map(|dir| dir.display().to_string()).collect();
    if source.is_empty() && reload.is_none() {
        bail!(
            "{}: no runs there; a run's directory has a config.toml and a metrics.jsonl",
            dirs.join(", ")
        );
    }
    let page = html::page(&source, reload);
    write_to(&args.out, |out| Ok(out.write_all(page.as_bytes())?))?;
    if args.out.as_os_str() == "-" {
        return Ok(String::new());
    }
    let n_runs = grouped(source.runs.len() as u64);
    Ok(format!(
        "{n_runs} runs, {} kB, written to {}\n",
        grouped(page.len() as u64 / 1000),
        args.out.display()
    ))
}

impl Source {
    fn read(dirs: &[PathBuf]) -> Result<Self> {
        let (mut sweeps, mut sketches) = (Vec::new(), Vec::new());
        for dir in dirs {
            runs::visit(dir, 2, &mut |dir: &Path| {
                sweeps.extend(SweepRecord::read(dir));
                sketches.extend(Findings::read(dir)?);
                Ok(runs::is_run(dir))
            })?;
        }
        Ok(Self { runs: runs::find(dirs)?, sweeps, sketches })
    }

    fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.sketches.is_empty()
    }

    fn comparison(&self) -> Comparison<'_> {
        Comparison::new(&self.runs, &self.sweeps)
    }
}
