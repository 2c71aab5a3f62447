//! Names of protocols, models, variants and ratios.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::Variant;
use crate::config::settings::{Settings, differing, flat, is_incidental, is_used, lines, shown};
use crate::config::{DataConfig, EmbeddingConfig, EmbeddingOptimizer, Method, SplitKind};
use crate::text::grouped;

/// Settings of the embedding that give its size or its content rather than how it works.
const SIZES: [&str; 4] =
    ["embedding.method", "embedding.compression", "embedding.budget", "embedding.features"];

const PRECISION: &str = "embedding.precision";

/// Settings beside the incidental ones in which runs of one protocol may differ.
const SEEDS_AND_LOGS: [&str; 4] =
    ["seed", "data.synthetic.seed", "train.eval_every", "train.log_every"];

/// The settings that must be equal for runs to be compared: all but the embedding and the seeds.
pub(super) fn group_key(settings: &Settings) -> String {
    lines(settings.iter().filter(|(key, _)| is_common(key)))
}

fn is_common(key: &str) -> bool {
    let is_varied = key.starts_with("embedding.") && key != "embedding.features";
    !is_varied && !is_incidental(key) && !SEEDS_AND_LOGS.contains(&key)
}

/// Those of `other` that differ from `first`, each after a comma.
pub(super) fn differences(first: &Settings, other: &Settings) -> String {
    let text = |key: &str| other.get(key).map_or_else(|| "unset".to_owned(), shown);
    let different = differing(first, other).into_iter().filter(|key| is_common(key));
    different.fold(String::new(), |out, key| format!("{out}, {} {}", short(key), text(key)))
}

