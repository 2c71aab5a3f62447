//! The engines that every test of a model runs on.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(dead_code, reason = "each test binary is a crate of its own, and none uses all of it")]

pub(crate) mod twin;

use dlrm_model::{
    DcnConfig, DcnV2Config, DeepFmConfig, DeviceSpec, EngineKind, Model, ModelConfig, ModelError,
    ModelOptions, Precision, WideDeepConfig,
};

/// The native engine in `f32` and with emulated bf16, the candle graph with fused nodes, the plain
/// candle graph, which is the specification, and the same on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Native,
    NativeBf16,
    Fused,
    Plain,
    Cuda,
}

impl Engine {
    /// All of this build in `f32`; a build with CUDA needs a GPU for its tests.
    pub(crate) const ALL: &[Self] = if cfg!(feature = "cuda") {
        &[Self::Native, Self::Fused, Self::Plain, Self::Cuda]
    } else if cfg!(feature = "candle") {
        &[Self::Native, Self::Fused, Self::Plain]
    } else {
        &[Self::Native]
    };

    /// What trains: all except the plain graph on a CPU, which keeps the same promises but is slow.
    pub(crate) const TRAINING: &[Self] = if cfg!(feature = "cuda") {
        &[Self::Native, Self::NativeBf16, Self::Fused, Self::Cuda]
    } else if cfg!(feature = "candle") {
        &[Self::Native, Self::NativeBf16, Self::Fused]
    } else {
        &[Self::Native, Self::NativeBf16]
    };

    pub(crate) fn try_build(
        self,
        config: impl Into<ModelConfig>,
        options: ModelOptions,
    ) -> Result<Model, ModelError> {
        let config = config.into();
        let engine = match self {
            Self::Native | Self::NativeBf16 => EngineKind::Native,
            Self::Fused | Self::Plain | Self::Cuda => EngineKind::Candle,
        };
        let options = ModelOptions { engine, ..options };
        match self {
            Self::Native | Self::Fused => Model::new(&config, &options),
            Self::NativeBf16 => {
                let precision = Precision::Bf16Emulated;
                Model::new(&config, &ModelOptions { precision, ..options })
            }
            Self::Plain => plain(&config, &options),
            Self::Cuda => {
                Model::new(&config, &ModelOptions { device: DeviceSpec::Cuda(0), ..options })
            }
        }
    }

    pub(crate) fn build(self, config: impl Into<ModelConfig>, options: ModelOptions) -> Model {
        self.try_build(config, options).unwrap()
    }
}

#[cfg(feature = "candle")]
fn plain(config: &ModelConfig, options: &ModelOptions) -> Result<Model, ModelError> {
    let model = dlrm_model::CandleModel::new(config, options)?.plain();
    Ok(Model::Candle(Box::new(model)))
}

#[cfg(not(feature = "candle"))]
fn plain(config: &ModelConfig, options: &ModelOptions) -> Result<Model, ModelError> {
    Model::new(config, options)
}

/// The models that are not DLRM, with the same inputs and the same deep layers.
pub(crate) fn other_models(
    n_dense: usize,
    n_fields: usize,
    dim: usize,
    deep: &[usize],
) -> Vec<ModelConfig> {
    let deep = || deep.to_vec();
    let dcn_v2 = |rank| DcnV2Config { n_dense, n_fields, dim, n_cross: 2, rank, deep: deep() };
    vec![
        WideDeepConfig { n_dense, n_fields, dim, deep: deep() }.into(),
        DcnConfig { n_dense, n_fields, dim, n_cross: 3, deep: deep() }.into(),
        dcn_v2(None).into(),
        dcn_v2(Some(2)).into(),
        DeepFmConfig { n_dense, n_fields, dim, deep: deep() }.into(),
    ]
}

/// The distance of two lists as a share of the length of the second.
pub(crate) fn distance(ours: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(ours.len(), expected.len());
    let square = |value: f64| value * value;
    let pairs = ours.iter().zip(expected);
    let error: f64 =
        pairs.map(|(&ours, &expected)| square(f64::from(ours) - f64::from(expected))).sum();
    let length: f64 = expected.iter().map(|&expected| square(f64::from(expected))).sum();
    error.sqrt() / length.sqrt()
}
