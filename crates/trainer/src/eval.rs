//! Evaluation: the test rows once through the model, nothing learned.

use anyhow::Result;
use criteo_io::Prefetch;

use crate::metrics::{Quality, Scores};
use crate::step::Learner;

/// What an evaluation finds.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation {
    /// The model's quality.
    pub quality: Quality,
    /// The AUC of the logits that the labels were drawn from, where rows are generated: no model's is better
    /// but by chance.
    pub best_possible_auc: Option<f64>,
}

/// Evaluates `learner` on all rows of `test`.
///
/// # Errors
/// If a row can't be read, or a logit is not finite.
pub fn evaluate(learner: &mut Learner, mut test: Prefetch) -> Result<Evaluation> {
    let (mut scores, mut best) = (Scores::default(), Scores::default());
    while let Some(batch) = test.next_batch()? {
        let logits = learner.predict(&batch)?;
        for (&logit, &label) in logits.iter().zip(&batch.labels) {
            scores.push(logit, label);
        }
        for (&logit, &label) in batch.true_logits.iter().zip(&batch.labels) {
            best.push(logit, label);
        }
        test.recycle(batch);
    }
    Ok(Evaluation { quality: scores.quality(), best_possible_auc: best.quality().auc })
}
