//! `trainer bench`: speed of training and prediction on this machine, with the rows in memory.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use criteo_io::{Batch, StreamPosition};
use serde::Serialize;

use crate::build;
use crate::build::memory::check_memory;
use crate::commands::experiment::Experiment;
use crate::config::{Config, Named, SplitKind, models};
use crate::data::{self, DataError, DataSet, EVAL_BATCH};
use crate::memory::peak_rss_bytes;
use crate::results::phases::PhaseSeconds;
use crate::text::{bytes, grouped, table};
use crate::train::step::{Learner, Rates};

/// Windows of training, alternating with as many of prediction, so that a change in the machine's
/// speed affects both; odd, for a median.
const N_WINDOWS: usize = 5;

/// Arguments of `trainer bench`.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    #[command(flatten)]
    experiment: Experiment,
    /// Rows to read into memory; the training share is stepped through repeatedly
    #[arg(long, value_name = "N", default_value_t = 131_072)]
    rows: u64,
    /// Seconds of training, and half as many of prediction, after one pass over the rows
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = positive)]
    seconds: f64,
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|&seconds: &f64| seconds > 0.0 && seconds <= 86_400.0);
    seconds.ok_or_else(|| "expected seconds, above 0 and at most 86400".to_owned())
}

/// The results: medians over the windows.
#[derive(Debug, Serialize)]
struct Measured {
    method: String,
    engine: String,
    precision: String,
    kernel: String,
    batch: usize,
    threads: usize,
    rows: u64,
    train_samples_per_second: f64,
    /// Slowest and fastest window.
    train_range: [f64; 2],
    predict_samples_per_second: f64,
    predict_range: [f64; 2],
    /// Phases of training; there is no waiting for rows.
    phase_seconds: PhaseSeconds,
    peak_rss_bytes: Option<u64>,
}

/// Reads rows into memory and times steps on them; returns the text to print. Writes no files.
///
/// # Errors
/// If the configuration is invalid, its rows cannot be read, or there are too few for a batch.
pub fn bench(args: &BenchArgs) -> Result<String> {
    let mut config = args.experiment.load()?;
    config.data.rows = Some(config.data.rows.map_or(args.rows, |rows| rows.min(args.rows)));
    if config.data.test_path.is_none() {
        // A few rows may all be of one day, which a split by day refuses; the split does not affect
        // speed.
        config.data.split = Some(SplitKind::Position);
    }
    let measured = measure(&config, args.seconds)?;
    Ok(if args.json { serde_json::to_string(&measured)? + "\n" } else { measured.table() })
}

fn measure(config: &Config, seconds: f64) -> Result<Measured> {
    let plan = build::plan_embedding(config)?;
    check_memory(config, &plan, &models::model_config(config)?)?;
    if data::reads_pipe(config) {
        let why = "the rows are read more than once, which is impossible through a pipe; save \
                   them to a file";
        return Err(DataError::ReadOnce { key: "data.path", why }.into());
    }
    let model = build::build_model(config)?;
    let data = DataSet::open(config)?;
    let embedding = build::build_embedding(&plan, config, &data)?;
    let mut learner = Learner::new(embedding, model, config.threads)?;
    let to_train = read_batches(&data, config.train.batch)?;
    let to_predict = read_batches(&data, EVAL_BATCH.min(to_train.len() * config.train.batch))?;
    let rows = to_train.iter().map(|batch| batch.len() as u64).sum();
    // The learning rate after the warm-up.
    let rates = Rates::at(&config.train, config.train.schedule.warmup_steps().max(1));
    // Warm-up: allocates buffers and finds hot features.
    for batch in &to_train {
        learner.train(batch, rates)?;
    }
    let (warm, window) = (learner.phases(), Duration::from_secs_f64(seconds / N_WINDOWS as f64));
    let (mut train, mut predict) = (Vec::new(), Vec::new());
    let (mut train_cursor, mut predict_cursor) =
        (to_train.iter().cycle(), to_predict.iter().cycle());
    for _ in 0..N_WINDOWS {
        train.push(rate(window, &mut train_cursor, |batch| learner.train(batch, rates).map(drop))?);
        predict
            .push(rate(window / 2, &mut predict_cursor, |batch| learner.predict(batch).map(drop))?);
    }
    for speeds in [&mut train, &mut predict] {
        speeds.sort_unstable_by(f64::total_cmp);
    }
    let range = |rates: &[f64]| [rates[0], rates[N_WINDOWS - 1]];
    Ok(Measured {
        method: config.embedding.method.name().to_owned(),
        engine: config.engine.clone(),
        precision: config.precision.clone(),
        kernel: learner.model.kernel().to_string(),
        batch: config.train.batch,
        threads: config.threads,
        rows,
        train_samples_per_second: train[N_WINDOWS / 2],
        train_range: range(&train),
        predict_samples_per_second: predict[N_WINDOWS / 2],
        predict_range: range(&predict),
        phase_seconds: PhaseSeconds::new(Duration::ZERO, learner.phases().since(warm)),
        peak_rss_bytes: peak_rss_bytes(),
    })
}

/// The training rows in full batches; the rest is left out.
fn read_batches(data: &DataSet, batch_size: usize) -> Result<Vec<Batch>> {
    let mut stream = data.train(batch_size, StreamPosition::default())?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next_batch()? {
        if batch.len() == batch_size {
            batches.push(batch);
        }
    }
    ensure!(!batches.is_empty(), "too few rows for a batch of {batch_size}: give more --rows");
    Ok(batches)
}

/// Runs `step` on batches in turn for the length of `window`; returns samples per second.
fn rate<'a>(
    window: Duration,
    batches: &mut impl Iterator<Item = &'a Batch>,
    mut step: impl FnMut(&Batch) -> Result<()>,
) -> Result<f64> {
    let (since, mut n_samples) = (Instant::now(), 0);
    loop {
        let batch = batches.next().expect("the iterator cycles");
        step(batch)?;
        n_samples += batch.len();
        let elapsed = since.elapsed();
        if elapsed >= window {
            return Ok(n_samples as f64 / elapsed.as_secs_f64());
        }
    }
}

impl Measured {
    fn table(&self) -> String {
        let speed = |median: f64, range: [f64; 2]| {
            let [slowest, fastest] = range.map(|rate| grouped(rate as u64));
            format!("{} samples/s ({slowest} to {fastest})", grouped(median as u64))
        };
        let mut rows = vec![
            ("step", format!("{}, batch {}, {} threads", self.method, self.batch, self.threads)),
            ("  hardware", format!("{} engine, {} ({})", self.engine, self.precision, self.kernel)),
            ("rows", format!("{} in memory", grouped(self.rows))),
            ("training", speed(self.train_samples_per_second, self.train_range)),
            ("  time spent", self.phase_seconds.line()),
            ("prediction", speed(self.predict_samples_per_second, self.predict_range)),
        ];
        if let Some(peak) = self.peak_rss_bytes {
            rows.push(("peak memory", bytes(peak)));
        }
        table(&rows)
    }
}
