//! `[model]`: the dense network.

use serde::{Deserialize, Serialize};

/// The dense network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// `dlrm`, `wdl`, `dcn`, `dcnv2` or `deepfm`.
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
}

/// Which network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelKind {
    /// Bottom network, pairwise dot products, top network.
    #[default]
    Dlrm,
    /// Wide & Deep: a deep network beside a linear one.
    Wdl,
    /// Deep & Cross: crosses of the inputs with vectors.
    Dcn,
    /// Deep & Cross, second version: crosses with matrices.
    Dcnv2,
    /// A factorization machine beside a deep network.
    Deepfm,
}

impl ModelKind {
    /// The name in configurations and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dlrm => "dlrm",
            Self::Wdl => "wdl",
            Self::Dcn => "dcn",
            Self::Dcnv2 => "dcnv2",
            Self::Deepfm => "deepfm",
        }
    }

    /// Whether it has cross layers.
    #[must_use]
    pub fn has_crosses(self) -> bool {
        matches!(self, Self::Dcn | Self::Dcnv2)
    }
}

impl ModelConfig {
    /// Fills in the layer sizes that the network has and the configuration does not give: the published ones.
    pub(super) fn complete(&mut self, has_dense: bool) {
        let Self { kind, dim, bottom, top, deep, cross_layers, cross_rank: _ } = self;
        match kind {
            ModelKind::Dlrm => {
                if bottom.is_empty() && has_dense {
                    *bottom = vec![512, 256, 64, *dim];
                }
                if top.is_empty() {
                    *top = vec![512, 256, 1];
                }
            }
            ModelKind::Wdl if deep.is_empty() => *deep = vec![256; 2],
            _ if deep.is_empty() => *deep = vec![256; 3],
            _ => {}
        }
        if kind.has_crosses() {
            cross_layers.get_or_insert(3);
        }
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
        }
    }
}

fn default_dim() -> usize {
    16
}
