//! Gradient norms, of which a feature's importance is made, and the n-th largest of very many
//! scores.

use crate::batch::cache_hint::prefetch;

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

/// The `n`-th largest of the positive `values` (the first is the largest), exactly; `None` if there
/// are fewer. It neither sorts nor copies nor allocates.
///
/// Positive floats order as their bits, so four passes find it a byte at a time.
pub(crate) fn nth_largest<I: Iterator<Item = f32>>(values: impl Fn() -> I, n: u64) -> Option<f32> {
    // The bytes found so far, and how many values are sought among those that begin with them.
    let (mut found, mut n) = (0, n);
    for shift in [24, 16, 8, 0] {
        let mut counts = [0_u64; 256];
        for bits in values().filter(|&value| value > 0.0).map(f32::to_bits) {
            if u64::from(bits) >> (shift + 8) == found {
                counts[(bits >> shift) as usize & 0xff] += 1;
            }
        }
        let byte = nth_from_above(&counts, &mut n)?;
        found = (found << 8) | byte;
    }
    Some(f32::from_bits(found as u32))
}

/// The byte of the `n`-th largest; `n` becomes its number among those of that byte.
fn nth_from_above(counts: &[u64; 256], n: &mut u64) -> Option<u64> {
    for (byte, &count) in counts.iter().enumerate().rev() {
        if *n > 0 && count >= *n {
            return Some(byte as u64);
        }
        *n -= count.min(*n);
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn ranks_are_those_of_a_sorted_list(
            values in prop::collection::vec(
                prop_oneof![0.0_f32..4.0, Just(0.0), Just(1.5), 1.5_f32..1.500_01,
                    1e-40_f32..1e38], 0..200),
            n in 0_u64..220,
        ) {
            let mut sorted: Vec<f32> =
                values.iter().copied().filter(|&value| value > 0.0).collect();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let expected = (n as usize).checked_sub(1).and_then(|at| sorted.get(at).copied());
            prop_assert_eq!(nth_largest(|| values.iter().copied(), n), expected);
        }
    }
}
