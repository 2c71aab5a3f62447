//! The dense part of deep learning recommendation models: forward, loss, gradients, optimizer.
//!
//! A recommendation model is a large table of embedding rows and a small dense network on top. This
//! crate is the network. It never sees the table: a batch arrives as plain slices, with the
//! embedding rows already looked up, and the gradients of exactly these rows go back, so that the
//! table can be any data structure.
//!
//! ```text
//! dense [B, n_dense] ──► bottom MLP ──► x ─┐
//!                                          ├─► pairwise dot products ──► top MLP ──► logits [B]
//! rows [B, F, d] ──────────────────────────┘                                            │
//!   ▲                                                                                   ▼
//! row_grads [B, F, d] ◄────────── backward pass ◄──────────── σ(logit) - label, on the host
//!                                       └──► dense gradients, summed over shards ──► optimizer
//! ```
//!
//! The picture is DLRM ([`DlrmConfig`]). The other models ([`ModelConfig`] is any of them) have `x
//! = dense ‖ rows` in its place, the input of a stack of layers and, in parallel, of
//!
//! * a linear layer: Wide & Deep ([`WideDeepConfig`]);
//! * cross layers, `x_{l+1} = x_0 · (x_l · w_l) + b_l + x_l`: the Deep & Cross Network
//!   ([`DcnConfig`]);
//! * cross layers, `x_{l+1} = x_0 ∘ (W_l x_l + b_l) + x_l`, with full or low-rank `W_l`: its second
//!   version ([`DcnV2Config`]);
//! * a factorization machine: `DeepFM` ([`DeepFmConfig`]).
//!
//! There are two engines with the same calls, [`TrainableModel`], and [`Model`] is either of them:
//!
//! * `CandleModel`, a candle graph, is the specification: autograd on it defines the gradients. It
//!   runs on a CPU and on a GPU. It is behind the default feature `candle`; a build without it has
//!   no tensor library among its dependencies.
//! * [`NativeModel`] runs on a CPU, faster: the same blocks with a hand-written forward and backward
//!   pass on plain slices, in `f32` or with the operands of its products in bf16 ([`Precision`]).
//!
//! Three decisions shape both:
//!
//! * **Rows are a leaf.** A table inside the graph would get a gradient of its own size in every
//!   step.
//! * **The loss is outside.** [`logit_loss`] is finite for every finite logit, its gradient is
//!   exact, and the backward pass of the network starts from that gradient.
//! * **The batch is cut, not the products.** Every shard runs on one thread, and the cuts do not
//!   depend on the number of threads, so neither do the results: same seed and data, same bits.
//!
//! Initial weights come from a seeded generator of our own: `weight ~ N(0, sqrt(2 / (in + out)))`,
//! `bias ~ N(0, sqrt(1 / out))`. Gradients are checked against PyTorch (`scripts/golden_dlrm.py`,
//! `scripts/golden_models.py`), against central differences, and against plain loops in `f64`.
//!
//! ```
//! use dlrm_model::{
//!     DlrmConfig, Inputs, Model, ModelConfig, ModelOptions, StepOutputs, TrainableModel,
//! };
//!
//! let shape = DlrmConfig { n_dense: 2, n_fields: 3, dim: 4, bottom: vec![8, 4], top: vec![8, 1] };
//! let options = ModelOptions { seed: 1, n_threads: 2, ..ModelOptions::default() };
//! let mut model = Model::new(&ModelConfig::from(shape), &options)?;
//!
//! // Two samples: their numeric inputs, their rows as looked up in some table, their labels.
//! let (dense, mut rows, labels) = ([0.5, 1.0, 0.0, 2.0], [0.1; 2 * 3 * 4], [1.0, 0.0]);
//! let (mut row_grads, mut logits) = ([0.0; 2 * 3 * 4], [0.0; 2]);
//! let mut losses = Vec::new();
//! for _ in 0..50 {
//!     let inputs = Inputs { dense: &dense, rows: &rows, labels: &labels };
//!     let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
//!     losses.push(model.train_step(inputs, 0.1, outputs)?.mean());
//!     rows.iter_mut().zip(&row_grads).for_each(|(row, gradient)| *row -= 0.1 * gradient);
//! }
//! assert!(losses[49] < losses[0]);
//!
//! model.predict(Inputs { dense: &dense, rows: &rows, labels: &[] }, &mut logits)?;
//! assert!(logits[0] > logits[1]);
//! # Ok::<(), dlrm_model::ModelError>(())
//! ```

mod batch;
#[cfg(feature = "candle")]
mod candle;
mod engines;
mod error;
mod init;
mod loss;
mod model;
mod models;
mod native;
mod optim;
mod options;
mod parameters;
mod precision;
mod queue;
mod step_count;
mod trainable;

#[cfg(feature = "bench")]
pub use native::bench;

pub use batch::shard::n_training_shards;
pub use batch::{Inputs, StepLoss, StepOutputs};
#[cfg(feature = "candle")]
pub use engines::candle::CandleModel;
pub use engines::native::NativeModel;
pub use error::{ConfigError, ModelError};
pub use loss::{logit_loss, sigmoid};
pub use model::Model;
pub use models::{DcnConfig, DcnV2Config, DeepFmConfig, DlrmConfig, ModelConfig, WideDeepConfig};
pub use native::team::ThreadTeam;
pub use optim::{OptimizerError, OptimizerKind};
pub use options::{DeviceError, DeviceSpec, EngineKind, ModelOptions, UnknownEngine};
pub use parameters::{NamedTensor, ParameterError};
pub use precision::{Kernel, Precision, PrecisionError, UnknownPrecision};
pub use trainable::TrainableModel;
