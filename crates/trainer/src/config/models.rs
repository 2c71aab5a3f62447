//! The models by name: which keys each has, and the shape that they come to.

use anyhow::Result;
use criteo_io::Schema;
use dlrm_model::{
    DcnConfig, DcnV2Config, DeepFmConfig, DlrmConfig, ModelConfig as Shape, WideDeepConfig,
};

use crate::config::dialect::schema;
use crate::config::{Config, ModelConfig};

/// What a configuration can say of a model; what the model is stands in `dlrm-model`.
pub struct ModelEntry {
    /// Its name.
    pub name: &'static str,
    /// The keys of `[model]` that size its parts, beside `dim`.
    pub keys: &'static [&'static str],
    /// Sizes of the deep layers where nothing is said, for a model that has them: the published
    /// ones.
    pub deep: &'static [usize],
    /// Its shape, for so many numeric inputs and fields a sample.
    shape: fn(usize, usize, ModelConfig) -> Shape,
}

/// The models: an entry each, and the first is the default.
pub const MODELS: &[ModelEntry] = &[
    ModelEntry {
        name: "dlrm",
        keys: &["bottom", "top"],
        deep: &[],
        shape: |n_dense, n_fields, ModelConfig { dim, bottom, top, .. }| {
            DlrmConfig { n_dense, n_fields, dim, bottom, top }.into()
        },
    },
    ModelEntry {
        name: "wdl",
        keys: &["deep"],
        deep: &[256; 2],
        shape: |n_dense, n_fields, ModelConfig { dim, deep, .. }| {
            WideDeepConfig { n_dense, n_fields, dim, deep }.into()
        },
    },
    ModelEntry {
        name: "dcn",
        keys: &["deep", "cross_layers"],
        deep: &[256; 3],
        shape: |n_dense, n_fields, ModelConfig { dim, deep, cross_layers, .. }| {
            let n_cross = cross_layers.unwrap_or_default();
            DcnConfig { n_dense, n_fields, dim, n_cross, deep }.into()
        },
    },
    ModelEntry {
        name: "dcnv2",
        keys: &["deep", "cross_layers", "cross_rank"],
        deep: &[256; 3],
        shape: |n_dense,
                n_fields,
                ModelConfig { dim, deep, cross_layers, cross_rank: rank, .. }| {
            let n_cross = cross_layers.unwrap_or_default();
            DcnV2Config { n_dense, n_fields, dim, n_cross, rank, deep }.into()
        },
    },
    ModelEntry {
        name: "deepfm",
        keys: &["deep"],
        deep: &[256; 3],
        shape: |n_dense, n_fields, ModelConfig { dim, deep, .. }| {
            DeepFmConfig { n_dense, n_fields, dim, deep }.into()
        },
    },
];

/// The shape of the dense network.
///
/// # Errors
/// As [`dialect`].
pub fn model_config(config: &Config) -> Result<Shape> {
    let Schema { n_integers, n_fields, .. } = schema(config)?;
    let n_dense = config.model.n_dense(n_integers) + n_frequency_inputs(config, n_fields);
    Ok((config.model.kind.entry().shape)(n_dense, n_fields, config.model.clone()))
}

/// The number of frequency inputs: one for each field, behind the other numeric inputs of the
/// network.
pub(crate) fn n_frequency_inputs(config: &Config, n_fields: usize) -> usize {
    if config.embedding.frequency_inputs { n_fields } else { 0 }
}
