//! `[model]`, and what computes it.

use dlrm_model::{DeviceSpec, EngineKind, Precision};

use super::{Problems, one_of};
use crate::config::models::MODELS;
use crate::config::{Config, ModelConfig, Named, dialect};

/// What `engine` may be.
const ENGINES: [&str; 2] = ["native", "candle"];
/// What `precision` may be.
const PRECISIONS: [&str; 3] = ["f32", "bf16", "bf16-emulated"];

/// Values a row: far beyond what helps, and products of it with other sizes still are numbers.
const MAX_DIM: usize = 65_536;
/// Units of a layer, for the same reason.
const MAX_LAYER: usize = 1 << 20;

/// The models with a key, as in "dcn and dcnv2 have".
fn whose(key: &str) -> String {
    let names: Vec<_> =
        MODELS.iter().filter(|entry| entry.keys.contains(&key)).map(|entry| entry.name).collect();
    match names.split_last() {
        Some((last, [])) => format!("{last} has"),
        Some((last, others)) => format!("{} and {last} have", others.join(", ")),
        None => "no model has".to_owned(),
    }
}

impl Config {
    pub(super) fn check_model(&self, problems: &mut Problems) {
        if self.model.dim == 0 {
            problems.add("model.dim", "expected at least 1, got 0");
        }
        if self.model.dim > MAX_DIM {
            problems
                .add("model.dim", format!("expected at most {MAX_DIM}, got {}", self.model.dim));
        }
        let ModelConfig { bottom, top, deep, cross_layers, cross_rank, .. } = &self.model;
        for (key, sizes) in [("bottom", bottom), ("top", top), ("deep", deep)] {
            if let Some(size) = sizes.iter().find(|&&size| size > MAX_LAYER) {
                problems.add(
                    format!("model.{key}"),
                    format!("expected sizes of at most {MAX_LAYER}, got {size}"),
                );
            }
        }
        for (key, size) in [("cross_layers", cross_layers), ("cross_rank", cross_rank)] {
            if let Some(size) = size.filter(|&size| size > MAX_LAYER) {
                problems.add(
                    format!("model.{key}"),
                    format!("expected at most {MAX_LAYER}, got {size}"),
                );
            }
        }
        let model = &self.model;
        if model.kind.has("deep") && (model.deep.is_empty() || model.deep.contains(&0)) {
            problems
                .add("model.deep", format!("expected sizes of at least 1, got {:?}", model.deep));
        }
        self.check_ends(problems);
        // A key that does nothing is most often meant for another model. What is not set is not
        // written.
        let written = toml::Table::try_from(model).unwrap_or_default();
        let of_all = ["kind", "dim", "constant_input"];
        for key in
            written.keys().filter(|key| !of_all.contains(&key.as_str()) && !model.kind.has(key))
        {
            let (whose, kind) = (whose(key), model.kind.name());
            problems.add(
                format!("model.{key}"),
                format!("expected none, as only {whose} it, not {kind}; remove it"),
            );
        }
        for (key, value) in [("cross_layers", model.cross_layers), ("cross_rank", model.cross_rank)]
        {
            if value == Some(0) {
                problems.add(format!("model.{key}"), "expected at least 1, got 0");
            }
        }
        self.check_engine(problems);
    }

    /// Where layers have to end, and a bottom network that data without numbers have no use for.
    fn check_ends(&self, problems: &mut Problems) {
        let ModelConfig { kind, bottom, top, dim, .. } = &self.model;
        // An unknown format has its own message.
        let Ok(schema) = dialect::schema(self) else { return };
        let has_numbers =
            self.embedding.frequency_inputs || self.model.n_dense(schema.n_integers) > 0;
        let needs_bottom = kind.has("bottom") && has_numbers;
        if schema.n_integers > 0 && self.model.constant_input == Some(true) {
            problems.add(
                "model.constant_input",
                "expected none, as the data have numeric columns; remove it",
            );
        }
        if kind.has("bottom") && !needs_bottom && !bottom.is_empty() {
            problems.add("model.bottom", "expected none, as the data have no numeric columns to go into it; remove it, or set constant_input = true");
        }
        let bottom = needs_bottom.then_some(("model.bottom", bottom, *dim, "model.dim"));
        let top = kind.has("top").then_some(("model.top", top, 1, "one logit"));
        for (key, layers, last, why) in bottom.into_iter().chain(top) {
            if layers.last() != Some(&last) || layers.contains(&0) {
                problems.add(
                    key,
                    format!(
                        "expected sizes of at least 1, the last {last} ({why}), got {layers:?}"
                    ),
                );
            }
        }
    }

    fn check_engine(&self, problems: &mut Problems) {
        let engine = self.engine.parse::<EngineKind>();
        match (self.device.parse::<DeviceSpec>(), &engine) {
            (Err(_), _) => {
                let message =
                    format!("expected `cpu` or `cuda:N`, such as `cuda:0`, got `{}`", self.device);
                problems.add("device", message);
            }
            (_, Err(_)) => problems.add("engine", one_of(&ENGINES, &self.engine)),
            (Ok(DeviceSpec::Cuda(_)), Ok(EngineKind::Native)) => {
                problems.add(
                    "engine",
                    "expected `candle` on a GPU, got `native`; set device to `cpu` to use that",
                );
            }
            _ => {}
        }
        match self.precision.parse::<Precision>() {
            Err(_) => problems.add("precision", one_of(&PRECISIONS, &self.precision)),
            Ok(precision) if precision != Precision::F32 && engine == Ok(EngineKind::Candle) => {
                problems.add(
                    "precision",
                    format!("expected `f32` with engine = \"candle\", got `{precision}`; set engine to `native`"),
                );
            }
            Ok(_) => {}
        }
    }
}
