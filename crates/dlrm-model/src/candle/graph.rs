//! What a model is to candle: a graph with its variables. A file in `models/` has one; `model.rs`
//! runs it on the shards of a batch and applies the gradients.

use candle_core::{Device, Result, Tensor, Var};

use super::fused_mlp::Tape;
use super::mlp::Mlp;
use crate::batch::InputSizes;

/// A network with its variables.
pub(crate) trait Graph: Send + Sync {
    /// The stacks of layers with the names of their layers. Each stack may run as one fused node
    /// with a tape.
    fn stacks(&self) -> Vec<(Names, &Mlp)>;

    /// The variables that are in no stack, with their names.
    fn variables(&self) -> Vec<(String, Var)> {
        Vec::new()
    }

    /// Logits `[B]`: in plain candle operations, or, with a tape for each stack, as fused nodes.
    fn forward(&self, inputs: &ShardInputs, tapes: &Tapes) -> Result<Tensor>;
}

/// The names of the layers of a stack.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Names {
    /// `name.0`, `name.1`, ...
    Numbered(&'static str),
    /// `name`, for a stack of one layer.
    Single(&'static str),
}

/// The tapes of one pass through the fused graph; none for the plain one.
pub(crate) struct Tapes(Vec<Tape>);

impl Tapes {
    /// Whether the nodes are fused.
    pub(crate) fn is_fused(&self) -> bool {
        !self.0.is_empty()
    }

    /// The tape of a stack; none for the plain graph.
    pub(crate) fn get(&self, stack: usize) -> Option<&Tape> {
        self.0.get(stack)
    }
}

/// Named variables: those of the stacks, layer by layer, weight before bias, then the others.
pub(crate) fn parameters(graph: &dyn Graph) -> Vec<(String, Var)> {
    let mut parameters = Vec::new();
    for (names, mlp) in graph.stacks() {
        for (layer_idx, layer) in mlp.layers.iter().enumerate() {
            let name = match names {
                Names::Numbered(name) => format!("{name}.{layer_idx}"),
                Names::Single(name) => name.to_owned(),
            };
            parameters.push((format!("{name}.weight"), layer.weight.clone()));
            parameters.push((format!("{name}.bias"), layer.bias.clone()));
        }
    }
    parameters.extend(graph.variables());
    parameters
}

/// New tapes for a pass.
pub(crate) fn tapes(graph: &dyn Graph, is_fused: bool) -> Tapes {
    Tapes(if is_fused {
        graph.stacks().iter().map(|_| Tape::default()).collect()
    } else {
        Vec::new()
    })
}

/// Consecutive samples of a batch, on the device.
pub(crate) struct ShardInputs {
    /// `[n, n_dense]`, if there are any.
    pub(crate) dense: Option<Tensor>,
    /// `[n, F, d]`
    pub(crate) rows: Var,
}

/// What the backward pass over a shard returns.
pub(crate) struct ShardGradients {
    /// `[n, F, d]`
    pub(crate) rows: Tensor,
    /// In the order of [`parameters`].
    pub(crate) parameters: Vec<Tensor>,
}

impl ShardInputs {
    /// Copies `dense` `[n, n_dense]` and `rows` `[n, F, d]` to the device as leaves of a new graph.
    pub(crate) fn new(
        sizes: InputSizes,
        dense: &[f32],
        rows: &[f32],
        device: &Device,
    ) -> Result<Self> {
        let n_samples = rows.len() / sizes.row_floats();
        let dense = if sizes.n_dense > 0 {
            Some(Var::from_slice(dense, (n_samples, sizes.n_dense), device)?.into_inner())
        } else {
            None
        };
        let rows = Var::from_slice(rows, (n_samples, sizes.n_fields, sizes.dim), device)?;
        Ok(Self { dense, rows })
    }

    /// `x = dense ‖ rows`, `[n, n_dense + F · d]`.
    pub(crate) fn join(&self) -> Result<Tensor> {
        let rows = self.rows.flatten_from(1)?;
        match &self.dense {
            Some(dense) => Tensor::cat(&[dense, &rows], 1),
            None => Ok(rows),
        }
    }
}

/// Gradients of a loss, where `logit_grads` computes its gradient with respect to the logits.
///
/// The loss itself is not in the graph: its gradient is exact on the host, and a constant `c` in
/// `sum(c · logits)` starts the backward pass with exactly that gradient.
pub(crate) fn backward(
    graph: &dyn Graph,
    inputs: &ShardInputs,
    is_fused: bool,
    logit_grads: impl FnOnce(&Tensor) -> Result<Vec<f32>>,
) -> Result<ShardGradients> {
    let tapes = tapes(graph, is_fused);
    let logits = graph.forward(inputs, &tapes)?;
    let logit_grads = Tensor::from_vec(logit_grads(&logits)?, logits.shape(), logits.device())?;
    let mut gradients = logits.mul(&logit_grads)?.sum_all()?.backward()?;
    let mut take = |var: &Var| gradients.remove(var).expect("every variable leads to the logits");
    let rows = take(&inputs.rows);
    let parameters = if tapes.is_fused() {
        let in_stacks = tapes.0.iter().flat_map(Tape::take_gradients);
        let others = graph.variables();
        in_stacks.chain(others.iter().map(|(_, var)| take(var))).collect()
    } else {
        parameters(graph).iter().map(|(_, var)| take(var)).collect()
    };
    Ok(ShardGradients { rows, parameters })
}
