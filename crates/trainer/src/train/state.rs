//! The complete state of a run: what `capture` takes out of it and `restore` puts back, so that
//! training resumes as if it had never stopped. Apart from the loop, because a command that uses a
//! trained model restores it, too.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use cafe_core::{StateMap, StateView};
use criteo_io::{FileStamp, StreamPosition};
use dlrm_model::{NamedTensor, TrainableModel};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{Dtype, Tensor};
use crate::metrics::line::Counters;
use crate::metrics::online::Online;
use crate::metrics::{Scores, ScoresState};
use crate::results::phases::PhaseSeconds;
use crate::results::report::BadRowsOfPasses;
use crate::run_dir::LogLengths;
use crate::train::eval::Evaluation;
use crate::train::step::Learner;

/// What a checkpoint holds beside arrays. Written as JSON, with every digit of an `f64`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// The resolved configuration, as TOML.
    pub config: String,
    /// The files, as they were when the run started.
    pub inputs: Vec<FileStamp>,
    /// Epochs that have ended.
    pub epochs_done: u32,
    /// Rows passed in the current epoch, malformed ones included.
    pub epoch_rows: u64,
    /// Of what these rows held.
    pub epoch_digest: u64,
    /// Sum of the losses of the epoch, and their number.
    pub epoch_loss: (f64, u64),
    /// Steps, rows, and what the embedding did.
    #[serde(rename = "standing")]
    pub counters: Counters,
    /// Sums of losses and probabilities since the last line of metrics.
    pub window_sums: [f64; 2],
    /// The current day, where rows have days, and the counters of training after its last row so
    /// far.
    pub day: Option<(u32, Counters)>,
    /// Its sums.
    pub day_sums: [f64; 2],
    /// The last evaluation, and the step after which it was.
    pub last_evaluation: Option<(u64, Evaluation)>,
    /// The evaluation with the best AUC before the end of training.
    pub best: Option<Best>,
    /// Malformed rows that the last complete passes left out. Those of an unfinished pass are
    /// counted again with its rows.
    pub bad_rows: BadRowsOfPasses,
    /// Bytes of the logs; what comes after them was written by a process that did not get to its
    /// next checkpoint.
    pub logs: LogLengths,
    /// Time spent so far, by all processes.
    pub seconds: Seconds,
}

/// The best model so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// After this step.
    pub step: u64,
    /// Its AUC on the test rows.
    pub auc: f64,
}

/// Seconds spent.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seconds {
    /// From start to end.
    pub wall: f64,
    /// In the training loop.
    pub training: f64,
    /// In evaluations.
    pub evaluation: f64,
    /// Parts of the training.
    pub phases: PhaseSeconds,
}

impl RunState {
    /// The position in the current epoch.
    #[must_use]
    pub fn position(&self) -> StreamPosition {
        StreamPosition { n_rows: self.epoch_rows, digest: self.epoch_digest }
    }
}

const NETWORK: &str = "network.";
const OPTIMIZER: &str = "optimizer.";
const EMBEDDING: &str = "embedding.";
const WINDOW: &str = "window";
const DAY: &str = "day";

/// Copies of all arrays.
///
/// # Errors
/// A failure of the device.
pub fn capture(learner: &Learner, online: &Online) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = BTreeMap::new();
    for (prefix, of_kind) in
        [(NETWORK, learner.model.parameters()?), (OPTIMIZER, learner.model.optimizer_state()?)]
    {
        for NamedTensor { name, shape, values } in of_kind {
            let tensor =
                Tensor { dtype: Dtype::F32, shape, bytes: le_bytes(&values, f32::to_le_bytes) };
            tensors.insert(format!("{prefix}{name}"), tensor);
        }
    }
    for (name, view) in learner.embedding.state() {
        tensors.insert(format!("{EMBEDDING}{name}"), tensor_of(&view));
    }
    for (name, scores) in [(WINDOW, &online.window), (DAY, &online.day_scores)] {
        let ScoresState { clicked, passed, .. } = scores.state();
        for (side, array) in [("clicked", clicked), ("passed", passed)] {
            tensors.insert(format!("{name}.{side}"), tensor_of(&StateView::U32(array)));
        }
    }
    Ok(tensors)
}

