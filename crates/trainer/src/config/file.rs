//! From a file and `--set` overrides to a checked [`Config`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dlrm_model::{DeviceSpec, EngineKind, Precision};
use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

use super::problem::{self, Kind, Problem, Problems, Reworded};
use super::source::{self, Taken, Texts};
use super::{Config, EmbeddingOptimizer, Optimizer};
use crate::config::dialect;
use crate::exit::{self, ExitCode};

/// More would not be read, and each one parses the file again.
const MAX_PROBLEMS: usize = 50;

/// Why a configuration is refused. Exit code 78.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: can't read the configuration", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not TOML, has an unknown key or value, or values that don't make an
    /// experiment.
    #[error("{}", problems.join("\n"))]
    Invalid {
        /// All problems, each with its place, its key, what was expected, what was there, and what
        /// to do.
        problems: Vec<String>,
    },
}

impl ExitCode for ConfigError {
    fn exit_code(&self) -> u8 {
        exit::CONFIG
    }
}

impl Config {
    /// Reads `file`, applies the overrides in order, and checks the result.
    ///
    /// # Errors
    /// Everything that is wrong, with its line in the file or its override.
    pub fn load(file: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        Self::parse(&read(file)?, file, overrides)
    }

    /// [`Config::load`] for commands that only read rows: `[data]` alone is checked, so that
    /// neither a budget nor the number of features needs to be known.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_data(file: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        Self::checked(
            &Texts::new(&read(file)?, file, overrides),
            Self::complete,
            Self::data_problems,
        )
    }

    /// As [`Config::load`], from text; `file` is for messages.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, file: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        Self::checked(&Texts::new(text, file, overrides), Self::complete, Self::problems)
    }

    /// The configuration that a run saved, with the defaults that it was trained with: those of
    /// earlier versions where it is of one.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse_saved(text: &str, file: &Path) -> Result<Self, ConfigError> {
        Self::checked(&Texts::new(text, file, &[]), Self::complete_saved, Self::problems)
    }

    /// Fills in what a configuration that a run saved does not say. Versions with the defaults of
    /// today write them all out.
    pub(crate) fn complete_saved(&mut self) {
        if self.embedding.count_optimizer.is_none() {
            self.fill_in_earlier_defaults();
        }
        self.complete();
    }

    fn checked(
        texts: &Texts<'_>,
        complete: impl Fn(&mut Self),
        check: impl Fn(&Self) -> Problems,
    ) -> Result<Self, ConfigError> {
        let (mut problems, config) = match texts.parse() {
            Err(problems) => (problems, None),
            Ok(tree) => {
                let Reading { mut config, mut problems, lost } = Reading::of(texts, tree.clone());
                if let Some(config) = &mut config {
                    complete(config);
                    let found = check(config).0.into_iter().filter(|one| !lost.covers(&one.key));
                    problems.extend(
                        found.map(|one| Problem { position: texts.locate(&tree, &one.key), ..one }),
                    );
                }
                (problems, config)
            }
        };
        // Problems without a line come first; the others in the order of the file.
        problems.sort_by_key(|one| one.position);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(ConfigError::Invalid {
                problems: problems.iter().map(|one| texts.show(one)).collect(),
            }),
        }
    }

    /// This configuration for another device: with the engine that is the default there, and on a
    /// GPU in `f32`.
    #[must_use]
    pub fn moved_to(&self, device: DeviceSpec) -> Self {
        let device = device.to_string();
        if device == self.device {
            return self.clone();
        }
        let mut moved = Self { device, ..self.clone() };
        let engine = moved.default_engine();
        moved.engine = engine.to_string();
        if engine == EngineKind::Candle {
            moved.precision = Precision::F32.to_string();
        }
        moved
    }

    fn default_engine(&self) -> EngineKind {
        if self.device == "cpu" { EngineKind::Native } else { EngineKind::Candle }
    }

    /// What was not written meant this before there was a default for each: one rate and one
    /// optimizer for all, Adagrad's rows row-wise; no constant input; accumulators in `f32` that no
    /// budget counts.
    fn fill_in_earlier_defaults(&mut self) {
        if self.train.embedding_lr.is_none() {
            self.train.embedding_lr = self.train.lr;
        }
        self.train.embedding_optimizer.get_or_insert(match self.train.optimizer {
            Optimizer::Sgd => EmbeddingOptimizer::Sgd,
            Optimizer::Adagrad => EmbeddingOptimizer::RowWiseAdagrad,
            Optimizer::Adam => EmbeddingOptimizer::Adam,
        });
        if dialect::schema(self).is_ok_and(|schema| schema.n_integers == 0) {
            self.model.constant_input = Some(false);
        }
    }

    /// Fills in the defaults that depend on other keys.
    fn complete(&mut self) {
        // Where the format is unknown, a message says so; what is filled in does not matter then.
        let schema = dialect::schema(self).ok();
        let has_frequencies = self.embedding.frequency_inputs;
        self.model
            .complete(schema.as_ref().is_none_or(|schema| schema.n_integers > 0), has_frequencies);
        self.train.complete(self.model.widest_layer(), schema.map_or(1, |schema| schema.n_fields));
        self.embedding.complete(self.train.row_optimizer());
        // A trained model has them behind it.
        let warms_up = self.model.kind.has("cross_layers") && self.train.init.is_none();
        let warmup_steps = if warms_up { CROSSES_WARMUP_STEPS } else { 0 };
        self.train.schedule.warmup_steps.get_or_insert(warmup_steps);
        if self.engine.is_empty() {
            self.engine = self.default_engine().to_string();
        }
        if self.threads == 0 {
            self.threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        }
    }
}

