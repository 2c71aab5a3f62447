//! `[data]`: which rows, from where, and which of them train.

use std::path::PathBuf;

use criteo_io::{BadRows, Columns, SkipLimits};
use serde::{Deserialize, Serialize};

use super::default_seed;

/// Which rows train and which test.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Files in order, as one stream; plain, gzip or zstd; `-` is standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Paths>,
    /// Files to test on. With them, all of `path` trains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_path: Option<Paths>,
    /// What the files hold: `criteo-kaggle`, `criteo-terabyte`, `criteo-terabyte-third`, `avazu`,
    /// `kdd12`, or `delimited` for whatever `columns` describes.
    #[serde(default = "default_format")]
    pub format: String,
    /// With `format = "delimited"`: which columns there are and how they are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Columns>,
    /// Without `test_path`: which rows train. `position`: the first ones. `last-day`: those of all
    /// days but the last. `random`: each row randomly. By default the protocol of the format:
    /// `last-day` for `avazu` and several files of Terabyte, `random` for `kdd12`, else `position`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitKind>,
    /// Another seed of a random split draws other rows.
    #[serde(default)]
    pub split_seed: u64,
    /// The share of the rows that trains, by position or at random. By default 6/7, and 9/10 at
    /// random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_fraction: Option<f64>,
    /// Reads no more than this many rows of `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// What becomes of malformed rows. `error`: the first one stops the run. `skip`: they are
    /// counted and left out.
    #[serde(default)]
    pub bad_rows: BadRowPolicy,
    /// With `bad_rows = "skip"`: more malformed rows in a pass stop the run. 10,000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bad_rows: Option<u64>,
    /// With `bad_rows = "skip"`: so does a larger share of them, looked at from row 1,000 on and at
    /// the end of a pass. 0.01 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bad_fraction: Option<f64>,
    /// Keeps the parsed rows of the files in a cache, so that further epochs and runs read them
    /// from there. It has 164 bytes a row; with `rows` only that many are cached.
    #[serde(default)]
    pub cache: bool,
    /// Where caches are; by default beside the first file of `path`, and beside that of
    /// `test_path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_dir: Option<PathBuf>,
    /// Generated rows instead of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<SyntheticConfig>,
}

/// One file, or several in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a path or a list of paths")]
pub enum Paths {
    /// One file.
    One(PathBuf),
    /// Several, read as one stream.
    Many(Vec<PathBuf>),
}

impl Paths {
    /// The files, in order.
    #[must_use]
    pub fn to_vec(&self) -> Vec<PathBuf> {
        match self {
            Self::One(path) => vec![path.clone()],
            Self::Many(paths) => paths.clone(),
        }
    }
}

/// What becomes of malformed rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BadRowPolicy {
    /// The first one stops the run.
    #[default]
    Error,
    /// They are counted and left out, up to a limit.
    Skip,
}

/// Which rows train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitKind {
    /// The first ones.
    Position,
    /// Those of all days but the last.
    LastDay,
    /// Each by lot.
    Random,
}

impl DataConfig {
    /// The split, by default that of the format's protocol.
    #[must_use]
    pub fn split_kind(&self) -> SplitKind {
        self.split.unwrap_or(match self.format.as_str() {
            "avazu" => SplitKind::LastDay,
            "kdd12" => SplitKind::Random,
            // A file a day; how many days a number of rows reaches is not known.
            "criteo-terabyte" | "criteo-terabyte-third"
                if self.rows.is_none()
                    && self.path.as_ref().is_some_and(|paths| paths.to_vec().len() > 1) =>
            {
                SplitKind::LastDay
            }
            _ => SplitKind::Position,
        })
    }

    /// What becomes of malformed rows, with the limits.
    #[must_use]
    pub fn bad_rows(&self) -> BadRows {
        let default = SkipLimits::default();
        match self.bad_rows {
            BadRowPolicy::Error => BadRows::Error,
            BadRowPolicy::Skip => BadRows::Skip(SkipLimits {
                max_rows: self.max_bad_rows.unwrap_or(default.max_rows),
                max_fraction: self.max_bad_fraction.unwrap_or(default.max_fraction),
            }),
        }
    }

    /// The share of the rows that trains, by position or at random.
    #[must_use]
    pub fn train_share(&self) -> f64 {
        self.train_fraction.unwrap_or(if self.split_kind() == SplitKind::Random {
            0.9
        } else {
            6.0 / 7.0
        })
    }
}

/// Rows from the generator (`criteo_io::Synth`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyntheticConfig {
    /// Rows in all, train and test.
    pub rows: u64,
    /// Seed of the rows and of what is planted in them.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Rows from one change of the popular values to the next.
    #[serde(default = "default_rows_per_day")]
    pub rows_per_day: u64,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: None,
            test_path: None,
            format: default_format(),
            columns: None,
            split: None,
            split_seed: 0,
            train_fraction: None,
            rows: None,
            bad_rows: BadRowPolicy::default(),
            max_bad_rows: None,
            max_bad_fraction: None,
            cache: false,
            cache_dir: None,
            synthetic: None,
        }
    }
}

fn default_format() -> String {
    "criteo-kaggle".to_owned()
}

fn default_rows_per_day() -> u64 {
    criteo_io::SynthConfig::default().rows_per_day
}
