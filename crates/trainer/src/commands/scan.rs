//! `trainer scan`: statistics of a configuration's data, from one pass over all rows.

mod distinct;
mod output;
mod tally;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use criteo_io::{
    BadRowFilter, BadRows, CachePlan, Dialect, FilteredRow, ReadError, Reader, Record,
    RecordSource, Synth, SynthConfig,
};

use self::distinct::{BYTES_PER_ESTIMATE, BYTES_PER_EXACT};
use self::output::Findings;
use self::tally::Tally;
use crate::commands::experiment::Experiment;
use crate::config::{Config, dialect};
use crate::data::{DataError, names, tell_bad_rows, with_advice};
use crate::memory;
use crate::text::bytes;
use crate::train::progress::Progress;

/// Rows between updates of the progress display, which reads the clock.
const ROWS_PER_LOOK: u64 = 4096;
/// Estimated memory of the program itself with its readers and decompressors.
const PROGRAM_BYTES: u64 = 25_000_000;

/// Arguments of `trainer scan`.
#[derive(Clone, Debug, clap::Args)]
pub struct ScanArgs {
    #[command(flatten)]
    experiment: Experiment,
    /// Maximum number of rows to read
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rows: Option<u64>,
    /// Distinct values to count exactly, over all fields, at 20 bytes each; beyond this the largest
    /// fields are estimated. Reduced to fit into `max_memory`
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    exact: u64,
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// The rows of one key of `[data]`.
struct Part {
    key: &'static str,
    rows: Box<dyn RecordSource>,
    max_rows: Option<u64>,
}

/// Reads all rows once; returns the text to print.
///
/// # Errors
/// If the section on data is invalid, or the data cannot be read or have no rows.
pub fn scan(args: &ScanArgs) -> Result<String> {
    let config = args.experiment.load_data()?;
    let started = Instant::now();
    let dialect = dialect::dialect(&config)?.with_raw_numbers();
    let schema = dialect.schema();
    let max_exact = max_exact(&config, args.exact, schema.n_fields as u64);
    let mut tally = Tally::new(schema.n_integers, schema.n_fields, max_exact as usize);
    let parts = parts(&config, &dialect).map_err(|error| with_advice(error.into()))?;
    let n_rows = if let [only] = &parts[..] { only.max_rows } else { None };
    let mut progress =
        Progress::new(n_rows.map_or(args.rows, |n| Some(args.rows.map_or(n, |rows| rows.min(n)))));
    let mut n_left = args.rows.unwrap_or(u64::MAX);
    for part in parts {
        tally.start_part(part.key);
        n_left -= read(part, n_left, config.data.bad_rows(), &mut tally, &mut progress)?;
    }
    progress.finish();
    if tally.n_rows() == 0 {
        return Err(DataError::NoRows { key: "data.path" }.into());
    }
    let names = [names::numeric(&dialect), names::fields(&dialect)].concat();
    let seconds = started.elapsed().as_secs_f64();
    let findings = Findings::new(&tally, dialect.name(), &names, max_exact, seconds);
    Ok(if args.json { serde_json::to_string(&findings)? + "\n" } else { findings.text() })
}

/// The number of values to count exactly: `wanted`, as far as memory allows.
fn max_exact(config: &Config, wanted: u64, n_fields: u64) -> u64 {
    let Some((limit, limit_name)) = memory::limit(config.max_memory.map(|bytes| bytes.0)) else {
        return wanted;
    };
    let room =
        limit.saturating_sub(PROGRAM_BYTES + n_fields * BYTES_PER_ESTIMATE) / BYTES_PER_EXACT;
    if room < wanted {
        let limit = bytes(limit);
        tracing::warn!(
            "{limit} is {limit_name}: {room} distinct values are counted exactly instead of \
             {wanted}"
        );
    }
    room.min(wanted)
}

/// All rows of the configuration, for training and test.
fn parts(config: &Config, dialect: &Dialect) -> Result<Vec<Part>, ReadError> {
    let data = &config.data;
    if let Some(synthetic) = &data.synthetic {
        let n_rows = synthetic.rows.min(data.rows.unwrap_or(u64::MAX));
        let synth = SynthConfig { seed: synthetic.seed, rows_per_day: synthetic.rows_per_day };
        let rows = Box::new(Synth::new(synth, 0..n_rows));
        return Ok(vec![Part { key: "data.synthetic", rows, max_rows: Some(n_rows) }]);
    }
    let lists = [("data.path", &data.path, data.rows), ("data.test_path", &data.test_path, None)];
    let given = lists
        .into_iter()
        .filter_map(|(key, paths, max_rows)| Some((key, paths.as_ref()?, max_rows)));
    given
        .map(|(key, paths, max_rows)| {
            Ok(Part { key, rows: open(config, paths.to_vec(), dialect, max_rows)?, max_rows })
        })
        .collect()
}

/// The rows of files, or of the cache that an earlier run has built. Not a cache of a described
/// table: it holds transformed numbers, without a mark of missing ones.
fn open(
    config: &Config,
    paths: Vec<PathBuf>,
    dialect: &Dialect,
    max_rows: Option<u64>,
) -> Result<Box<dyn RecordSource>, ReadError> {
    if config.data.cache && dialect.columns().is_none() {
        let plan = CachePlan::new(
            paths.clone(),
            dialect.clone(),
            max_rows,
            config.data.cache_dir.as_deref(),
        );
        let plan = plan.map(|plan| plan.with_bad_rows(config.data.bad_rows()));
        if let Some(cache) = plan.ok().and_then(|plan| plan.open().ok()) {
            return Ok(Box::new(cache.rows()));
        }
    }
    Ok(Box::new(Reader::open(paths, dialect.clone())?))
}

/// Reads up to `n_left` rows of one part; returns how many there were.
fn read(
    part: Part,
    n_left: u64,
    bad_rows: BadRows,
    tally: &mut Tally,
    progress: &mut Progress,
) -> Result<u64, ReadError> {
    let Part { key, mut rows, max_rows } = part;
    let mut tolerance = BadRowFilter::new(bad_rows);
    let n_left = n_left.min(max_rows.unwrap_or(u64::MAX));
    let (mut record, mut n_read) = (Record::default(), 0);
    while n_read < n_left {
        match tolerance.read(&mut *rows, &mut record)? {
            FilteredRow::Row => tally.add(&record),
            FilteredRow::Bad(_) => {}
            FilteredRow::End => break,
        }
        n_read += 1;
        if n_read % ROWS_PER_LOOK == 0 {
            progress.read(ROWS_PER_LOOK);
        }
    }
    tolerance.finish()?;
    progress.read(n_read % ROWS_PER_LOOK);
    tell_bad_rows(key, n_read, &tolerance.counts());
    Ok(n_read)
}
