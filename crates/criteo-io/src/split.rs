//! Where the training rows end and the test rows begin, when the split is by position.

/// The rows that come first and are trained on: `fraction` of `total`, rounded down.
///
/// Products within floating-point noise of a whole number count as that number: 0.9 of 10,000 rows
/// is 9,000, and six sevenths of 7 rows is 6, even where the product falls a hair short.
///
/// # Panics
/// If `fraction` is not within 0 and 1.
///
/// ```
/// // Six days of the seven in Criteo Kaggle.
/// assert_eq!(criteo_io::train_rows(45_840_617, 6.0 / 7.0), 39_291_957);
/// ```
#[must_use]
pub fn train_rows(total: u64, fraction: f64) -> u64 {
    assert!((0.0..=1.0).contains(&fraction), "the fraction {fraction} is not within 0 and 1");
    let product = total as f64 * fraction;
    let nearest = product.round();
    let noise = 4.0 * f64::EPSILON * product;
    let rows = if (product - nearest).abs() <= noise { nearest } else { product.floor() };
    (rows as u64).min(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_splits() {
        assert_eq!(train_rows(45_840_617, 6.0 / 7.0), 39_291_957);
        assert_eq!(train_rows(10_000, 0.9), 9_000);
        assert_eq!(train_rows(7, 6.0 / 7.0), 6);
        assert_eq!(train_rows(10, 0.0), 0);
        assert_eq!(train_rows(10, 1.0), 10);
        assert_eq!(train_rows(0, 0.5), 0);
        assert_eq!(train_rows(u64::MAX, 1.0), u64::MAX);
    }

    #[test]
    #[should_panic(expected = "not within 0 and 1")]
    fn a_fraction_that_is_no_number_is_refused() {
        let _ = train_rows(10, f64::NAN);
    }

    proptest! {
        #[test]
        fn equals_integer_arithmetic(total in 0_u64..1 << 36, part in 0_u64..1000, parts in 1_u64..1000) {
            let part = part.min(parts);
            let exact = (u128::from(total) * u128::from(part) / u128::from(parts)) as u64;
            prop_assert_eq!(train_rows(total, part as f64 / parts as f64), exact);
        }
    }
}
