//! Which rows train and which test, and the streams of both.

use std::path::PathBuf;

use anyhow::{Context, Result};
use criteo_io::{
    Format, Prefetch, PrefetchConfig, ReadError, Reader, RecordSource, Synth, SynthConfig, count_rows, train_rows,
};

use crate::config::Config;
use crate::setup;

/// Batches that wait, read ahead.
pub const PREFETCH_DEPTH: usize = 4;

/// The rows of an experiment.
#[derive(Clone, Debug)]
pub struct DataSet {
    origin: Origin,
    split: Split,
}

#[derive(Clone, Debug)]
enum Origin {
    Synthetic { synth: SynthConfig, n_rows: u64 },
    Files { paths: Vec<PathBuf>, format: Format },
}

#[derive(Clone, Debug)]
enum Split {
    /// The first rows train, those after them test.
    Position { n_train: u64, n_test: u64 },
    /// Files of their own; their rows are not counted ahead.
    Files { test_paths: Vec<PathBuf>, max_train: Option<u64> },
}

impl DataSet {
    /// Finds out where training ends. A split by position counts the rows of the files first,
    /// without parsing them.
    ///
    /// # Errors
    /// If a file can't be read, or there are too few rows to split.
    pub fn open(config: &Config) -> Result<Self> {
        let data = &config.data;
        let limit = data.rows.unwrap_or(u64::MAX);
        if let Some(synthetic) = &data.synthetic {
            let synth = SynthConfig { seed: synthetic.seed, rows_per_day: synthetic.rows_per_day };
            let n_rows = synthetic.rows.min(limit);
            let split = position_split(n_rows, data.train_fraction)?;
            return Ok(Self { origin: Origin::Synthetic { synth, n_rows }, split });
        }
        let paths = data.path.as_ref().map(crate::config::Paths::to_vec).unwrap_or_default();
        let format = setup::format(config)?;
        let split = match &data.test_path {
            Some(test) => Split::Files { test_paths: test.to_vec(), max_train: data.rows },
            None if is_stdin(&paths) => position_split(limit, data.train_fraction)?,
            None => {
                tracing::info!("counting rows to place the split");
                let n_rows = count_rows(&paths, data.rows).map_err(with_advice)?;
                position_split(n_rows, data.train_fraction)?
            }
        };
        Ok(Self { origin: Origin::Files { paths, format }, split })
    }

    /// Training rows of one epoch, where they are known before they are read.
    #[must_use]
    pub fn n_train(&self) -> Option<u64> {
        match &self.split {
            Split::Position { n_train, .. } => Some(*n_train),
            Split::Files { max_train, .. } => *max_train,
        }
    }

    /// The training rows of one epoch, in order.
    ///
    /// # Errors
    /// If a file can't be opened.
    pub fn train(&self, batch_size: usize) -> Result<Prefetch> {
        let max_rows = self.n_train();
        Ok(Prefetch::spawn(self.rows()?, PrefetchConfig { batch_size, max_rows, depth: PREFETCH_DEPTH }))
    }

    /// The test rows, in order. `after_training` is the stream of an epoch that has been read: where
    /// the test rows follow in it, they are read on from there.
    ///
    /// # Errors
    /// If a file can't be opened.
    pub fn test(&self, batch_size: usize, after_training: Option<Box<dyn RecordSource>>) -> Result<Prefetch> {
        let (source, max_rows) = match (&self.split, after_training) {
            (Split::Files { test_paths, .. }, _) => {
                let Origin::Files { format, .. } = &self.origin else { unreachable!("test files belong to files") };
                (open(test_paths, *format)?, None)
            }
            (Split::Position { n_test, .. }, Some(source)) => (source, Some(*n_test)),
            (Split::Position { n_train, n_test }, None) => {
                let mut source = self.rows()?;
                source.skip_records(*n_train)?;
                (source, Some(*n_test))
            }
        };
        Ok(Prefetch::spawn(source, PrefetchConfig { batch_size, max_rows, depth: PREFETCH_DEPTH }))
    }

    /// Checks that an epoch delivered what was promised: standard input is the one stream whose
    /// rows could not be counted.
    ///
    /// # Errors
    /// If rows were missing.
    pub fn check_train_rows(&self, n_read: u64) -> Result<()> {
        if let Split::Position { n_train, n_test } = self.split {
            let n_rows = n_train + n_test;
            anyhow::ensure!(
                n_read == n_train,
                "the input ended after {n_read} rows, but data.rows promises {n_rows}, of which {n_train} train; set data.rows to the rows that there are"
            );
        }
        anyhow::ensure!(n_read > 0, "there are no training rows; check data.path");
        Ok(())
    }

    /// The same for an evaluation.
    ///
    /// # Errors
    /// If rows were missing.
    pub fn check_test_rows(&self, n_read: u64) -> Result<()> {
        if let Split::Position { n_train, n_test } = self.split {
            anyhow::ensure!(
                n_read == n_test,
                "the input ended after {} rows, but data.rows promises {}; set data.rows to the rows that there are",
                n_train + n_read,
                n_train + n_test
            );
        }
        anyhow::ensure!(n_read > 0, "there are no test rows; check data.test_path");
        Ok(())
    }

    fn rows(&self) -> Result<Box<dyn RecordSource>> {
        match &self.origin {
            Origin::Synthetic { synth, n_rows } => Ok(Box::new(Synth::new(*synth, 0..*n_rows))),
            Origin::Files { paths, format } => open(paths, *format),
        }
    }
}

fn open(paths: &[PathBuf], format: Format) -> Result<Box<dyn RecordSource>> {
    Ok(Box::new(Reader::open(paths.to_vec(), format).map_err(with_advice)?))
}

fn is_stdin(paths: &[PathBuf]) -> bool {
    paths.iter().any(|path| path.as_os_str() == "-")
}

/// A missing file is most often data that was never downloaded.
fn with_advice(error: ReadError) -> anyhow::Error {
    let is_missing = matches!(error, ReadError::Missing { .. });
    let error = anyhow::Error::new(error);
    if !is_missing {
        return error;
    }
    error.context(
        "the data are not here: data/README.md says where each data set is to be had and what its terms are, \
         scripts/get_kaggle.sh fetches Criteo Kaggle; without any data, \
         `cargo run --release -p trainer -- --config configs/quickstart.toml` trains on generated rows",
    )
}

fn position_split(n_rows: u64, fraction: f64) -> Result<Split> {
    let n_train = train_rows(n_rows, fraction);
    let n_test = n_rows - n_train;
    if n_train == 0 || n_test == 0 {
        return Err(anyhow::anyhow!(
            "{n_rows} rows are too few to split at {fraction:.4}: {n_train} would train and {n_test} would test"
        ))
        .context("data.train_fraction");
    }
    Ok(Split::Position { n_train, n_test })
}
