//! Gradient norms: what a feature's importance is made of.

use crate::prefetch::prefetch;

/// The norms of the occurrences' gradients. In f64 no finite gradient's square overflows.
pub(crate) fn norms(occurrences: &[u32], all_grads: &[f32], dim: usize, out: &mut Vec<f64>) {
    let grad = |occurrence: u32| &all_grads[occurrence as usize * dim..][..dim];
    out.clear();
    out.reserve(occurrences.len());
    // Each sum waits for its last addition: four at a time wait together.
    let (fours, rest) = occurrences.as_chunks::<4>();
    for (idx, four) in fours.iter().enumerate() {
        // A field's gradients lie a sample apart: too far for the processor to see a stream.
        for &ahead in fours.get(idx + 4).into_iter().flatten() {
            prefetch(all_grads, ahead as usize * dim, dim);
        }
        let grads = four.map(grad);
        let mut sums = [0.0_f64; 4];
        for k in 0..dim {
            for (sum, grad) in sums.iter_mut().zip(grads) {
                *sum += f64::from(grad[k]).powi(2);
            }
        }
        out.extend(sums.map(f64::sqrt));
    }
    out.extend(
        rest.iter().map(|&at| grad(at).iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt()),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_are_those_of_each_occurrence() {
        let grads: Vec<f32> = (0..18).flat_map(|i| [3.0 * i as f32, -4.0 * i as f32]).collect();
        let occurrences = [5, 0, 17, 2, 2, 9, 1];
        let mut out = vec![7.0; 3];
        norms(&occurrences, &grads, 2, &mut out);
        assert_eq!(out, occurrences.map(|at| 5.0 * f64::from(at)));
        norms(&[0], &[f32::MAX, f32::MAX], 2, &mut out);
        assert!(out[0].is_finite());
    }
}
