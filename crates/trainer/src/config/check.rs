//! Ranges, and rules between keys: everything that can be said before data is touched.

mod embedding;
mod model;

use criteo_io::{ColumnsError, DialectError, Format};

use super::problem::{Problems, one_of};
use super::{BadRowPolicy, Config, Paths, Schedule, SplitKind, SyntheticConfig};
use crate::config::dialect;

/// More than any one machine has; what asks for more is a slip.
const MAX_THREADS: usize = 1024;

/// More rows than any log has.
const MAX_ROWS: u64 = 1 << 40;
/// Each day is remembered: its rows, and its metrics.
const MAX_DAYS: u64 = 1_000_000;
/// Rows a step; the buffers of a batch grow with it.
const MAX_BATCH: usize = 1 << 24;

impl Config {
    /// Every problem, each naming its key, what was expected and what was there.
    pub(super) fn problems(&self) -> Problems {
        let mut problems = Problems::default();
        if self.name.is_empty() || self.name.contains(['/', '\\']) || self.name.starts_with('.') {
            problems.add(
                "name",
                format!(
                    "expected a name without `/` that does not start with `.`, got {:?}; it names the run's directory",
                    self.name
                ),
            );
        }
        if self.threads > MAX_THREADS {
            problems.add(
                "threads",
                format!("expected at most {MAX_THREADS}, 0 for one a core, got {}", self.threads),
            );
        }
        self.check_data(&mut problems);
        self.check_model(&mut problems);
        self.check_embedding(&mut problems);
        self.check_train(&mut problems);
        problems
    }

    /// Those of `[data]` alone.
    pub(super) fn data_problems(&self) -> Problems {
        let mut problems = Problems::default();
        self.check_data(&mut problems);
        problems
    }

    fn check_data(&self, problems: &mut Problems) {
        let data = &self.data;
        match (&data.path, &data.synthetic) {
            (None, None) => {
                problems.add(
                    "data.path",
                    "missing; give a file, or data.synthetic.rows for generated rows",
                );
            }
            (Some(_), Some(_)) => {
                problems.add(
                    "data.synthetic",
                    "expected data.path or data.synthetic, got both; remove one of them",
                );
            }
            (None, Some(synthetic)) => self.check_generated(synthetic, problems),
            (Some(_), None) => {}
        }
        self.check_format(problems);
        if let Some(fraction) =
            data.train_fraction.filter(|fraction| !(*fraction > 0.0 && *fraction < 1.0))
        {
            problems.add(
                "data.train_fraction",
                format!("expected a number between 0 and 1, got {fraction}"),
            );
        }
        if let Some(fraction) =
            data.max_bad_fraction.filter(|fraction| !(0.0..1.0).contains(fraction))
        {
            problems.add(
                "data.max_bad_fraction",
                format!("expected a number from 0 to below 1, got {fraction}"),
            );
        }
        if data.cache_dir.as_ref().is_some_and(|dir| dir.as_os_str().is_empty()) {
            problems
                .add("data.cache_dir", "expected a directory, got nothing; `.` is the current one");
        }
        if data.rows == Some(0) {
            problems.add("data.rows", "expected at least 1, got 0; leave it out to read all rows");
        }
        self.check_unused_data(problems);
    }

    fn check_generated(&self, synthetic: &SyntheticConfig, problems: &mut Problems) {
        let data = &self.data;
        for (key, is_set, reason) in [
            (
                "test_path",
                data.test_path.is_some(),
                "generated rows are split by data.train_fraction",
            ),
            ("cache", data.cache, "only files are cached"),
            (
                "format",
                data.format != "criteo-kaggle",
                "generated rows are shaped like criteo-kaggle",
            ),
        ] {
            if is_set {
                problems.add(
                    format!("data.{key}"),
                    format!("expected none beside data.synthetic; remove it: {reason}"),
                );
            }
        }
        for (key, value) in [("rows", synthetic.rows), ("rows_per_day", synthetic.rows_per_day)] {
            if value == 0 {
                problems.add(format!("data.synthetic.{key}"), "expected at least 1, got 0");
            }
        }
        let (n_rows, n_days) =
            (synthetic.rows, synthetic.rows.div_ceil(synthetic.rows_per_day.max(1)));
        for (key, value, limit, what) in
            [("rows", n_rows, MAX_ROWS, "rows"), ("rows_per_day", n_days, MAX_DAYS, "days of rows")]
        {
            if value > limit {
                problems.add(
                    format!("data.synthetic.{key}"),
                    format!("expected at most {limit} {what}, got {value}"),
                );
            }
        }
    }

    fn check_format(&self, problems: &mut Problems) {
        match dialect::dialect(self) {
            Ok(_) => {}
            Err(DialectError::Unknown(_)) => {
                let formats: Vec<_> = Format::ALL
                    .map(Format::name)
                    .into_iter()
                    .chain(["delimited", "parquet"])
                    .collect();
                problems.add("data.format", one_of(&formats, &self.data.format));
            }
            Err(error @ DialectError::NoColumns) => {
                problems
                    .add("data.columns", format!("missing: {error}; the README has an example"));
            }
            Err(DialectError::Columns(error)) => {
                let (key, message) = (columns_key(&error), error.to_string());
                // The key says it already.
                let name = key.rsplit('.').next().unwrap_or_default();
                let message = message
                    .strip_prefix(name)
                    .and_then(|rest| rest.strip_prefix(": "))
                    .unwrap_or(&message);
                problems.add(key, message);
            }
            Err(error @ DialectError::NotText { key }) => {
                problems.add(format!("data.columns.{key}"), error.to_string());
            }
            Err(error @ DialectError::UnwantedColumns { .. }) => {
                problems.add("data.columns", error.to_string());
            }
            Err(error @ DialectError::NoParquet) => problems.add("data.format", error.to_string()),
        }
    }

