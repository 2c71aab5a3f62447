//! `[model]`: the dense network.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::models::{MODELS, ModelEntry};

/// The dense network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// One of [`MODELS`]; `dlrm` by default.
    #[serde(default)]
    pub kind: ModelKind,
    /// Length of an embedding row; in DLRM of the bottom network's output too.
    #[serde(default = "default_dim")]
    pub dim: usize,
    /// `dlrm`: layer sizes of the bottom network after its input; the last is `dim`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bottom: Vec<usize>,
    /// `dlrm`: layer sizes of the top network after its input; the last is 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub top: Vec<usize>,
    /// The others: hidden layer sizes of the deep network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deep: Vec<usize>,
    /// `dcn`, `dcnv2`: cross layers; 3 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_layers: Option<usize>,
    /// `dcnv2`: rank of the cross layers' matrices; full without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cross_rank: Option<usize>,
    /// Where the data have no numeric columns: whether the network gets the constant 1 as its only
    /// number. True by default: DLRM is left with products of rows alone otherwise, and can't learn
    /// what a single feature says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constant_input: Option<bool>,
}

/// Which network: one of [`MODELS`].
#[derive(Clone, Copy)]
pub struct ModelKind(&'static ModelEntry);

const NAMES: [&str; MODELS.len()] = {
    let mut names = [""; MODELS.len()];
    let mut idx = 0;
    while idx < names.len() {
        names[idx] = MODELS[idx].name;
        idx += 1;
    }
    names
};

impl ModelKind {
    /// The name in configurations and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Whether it has the part that a key of `[model]` sizes.
    #[must_use]
    pub fn has(self, key: &str) -> bool {
        self.0.keys.contains(&key)
    }

    /// What `setup.rs` says of it.
    #[must_use]
    pub fn entry(self) -> &'static ModelEntry {
        self.0
    }
}

impl Default for ModelKind {
    fn default() -> Self {
        Self(&MODELS[0])
    }
}

impl fmt::Debug for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for ModelKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ModelKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = MODELS.iter().find(|entry| entry.name == name);
        found.map(Self).ok_or_else(|| D::Error::unknown_variant(&name, &NAMES))
    }
}

impl ModelConfig {
    /// Fills in the layer sizes that the network has and the configuration does not give: the
    /// published ones. `has_numbers` says whether the data have numeric columns, `has_frequencies`
    /// whether features are counted.
    pub(super) fn complete(&mut self, has_numbers: bool, has_frequencies: bool) {
        if !has_numbers {
            self.constant_input.get_or_insert(true);
        }
        let has_dense = has_frequencies || self.n_dense(usize::from(has_numbers)) > 0;
        let Self { kind, dim, bottom, top, deep, cross_layers, .. } = self;
        if kind.has("bottom") && has_dense && bottom.is_empty() {
            *bottom = vec![512, 256, 64, *dim];
        }
        if kind.has("top") && top.is_empty() {
            *top = vec![512, 256, 1];
        }
        if kind.has("deep") && deep.is_empty() {
            *deep = kind.entry().deep.to_vec();
        }
        if kind.has("cross_layers") {
            cross_layers.get_or_insert(3);
        }
    }

    /// Numeric inputs of the network without those of frequencies, for data with `n_numbers`
    /// numeric columns.
    #[must_use]
    pub fn n_dense(&self, n_numbers: usize) -> usize {
        if n_numbers == 0 { usize::from(self.constant_input == Some(true)) } else { n_numbers }
    }

    /// Units of the widest layer.
    #[must_use]
    pub fn widest_layer(&self) -> usize {
        let layers = self.bottom.iter().chain(&self.top).chain(&self.deep);
        layers.copied().max().unwrap_or(self.dim)
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            kind: ModelKind::default(),
            dim: default_dim(),
            bottom: Vec::new(),
            top: Vec::new(),
            deep: Vec::new(),
            cross_layers: None,
            cross_rank: None,
            constant_input: None,
        }
    }
}

fn default_dim() -> usize {
    16
}
