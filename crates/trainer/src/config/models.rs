//! The models by name: which keys each has, and the shape that they come to.

use anyhow::Result;
use criteo_io::Schema;
use dlrm_model::{
    DcnConfig, DcnV2Config, DeepFmConfig, DlrmConfig, ModelConfig as Shape, WideDeepConfig,
};

use crate::config::dialect::schema;
use crate::config::named::{Named, serde_by_name};
use crate::config::{Config, ModelConfig};

/// Which network. In the order of [`MODELS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModelKind {
    /// DLRM: pairwise dot products between a bottom and a top network.
    #[default]
    Dlrm,
    /// Wide & Deep.
    Wdl,
    /// Deep & Cross Network.
    Dcn,
    /// Its second version, with full or low-rank cross layers.
    Dcnv2,
    /// `DeepFM`.
    DeepFm,
}

/// What a configuration can say of a model; what the model computes is in `dlrm-model`.
#[derive(Debug)]
pub struct ModelEntry {
    /// Which.
    pub kind: ModelKind,
    /// The name in configurations and reports.
    pub name: &'static str,
    /// The keys of `[model]` that size its parts, beside `dim`.
    pub keys: &'static [&'static str],
    /// Sizes of the deep layers where nothing is said, for a model that has them: the published
    /// ones.
    pub deep: &'static [usize],
}

/// Every model, in the order of lists.
pub static MODELS: [ModelEntry; 5] = [
    ModelEntry { kind: ModelKind::Dlrm, name: "dlrm", keys: &["bottom", "top"], deep: &[] },
    ModelEntry { kind: ModelKind::Wdl, name: "wdl", keys: &["deep"], deep: &[256; 2] },
    ModelEntry {
        kind: ModelKind::Dcn,
        name: "dcn",
        keys: &["deep", "cross_layers"],
        deep: &[256; 3],
    },
    ModelEntry {
        kind: ModelKind::Dcnv2,
        name: "dcnv2",
        keys: &["deep", "cross_layers", "cross_rank"],
        deep: &[256; 3],
    },
    ModelEntry { kind: ModelKind::DeepFm, name: "deepfm", keys: &["deep"], deep: &[256; 3] },
];

/// The table is in the order of the enumeration, which [`ModelKind::entry`] relies on.
const _: () = {
    let mut idx = 0;
    while idx < MODELS.len() {
        assert!(MODELS[idx].kind as usize == idx);
        idx += 1;
    }
};

impl ModelKind {
    /// Its line of the table.
    #[must_use]
    pub fn entry(self) -> &'static ModelEntry {
        &MODELS[self as usize]
    }

    /// Whether it has the part that a key of `[model]` sizes.
    #[must_use]
    pub fn has(self, key: &str) -> bool {
        self.entry().keys.contains(&key)
    }
}

impl Named for ModelKind {
    fn all() -> impl Iterator<Item = Self> {
        MODELS.iter().map(|entry| entry.kind)
    }

    fn name(self) -> &'static str {
        self.entry().name
    }
}

serde_by_name!(ModelKind);

/// The shape of the dense network.
///
/// # Errors
/// As [`schema`].
pub fn model_config(config: &Config) -> Result<Shape> {
    let Schema { n_integers, n_fields, .. } = schema(config)?;
    let n_dense = config.model.n_dense(n_integers) + n_frequency_inputs(config, n_fields);
    let ModelConfig { kind, dim, bottom, top, deep, cross_layers, cross_rank: rank, .. } =
        config.model.clone();
    let n_cross = cross_layers.unwrap_or_default();
    Ok(match kind {
        ModelKind::Dlrm => DlrmConfig { n_dense, n_fields, dim, bottom, top }.into(),
        ModelKind::Wdl => WideDeepConfig { n_dense, n_fields, dim, deep }.into(),
        ModelKind::Dcn => DcnConfig { n_dense, n_fields, dim, n_cross, deep }.into(),
        ModelKind::Dcnv2 => DcnV2Config { n_dense, n_fields, dim, n_cross, rank, deep }.into(),
        ModelKind::DeepFm => DeepFmConfig { n_dense, n_fields, dim, deep }.into(),
    })
}

/// The number of frequency inputs: one for each field, behind the other numeric inputs of the
/// network.
pub(crate) fn n_frequency_inputs(config: &Config, n_fields: usize) -> usize {
    if config.embedding.frequency_inputs { n_fields } else { 0 }
}