/// The settings of the embedding that its method uses, without [`SIZES`].
pub(super) fn embedding(settings: &Settings) -> Settings {
    let of_method = |key: &str| {
        key.starts_with("embedding.") && !SIZES.contains(&key) && is_used(settings, key)
    };
    settings
        .iter()
        .filter(|(key, _)| of_method(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Settings that differ from the defaults of the method.
pub(super) fn deviations(method: &str, embedding: &Settings) -> BTreeMap<String, String> {
    let mut defaults = EmbeddingConfig::default();
    if let Ok(method) = Method::deserialize(toml::Value::String(method.to_owned())) {
        defaults.method = method;
    }
    // Some keys have a default only once the optimizer is known.
    defaults.complete(EmbeddingOptimizer::RowWiseAdagrad);
    let defaults = toml::to_string(&defaults).ok().and_then(|text| text.parse().ok());
    let defaults: Settings = defaults.map_or_else(Settings::new, |table| flat(&table));
    let differs = |(key, value): &(&String, &toml::Value)| {
        let default = defaults.get(key.trim_start_matches("embedding."));
        default != Some(value)
    };
    embedding.iter().filter(differs).map(|(key, value)| (key.clone(), shown(value))).collect()
}

/// The name of a variant: the method with the settings that differ from its defaults.
pub(super) fn variant(method: &str, deviations: &BTreeMap<String, String>) -> String {
    deviations
        .iter()
        .fold(method.to_owned(), |label, (key, value)| format!("{label}, {} {value}", short(key)))
}

/// The last part of a key, in words.
#[must_use]
pub(crate) fn short(key: &str) -> String {
    key.rsplit('.').next().unwrap_or(key).replace('_', " ")
}

/// Removes from the labels the deviations that all variants of a method share, and returns them:
/// they are reported once, for the group. Precision is removed only if all methods share it.
pub(super) fn common(variants: &mut [Variant<'_>]) -> Vec<String> {
    let methods: BTreeSet<String> = variants.iter().map(|variant| variant.method.clone()).collect();
    let mut shared = Vec::new();
    let precision = |variant: &Variant<'_>| variant.deviations.get(PRECISION).cloned();
    let same_precision = variants.windows(2).all(|pair| precision(&pair[0]) == precision(&pair[1]));
    for method in methods {
        let of_method = || variants.iter().filter(|variant| variant.method == method);
        let Some(first) = of_method().next() else { continue };
        let is_common = |(key, value): &(&String, &String)| {
            (*key != PRECISION || same_precision)
                && of_method().all(|variant| variant.deviations.get(*key) == Some(*value))
        };
        let common: BTreeMap<String, String> = first
            .deviations
            .iter()
            .filter(is_common)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if common.is_empty() {
            continue;
        }
        shared.push(variant(&method, &common));
        for of_method in variants.iter_mut().filter(|variant| variant.method == method) {
            of_method.deviations.retain(|key, _| !common.contains_key(key));
            of_method.label = variant(&method, &of_method.deviations);
        }
    }
    shared
}

/// What all runs of a group share: pairs of a name and a text.
pub(super) fn protocol(settings: &Settings) -> Vec<(&'static str, String)> {
    let get = |key: &str| settings.get(key).map(shown);
    let number =
        |key: &str| settings.get(key).and_then(toml::Value::as_integer).map(|n| grouped(n as u64));
    let or_nothing = |text: Option<String>, before: &str| {
        text.map_or_else(String::new, |text| format!("{before}{text}"))
    };
    let data = match number("data.synthetic.rows") {
        Some(rows) => format!(
            "generated: {rows} rows, a new day every {}; a seed draws rows, planted effects and \
             weights",
            number("data.synthetic.rows_per_day").unwrap_or_default()
        ),
        None => format!(
            "{}: {}{}",
            get("data.format").unwrap_or_default(),
            get("data.path").unwrap_or_default(),
            or_nothing(number("data.rows"), ", rows "),
        ),
    };
    let rows = match (get("train.embedding_optimizer"), get("train.embedding_lr")) {
        (Some(optimizer), Some(lr)) => Some(format!("{optimizer} at {lr}")),
        // Earlier versions recorded only what was given.
        (_, lr) => lr.map(|lr| format!("at {lr}")),
    };
    let n_epochs = get("train.epochs").unwrap_or_default();
    let training = format!(
        "batch {}, {} at {}{}, {n_epochs} {}{}{}",
        get("train.batch").unwrap_or_default(),
        get("train.optimizer").unwrap_or_default(),
        get("train.lr").unwrap_or_default(),
        or_nothing(rows, ", rows "),
        if n_epochs == "1" { "epoch" } else { "epochs" },
        or_nothing(
            get("train.schedule.warmup_steps").filter(|steps| steps != "0"),
            ", warm-up steps "
        ),
        or_nothing(get("train.init"), ", from the model of "),
    );
    let engine =
        ["engine", "precision", "device"].map(|key| get(key).unwrap_or_default()).join(", ");
    let dim = get("model.dim").unwrap_or_default();
    vec![
        ("data", data),
        ("split", split(settings)),
        ("training", training),
        ("d", dim),
        ("engine", engine),
    ]
}

/// Which rows are used for training and which for the test.
fn split(settings: &Settings) -> String {
    let get = |key: &str| settings.get(key).map(shown);
    if let Some(path) = get("data.test_path") {
        return format!("all rows train, {path} tests");
    }
    let mut data =
        DataConfig { format: get("data.format").unwrap_or_default(), ..DataConfig::default() };
    data.train_fraction = settings.get("data.train_fraction").and_then(toml::Value::as_float);
    data.split =
        get("data.split").and_then(|split| SplitKind::deserialize(toml::Value::String(split)).ok());
    let share = 100.0 * data.train_share();
    match data.split_kind() {
        SplitKind::Position => format!("the first {share:.1} % train, the rest tests"),
        SplitKind::LastDay => "all days but the last train, the last one tests".to_owned(),
        SplitKind::Random => format!("a random {share:.1} % trains, the rest tests"),
    }
}

/// A compression ratio, as an integer if it is close to one.
#[must_use]
pub fn ratio_text(ratio: f64) -> String {
    if (ratio - ratio.round()).abs() < 0.005 * ratio && ratio >= 1.0 {
        grouped(ratio.round() as u64)
    } else {
        format!("{ratio:.2}")
    }
}

/// A compression ratio as a share of the full table's bytes.
#[must_use]
pub fn share_of_bytes(ratio: f64) -> String {
    if ratio == 1.0 { "all".to_owned() } else { format!("1/{}", ratio_text(ratio)) }
}
