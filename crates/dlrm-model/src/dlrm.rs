//! DLRM as a candle graph: the model in a dozen lines, and one pass forward and backward over a shard of a batch.
//! Apart from `model.rs`, which shares out the shards and applies what they return.

use candle_core::{Device, Result, Tensor, Var};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::config::DlrmConfig;
use crate::fused_mlp::Tape;
use crate::interaction::interact;
use crate::mlp::Mlp;

/// The two stacks of layers around the interaction.
pub(crate) struct Dlrm {
    /// `None` for data without dense inputs.
    bottom: Option<Mlp>,
    top: Mlp,
}

/// Tapes of one pass through the fused graph.
#[derive(Default)]
pub(crate) struct Tapes {
    bottom: Tape,
    top: Tape,
}

/// Consecutive samples of a batch, on the device.
pub(crate) struct ShardInputs {
    dense: Option<Tensor>,
    rows: Var,
}

/// What the backward pass over a shard returns.
pub(crate) struct ShardGradients {
    /// `[n, F, d]`
    pub(crate) rows: Tensor,
    /// In the order of [`Dlrm::parameters`].
    pub(crate) parameters: Vec<Tensor>,
}

impl Dlrm {
    /// Draws all layers from one generator: bottom before top, each layer's weight before its bias.
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

    /// Named variables in the order of the graph: bottom before top, weight before bias.
    pub(crate) fn parameters(&self) -> Vec<(String, Var)> {
        let bottom = self.bottom.iter().map(|mlp| ("bottom", mlp));
        let mut parameters = Vec::new();
        for (name, mlp) in bottom.chain([("top", &self.top)]) {
            for (layer_idx, layer) in mlp.layers.iter().enumerate() {
                parameters.push((format!("{name}.{layer_idx}.weight"), layer.weight.clone()));
                parameters.push((format!("{name}.{layer_idx}.bias"), layer.bias.clone()));
            }
        }
        parameters
    }

    /// Logits `[B]`: plain candle operations, or with tapes the same as fused nodes.
    pub(crate) fn forward(&self, inputs: &ShardInputs, tapes: Option<&Tapes>) -> Result<Tensor> {
        let x = match (&self.bottom, &inputs.dense) {
            (Some(bottom), Some(dense)) => Some(bottom.forward(dense, tapes.map(|tapes| &tapes.bottom))?),
            _ => None,
        };
        let features = interact(x.as_ref(), &inputs.rows, tapes.is_some())?;
        self.top.forward(&features, tapes.map(|tapes| &tapes.top))?.squeeze(1)
    }

    /// Gradients of a loss whose derivative by each logit is what `slopes` makes of the logits.
    ///
    /// The loss itself is not in the graph: its derivative is exact on the host, and a constant `c` in
    /// `sum(c · logits)` starts the backward pass with just that derivative.
    pub(crate) fn backward(
        &self,
        inputs: &ShardInputs,
        tapes: Option<&Tapes>,
        slopes: impl FnOnce(&Tensor) -> Result<Vec<f32>>,
    ) -> Result<ShardGradients> {
        let logits = self.forward(inputs, tapes)?;
        let slopes = Tensor::from_vec(slopes(&logits)?, logits.shape(), logits.device())?;
        let mut gradients = logits.mul(&slopes)?.sum_all()?.backward()?;
        let mut take = |var: &Var| gradients.remove(var).expect("every variable leads to the logits");
        let rows = take(&inputs.rows);
        let parameters = match tapes {
            Some(tapes) => [tapes.bottom.take_gradients(), tapes.top.take_gradients()].concat(),
            None => self.parameters().iter().map(|(_, var)| take(var)).collect(),
        };
        Ok(ShardGradients { rows, parameters })
    }
}

impl ShardInputs {
    /// Copies `dense` `[n, n_dense]` and `rows` `[n, F, d]` to the device as leaves of a new graph.
    pub(crate) fn new(config: &DlrmConfig, dense: &[f32], rows: &[f32], device: &Device) -> Result<Self> {
        let n_samples = rows.len() / config.row_floats();
        let dense = if config.has_dense() {
            Some(Var::from_slice(dense, (n_samples, config.n_dense), device)?.into_inner())
        } else {
            None
        };
        let rows = Var::from_slice(rows, (n_samples, config.n_fields, config.dim), device)?;
        Ok(Self { dense, rows })
    }
}
