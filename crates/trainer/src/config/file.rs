//! From a file and `--set` overrides to a checked [`Config`].

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Config;

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

    /// As [`Config::load`], from text; `file` is for messages.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, file: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        let syntax = |error: &toml::de::Error| ConfigError::Syntax {
            file: file.to_owned(),
            line: error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count()),
            message: error.message().to_owned(),
        };
        // The file by itself first: only there do positions exist.
        let _: Self = toml::from_str(text).map_err(|error| syntax(&error))?;
        let mut table: Table = toml::from_str(text).map_err(|error| syntax(&error))?;
        for text in overrides {
            apply(&mut table, text).map_err(|message| ConfigError::Override { text: text.clone(), message })?;
            let _: Self = table.clone().try_into().map_err(|error: toml::de::Error| ConfigError::Override {
                text: text.clone(),
                message: error.message().to_owned(),
            })?;
        }
        let mut config: Self = table.try_into().map_err(|error| syntax(&error))?;
        config.complete();
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Values { problems }) }
    }

    /// Fills in the defaults that depend on other keys.
    fn complete(&mut self) {
        if self.model.bottom.is_empty() {
            self.model.bottom = vec![512, 256, 64, self.model.dim];
        }
        if self.threads == 0 {
            self.threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        }
    }
}

/// Sets the value at a dotted key: TOML where it parses as such, else a plain string.
fn apply(table: &mut Table, text: &str) -> Result<(), String> {
    let (path, value) = text.split_once('=').ok_or("expected key.path=value")?;
    let value = value.trim();
    let value = toml::from_str::<Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut keys: Vec<&str> = path.split('.').map(str::trim).collect();
    let last = keys.pop().filter(|key| !key.is_empty()).ok_or("expected key.path=value")?;
    let mut at = table;
    for key in keys {
        let entry = at.entry(key).or_insert_with(|| Value::Table(Table::new()));
        at = entry.as_table_mut().ok_or_else(|| format!("`{key}` is a value, not a section"))?;
    }
    // The two ways to say the budget exclude each other: the later one wins.
    match (path.trim(), last) {
        ("embedding.compression", _) => drop(at.remove("budget")),
        ("embedding.budget", _) => drop(at.remove("compression")),
        _ => {}
    }
    at.insert(last.to_owned(), value);
    Ok(())
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
        let config = parse(
            SMALL,
            &[
                "embedding.method=hash",
                "embedding.budget=2 MiB",
                "model.dim = 8",
                "data.path=[\"a\", \"b\"]",
                "data.synthetic.rows=900",
                "name=other",
            ],
        );
        let problems = config.expect_err("path and synthetic exclude each other").to_string();
        assert_eq!(problems, "data.path and data.synthetic: give one of the two");
        let config =
            parse(SMALL, &["embedding.method=hash", "embedding.budget=2 MiB", "model.dim = 8"]).expect("valid");
        assert_eq!(config.embedding.method, Method::Hash);
        assert_eq!((config.embedding.budget, config.embedding.compression), (Some(ByteSize(2 << 20)), None));
        assert_eq!(config.model.bottom, [512, 256, 64, 8]);
    }

    #[test]
    fn errors_name_file_line_and_what_was_expected() {
        let of = |text: &str, overrides: &[&str]| parse(text, overrides).expect_err("invalid").to_string();
        let unknown = of("name = \"x\"\n[train]\nbacth = 3\n", &[]);
        assert_eq!(
            unknown,
            "a.toml:3: unknown field `bacth`, expected one of `batch`, `epochs`, `optimizer`, `lr`, `eval_every`, `log_every`"
        );
        assert!(of("name = \n", &[]).starts_with("a.toml:1: "), "{}", of("name = \n", &[]));
        let method = of("[embedding]\nmethod = \"qr\"\n", &[]);
        assert_eq!(method, "a.toml:2: unknown variant `qr`, expected one of `cafe`, `hash`, `full`");
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
