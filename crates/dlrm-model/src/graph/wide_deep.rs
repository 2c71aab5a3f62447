//! Wide & Deep as a candle graph.

use candle_core::{Device, Result, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Graph, Names, ShardInputs, Tapes};
use crate::config::WideDeepConfig;
use crate::mlp::Mlp;

/// A linear layer beside a stack of layers.
pub(crate) struct WideDeep {
    deep: Mlp,
    wide: Mlp,
}

impl WideDeep {
    /// Draws the deep layers before the wide one.
    pub(crate) fn new(config: &WideDeepConfig, seed: u64, device: &Device) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let deep = Mlp::new(&mut rng, config.input_len(), &config.deep_sizes(), false, device)?;
        let wide = Mlp::new(&mut rng, config.input_len(), &[1], false, device)?;
        Ok(Self { deep, wide })
    }
}

impl Graph for WideDeep {
    fn stacks(&self) -> Vec<(Names, &Mlp)> {
        vec![(Names::Numbered("deep"), &self.deep), (Names::Single("wide"), &self.wide)]
    }

    fn forward(&self, inputs: &ShardInputs, tapes: &Tapes) -> Result<Tensor> {
        let x = inputs.join()?;
        (self.deep.forward(&x, tapes.get(0))? + self.wide.forward(&x, tapes.get(1))?)?.squeeze(1)
    }
}
