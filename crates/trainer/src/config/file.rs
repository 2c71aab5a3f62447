//! From a file and `--set` overrides to a checked [`Config`].

use std::path::{Path, PathBuf};

use dlrm_model::EngineKind;
use toml::{Table, Value};

use super::Config;
use crate::setup;

/// Why a configuration can't be used. Exit code 78.
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
    /// It is not TOML, or has a key or value that nobody knows.
    #[error("{}:{line}: {message}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what was expected.
        message: String,
    },
    /// An override is off.
    #[error("--set {text}: {message}")]
    Override {
        /// The override as given.
        text: String,
        /// What is wrong, and what was expected.
        message: String,
    },
    /// Values that don't make an experiment.
    #[error("{}", problems.join("\n"))]
    Values {
        /// All of them, each with its key.
        problems: Vec<String>,
    },
}

impl Config {
    /// Reads `file`, applies the overrides in order, and checks the whole.
    ///
    /// # Errors
    /// The first syntax error with its line, or every value that is out of range.
    pub fn load(file: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(file).map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
        Self::parse(&text, file, overrides)
    }

    /// The same where only data are looked at: `[data]` is checked and nothing else, so that neither a budget nor the
    /// number of features needs to be known.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_data(file: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(file).map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
        Self::unchecked(&text, file, overrides)?.checked(Self::data_problems)
    }

    /// As [`Config::load`], from text; `file` is for messages.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, file: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        Self::unchecked(text, file, overrides)?.checked(Self::problems)
    }

    fn unchecked(text: &str, file: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let syntax = |error: &toml::de::Error| ConfigError::Syntax {
            file: file.to_owned(),
            line: error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count()),
            message: error.message().to_owned(),
        };
        // The file by itself first: only there do positions exist.
        let _: Self = toml::from_str(text).map_err(|error| syntax(&error))?;
        let table: Table = toml::from_str(text).map_err(|error| syntax(&error))?;
        let overrides = overrides.iter().map(|text| Override::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let mut config = merge(&table, &overrides)?;
        config.complete();
        Ok(config)
    }

    fn checked(self, problems: impl Fn(&Self) -> Vec<String>) -> Result<Self, ConfigError> {
        let problems = problems(&self);
        if problems.is_empty() { Ok(self) } else { Err(ConfigError::Values { problems }) }
    }

    /// Fills in the defaults that depend on other keys.
    fn complete(&mut self) {
        // Where the format is unknown, a message says so; what is filled in does not matter then.
        let has_dense = setup::schema(self).map_or(true, |schema| schema.n_integers > 0);
        self.model.complete(has_dense);
        if self.engine.is_empty() {
            let engine = if self.device == "cpu" { EngineKind::Native } else { EngineKind::Candle };
            self.engine = engine.to_string();
        }
        if self.threads == 0 {
            self.threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        }
    }
}

/// One `--set`.
#[derive(Clone)]
struct Override {
    text: String,
    path: Vec<String>,
    value: Value,
}

impl Override {
    /// `key.path=value`: TOML where the value parses as such, else a plain string.
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let error = || ConfigError::Override { text: text.to_owned(), message: "expected key.path=value".to_owned() };
        let (path, plain) = text.split_once('=').ok_or_else(error)?;
        let path: Vec<String> = path.split('.').map(|key| key.trim().to_owned()).collect();
        if path.iter().any(String::is_empty) {
            return Err(error());
        }
        let parsed = toml::from_str::<Table>(&format!("value = {plain}")).ok();
        let value = parsed.and_then(|mut table| table.remove("value"));
        let value = value.unwrap_or_else(|| Value::String(plain.trim().to_owned()));
        Ok(Self { text: text.to_owned(), path, value })
    }

    /// The same with its value as text, for keys that want text which looks like a number.
    fn as_text(&self) -> Self {
        let plain = self.text.split_once('=').map_or("", |(_, plain)| plain.trim());
        Self { value: Value::String(plain.to_owned()), ..self.clone() }
    }

    fn apply(&self, table: &mut Table) -> Result<(), ConfigError> {
        let (last, sections) = self.path.split_last().expect("a path has a key");
        // Of settings that exclude each other the later one wins.
        for (mine, other) in [
            (&["embedding", "compression"][..], ["embedding", "budget"]),
            (&["embedding", "budget"], ["embedding", "compression"]),
            (&["data", "path"], ["data", "synthetic"]),
            (&["data", "synthetic"], ["data", "path"]),
            (&["data", "synthetic"], ["data", "test_path"]),
            (&["data", "synthetic"], ["data", "cache"]),
        ] {
            if self.path.len() >= mine.len()
                && self.path.iter().zip(mine).all(|(a, b)| a == b)
                && let Some(section) = table.get_mut(other[0]).and_then(Value::as_table_mut)
            {
                section.remove(other[1]);
            }
        }
        let mut at = table;
        for key in sections {
            let entry = at.entry(key).or_insert_with(|| Value::Table(Table::new()));
            at = entry.as_table_mut().ok_or_else(|| ConfigError::Override {
                text: self.text.clone(),
                message: format!("`{key}` is a value, not a section"),
            })?;
        }
        at.insert(last.clone(), self.value.clone());
        Ok(())
    }
}

