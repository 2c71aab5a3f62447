//! What every method is sized for: fields, vectors, a budget, and how rows are stored.

use crate::budget::{Budget, full_bytes};
use crate::table::rows::RowFormat;

/// The data set's fields, the vectors that a model wants, and what they may occupy.
///
/// Every method's configuration has a constructor `within` that takes it, such as
/// [`CafeConfig::within`](crate::methods::CafeConfig::within).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizing<'a> {
    /// Features of each field.
    pub features: &'a [u64],
    /// Values of a vector.
    pub dim: usize,
    /// What the embedding may occupy.
    pub budget: Budget,
    /// How rows are stored, and how they follow their gradients.
    pub format: RowFormat,
    /// Seeds every hash and the initial rows.
    pub seed: u64,
}

impl Sizing<'_> {
    /// The budget in bytes.
    #[must_use]
    pub fn budget_bytes(&self) -> u64 {
        self.budget.bytes(self.features, self.dim)
    }

    /// The budget as a compression ratio.
    #[must_use]
    pub fn compression(&self) -> f64 {
        self.budget.compression(self.features, self.dim)
    }

    /// Bytes of a full table of `f32`, which compression ratios refer to.
    #[must_use]
    pub fn full_bytes(&self) -> u64 {
        full_bytes(self.features, self.dim)
    }

    /// Bytes of a row of `dim` values, as a budget counts them.
    #[must_use]
    pub fn row_bytes(&self) -> u64 {
        self.format.row_bytes(self.dim)
    }

    /// Features of all fields.
    #[must_use]
    pub fn n_features(&self) -> u64 {
        self.features.iter().sum()
    }
}
