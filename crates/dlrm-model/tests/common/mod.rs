//! The engines that every test of a model runs on.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(dead_code, reason = "each test binary is a crate of its own, and no one needs all of it")]

use dlrm_model::{CandleModel, DlrmConfig, EngineKind, Model, ModelError, ModelOptions};

/// The native engine, the candle graph with fused nodes, and the candle graph as the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Native,
    Fused,
    Plain,
}

impl Engine {
    pub(crate) const ALL: [Self; 3] = [Self::Native, Self::Fused, Self::Plain];

    pub(crate) fn try_build(self, config: DlrmConfig, options: ModelOptions) -> Result<Model, ModelError> {
        match self {
            Self::Native => Model::new(EngineKind::Native, config, options),
            Self::Fused => Model::new(EngineKind::Candle, config, options),
            Self::Plain => CandleModel::new(config, options).map(|model| Model::Candle(Box::new(model.plain()))),
        }
    }

    pub(crate) fn build(self, config: DlrmConfig, options: ModelOptions) -> Model {
        self.try_build(config, options).unwrap()
    }
}
