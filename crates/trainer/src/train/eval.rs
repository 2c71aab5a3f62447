//! Evaluation: the test rows once through the model, nothing learned.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use criteo_io::{PassEnd, Prefetch};
use serde::{Deserialize, Serialize};

use crate::metrics::{Quality, Scores};
use crate::train::step::Learner;

/// What an evaluation finds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The model's quality.
    pub quality: Quality,
    /// The AUC of the logits that the labels were drawn from, where rows are generated: no model can
    /// be expected to exceed it.
    pub best_possible_auc: Option<f64>,
}

/// Evaluates `learner` on all rows of `test`; returns where they ended and which were left out.
/// `None` if it was stopped before the end.
///
/// # Errors
/// If a row can't be read, or a logit is not finite.
pub fn evaluate(
    learner: &mut Learner,
    mut test: Prefetch,
    stop: &AtomicBool,
) -> Result<Option<(Evaluation, PassEnd)>> {
    let (mut scores, mut best) = (Scores::default(), Scores::default());
    let mut n_rows = 0;
    while let Some(batch) = test.next_batch_until(stop)? {
        let (first, last) = (n_rows + 1, n_rows + batch.len());
        let logits =
            learner.predict(&batch).with_context(|| format!("test rows {first} to {last}"))?;
        n_rows = last;
        for (&logit, &label) in logits.iter().zip(&batch.labels) {
            scores.push(logit, label);
        }
        for (&logit, &label) in batch.true_logits.iter().zip(&batch.labels) {
            best.push(logit, label);
        }
        test.recycle(batch);
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let evaluation =
        Evaluation { quality: scores.quality(), best_possible_auc: best.quality().auc };
    Ok(Some((evaluation, test.pass())))
}
