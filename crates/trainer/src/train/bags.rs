//! Fields that hold several values: the rows of a bag are summed on the way to the network, and
//! each gets the gradient of the sum in the backward pass.

use std::ops::Range;

/// Writes the sum of each bag's rows to `sums` `[n_bags, dim]`. `rows` is `[n_ids, dim]`, and bag
/// `b` holds the ids from `bag_ends[b - 1]`, or 0, up to `bag_ends[b]`.
///
/// # Panics
/// If the lengths don't agree.
pub fn sum(rows: &[f32], bag_ends: &[u32], dim: usize, sums: &mut [f32]) {
    assert_eq!(sums.len(), bag_ends.len() * dim, "one sum for each bag");
    for (bag, sum) in bags(bag_ends).zip(sums.chunks_exact_mut(dim)) {
        let mut rows = rows[bag.start * dim..bag.end * dim].chunks_exact(dim);
        match rows.next() {
            Some(first) => sum.copy_from_slice(first),
            None => sum.fill(0.0),
        }
        for row in rows {
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
    }
}

/// Writes the gradient of each bag's sum, `[n_bags, dim]`, to all rows of the bag, `[n_ids, dim]`.
///
/// # Panics
/// If the lengths don't agree.
pub fn spread(sum_grads: &[f32], bag_ends: &[u32], dim: usize, row_grads: &mut [f32]) {
    assert_eq!(sum_grads.len(), bag_ends.len() * dim, "one gradient for each bag");
    for (bag, grad) in bags(bag_ends).zip(sum_grads.chunks_exact(dim)) {
        let rows = row_grads[bag.start * dim..bag.end * dim].chunks_exact_mut(dim);
        rows.for_each(|row| row.copy_from_slice(grad));
    }
}

/// The mean of each bag's numbers, 0 for an empty bag. Without `bag_ends` every number is a bag of
/// its own.
pub fn means<'a>(numbers: &'a [f32], bag_ends: &'a [u32]) -> impl Iterator<Item = f32> + 'a {
    let singles = if bag_ends.is_empty() { numbers } else { &[] };
    let mean = |bag: Range<usize>| {
        let n = bag.len().max(1) as f32;
        numbers[bag].iter().sum::<f32>() / n
    };
    singles.iter().copied().chain(bags(bag_ends).map(mean))
}

fn bags(bag_ends: &[u32]) -> impl Iterator<Item = Range<usize>> {
    let starts = std::iter::once(&0).chain(bag_ends);
    starts.zip(bag_ends).map(|(&start, &end)| start as usize..end as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bags_are_summed_and_their_gradients_spread() {
        // Bags of two, one and three ids, rows of two values.
        let (ends, dim) = ([2, 3, 6], 2);
        let rows: Vec<f32> = (1..=12_u8).map(f32::from).collect();
        let mut sums = [0.0; 6];
        sum(&rows, &ends, dim, &mut sums);
        assert_eq!(sums, [4.0, 6.0, 5.0, 6.0, 27.0, 30.0]);

        let numbers = [1.0, 3.0, 5.0, 1.0, 2.0, 6.0];
        assert_eq!(means(&numbers, &ends).collect::<Vec<_>>(), [2.0, 5.0, 3.0]);
        assert_eq!(means(&numbers, &[]).collect::<Vec<_>>(), numbers);
        assert_eq!(means(&[4.0], &[0, 1]).collect::<Vec<_>>(), [0.0, 4.0]);

        let mut grads = [0.0; 12];
        spread(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &ends, dim, &mut grads);
        assert_eq!(grads, [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 5.0, 6.0, 5.0, 6.0]);
    }
}