/// The arrays of a checkpoint, to be put where they belong. Most of a model is one array, so that
/// none is held twice: make them before the embedding that takes them.
pub struct Arrays(BTreeMap<String, (Vec<usize>, StateView<'static>)>);

impl Arrays {
    /// Those of `tensors`, each let go once it is converted.
    #[must_use]
    pub fn new(tensors: BTreeMap<String, Tensor>) -> Self {
        let arrays = tensors.into_iter().map(|(name, tensor)| {
            let array = view_of(&tensor);
            (name, (tensor.shape, array))
        });
        Self(arrays.collect())
    }

    /// Sets network, optimizer and embedding to what was captured.
    ///
    /// # Errors
    /// If an array is missing or does not fit.
    pub fn restore(mut self, learner: &mut Learner) -> Result<()> {
        learner
            .model
            .load_parameters(&self.take_named(NETWORK)?)
            .context("the network of the checkpoint")?;
        learner
            .model
            .load_optimizer_state(&self.take_named(OPTIMIZER)?)
            .context("the optimizer of the checkpoint")?;
        let arrays = self.take_below(EMBEDDING);
        let (names, arrays): (Vec<String>, Vec<_>) =
            arrays.into_iter().map(|(name, (_, array))| (name, array)).unzip();
        let mut arrays: StateMap<'_> = names.iter().map(String::as_str).zip(arrays).collect();
        learner.embedding.restore(&mut arrays).context("the embedding of the checkpoint")
    }

    /// The metrics that were captured, with the rest of them from `state`.
    ///
    /// # Errors
    /// If an array is missing or of another type.
    pub fn online(&mut self, state: &RunState) -> Result<Online> {
        let mut scores = |name: &str, sums: [f64; 2]| -> Result<Scores> {
            let mut side = |side: &str| {
                let name = format!("{name}.{side}");
                match self.0.remove(&name) {
                    Some((_, StateView::U32(array))) => Ok(array),
                    _ => bail!("the checkpoint has no array `{name}` of u32"),
                }
            };
            Ok(Scores::from_state(ScoresState {
                clicked: side("clicked")?,
                passed: side("passed")?,
                sums,
            }))
        };
        let (window, day_scores) =
            (scores(WINDOW, state.window_sums)?, scores(DAY, state.day_sums)?);
        Ok(Online { window, day_scores, day: state.day })
    }

    /// Arrays whose names start with `prefix`, by the rest of their names.
    fn take_below(&mut self, prefix: &str) -> Vec<(String, (Vec<usize>, StateView<'static>))> {
        let names: Vec<String> =
            self.0.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        let taken = names
            .into_iter()
            .filter_map(|name| Some((name[prefix.len()..].to_owned(), self.0.remove(&name)?)));
        taken.collect()
    }

    fn take_named(&mut self, prefix: &str) -> Result<Vec<NamedTensor>> {
        let named = |(name, (shape, array))| match array {
            StateView::F32(values) => {
                Ok(NamedTensor { name, shape, values: Cow::into_owned(values) })
            }
            _ => bail!("the checkpoint's array of `{name}` is not of f32"),
        };
        self.take_below(prefix).into_iter().map(named).collect()
    }
}

fn tensor_of(view: &StateView<'_>) -> Tensor {
    let (dtype, bytes) = match view {
        StateView::F32(array) => (Dtype::F32, le_bytes(array, f32::to_le_bytes)),
        StateView::U16(array) => (Dtype::U16, le_bytes(array, u16::to_le_bytes)),
        StateView::I8(array) => (Dtype::I8, le_bytes(array, i8::to_le_bytes)),
        StateView::U8(array) => (Dtype::U8, array.to_vec()),
        StateView::U32(array) => (Dtype::U32, le_bytes(array, u32::to_le_bytes)),
        StateView::U64(array) => (Dtype::U64, le_bytes(array, u64::to_le_bytes)),
    };
    Tensor { dtype, shape: vec![view.len()], bytes }
}

fn view_of(tensor: &Tensor) -> StateView<'static> {
    let bytes = &tensor.bytes;
    match tensor.dtype {
        Dtype::F32 => StateView::F32(elements(bytes, f32::from_le_bytes)),
        Dtype::U16 => StateView::U16(elements(bytes, u16::from_le_bytes)),
        Dtype::I8 => StateView::I8(elements(bytes, i8::from_le_bytes)),
        Dtype::U8 => StateView::U8(Cow::Owned(bytes.clone())),
        Dtype::U32 => StateView::U32(elements(bytes, u32::from_le_bytes)),
        Dtype::U64 => StateView::U64(elements(bytes, u64::from_le_bytes)),
    }
}

/// Filled in place, so that it becomes a plain copy where the machine is little-endian.
fn le_bytes<T: Copy, const N: usize>(array: &[T], to_bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    let mut bytes = vec![0; N * array.len()];
    for (out, &value) in bytes.as_chunks_mut().0.iter_mut().zip(array) {
        *out = to_bytes(value);
    }
    bytes
}

fn elements<T: Clone, const N: usize>(
    bytes: &[u8],
    from_bytes: impl Fn([u8; N]) -> T,
) -> Cow<'static, [T]> {
    bytes.as_chunks().0.iter().map(|&chunk| from_bytes(chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_every_type_come_back() {
        let views = [
            StateView::F32(Cow::Owned(vec![1.5, -0.0, f32::MIN_POSITIVE, 3e38])),
            StateView::U16(Cow::Owned(vec![0, 1, 0xbeef])),
            StateView::I8(Cow::Owned(vec![-128, 127])),
            StateView::U8(Cow::Owned(vec![7])),
            StateView::U32(Cow::Owned(vec![])),
            StateView::U64(Cow::Owned(vec![u64::MAX, 0x0102_0304_0506_0708])),
        ];
        for view in views {
            let tensor = tensor_of(&view);
            assert_eq!(tensor.shape, [view.len()]);
            assert_eq!(view_of(&tensor), view);
        }
        assert_eq!(tensor_of(&StateView::U32(Cow::Borrowed(&[0x0102_0304]))).bytes, [4, 3, 2, 1]);
    }
}
