//! Which rows train and which test, and the streams of both.

mod cache;

use std::path::PathBuf;

use anyhow::Result;
use criteo_io::{
    Cache, Format, Prefetch, PrefetchConfig, ReadError, Reader, RecordSource, Synth, SynthConfig, count_rows,
    is_read_once, train_rows,
};

use crate::config::{Config, Paths};
use crate::setup;

/// Batches that wait, read ahead.
pub const PREFETCH_DEPTH: usize = 4;

/// Why the rows there are don't make an experiment.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A split that leaves one side empty.
    #[error(
        "data.train_fraction: {n_rows} rows are too few to split at {fraction:.4}: {n_train} would train and {n_test} would test"
    )]
    TooFew {
        /// Rows in all.
        n_rows: u64,
        /// The share that should train.
        fraction: f64,
        /// Rows that would.
        n_train: u64,
        /// The others.
        n_test: u64,
    },
    /// A stream that could not be counted ended too early.
    #[error(
        "the input ended after {n_read} rows, but data.rows promises {n_rows}; set data.rows to the rows that there are"
    )]
    Short {
        /// Rows that there were.
        n_read: u64,
        /// Rows that were promised.
        n_rows: u64,
    },
    /// Nothing to train or test on.
    #[error("{key}: there are no rows")]
    NoRows {
        /// Where they should come from.
        key: &'static str,
    },
    /// A pipe would have to be read twice, or counted.
    #[error("{key}: {why}")]
    ReadOnce {
        /// The setting that asks for it.
        key: &'static str,
        /// Why it can't be, and the way out.
        why: &'static str,
    },
}

/// The rows of an experiment.
#[derive(Clone, Debug)]
pub struct DataSet {
    origin: Origin,
    split: Split,
}

#[derive(Clone, Debug)]
enum Origin {
    Synthetic { synth: SynthConfig, n_rows: u64 },
    Files(Files),
}

/// Files read as one stream, and their rows in a cache if there is one.
#[derive(Clone, Debug)]
struct Files {
    paths: Vec<PathBuf>,
    format: Format,
    cache: Option<Cache>,
}

#[derive(Clone, Debug)]
enum Split {
    /// The first rows train, those after them test.
    Position { n_train: u64, n_test: u64 },
    /// Files of their own; their rows are not counted ahead.
    Files { test: Files, max_train: Option<u64> },
}

impl DataSet {
    /// Finds out where training ends. A split by position counts the rows of the files first,
    /// without parsing them. With `data.cache` this is where caches are opened or built; they know
    /// their number of rows.
    ///
    /// # Errors
    /// If a file can't be read, there are too few rows to split, or there is no place for a cache.
    pub fn open(config: &Config) -> Result<Self> {
        let data = &config.data;
        let limit = data.rows.unwrap_or(u64::MAX);
        if let Some(synthetic) = &data.synthetic {
            let synth = SynthConfig { seed: synthetic.seed, rows_per_day: synthetic.rows_per_day };
            let n_rows = synthetic.rows.min(limit);
            let split = position_split(n_rows, data.train_fraction)?;
            return Ok(Self { origin: Origin::Synthetic { synth, n_rows }, split });
        }
        let paths = data.path.as_ref().map(Paths::to_vec).unwrap_or_default();
        let is_piped = check_pipes(config, &paths).map_err(with_advice)?;
        let format = setup::format(config)?;
        let files = Files::new(config, paths, format, data.rows)?;
        let n_cached = files.cache.as_ref().map(Cache::n_rows);
        let split = match &data.test_path {
            Some(test) => {
                let test = Files::new(config, test.to_vec(), format, None)?;
                Split::Files { test, max_train: n_cached.or(data.rows) }
            }
            None if is_piped => position_split(limit, data.train_fraction)?,
            None => {
                let count = || {
                    tracing::info!("counting rows to place the split");
                    count_rows(&files.paths, data.rows)
                };
                let n_rows = n_cached.map_or_else(count, Ok)?;
                position_split(n_rows, data.train_fraction)?
            }
        };
        Ok(Self { origin: Origin::Files(files), split })
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
            (Split::Files { test, .. }, _) => (test.rows()?, None),
            (Split::Position { n_test, .. }, Some(source)) => (source, Some(*n_test)),
            (Split::Position { n_train, n_test }, None) => {
                let mut source = self.rows()?;
                source.skip_records(*n_train)?;
                (source, Some(*n_test))
            }
        };
        Ok(Prefetch::spawn(source, PrefetchConfig { batch_size, max_rows, depth: PREFETCH_DEPTH }))
    }

    /// Checks that an epoch delivered what was promised: rows of a pipe could not be counted.
    ///
    /// # Errors
    /// If rows were missing.
    pub fn check_train_rows(&self, n_read: u64) -> Result<(), DataError> {
        match self.split {
            Split::Position { n_train, n_test } if n_read != n_train => {
                Err(DataError::Short { n_read, n_rows: n_train + n_test })
            }
            _ if n_read == 0 => Err(DataError::NoRows { key: "data.path" }),
            _ => Ok(()),
        }
    }

    /// The same for an evaluation.
    ///
    /// # Errors
    /// If rows were missing.
    pub fn check_test_rows(&self, n_read: u64) -> Result<(), DataError> {
        match self.split {
            Split::Position { n_train, n_test } if n_read != n_test => {
                Err(DataError::Short { n_read: n_train + n_read, n_rows: n_train + n_test })
            }
            _ if n_read == 0 => Err(DataError::NoRows { key: "data.test_path" }),
            _ => Ok(()),
        }
    }

    fn rows(&self) -> Result<Box<dyn RecordSource>> {
        match &self.origin {
            Origin::Synthetic { synth, n_rows } => Ok(Box::new(Synth::new(*synth, 0..*n_rows))),
            Origin::Files(files) => files.rows(),
        }
    }
}