/// The table with all overrides, as a configuration. Positions are lost here, so what is wrong is
/// pinned on the override without which it would not be.
fn merge(table: &Table, overrides: &[Override]) -> Result<Config, ConfigError> {
    let attempt = |overrides: &mut dyn Iterator<Item = Override>| -> Result<Result<Config, String>, ConfigError> {
        let mut table = table.clone();
        for one in overrides {
            one.apply(&mut table)?;
        }
        Ok(table.try_into().map_err(|error: toml::de::Error| error.message().to_owned()))
    };
    let message = match attempt(&mut overrides.iter().cloned())? {
        Ok(config) => return Ok(config),
        Err(message) => message,
    };
    for (number, suspect) in overrides.iter().enumerate() {
        let as_text = |(i, one): (usize, &Override)| if i == number { one.as_text() } else { one.clone() };
        if let Ok(config) = attempt(&mut overrides.iter().enumerate().map(as_text))? {
            return Ok(config);
        }
        let others = overrides.iter().enumerate().filter(|(i, _)| *i != number).map(|(_, one)| one.clone());
        if attempt(&mut { others })?.is_ok() {
            return Err(ConfigError::Override { text: suspect.text.clone(), message });
        }
    }
    let text = overrides.iter().map(|one| one.text.as_str()).collect::<Vec<_>>().join(" --set ");
    Err(ConfigError::Override { text, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ByteSize, Method};

    const SMALL: &str = "[data]\nsynthetic = { rows = 700 }\n[embedding]\ncompression = 100\n";

    fn parse(text: &str, overrides: &[&str]) -> Result<Config, ConfigError> {
        let overrides: Vec<_> = overrides.iter().map(|&text| text.to_owned()).collect();
        Config::parse(text, Path::new("a.toml"), &overrides)
    }

    #[test]
    fn defaults_are_the_papers_protocol() {
        let config = parse(SMALL, &[]).expect("valid");
        assert_eq!(config.model.bottom, [512, 256, 64, 16]);
        assert_eq!((config.train.batch, config.train.epochs), (128, 1));
        assert!((config.train.lr - 0.1).abs() < f32::EPSILON);
        assert_eq!(config.embedding.method, Method::Cafe);
        assert!(config.threads > 0);
    }

    #[test]
    fn overrides_win_and_make_sections() {
        let config =
            parse(SMALL, &["embedding.method=hash", "embedding.budget=2 MiB", "model.dim = 8"]).expect("valid");
        assert_eq!(config.embedding.method, Method::Hash);
        assert_eq!((config.embedding.budget, config.embedding.compression), (Some(ByteSize(2 << 20)), None));
        assert_eq!(config.model.bottom, [512, 256, 64, 8]);
    }

    #[test]
    fn the_later_source_of_rows_wins_and_order_does_not_matter_otherwise() {
        let config = parse(SMALL, &["data.path=[\"a\", \"b\"]", "name=1000"]).expect("valid");
        assert!(config.data.synthetic.is_none() && config.data.path.is_some_and(|paths| paths.to_vec().len() == 2));
        assert_eq!(config.name, "1000", "text that looks like a number stays text where text is wanted");
        let file = "[data]\npath = \"a\"\ntest_path = \"b\"\ncache = true\n[embedding]\ncompression = 100\n";
        let config = parse(file, &["data.synthetic.seed=3", "data.synthetic.rows=10"]).expect("valid");
        assert!(config.data.path.is_none() && config.data.test_path.is_none() && !config.data.cache);
        assert!(config.data.synthetic.is_some_and(|s| (s.rows, s.seed) == (10, 3)));
        let both = "[data]\npath = \"a\"\nsynthetic = { rows = 9 }\n[embedding]\ncompression = 100\n";
        let problems = parse(both, &[]).expect_err("they exclude each other").to_string();
        assert_eq!(problems, "data.path and data.synthetic: give one of the two");
    }

    #[test]
    fn errors_name_file_line_and_what_was_expected() {
        let of = |text: &str, overrides: &[&str]| parse(text, overrides).expect_err("invalid").to_string();
        let unknown = of("name = \"x\"\n[train]\nbacth = 3\n", &[]);
        assert_eq!(
            unknown,
            "a.toml:3: unknown field `bacth`, expected one of `batch`, `epochs`, `optimizer`, `embedding_optimizer`, `lr`, `embedding_lr`, `schedule`, `eval_every`, `log_every`, `tensorboard`"
        );
        assert!(of("name = \n", &[]).starts_with("a.toml:1: "), "{}", of("name = \n", &[]));
        let method = of("[embedding]\nmethod = \"qrs\"\n", &[]);
        assert_eq!(
            method,
            "a.toml:2: unknown variant `qrs`, expected one of `cafe`, `cafe_best`, `cafe_plus`, `hash`, `hash2`, `qr`, `mde`, `ada`, `offline`, `unified`, `full`"
        );
        let set = of(SMALL, &["train.bacth=3"]);
        assert!(set.starts_with("--set train.bacth=3: unknown field `bacth`, expected one of"), "{set}");
        assert_eq!(of(SMALL, &["train"]), "--set train: expected key.path=value");
        assert_eq!(of(SMALL, &["train.batch.x=3"]), "--set train.batch.x=3: invalid type: map, expected usize");
        let budget = of("[embedding]\nbudget = \"2 parsecs\"\n", &[]);
        assert_eq!(budget, "a.toml:2: expected bytes such as 2000000, \"500 KB\" or \"2 MiB\", got \"2 parsecs\"");
    }

    #[test]
    fn a_resolved_configuration_reads_back_the_same() {
        let config =
            parse(SMALL, &["embedding.cafe.victim=last-slot", "embedding.cafe.multi_level=true"]).expect("valid");
        let text = toml::to_string(&config).expect("serialises");
        let again = parse(&text, &[]).expect("valid");
        assert_eq!(toml::to_string(&again).expect("serialises"), text);
    }
}
