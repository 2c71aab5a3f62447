//! A configuration as a list of keys and values, so that it can be compared with another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;
use serde::Deserialize;
use toml::{Table, Value};

use crate::config::{Config, Method, Named};

/// Values by their whole keys, such as `train.lr`. A list is a value.
pub type Settings = BTreeMap<String, Value>;

/// Every key of a table and of the tables in it.
#[must_use]
pub fn flat(table: &Table) -> Settings {
    let mut settings = Settings::new();
    flatten("", table, &mut settings);
    settings
}

fn flatten(prefix: &str, table: &Table, out: &mut Settings) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(table) => flatten(&path, table, out),
            _ => {
                out.insert(path, value.clone());
            }
        }
    }
}

/// The settings of `config` as they are written to a run's directory: through text, so that an
/// `f32` has the digits that it has there.
///
/// # Errors
/// If it can't be written as TOML.
pub fn settings_of(config: &Config) -> Result<Settings> {
    Ok(flat(&toml::from_str(&toml::to_string(config)?)?))
}

/// The settings of a configuration that a run saved, with the defaults that it was trained with;
/// the keys as they are in the file if it is of a version whose values this one can't read.
///
/// # Errors
/// If it can't be written as TOML.
pub fn settings_of_saved(table: &Table) -> Result<Settings> {
    match Config::deserialize(table.clone()) {
        Ok(mut config) => {
            config.complete_saved();
            settings_of(&config)
        }
        Err(_) => Ok(flat(table)),
    }
}

/// A value as a person writes it: text without quotes.
#[must_use]
pub fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// See [`is_incidental`].
const INCIDENTAL: [&str; 9] = [
    "name",
    "threads",
    "max_memory",
    "data.cache",
    "data.cache_dir",
    "train.tensorboard",
    "checkpoint.every",
    "checkpoint.keep",
    "checkpoint.keep_at_end",
];

/// Whether neither what a run learns nor what it logs depends on `key`.
#[must_use]
pub fn is_incidental(key: &str) -> bool {
    INCIDENTAL.contains(&key)
}

/// Keys that differ, or are in one of them only.
#[must_use]
pub fn differing<'a>(one: &'a Settings, other: &'a Settings) -> BTreeSet<&'a String> {
    one.keys().chain(other.keys()).filter(|&key| one.get(key) != other.get(key)).collect()
}

/// What distinguishes runs with different results: the settings but the
/// incidental ones, and those that its method does not look at.
#[must_use]
pub fn identity(settings: &Settings) -> String {
    lines(settings.iter().filter(|(key, _)| !is_incidental(key) && is_used(settings, key)))
}

/// Whether the run's method looks at `key`. A run of a method that this version does not know looks
/// at every key.
#[must_use]
pub fn is_used(settings: &Settings, key: &str) -> bool {
    /// Keys of `[embedding]` that say what a method may occupy.
    const OF_BUDGET: [&str; 3] = ["compression", "budget", "count_optimizer"];
    let text = |key: &str| settings.get(key).and_then(Value::as_str);
    let Some(rest) = key.strip_prefix("embedding.") else { return true };
    let Some(method) = text("embedding.method").and_then(Method::from_name) else { return true };
    match rest.split_once('.') {
        Some((name, _)) => method.entry().sections.iter().any(|section| {
            section.name == name
                && section.when.as_ref().is_none_or(|when| text(when.key) == Some(when.value))
        }),
        None => method.entry().has_budget || !OF_BUDGET.contains(&rest),
    }
}

/// A line each, `key=value`, which is TOML.
pub fn lines<'a>(settings: impl Iterator<Item = (&'a String, &'a Value)>) -> String {
    settings.fold(String::new(), |mut out, (key, value)| {
        let _ = writeln!(out, "{key}={value}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_whole_and_incidental_ones_tell_nothing() {
        let settings = |text: &str| flat(&text.parse().expect("TOML"));
        let one = settings(
            "name = \"a\"\nthreads = 1\n[data]\npath = [\"x\"]\n[train]\nschedule = { floor = 0.5 }\n",
        );
        let keys: Vec<_> = one.keys().map(String::as_str).collect();
        assert_eq!(keys, ["data.path", "name", "threads", "train.schedule.floor"]);
        assert_eq!(shown(&one["name"]), "a");
        assert_eq!(shown(&one["data.path"]), "[\"x\"]");
        let other = |text: &str| identity(&settings(text)) != identity(&one);
        assert!(!other(
            "threads = 2\n[data]\npath = [\"x\"]\n[train]\nschedule = { floor = 0.5 }\n"
        ));
        let methods = |method: &str, more: &str| {
            identity(&settings(&format!(
                "[embedding]\nmethod = \"{method}\"\ncompression = 10\n{more}"
            )))
        };
        let threshold = "cafe.threshold = 5.0\n";
        assert_eq!(methods("hash", threshold), methods("hash", ""));
        assert_ne!(methods("cafe", threshold), methods("cafe", ""));
        assert!(
            methods("hash", "").contains("compression")
                && !methods("full", "").contains("compression")
        );
        assert!(other(
            "threads = 1\n[data]\npath = [\"x\"]\n[train]\nschedule = { floor = 0.25 }\n"
        ));
    }
}