impl Files {
    /// Takes `paths`, and with `data.cache` opens or builds the cache of their first `max_rows` rows.
    fn new(config: &Config, paths: Vec<PathBuf>, format: Format, max_rows: Option<u64>) -> Result<Self> {
        let data = &config.data;
        let cache =
            if data.cache { cache::open_or_build(&paths, format, max_rows, data.cache_dir.as_deref())? } else { None };
        Ok(Self { paths, format, cache })
    }

    /// The rows from the first on.
    fn rows(&self) -> Result<Box<dyn RecordSource>> {
        match &self.cache {
            Some(cache) => Ok(Box::new(cache.rows())),
            None => Ok(Box::new(Reader::open(self.paths.clone(), self.format)?)),
        }
    }
}

/// Whether the training rows come through a pipe; and the rules for what can be read only once.
fn check_pipes(config: &Config, paths: &[PathBuf]) -> Result<bool> {
    let data = &config.data;
    let piped =
        |paths: &[PathBuf]| paths.iter().try_fold(false, |any, path| Ok::<_, ReadError>(any | is_read_once(path)?));
    let test_paths = data.test_path.as_ref().map(Paths::to_vec).unwrap_or_default();
    let (train, test) = (piped(paths)?, piped(&test_paths)?);
    let evaluates = config.train.eval_every > 0;
    let (key, why) = if data.cache && (train || test) {
        ("data.cache", "what comes through a pipe is not cached; save it to a file, or set data.cache to false")
    } else if train && config.train.epochs > 1 {
        ("train.epochs", "what comes through a pipe can be read once only; save it to a file for more epochs")
    } else if train && data.test_path.is_none() && data.rows.is_none() {
        (
            "data.path",
            "rows that come through a pipe can't be counted ahead; set data.rows to their number, or data.test_path",
        )
    } else if train && data.test_path.is_none() && evaluates {
        ("train.eval_every", "the test rows of a pipe come after its training rows; set it to 0, or set data.test_path")
    } else if test && evaluates {
        ("train.eval_every", "test rows that come through a pipe can be read once only; set it to 0")
    } else {
        return Ok(train);
    };
    Err(DataError::ReadOnce { key, why }.into())
}

/// A missing file is most often data that was never downloaded.
fn with_advice(error: anyhow::Error) -> anyhow::Error {
    let is_missing = matches!(error.downcast_ref(), Some(ReadError::Missing { .. }));
    if !is_missing {
        return error;
    }
    error.context(
        "the data are not here: data/README.md says where each data set is to be had and what its terms are, \
         scripts/get_kaggle.sh fetches Criteo Kaggle; without any data, \
         `cargo run --release -p trainer -- --config configs/quickstart.toml` trains on generated rows",
    )
}

fn position_split(n_rows: u64, fraction: f64) -> Result<Split, DataError> {
    let n_train = train_rows(n_rows, fraction);
    let n_test = n_rows - n_train;
    if n_train == 0 || n_test == 0 {
        return Err(DataError::TooFew { n_rows, fraction, n_train, n_test });
    }
    Ok(Split::Position { n_train, n_test })
}
