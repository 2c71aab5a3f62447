//! Quality of predicted logits: exact AUC, log-loss, normalised entropy and calibration.

pub mod line;
pub mod online;

use std::borrow::Cow;
use std::ops::Range;

use dlrm_model::{logit_loss, sigmoid};
use serde::{Deserialize, Serialize};

/// Collects logits and labels, in 4 bytes per sample.
///
/// The AUC is exact, with half a point for ties: scores are kept as integers of the same order,
/// sorted once, and merged. Logits are ranked rather than probabilities, which would tie where
/// `f32` saturates.
#[derive(Debug, Default)]
pub struct Scores {
    clicked: Vec<u32>,
    passed: Vec<u32>,
    loss_sum: f64,
    probability_sum: f64,
}

/// [`Scores`] as a checkpoint holds them.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoresState<'a> {
    /// Scores of clicked samples, as integers that sort like the logits.
    pub clicked: Cow<'a, [u32]>,
    /// Scores of the other samples.
    pub passed: Cow<'a, [u32]>,
    /// The sum of the losses and that of the probabilities.
    pub sums: [f64; 2],
}

/// Predictions with the sums of their losses and probabilities, computed once for several
/// [`Scores`].
#[derive(Clone, Copy, Debug)]
pub struct Predictions<'a> {
    logits: &'a [f32],
    labels: &'a [f32],
    loss_sum: f64,
    probability_sum: f64,
}

/// The result of [`Scores::quality`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Area under the ROC curve; `None` if all labels are equal.
    pub auc: Option<f64>,
    /// Mean log-loss in nats.
    pub logloss: f64,
    /// Log-loss over the entropy of the share of clicks: 1 is the result of predicting that share.
    /// `None` if all labels are equal.
    pub normalised_entropy: Option<f64>,
    /// Mean predicted probability over the share of clicks: above 1 the model predicts too many.
    /// `None` without clicks.
    pub calibration: Option<f64>,
    /// Number of samples.
    pub rows: u64,
    /// Number of clicked samples.
    pub positives: u64,
    /// Whether all samples have the same score.
    #[serde(default)]
    pub equal_scores: bool,
}

impl<'a> Predictions<'a> {
    /// Predictions whose losses are known to add up to `loss_sum` nats.
    ///
    /// # Panics
    /// If the numbers of labels and logits differ.
    #[must_use]
    pub fn with_loss_sum(logits: &'a [f32], labels: &'a [f32], loss_sum: f64) -> Self {
        assert_eq!(logits.len(), labels.len(), "a label for each logit");
        let probability_sum = logits.iter().map(|&logit| sigmoid(logit)).sum();
        Self { logits, labels, loss_sum, probability_sum }
    }

    /// A range of the samples, with their sums computed again.
    #[must_use]
    pub fn part(&self, samples: Range<usize>) -> Self {
        let (logits, labels) = (&self.logits[samples.clone()], &self.labels[samples]);
        let losses = logits.iter().zip(labels).map(|(&logit, &label)| logit_loss(logit, label));
        Self::with_loss_sum(logits, labels, losses.sum())
    }

    /// The number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

impl Scores {
    /// Adds a sample.
    pub fn push(&mut self, logit: f32, label: f32) {
        self.loss_sum += logit_loss(logit, label);
        self.probability_sum += sigmoid(logit);
        self.rank(logit, label);
    }

    /// Adds all samples of `predictions`.
    pub fn add(&mut self, predictions: Predictions<'_>) {
        let Predictions { logits, labels, loss_sum, probability_sum } = predictions;
        self.loss_sum += loss_sum;
        self.probability_sum += probability_sum;
        for (&logit, &label) in logits.iter().zip(labels) {
            self.rank(logit, label);
        }
    }

    fn rank(&mut self, logit: f32, label: f32) {
        let side = if label > 0.5 { &mut self.clicked } else { &mut self.passed };
        side.push(ordered_bits(logit));
    }