/// Cross layers multiply numbers of up to 14, the logarithms of counts, by each other: at SGD's 0.1
/// from the first step on, most seeds end in NaN.
const CROSSES_WARMUP_STEPS: u64 = 500;

fn read(file: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(file)
        .map_err(|source| ConfigError::Read { file: file.to_owned(), source })
}

/// A configuration read as far as it can be.
struct Reading {
    /// The text without the keys and values that are wrong; `None` if they can't be taken out.
    config: Option<Config>,
    problems: Vec<Problem>,
    lost: Lost,
}

/// What is not in a configuration because it was wrong, and makes checks of the rest pointless.
#[derive(Default)]
struct Lost {
    /// Keys, and the outermost section of each value.
    keys: BTreeSet<String>,
}

impl Lost {
    fn covers(&self, key: &str) -> bool {
        let section = key.split_once('.').map_or(key, |(section, _)| section);
        // Both follow from the columns of the data.
        let follows_data = matches!(key, "embedding.features" | "model.bottom");
        self.keys.contains(section)
            || self.keys.contains(key)
            || follows_data && self.keys.contains("data")
    }
}

impl Reading {
    /// Takes out one wrong key or value after the other, until the rest reads: serde stops at the
    /// first.
    fn of<'t>(texts: &'t Texts<'_>, mut tree: DeTable<'t>) -> Self {
        let (mut problems, mut lost) = (Vec::new(), Lost::default());
        while problems.len() < MAX_PROBLEMS {
            let error = match deserialize(&tree) {
                Ok(config) => return Self { config: Some(config), problems, lost },
                Err(error) => error,
            };
            let span = error.span().unwrap_or_default();
            if let Some(other) = texts.as_text(&tree, span.start) {
                let still =
                    deserialize(&other).err().map(|error| error.span().unwrap_or_default().start);
                if !still.is_some_and(|position| texts.is_same_override(position, span.start)) {
                    tree = other;
                    continue;
                }
            }
            let position = Some(span.start);
            let Some(Taken { key, value }) = source::take(&mut tree, &span) else {
                problems.push(Problem {
                    position,
                    key: String::new(),
                    message: error.message().to_owned(),
                });
                break;
            };
            let (section, name) = key.rsplit_once('.').unwrap_or(("", &key));
            let Reworded { message, meant, kind } =
                problem::reword(error.message(), name, texts.excerpt(&value));
            let meant = meant.map(|meant| match kind {
                Kind::Missing => format!("{key}.{meant}"),
                _ if section.is_empty() => meant,
                _ => format!("{section}.{meant}"),
            });
            let is_known =
                kind == Kind::Missing && meant.as_ref().is_some_and(|key| lost.keys.contains(key));
            if kind != Kind::UnknownKey {
                lost.keys
                    .extend([key.clone(), key.split('.').next().unwrap_or_default().to_owned()]);
            }
            let shown = meant.clone().filter(|_| kind == Kind::Missing).unwrap_or(key);
            lost.keys.extend(meant);
            if !is_known {
                problems.push(Problem { position, key: shown, message });
            }
        }
        Self { config: None, problems, lost }
    }
}

