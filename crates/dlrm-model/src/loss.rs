//! Binary cross-entropy on host slices: candle's own is NaN from logit 17 on.
//! Outside the graph, so that CPU and CUDA share one exact gradient and the sums are in `f64`.

use crate::error::ModelError;

/// Cross-entropy in nats of one logit `x` against its label `y` in `[0, 1]`: `max(x, 0) - x·y +
/// ln(1 + e^-|x|)`.
///
/// It equals `-y ln σ(x) - (1 - y) ln(1 - σ(x))` but neither overflows nor cancels: the exponential
/// is of a negative number, and `ln_1p` keeps the digits of a small one.
///
/// ```
/// use dlrm_model::logit_loss;
/// assert_eq!(logit_loss(0.0, 1.0), std::f64::consts::LN_2);
/// assert_eq!(logit_loss(-100.0, 1.0), 100.0);
/// ```
#[must_use]
pub fn logit_loss(logit: f32, label: f32) -> f64 {
    let (x, y) = (f64::from(logit), f64::from(label));
    x.max(0.0) - x * y + (-x.abs()).exp().ln_1p()
}

/// `1 / (1 + e^-x)`: the probability of a logit.
///
/// ```
/// assert_eq!(dlrm_model::sigmoid(0.0), 0.5);
/// ```
#[must_use]
pub fn sigmoid(logit: f32) -> f64 {
    let exp = (-f64::from(logit).abs()).exp();
    if logit < 0.0 { exp / (1.0 + exp) } else { 1.0 / (1.0 + exp) }
}

/// Writes the gradient of the mean loss with respect to the logits: `(σ(x) - y) / n_samples`.
///
/// The logits may be a part of the batch; `n_samples` is the size of the whole.
pub(crate) fn logit_gradients(
    logits: &[f32],
    labels: &[f32],
    n_samples: usize,
    gradients: &mut [f32],
) {
    let scale = 1.0 / n_samples as f64;
    for ((gradient, &logit), &label) in gradients.iter_mut().zip(logits).zip(labels) {
        *gradient = ((sigmoid(logit) - f64::from(label)) * scale) as f32;
    }
}

/// Sum of the losses in the order of the samples.
///
/// # Errors
/// The first sample whose logit or loss is not finite.
pub(crate) fn loss_sum(logits: &[f32], labels: &[f32]) -> Result<f64, ModelError> {
    let mut sum = 0.0;
    for (sample_idx, (&logit, &label)) in logits.iter().zip(labels).enumerate() {
        let loss = logit_loss(logit, label);
        if !(logit.is_finite() && loss.is_finite()) {
            return Err(ModelError::NonFiniteLogit { sample_idx, logit, label: Some(label) });
        }
        sum += loss;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_stable_for_large_logits() {
        let ln_1p_e_17 = 4.139_937_633_089_748e-8;
        let cases = [
            (0.0, std::f64::consts::LN_2, std::f64::consts::LN_2),
            (17.0, ln_1p_e_17, 17.0 + ln_1p_e_17),
            (-17.0, 17.0 + ln_1p_e_17, ln_1p_e_17),
            (100.0, 3.720_075_976_020_836e-44, 100.0),
            (-100.0, 100.0, 3.720_075_976_020_836e-44),
        ];
        for (logit, with_label_1, with_label_0) in cases {
            for (label, expected) in [(1.0, with_label_1), (0.0, with_label_0)] {
                let loss = logit_loss(logit, label);
                assert!(
                    (loss - expected).abs() <= 1e-12 * expected,
                    "logit {logit}, label {label}: {loss}"
                );
            }
        }
    }

    #[test]
    fn sigmoid_keeps_both_tails() {
        assert!((sigmoid(-100.0) / 3.720_075_976_020_836e-44 - 1.0).abs() < 1e-12);
        assert!((sigmoid(100.0) - 1.0).abs() < 1e-15);
        assert!((sigmoid(2.0) + sigmoid(-2.0) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn gradients_follow_central_differences() {
        let (logits, labels) = ([-3.0_f32, -0.5, 0.0, 0.25, 4.0], [1.0_f32, 0.0, 1.0, 0.0, 1.0]);
        let mut gradients = [f32::NAN; 5];
        logit_gradients(&logits, &labels, 10, &mut gradients);
        for (sample_idx, gradient) in gradients.into_iter().enumerate() {
            let (logit, label, step) = (logits[sample_idx], labels[sample_idx], 1.0 / 1024.0);
            let difference = (logit_loss(logit + step, label) - logit_loss(logit - step, label))
                / f64::from(2.0 * step);
            assert!((f64::from(gradient) - difference / 10.0).abs() < 1e-7);
        }
    }

    #[test]
    fn first_sample_without_a_loss_is_reported() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for label in [0.0, 1.0] {
                let error = loss_sum(&[1.0, bad, f32::NAN], &[0.0, label, 1.0]).unwrap_err();
                assert!(matches!(error, ModelError::NonFiniteLogit { sample_idx: 1, .. }));
            }
        }
        let error = loss_sum(&[1.0, f32::NAN], &[0.0, 1.0]).unwrap_err().to_string();
        assert!(error.starts_with("sample 1 of the batch: logit NaN with label 1,"), "{error}");
        let error = loss_sum(&[1.0, 2.0], &[0.0, f32::NAN]).unwrap_err().to_string();
        assert!(error.starts_with("sample 1 of the batch: logit 2 with label NaN"), "{error}");
    }
}