    /// The state for a checkpoint. Scores are in the order in which they were added.
    #[must_use]
    pub fn state(&self) -> ScoresState<'_> {
        let Self { clicked, passed, loss_sum, probability_sum } = self;
        ScoresState {
            clicked: clicked.into(),
            passed: passed.into(),
            sums: [*loss_sum, *probability_sum],
        }
    }

    /// Restores a state.
    #[must_use]
    pub fn from_state(state: ScoresState<'_>) -> Self {
        let ScoresState { clicked, passed, sums: [loss_sum, probability_sum] } = state;
        Self {
            clicked: clicked.into_owned(),
            passed: passed.into_owned(),
            loss_sum,
            probability_sum,
        }
    }

    /// The number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clicked.len() + self.passed.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The quality of all samples.
    #[must_use]
    pub fn quality(mut self) -> Quality {
        self.take_quality()
    }

    /// The quality of all samples, which are then removed; the memory is kept for the next ones.
    pub fn take_quality(&mut self) -> Quality {
        let (positives, negatives) = (self.clicked.len() as u64, self.passed.len() as u64);
        let rows = positives + negatives;
        let logloss = self.loss_sum / rows as f64;
        let has_both = positives > 0 && negatives > 0;
        let rate = positives as f64 / rows as f64;
        let entropy = -(rate * rate.ln() + (1.0 - rate) * (1.0 - rate).ln());
        self.clicked.sort_unstable();
        self.passed.sort_unstable();
        let quality = Quality {
            auc: has_both.then(|| auc_of_sorted(&self.clicked, &self.passed)),
            logloss,
            normalised_entropy: has_both.then(|| logloss / entropy),
            calibration: (positives > 0).then(|| self.probability_sum / positives as f64),
            rows,
            positives,
            equal_scores: are_equal(&self.clicked, &self.passed),
        };
        self.clear();
        quality
    }

    fn clear(&mut self) {
        let Self { clicked, passed, loss_sum, probability_sum } = self;
        clicked.clear();
        passed.clear();
        (*loss_sum, *probability_sum) = (0.0, 0.0);
    }
}

