//! How long the rows of each field are.

use crate::budget::{BudgetError, bisect, ratio_too_high};
use crate::table::rows::{RowFormat, RowPrecision};
use crate::table::sizing::Sizing;

/// Sizes and settings of a [`MdeEmbedding`](super::MdeEmbedding).
#[derive(Clone, Debug, PartialEq)]
pub struct MdeConfig {
    /// Values a vector has after the projection.
    pub dim: usize,
    /// Features of each field: as many rows.
    pub features: Vec<u64>,
    /// Values a row of each field has.
    pub dims: Vec<usize>,
    /// The exponent a of `d_f = d (n_min / n_f)^a` that gave `dims`; infinite where only 1 value
    /// fits.
    pub alpha: f64,
    /// How rows are stored, and how they follow their gradients.
    pub format: RowFormat,
    /// Seeds the hash, the initial rows and projections.
    pub seed: u64,
}

impl MdeConfig {
    /// The smallest exponent with which rows and projections fit the budget.
    ///
    /// # Errors
    /// If rows of 1 value in every field but the smallest don't fit.
    pub fn within(sizing: &Sizing<'_>) -> Result<Self, BudgetError> {
        let Sizing { features, dim, format, seed, .. } = *sizing;
        let budget_bytes = sizing.budget_bytes();
        let sized = |alpha: f64| {
            let dims = dims(features, dim, alpha, format);
            Self { dim, features: features.to_vec(), dims, alpha, format, seed }
        };
        // An exponent from 0 to infinity is t / (1 - t) for a t from 0 to 1.
        let at = |t: f64| sized(t / (1.0 - t));
        let is_too_large = |t: f64| at(t).embedding_bytes() > budget_bytes;
        if !is_too_large(0.0) {
            return Ok(at(0.0));
        }
        let least = at(1.0).embedding_bytes();
        if least > budget_bytes {
            let full = sizing.full_bytes();
            return Err(ratio_too_high("mixed dimensions", full, least, budget_bytes));
        }
        Ok(at(bisect(0.0..1.0, is_too_large).end))
    }

    /// Rows of full length that would take as many bytes: the optimizer's state of the shorter rows
    /// is as much smaller as they are, and so about that of these.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.embedding_bytes() / self.format.row_bytes(self.dim)
    }

    /// Bytes of a field's rows.
    ///
    /// # Panics
    /// If there is no such field.
    #[must_use]
    pub fn rows_bytes(&self, field: usize) -> u64 {
        self.features[field] * self.format.row_bytes(self.dims[field])
    }

    /// Bytes of a field's projection; none where rows have full length.
    ///
    /// # Panics
    /// If there is no such field.
    #[must_use]
    pub fn projection_bytes(&self, field: usize) -> u64 {
        projection_bytes(self.dims[field], self.dim, self.format)
    }

    /// Bytes of all rows and projections.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        (0..self.features.len())
            .map(|field| self.rows_bytes(field) + self.projection_bytes(field))
            .sum()
    }
}

fn dims(features: &[u64], dim: usize, alpha: f64, format: RowFormat) -> Vec<usize> {
    let least = features.iter().copied().min().unwrap_or(1) as f64;
    let field_dim = |&n: &u64| {
        let exact = dim as f64 * (least / n as f64).powf(alpha);
        let rounded = (exact.round() as usize).clamp(1, dim);
        let bytes = |field_dim: usize| {
            n * format.row_bytes(field_dim) + projection_bytes(field_dim, dim, format)
        };
        // Where few rows get shorter, the projection takes more than it saves.
        if bytes(rounded) >= bytes(dim) { dim } else { rounded }
    };
    features.iter().map(field_dim).collect()
}

/// A matrix in `f32`, a row of `dim` values for each value of the field's rows.
fn projection_bytes(field_dim: usize, dim: usize, format: RowFormat) -> u64 {
    let format = RowFormat { precision: RowPrecision::F32, ..format };
    if field_dim == dim { 0 } else { field_dim as u64 * format.row_bytes(dim) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::budget::Budget;
    use crate::embedding::Embedding;
    use crate::kaggle::KAGGLE;
    use crate::methods::MdeEmbedding;

    fn within(features: &[u64], dim: usize, ratio: f64) -> Result<MdeConfig, BudgetError> {
        let (budget, format) = (Budget::Compression(ratio), RowFormat::default());
        MdeConfig::within(&Sizing { features, dim, budget, format, seed: 1 })
    }

    #[test]
    fn rows_shorten_with_field_features() {
        let config = within(&[1000, 4000, 16_000, 64_000], 16, 4.0).expect("fits");
        // 16, 10, 6, 3 would take 1,376,000 bytes of 1,360,000. At 16 / 16^a = 5.5 the third
        // becomes 5, the second is 9 by then.
        assert_eq!(config.dims, [16, 9, 5, 3]);
        assert!(
            (config.alpha - (16.0_f64 / 5.5).ln() / 16.0_f64.ln()).abs() < 1e-9,
            "{}",
            config.alpha
        );
        assert_eq!(config.projection_bytes(0), 0);
        assert_eq!(config.projection_bytes(2), 4 * 5 * 16);
    }

    #[test]
    fn unreachable_ratio_names_reachable_limit() {
        let error = within(&KAGGLE, 16, 1000.0).unwrap_err().to_string();
        assert_eq!(
            error,
            "mixed dimensions needs CR <= 15.9, asked for 1000.0; \
             choose a lower compression ratio or another method"
        );
        let config = within(&KAGGLE, 16, 15.9).expect("the limit itself fits");
        assert!(config.embedding_bytes() <= Budget::Compression(15.9).bytes(&KAGGLE, 16));
        assert!(within(&KAGGLE, 16, 16.0).is_err());
    }

    #[test]
    fn a_field_of_few_features_keeps_full_rows() {
        let config = within(&[2, 3, 100_000], 8, 6.0).expect("fits");
        assert_eq!(
            config.dims[..2],
            [8, 8],
            "a projection of 3 rows of 7 values would take more than it saves"
        );
        assert_eq!(within(&[50, 60], 8, 1.0).expect("fits").dims, [8, 8]);
    }

    proptest! {
        #[test]
        fn within_never_overspends(
            features in prop::collection::vec(1_u64..20_000, 1..20), dim in 1_usize..40,
            ratio in 1.0_f64..50.0,
        ) {
            let budget = Budget::Compression(ratio).bytes(&features, dim);
            match within(&features, dim, ratio) {
                Ok(config) => {
                    let bytes = config.embedding_bytes();
                    prop_assert!(bytes <= budget);
                    prop_assert_eq!(MdeEmbedding::new(&config).memory().total_bytes(), bytes);
                    // A hair less of the exponent would not fit.
                    let shorter = MdeConfig { dims: dims(&features, dim, config.alpha * 0.999,
                        config.format), ..config };
                    prop_assert!(shorter.embedding_bytes() > budget
                        || shorter.embedding_bytes() == bytes);
                }
                Err(BudgetError::RatioTooHigh { limit, .. }) => {
                    prop_assert!(limit < ratio);
                    prop_assert!(within(&features, dim, limit).is_ok());
                }
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
    }
}
