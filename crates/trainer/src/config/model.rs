//! `[model]`: the dense network.

use serde::{Deserialize, Serialize};

use crate::config::models::ModelKind;

/// The dense network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// See [`ModelKind`]; `dlrm` by default.
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