/// The bits of a float as an integer of the same order; -0 and 0 are equal.
fn ordered_bits(value: f32) -> u32 {
    // -0.0 + 0.0 is 0.0. Negative floats sort in reverse by their bits, so these are inverted;
    // positive ones get the top bit to sort after them.
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// Whether all values are equal; both slices are sorted.
fn are_equal(clicked: &[u32], passed: &[u32]) -> bool {
    let ends =
        || [clicked.first(), clicked.last(), passed.first(), passed.last()].into_iter().flatten();
    ends().min() == ends().max()
}

/// The share of (positive, negative) pairs in the right order, where ties count half. Both slices
/// are sorted.
fn auc_of_sorted(positives: &[u32], negatives: &[u32]) -> f64 {
    let (mut below, mut up_to) = (0, 0);
    // Twice the count, so that ties are integers; u128 because pairs overflow u64 from 2^32
    // samples.
    let mut twice_won = 0_u128;
    for &score in positives {
        while below < negatives.len() && negatives[below] < score {
            below += 1;
        }
        up_to = up_to.max(below);
        while up_to < negatives.len() && negatives[up_to] <= score {
            up_to += 1;
        }
        twice_won += (below + up_to) as u128;
    }
    twice_won as f64 / 2.0 / (positives.len() as f64 * negatives.len() as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quality(samples: &[(f32, bool)]) -> Quality {
        let mut scores = Scores::default();
        for &(logit, clicked) in samples {
            scores.push(logit, f32::from(u8::from(clicked)));
        }
        scores.quality()
    }

    #[test]
    fn auc_and_logloss_by_hand() {
        // Pairs (positive, negative): (2, 1) won, (2, 2) tied, (0, 1) lost, (0, 2) lost.
        let q = quality(&[(2.0, true), (0.0, true), (1.0, false), (2.0, false)]);
        assert_eq!(q.auc, Some(1.5 / 4.0));
        let q = quality(&[(0.0, true), (0.0, false)]);
        assert_eq!((q.auc, q.rows, q.positives), (Some(0.5), 2, 1));
        assert!((q.logloss - std::f64::consts::LN_2).abs() < 1e-12);
        assert!((q.normalised_entropy.expect("both labels") - 1.0).abs() < 1e-12);
    }

    #[test]
    fn calibration_by_hand() {
        // Logits ln 3, 0, -ln 3 stand for 3/4, 1/2, 1/4: a mean of 1/2 where 1/4 was clicked.
        let ln_3 = 3_f32.ln();
        let q = quality(&[(ln_3, true), (0.0, false), (0.0, false), (-ln_3, false)]);
        assert!((q.calibration.expect("a click") - 2.0).abs() < 1e-7, "{q:?}");
        // 1/4 on average where 1/2 was clicked.
        let q = quality(&[(-ln_3, true), (-ln_3, false)]);
        assert!((q.calibration.expect("a click") - 0.5).abs() < 1e-7, "{q:?}");
        assert_eq!(quality(&[(0.0, false)]).calibration, None);
        assert_eq!(quality(&[(0.0, true)]).calibration, Some(0.5));
    }

    #[test]
    fn one_label_has_no_auc() {
        let q = quality(&[(1.0, true), (2.0, true)]);
        assert_eq!((q.auc, q.normalised_entropy), (None, None));
        assert!(q.logloss > 0.0);
    }

    #[test]
    fn parts_add_up_and_scores_restart() {
        let (logits, labels) = ([0.5, -1.5, 2.0, -0.25, 1.0], [1.0, 0.0, 0.0, 1.0, 1.0]);
        let samples: Vec<_> =
            logits.iter().zip(&labels).map(|(&logit, &label)| (logit, label > 0.5)).collect();
        let whole = Predictions::with_loss_sum(&logits, &labels, 1.25);
        assert_eq!((whole.len(), whole.part(2..2).is_empty()), (5, true));
        let mut scores = Scores::default();
        scores.add(whole);
        let q = scores.take_quality();
        assert_eq!((q.logloss, q.auc, scores.is_empty()), (0.25, quality(&samples).auc, true));
        // The parts know their own losses.
        scores.add(whole.part(0..2));
        scores.add(whole.part(2..5));
        let (parts, expected) = (scores.take_quality(), quality(&samples));
        assert_eq!((parts.auc, parts.rows, parts.positives), (expected.auc, 5, 3));
        assert!((parts.logloss - expected.logloss).abs() < 1e-15, "{parts:?}, {expected:?}");
        let (parts, expected) =
            (parts.calibration.expect("clicks"), expected.calibration.expect("clicks"));
        assert!((parts - expected).abs() < 1e-15, "{parts}, {expected}");
    }

    proptest! {
        #[test]
        fn auc_equals_counting_all_pairs(
            samples in prop::collection::vec((-4_i8..4, any::<bool>()), 1..60),
            fine: bool,
        ) {
            let nudge = |i: usize| if fine { 1.0 + i as f32 * 1e-6 } else { 1.0 };
            let score = |i: usize, score: i8| f32::from(score) / 3.0 * nudge(i);
            let numbered = samples.iter().enumerate();
            let samples: Vec<_> = numbered.map(|(i, &(s, click))| (score(i, s), click)).collect();
            let (mut won, mut pairs) = (0.0, 0.0);
            for &(p, _) in samples.iter().filter(|s| s.1) {
                for &(n, _) in samples.iter().filter(|s| !s.1) {
                    pairs += 1.0;
                    won += if p > n { 1.0 } else if p < n { 0.0 } else { 0.5 };
                }
            }
            if let Some(auc) = quality(&samples).auc {
                prop_assert!((auc - won / pairs).abs() < 1e-12, "{} {}", auc, won / pairs);
            } else {
                prop_assert_eq!(pairs, 0.0);
            }
        }

        #[test]
        fn bits_sort_as_floats(a in any::<f32>(), b in any::<f32>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            let expected = a.partial_cmp(&b).expect("ordered");
            prop_assert_eq!(ordered_bits(a).cmp(&ordered_bits(b)), expected);
        }
    }
}