fn deserialize(tree: &DeTable<'_>) -> Result<Config, toml::de::Error> {
    Config::deserialize(toml::de::Deserializer::from(Spanned::new(0..0, tree.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cafe_core::{Accumulator, RowPrecision};

    use crate::config::{ByteSize, EmbeddingOptimizer, Method, Optimizer};

    const SMALL: &str = "[data]\nsynthetic = { rows = 700 }\n[embedding]\ncompression = 100\n";

    fn parse(text: &str, overrides: &[&str]) -> Result<Config, ConfigError> {
        let overrides: Vec<_> = overrides.iter().map(|&text| text.to_owned()).collect();
        Config::parse(text, Path::new("a.toml"), &overrides)
    }

    #[test]
    fn defaults_are_those_that_learn_on_any_data() {
        let config = parse(SMALL, &[]).expect("valid");
        assert_eq!(config.model.bottom, [512, 256, 64, 16]);
        assert_eq!((config.train.batch, config.train.epochs), (128, 1));
        assert_eq!(
            (config.train.optimizer, config.train.lr),
            (Optimizer::Adagrad, Some(2.5 / 512.0))
        );
        assert_eq!(config.train.embedding_optimizer, Some(EmbeddingOptimizer::RowWiseAdagrad));
        assert_eq!(config.train.embedding_lr, Some(0.1 / 26_f32.sqrt()));
        let embedding = config.embedding;
        assert_eq!(
            (embedding.method, embedding.precision),
            (Method::Coded, Some(RowPrecision::I8))
        );
        assert_eq!(
            (embedding.accumulator, embedding.count_optimizer),
            (Some(Accumulator::Byte), Some(true))
        );
        assert!(config.threads > 0);
    }

    #[test]
    fn overrides_win_and_make_sections() {
        let config =
            parse(SMALL, &["embedding.method=hash", "embedding.budget=2 MiB", "model.dim = 8"])
                .expect("valid");
        assert_eq!(config.embedding.method, Method::Hash);
        assert_eq!(
            (config.embedding.budget, config.embedding.compression),
            (Some(ByteSize(2 << 20)), None)
        );
        assert_eq!(config.model.bottom, [512, 256, 64, 8]);
    }

    #[test]
    fn the_later_source_of_rows_wins_and_order_does_not_matter_otherwise() {
        let config = parse(SMALL, &["data.path=[\"a\", \"b\"]", "name=1000"]).expect("valid");
        assert!(
            config.data.synthetic.is_none()
                && config.data.path.is_some_and(|paths| paths.to_vec().len() == 2)
        );
        assert_eq!(
            config.name, "1000",
            "text that looks like a number stays text where text is wanted"
        );
        let file = "[data]\npath = \"a\"\ntest_path = \"b\"\ncache = true\n[embedding]\ncompression = 100\n";
        let config =
            parse(file, &["data.synthetic.seed=3", "data.synthetic.rows=10"]).expect("valid");
        assert!(
            config.data.path.is_none() && config.data.test_path.is_none() && !config.data.cache
        );
        assert!(config.data.synthetic.is_some_and(|s| (s.rows, s.seed) == (10, 3)));
        let both =
            "[data]\npath = \"a\"\nsynthetic = { rows = 9 }\n[embedding]\ncompression = 100\n";
        let problems = parse(both, &[]).expect_err("they exclude each other").to_string();
        assert_eq!(
            problems,
            "a.toml:3: data.synthetic: expected data.path or data.synthetic, got both; remove one of them"
        );
    }

    #[test]
    fn a_resolved_configuration_reads_back_the_same() {
        let config =
            parse(SMALL, &["embedding.cafe.victim=last-slot", "embedding.cafe.multi_level=true"])
                .expect("valid");
        let text = toml::to_string(&config).expect("serialises");
        let again = parse(&text, &[]).expect("valid");
        assert_eq!(toml::to_string(&again).expect("serialises"), text);
    }
}
