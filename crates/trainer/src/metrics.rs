//! Quality of predicted logits: exact AUC, log-loss, normalised entropy.

use dlrm_model::logit_loss;
use serde::Serialize;

/// Collects logits and labels; 4 bytes a sample.
///
/// The AUC is exact, with half a point for ties: scores are kept as integers of the same order,
/// sorted once, and merged. It ranks logits rather than probabilities, which would tie where
/// `f32` saturates.
#[derive(Debug, Default)]
pub struct Scores {
    clicked: Vec<u32>,
    passed: Vec<u32>,
    loss_sum: f64,
}

/// What [`Scores::quality`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Area under the ROC curve; `None` if all labels are equal.
    pub auc: Option<f64>,
    /// Mean log-loss in nats.
    pub logloss: f64,
    /// Log-loss over the entropy of the share of clicks: 1 is what that share alone achieves.
    /// `None` if all labels are equal.
    pub normalised_entropy: Option<f64>,
    /// Samples.
    pub rows: u64,
    /// Samples that were clicked.
    pub positives: u64,
}

impl Scores {
    /// Adds a sample.
    pub fn push(&mut self, logit: f32, label: f32) {
        self.loss_sum += logit_loss(logit, label);
        let side = if label > 0.5 { &mut self.clicked } else { &mut self.passed };
        side.push(ordered_bits(logit));
    }

    /// The quality of all samples.
    #[must_use]
    pub fn quality(mut self) -> Quality {
        let (positives, negatives) = (self.clicked.len() as u64, self.passed.len() as u64);
        let rows = positives + negatives;
        let logloss = self.loss_sum / rows as f64;
        let has_both = positives > 0 && negatives > 0;
        let rate = positives as f64 / rows as f64;
        let entropy = -(rate * rate.ln() + (1.0 - rate) * (1.0 - rate).ln());
        self.clicked.sort_unstable();
        self.passed.sort_unstable();
        Quality {
            auc: has_both.then(|| auc_of_sorted(&self.clicked, &self.passed)),
            logloss,
            normalised_entropy: has_both.then(|| logloss / entropy),
            rows,
            positives,
        }
    }
}

/// The bits of a float as an integer that sorts as the float does; -0 and 0 are one.
fn ordered_bits(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// The share of (positive, negative) pairs in the right order, ties half.
fn auc_of_sorted(positives: &[u32], negatives: &[u32]) -> f64 {
    let (mut below, mut up_to) = (0, 0);
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
    fn on_paper() {
        // Pairs (positive, negative): (2, 1) won, (2, 2) tied, (0, 1) lost, (0, 2) lost.
        let q = quality(&[(2.0, true), (0.0, true), (1.0, false), (2.0, false)]);
        assert_eq!(q.auc, Some(1.5 / 4.0));
        let q = quality(&[(0.0, true), (0.0, false)]);
        assert_eq!((q.auc, q.rows, q.positives), (Some(0.5), 2, 1));
        assert!((q.logloss - std::f64::consts::LN_2).abs() < 1e-12);
        assert!((q.normalised_entropy.expect("both labels") - 1.0).abs() < 1e-12);
    }

    #[test]
    fn one_label_has_no_auc() {
        let q = quality(&[(1.0, true), (2.0, true)]);
        assert_eq!((q.auc, q.normalised_entropy), (None, None));
        assert!(q.logloss > 0.0);
    }

    proptest! {
        #[test]
        fn auc_equals_counting_all_pairs(
            samples in prop::collection::vec((-4_i8..4, any::<bool>()), 1..60),
            fine: bool,
        ) {
            let nudge = |i: usize| if fine { 1.0 + i as f32 * 1e-6 } else { 1.0 };
            let score = |i: usize, score: i8| f32::from(score) / 3.0 * nudge(i);
            let samples: Vec<_> = samples.iter().enumerate().map(|(i, &(s, clicked))| (score(i, s), clicked)).collect();
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
            prop_assert_eq!(ordered_bits(a).cmp(&ordered_bits(b)), a.partial_cmp(&b).expect("ordered"));
        }
    }
}