    /// Keys that would do nothing, and files that can't be read as asked.
    fn check_unused_data(&self, problems: &mut Problems) {
        let data = &self.data;
        let is_split = data.test_path.is_none();
        let skips = data.bad_rows == BadRowPolicy::Skip;
        let has_share = data.split_kind() != SplitKind::LastDay;
        for (key, is_set, is_used, when) in [
            ("split", data.split.is_some(), is_split, "without data.test_path"),
            ("train_fraction", data.train_fraction.is_some(), is_split, "without data.test_path"),
            (
                "train_fraction",
                data.train_fraction.is_some(),
                has_share,
                "with a split by position or at random",
            ),
            (
                "split_seed",
                data.split_seed != 0,
                data.split_kind() == SplitKind::Random,
                "with split = \"random\"",
            ),
            ("cache_dir", data.cache_dir.is_some(), data.cache, "with cache = true"),
            ("max_bad_rows", data.max_bad_rows.is_some(), skips, "with bad_rows = \"skip\""),
            (
                "max_bad_fraction",
                data.max_bad_fraction.is_some(),
                skips,
                "with bad_rows = \"skip\"",
            ),
        ] {
            if is_set && !is_used {
                problems.add(format!("data.{key}"), format!("expected {when} only; remove it"));
            }
        }
        let lists = [("path", &data.path), ("test_path", &data.test_path)].map(|(key, paths)| {
            let files = paths.as_ref().map(Paths::to_vec);
            if files.as_ref().is_some_and(Vec::is_empty) {
                problems.add(
                    format!("data.{key}"),
                    "expected a file or more, got none; `-` is standard input",
                );
            }
            files.unwrap_or_default()
        });
        if lists.iter().flatten().filter(|path| path.as_os_str() == "-").count() > 1 {
            problems.add(
                "data.path",
                "expected `-` at most once, got it more often; standard input can be read once",
            );
        }
        if data.cache && dialect::dialect(self).is_ok_and(|dialect| dialect.has_bags()) {
            problems.add(
                "data.cache",
                "expected false where fields have several values, got true; they are not cached",
            );
        }
    }

    fn check_train(&self, problems: &mut Problems) {
        let train = &self.train;
        for (key, value) in [
            ("train.batch", train.batch as u64),
            ("train.epochs", u64::from(train.epochs)),
            ("train.log_every", train.log_every),
            ("checkpoint.keep", self.checkpoint.keep as u64),
        ] {
            if value == 0 {
                problems.add(key, "expected at least 1, got 0");
            }
        }
        if train.batch > MAX_BATCH {
            problems
                .add("train.batch", format!("expected at most {MAX_BATCH}, got {}", train.batch));
        }
        for (key, rate) in [("lr", train.lr), ("embedding_lr", train.embedding_lr)] {
            if let Some(rate) = rate.filter(|rate| !(*rate > 0.0 && rate.is_finite())) {
                problems
                    .add(format!("train.{key}"), format!("expected a positive number, got {rate}"));
            }
        }
        check_schedule(&train.schedule, problems);
    }
}

fn check_schedule(schedule: &Schedule, problems: &mut Problems) {
    let Schedule { warmup_steps: _, decay_start, decay_steps, power, floor } = *schedule;
    let warmup_steps = schedule.warmup_steps();
    if decay_steps > 0 && decay_start < warmup_steps {
        problems.add(
            "train.schedule.decay_start",
            format!("expected {warmup_steps} or more, where the warm-up ends, got {decay_start}"),
        );
    }
    if decay_steps == 0 && decay_start > 0 {
        problems.add(
            "train.schedule.decay_steps",
            "expected at least 1 with decay_start, got 0; say how long the decay takes",
        );
    }
    if decay_steps == 0 && (floor != 0.0 || power != Schedule::default().power) {
        problems.add(
            "train.schedule.decay_steps",
            "expected at least 1 with power or floor, got 0; say how long the decay takes",
        );
    }
    if !(power > 0.0 && power.is_finite()) {
        problems.add("train.schedule.power", format!("expected a positive number, got {power}"));
    }
    if !(0.0..=1.0).contains(&floor) {
        problems.add("train.schedule.floor", format!("expected a number from 0 to 1, got {floor}"));
    }
}

/// The key that a complaint about columns is about.
fn columns_key(error: &ColumnsError) -> &'static str {
    match error {
        ColumnsError::Delimiter { .. } => "data.columns.delimiter",
        ColumnsError::NamesAndHeader => "data.columns.names",
        ColumnsError::LabelRule => "data.columns.label",
        ColumnsError::Features { .. } => "data.columns.features",
        ColumnsError::Day => "data.columns.day",
        ColumnsError::Separator { .. } | ColumnsError::TooManyFields { .. } => {
            "data.columns.categorical"
        }
        _ => "data.columns",
    }
}
