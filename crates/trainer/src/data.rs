//! Which rows train and which test, and the streams of both.

mod cache;
pub mod names;

use std::path::{Path, PathBuf};

use anyhow::Result;
use cafe_core::FeatureId;
use cafe_core::methods::FeatureCounts;
use criteo_io::{
    BadRowCounts, BadRows, Batch, Cache, Dialect, FileStamp, Part, PartRows, Prefetch,
    PrefetchConfig, ReadError, Reader, RecordSource, Split, StreamPosition, Synth, SynthConfig,
    count_days, is_read_once, train_rows, train_rows_of_days,
};

use crate::config::{Config, DataConfig, Method, Paths, SplitKind, dialect};
use crate::exit::{self, ExitCode};

/// Rows a batch in evaluation, whatever the batch of training.
pub const EVAL_BATCH: usize = 2048;
/// Rows a batch where features are counted.
const COUNT_BATCH: usize = 4096;
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
    /// A split by day of rows that don't know their day.
    #[error(
        "data.split: rows of format `{format}` don't say their day; describe the column of the day in data.columns, or \
         set data.split to \"position\" or \"random\""
    )]
    NoDays {
        /// The format.
        format: &'static str,
    },
    /// A split by day of a single day.
    #[error(
        "data.split: all rows are of one day, so none would train; set it to \"position\" or \"random\""
    )]
    OneDay,
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
        /// Why it is not possible, and what to do.
        why: &'static str,
    },
}

impl ExitCode for DataError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::ReadOnce { .. } | Self::NoDays { .. } => exit::CONFIG,
            _ => exit::DATA,
        }
    }
}

/// The rows of an experiment.
#[derive(Clone, Debug)]
pub struct DataSet {
    origin: Origin,
    division: Division,
    bad_rows: BadRows,
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
    dialect: Dialect,
    cache: Option<Cache>,
}

