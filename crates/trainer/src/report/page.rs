//! `trainer report`: runs as one page of HTML that needs nothing else: pictures, the table behind
//! each, one answer on top.
//!
//! ```text
//! runs.rs ─► compare.rs ─► page/figures/ ─► page/chart.rs ─┬─► page/svg.rs    a mark for each point
//!  (files)    (groups)      (what is drawn)   (points)     └─► page/table.rs  a row for each point, CSV
//!                                                                   └────────► page/html.rs  the page
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

/// Time between two looks at whether somebody asked to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Arguments of `trainer report`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReportArgs {
    /// Directories that hold runs, or runs
    #[arg(required = true, value_name = "RUNS_DIR")]
    dirs: Vec<PathBuf>,
    /// The page; `-` is standard output
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// Writes the page anew every so many seconds until Ctrl-C, while runs go on; it reloads itself
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "5",
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    watch: Option<u32>,
}

/// All that is drawn.
struct Source {
    runs: Vec<RunRecord>,
    sweeps: Vec<SweepRecord>,
    sketches: Vec<Findings>,
}

/// Writes the page; returns what is to be printed.
///
/// # Errors
/// If there is nothing to draw, something can't be read, or the page can't be written.
pub fn report(args: &ReportArgs) -> Result<String> {
    let Some(seconds) = args.watch else { return write(args, None) };
    let stop = Stop::on_signals()?;
    let every = Duration::from_secs(seconds.into());
    tracing::info!("writing {} every {seconds} s until Ctrl-C", args.out.display());
    while !stop.is_requested() {
        let since = Instant::now();
        // Who watches may start before the first run does, and look while a file is exchanged.
        if let Err(error) = write(args, Some(seconds)) {
            tracing::warn!("{error:#}");
        }
        while since.elapsed() < every && !stop.is_requested() {
            std::thread::sleep(LOOK_EVERY);
        }
    }
    // The last one stands still.
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
