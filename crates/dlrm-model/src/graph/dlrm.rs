//! DLRM as a candle graph.

use candle_core::{Device, Result, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Graph, Names, ShardInputs, Tapes};
use crate::config::DlrmConfig;
use crate::interaction::interact;
use crate::mlp::Mlp;

/// The two stacks of layers around the interaction.
pub(crate) struct Dlrm {
    /// `None` for data without dense inputs.
    bottom: Option<Mlp>,
    top: Mlp,
}

impl Dlrm {
    /// Draws bottom before top.
    pub(crate) fn new(config: &DlrmConfig, seed: u64, device: &Device) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let bottom = if config.has_dense() {
            Some(Mlp::new(&mut rng, config.n_dense, &config.bottom, true, device)?)
        } else {
            None
        };
        let top = Mlp::new(&mut rng, config.top_input(), &config.top, false, device)?;
        Ok(Self { bottom, top })
    }
}

impl Graph for Dlrm {
    /// Top first: there may be no bottom.
    fn stacks(&self) -> Vec<(Names, &Mlp)> {
        let bottom = self.bottom.as_ref().map(|bottom| (Names::Numbered("bottom"), bottom));
        std::iter::once((Names::Numbered("top"), &self.top)).chain(bottom).collect()
    }

    fn forward(&self, inputs: &ShardInputs, tapes: &Tapes) -> Result<Tensor> {
        let x = match (&self.bottom, &inputs.dense) {
            (Some(bottom), Some(dense)) => Some(bottom.forward(dense, tapes.get(1))?),
            _ => None,
        };
        let features = interact(x.as_ref(), &inputs.rows, tapes.is_fused())?;
        self.top.forward(&features, tapes.get(0))?.squeeze(1)
    }
}