#[derive(Clone, Debug)]
enum Division {
    /// Rows of one stream; of a split by day the first days are the first rows.
    Rows { split: Split, n_train: u64, n_test: u64 },
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
        let (limit, bad_rows) = (data.rows.unwrap_or(u64::MAX), data.bad_rows());
        if let Some(synthetic) = &data.synthetic {
            let synth = SynthConfig { seed: synthetic.seed, rows_per_day: synthetic.rows_per_day };
            let n_rows = synthetic.rows.min(limit);
            let days = || {
                Ok((0..n_rows.div_ceil(synth.rows_per_day))
                    .map(|day| rows_of_day(day, &synth, n_rows))
                    .collect())
            };
            let division = divide(data, n_rows, days)?;
            return Ok(Self { origin: Origin::Synthetic { synth, n_rows }, division, bad_rows });
        }
        let paths = data.path.as_ref().map(Paths::to_vec).unwrap_or_default();
        let is_piped = check_pipes(config, &paths).map_err(with_advice)?;
        let dialect = dialect::dialect(config)?;
        let files = Files::new(config, paths, dialect.clone(), data.rows)?;
        let division = match &data.test_path {
            Some(test) => {
                let test = Files::new(config, test.to_vec(), dialect, None)?;
                let n_cached = files.cache.as_ref().map(Cache::n_rows);
                Division::Files { test, max_train: n_cached.or(data.rows) }
            }
            None if is_piped => divide(data, limit, || Ok(Vec::new()))?,
            None => files.divide(data)?,
        };
        Ok(Self { origin: Origin::Files(files), division, bad_rows })
    }

    /// Whether all rows come from caches.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        let Origin::Files(files) = &self.origin else { return false };
        let test = if let Division::Files { test, .. } = &self.division {
            test.cache.is_some()
        } else {
            true
        };
        files.cache.is_some() && test
    }

    /// Training rows of one epoch, malformed ones included, where they are known before they are
    /// read.
    #[must_use]
    pub fn n_train(&self) -> Option<u64> {
        match &self.division {
            Division::Rows { n_train, .. } => Some(*n_train),
            Division::Files { max_train, .. } => *max_train,
        }
    }

    /// Stamps of the files that are read, training then test; those that can be read
    /// only once are left out, and generated rows have none.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn stamps(&self) -> Result<Vec<FileStamp>> {
        let train = if let Origin::Files(files) = &self.origin { &files.paths[..] } else { &[] };
        let test =
            if let Division::Files { test, .. } = &self.division { &test.paths[..] } else { &[] };
        stamps(train.iter().chain(test).map(PathBuf::as_path))
    }

    /// The training rows of one epoch, in order, `from` where the batch before ended.
    ///
    /// # Errors
    /// If a file can't be opened. If the rows before `from` have changed, the first batch fails.
    pub fn train(&self, batch_size: usize, from: StreamPosition) -> Result<Prefetch> {
        let max_rows = self.n_train();
        let rows = match self.division {
            Division::Rows { split: split @ Split::Random { .. }, .. } => {
                Box::new(PartRows::new(self.rows()?, split, Part::Train))
            }
            _ => self.rows()?,
        };
        Ok(Prefetch::spawn(rows, PrefetchConfig { from, ..self.prefetch(batch_size, max_rows) }))
    }

    /// The test rows, in order. `after_training` is the stream of an epoch that has been read:
    /// where the test rows follow in it, they are read on from there.
    ///
    /// # Errors
    /// If a file can't be opened.
    pub fn test(
        &self,
        batch_size: usize,
        after_training: Option<Box<dyn RecordSource>>,
    ) -> Result<Prefetch> {
        let (source, max_rows) = match (&self.division, after_training) {
            (Division::Files { test, .. }, _) => (test.rows()?, None),
            (Division::Rows { split: Split::Position { .. }, n_test, .. }, Some(source)) => {
                (source, Some(*n_test))
            }
            (Division::Rows { split, n_test, .. }, _) => {
                let rows: Box<dyn RecordSource> =
                    Box::new(PartRows::new(self.rows()?, *split, Part::Test));
                (rows, Some(*n_test))
            }
        };
        Ok(Prefetch::spawn(source, self.prefetch(batch_size, max_rows)))
    }

    fn prefetch(&self, batch_size: usize, max_rows: Option<u64>) -> PrefetchConfig {
        PrefetchConfig {
            max_rows,
            bad_rows: self.bad_rows,
            ..PrefetchConfig::new(batch_size, PREFETCH_DEPTH)
        }
    }

    /// How often each feature occurs in the first `max_rows` training rows.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn count_features(&self, max_rows: u64) -> Result<FeatureCounts> {
        let mut counts = FeatureCounts::default();
        let mut batches = self.train(COUNT_BATCH, StreamPosition::default())?;
        let mut n_rows = 0;
        while n_rows < max_rows
            && let Some(batch) = batches.next_batch()?
        {
            let n_new = (batch.len() as u64).min(max_rows - n_rows) as usize;
            n_rows += n_new as u64;
            counts.add_all(ids_of_first(&batch, n_new));
            batches.recycle(batch);
        }
        Ok(counts)
    }

    /// Checks that an epoch came to the end that was promised: rows of a pipe could not be counted.
    /// `n_read` are the rows that it passed, malformed ones included (`criteo_io::PassEnd::end`).
    ///
    /// # Errors
    /// If rows were missing.
    pub fn check_train_rows(&self, n_read: u64) -> Result<(), DataError> {
        match self.division {
            Division::Rows { n_train, n_test, .. } if n_read != n_train => {
                Err(DataError::Short { n_read, n_rows: n_train + n_test })
            }
            _ if n_read == 0 => Err(DataError::NoRows { key: "data.path" }),
            _ => Ok(()),
        }
    }

    /// The test rows for an evaluation.
    ///
    /// # Errors
    /// If rows were missing.
    pub fn check_test_rows(&self, n_read: u64) -> Result<(), DataError> {
        match self.division {
            Division::Rows { n_train, n_test, .. } if n_read != n_test => {
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
    /// Takes `paths`, and with `data.cache` opens or builds the cache of their first `max_rows`
    /// rows.
    fn new(
        config: &Config,
        paths: Vec<PathBuf>,
        dialect: Dialect,
        max_rows: Option<u64>,
    ) -> Result<Self> {
        let data = &config.data;
        let cache = if data.cache {
            cache::open_or_build(
                &paths,
                &dialect,
                max_rows,
                data.bad_rows(),
                data.cache_dir.as_deref(),
            )?
        } else {
            None
        };
        Ok(Self { paths, dialect, cache })
    }

    /// Counts rows, or the rows of each day, to place the split.
    fn divide(&self, data: &DataConfig) -> Result<Division> {
        let Self { paths, dialect, cache } = self;
        let by_day = data.split_kind() == SplitKind::LastDay;
        let days = || match cache {
            _ if !dialect.has_days(paths.len()) => {
                Err(DataError::NoDays { format: dialect.name() }.into())
            }
            Some(cache) => Ok(count_days(&mut cache.rows(), data.rows)?),
            None => {
                tracing::info!("counting the rows of each day to place the split");
                Ok(dialect.count_days(paths, data.rows)?)
            }
        };
        let n_rows = match cache {
            Some(cache) => cache.n_rows(),
            None if by_day => 0,
            None => {
                tracing::info!("counting rows to place the split");
                dialect.count_rows(paths, data.rows)?
            }
        };
        divide(data, n_rows, days)
    }

    /// The rows from the first on.
    fn rows(&self) -> Result<Box<dyn RecordSource>> {
        match &self.cache {
            Some(cache) => Ok(Box::new(cache.rows())),
            None => Ok(Box::new(Reader::open(self.paths.clone(), self.dialect.clone())?)),
        }
    }
}

/// Whether some of the rows can be read only once.
#[must_use]
pub fn reads_pipe(config: &Config) -> bool {
    let paths = config.data.path.iter().chain(&config.data.test_path).flat_map(Paths::to_vec);
    paths.into_iter().any(|path| is_read_once(&path).unwrap_or(false))
}

/// A stamp of the content of each file, but for those that can be read only once.
///
/// # Errors
/// If a file can't be read.
pub fn stamps<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<Vec<FileStamp>> {
    Ok(paths.map(FileStamp::read).filter_map(Result::transpose).collect::<Result<_, _>>()?)
}

/// Says what a pass left out, if it left out any rows.
pub fn tell_bad_rows(part: &str, n_rows: u64, bad_rows: &BadRowCounts) {
    if bad_rows.total() > 0 {
        tracing::warn!(
            "{part}: left out {} of {n_rows} rows, which are malformed ({bad_rows})",
            bad_rows.total()
        );
    }
}

/// The features of the first `n_rows` rows of a batch.
fn ids_of_first(batch: &Batch, n_rows: usize) -> &[FeatureId] {
    let n_ids = if batch.bag_ends.is_empty() {
        n_rows * (batch.ids.len() / batch.len().max(1))
    } else {
        let n_bags = n_rows * (batch.bag_ends.len() / batch.len().max(1));
        n_bags.checked_sub(1).map_or(0, |last| batch.bag_ends[last] as usize)
    };
    &batch.ids[..n_ids]
}

/// Whether the training rows come through a pipe; and the rules for what can be read only once.
fn check_pipes(config: &Config, paths: &[PathBuf]) -> Result<bool> {
    let data = &config.data;
    let piped = |paths: &[PathBuf]| {
        paths.iter().try_fold(false, |any, path| Ok::<_, ReadError>(any | is_read_once(path)?))
    };
    let test_paths = data.test_path.as_ref().map(Paths::to_vec).unwrap_or_default();
    let (train, test) = (piped(paths)?, piped(&test_paths)?);
    let evaluates = config.train.eval_every > 0;
    let (key, why) = if data.cache && (train || test) {
        (
            "data.cache",
            "what comes through a pipe is not cached; save it to a file, or set data.cache to false",
        )
    } else if train && data.test_path.is_none() && data.split_kind() != SplitKind::Position {
        (
            "data.split",
            "rows that come through a pipe can only be split by position; save them to a file, or set it so",
        )
    } else if train && config.train.epochs > 1 {
        (
            "train.epochs",
            "what comes through a pipe can be read once only; save it to a file for more epochs",
        )
    } else if train && config.embedding.method == Method::Offline {
        (
            "embedding.method",
            "`offline` counts features in a pass of its own, and what comes through a pipe can be read once",
        )
    } else if train && data.test_path.is_none() && data.rows.is_none() {
        (
            "data.path",
            "rows that come through a pipe can't be counted ahead; set data.rows to their number, or data.test_path",
        )
    } else if train && data.test_path.is_none() && evaluates {
        (
            "train.eval_every",
            "the test rows of a pipe come after its training rows; set it to 0, or set data.test_path",
        )
    } else if test && evaluates {
        (
            "train.eval_every",
            "test rows that come through a pipe can be read once only; set it to 0",
        )
    } else {
        return Ok(train);
    };
    Err(DataError::ReadOnce { key, why }.into())
}

/// A missing file is most often data that was never downloaded.
pub(crate) fn with_advice(error: anyhow::Error) -> anyhow::Error {
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

/// The sides of `n_rows` rows, or of the days that `days` counts the rows of.
fn divide(
    data: &DataConfig,
    n_rows: u64,
    days: impl FnOnce() -> Result<Vec<u64>>,
) -> Result<Division> {
    let fraction = data.train_share();
    let (split, n_rows) = match data.split_kind() {
        SplitKind::Position => (Split::Position { n_train: train_rows(n_rows, fraction) }, n_rows),
        SplitKind::Random => (Split::Random { seed: data.split_seed, fraction }, n_rows),
        SplitKind::LastDay => {
            let days = days()?;
            let n_train = train_rows_of_days(&days, None);
            if n_train == 0 {
                return Err(DataError::OneDay.into());
            }
            (Split::Position { n_train }, days.iter().sum())
        }
    };
    let n_train = split.n_train(n_rows);
    let n_test = n_rows - n_train;
    if n_train == 0 || n_test == 0 {
        return Err(DataError::TooFew { n_rows, fraction, n_train, n_test }.into());
    }
    Ok(Division::Rows { split, n_train, n_test })
}

fn rows_of_day(day: u64, synth: &SynthConfig, n_rows: u64) -> u64 {
    synth.rows_per_day.min(n_rows - day * synth.rows_per_day)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn files_have_stamps_in_order_and_generated_rows_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = ["a", "b", "c"].map(|name| directory.path().join(name));
        for path in &paths {
            fs::write(path, format!("1{}\n", "\t".repeat(39))).expect("written");
        }
        let [a, b, c] = paths.each_ref().map(|path| path.display());
        let model = "[model]\ndim = 4\nbottom = [4]\ntop = [1]\n[embedding]\ncompression = 100\n";
        let stamps = |data: &str| {
            let config =
                Config::parse(&format!("[data]\n{data}\n{model}"), Path::new("a.toml"), &[])
                    .expect("valid");
            DataSet::open(&config).expect("rows").stamps().expect("readable")
        };
        let found = stamps(&format!("path = [\"{c}\", \"{a}\"]\ntest_path = \"{b}\""));
        let found: Vec<_> = found.into_iter().map(|stamp| stamp.path).collect();
        assert_eq!(found, [2, 0, 1].map(|at: usize| paths[at].clone()));
        assert_eq!(stamps("synthetic = { rows = 10 }"), []);
    }
}
