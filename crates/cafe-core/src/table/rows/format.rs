//! How the rows of a table are stored and how they follow their gradients.

/// How a row follows its gradient.
///
/// What an optimizer remembers is in `f32` whatever the row's precision, but for
/// [`Accumulator::Byte`], and belongs to the row: a row that is not in the batch is not touched.
/// (`g` is the row's gradient, summed over the batch, `d` its length.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowOptimizer {
    /// `row -= lr * g`.
    Sgd,
    /// One accumulator a row (4 bytes or 1): `a += mean(g^2)`, `row -= lr * g / (sqrt(a) +
    /// epsilon)`.
    RowWiseAdagrad {
        /// Keeps the first step of a row finite.
        epsilon: f32,
        /// How `a` is stored.
        accumulator: Accumulator,
    },
    /// One accumulator a value (4 d bytes): `a += g^2`, `row -= lr * g / (sqrt(a) + epsilon)`.
    Adagrad {
        /// Keeps the step finite where a value has had no gradient yet.
        epsilon: f32,
    },
    /// Two moments a value and a count a row (8 d + 4 bytes): `m += (1 - beta1) (g - m)`,
    /// `v += (1 - beta2) (g^2 - v)`, `row -= lr * m' / (sqrt(v') + epsilon)` with
    /// `m' = m / (1 - beta1^t)`, `v' = v / (1 - beta2^t)`.
    ///
    /// Lazy: `t` counts the row's own steps, and nothing decays between them. So a row steps as a
    /// parameter of `torch.optim.Adam` that has no gradient where the row is not in the batch.
    /// `torch.optim.SparseAdam` takes one `t` for the whole table, under which a row first seen
    /// late starts with hardly corrected moments: steps of `(1 - beta1) / sqrt(1 - beta2)` times
    /// the rate, three times too long with the usual betas. Rare features are most of a table.
    Adam {
        /// Decay of the mean of gradients, below 1.
        beta1: f32,
        /// Decay of the mean of their squares, below 1.
        beta2: f32,
        /// Keeps the step finite where a value has had no gradient yet.
        epsilon: f32,
    },
}

/// How row-wise Adagrad stores a row's sum of mean squares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Accumulator {
    /// 4 bytes.
    #[default]
    F32,
    /// 1 byte: the logarithm of the sum, rounded up or down randomly so that the sum that is stored
    /// is right in the mean (a Morris counter for real numbers). A step divides by the sum before
    /// it is rounded, so the first step of a row is exact.
    #[cfg_attr(feature = "serde", serde(rename = "u8"))]
    Byte,
}

impl RowOptimizer {
    /// [`RowOptimizer::RowWiseAdagrad`] with its accumulator in `f32`.
    #[must_use]
    pub const fn row_wise_adagrad(epsilon: f32) -> Self {
        Self::RowWiseAdagrad { epsilon, accumulator: Accumulator::F32 }
    }

    /// Bytes that the optimizer remembers of a row of `dim` values.
    #[must_use]
    pub fn state_bytes(self, dim: usize) -> u64 {
        let Widths { squares, means, counts, codes } = self.widths(dim);
        4 * (squares + means + counts) as u64 + codes as u64
    }

    pub(super) fn widths(self, dim: usize) -> Widths {
        const NONE: Widths = Widths { squares: 0, means: 0, counts: 0, codes: 0 };
        match self {
            Self::Sgd => NONE,
            Self::RowWiseAdagrad { accumulator: Accumulator::F32, .. } => {
                Widths { squares: 1, ..NONE }
            }
            Self::RowWiseAdagrad { accumulator: Accumulator::Byte, .. } => {
                Widths { codes: 1, ..NONE }
            }
            Self::Adagrad { .. } => Widths { squares: dim, ..NONE },
            Self::Adam { .. } => Widths { squares: dim, means: dim, counts: 1, ..NONE },
        }
    }
}

/// Numbers that an optimizer keeps for each row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths {
    /// Sums or means of squared gradients.
    pub(super) squares: usize,
    /// Means of gradients.
    pub(super) means: usize,
    /// Steps taken.
    pub(super) counts: usize,
    /// Sums of mean squares in a byte.
    pub(super) codes: usize,
}

/// How the values of a row are stored. Arithmetic is in `f32`; what a step makes of a row is
/// rounded stochastically, so that small steps are not lost but taken with the probability that is
/// their share of the grid's step.
///
/// The randomness is a hash: equal calls give equal bits, whatever the threads. A value on the grid
/// stays as it is. Rows that are written whole (initial rows, the copy at a promotion) are rounded
/// to the nearest.
///
/// What is not finite, or too large for the format, is stored as infinity or reads as NaN. As with
/// `f32` it is the model's next output that says so; nothing is clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum RowPrecision {
    /// 4 bytes a value.
    #[default]
    F32,
    /// IEEE half precision, 2 bytes a value: 11 significant bits, steps of 2^-24 below 2^-14,
    /// infinite beyond 65,504.
    F16,
    /// bfloat16, 2 bytes a value: 8 significant bits, the range of `f32`.
    Bf16,
    /// 1 byte a value from -127 to 127, in units of a power of two that is the row's own, kept in
    /// another byte. The unit is the least that holds the row's largest value. Being a power of
    /// two, a change of it loses nothing downwards and one bit upwards: a row that stays as large
    /// as it is gets no noise but from its steps.
    I8,
}

/// How the rows of a table are stored and how they follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowFormat {
    /// How values are stored.
    pub precision: RowPrecision,
    /// How rows follow their gradients.
    pub optimizer: RowOptimizer,
    /// Whether a budget pays for what the optimizer remembers of a row, too.
    pub count_optimizer: bool,
}

impl RowFormat {
    /// Rows whose optimizer's state no budget counts.
    #[must_use]
    pub const fn new(precision: RowPrecision, optimizer: RowOptimizer) -> Self {
        Self { precision, optimizer, count_optimizer: false }
    }

    /// Bytes of a row of `dim` values as a budget counts them: the values, and with
    /// `count_optimizer` what the optimizer remembers of them.
    #[must_use]
    pub fn row_bytes(self, dim: usize) -> u64 {
        let counted = if self.count_optimizer { self.optimizer.state_bytes(dim) } else { 0 };
        self.value_bytes(dim) + counted
    }

    /// Bytes of the values of a row, without what the optimizer remembers of it
    /// ([`RowOptimizer::state_bytes`]).
    #[must_use]
    pub fn value_bytes(self, dim: usize) -> u64 {
        let n_values = dim as u64;
        match self.precision {
            RowPrecision::F32 => 4 * n_values,
            RowPrecision::F16 | RowPrecision::Bf16 => 2 * n_values,
            RowPrecision::I8 => n_values + 1,
        }
    }

    /// Whether a step rounds randomly: values that are not `f32`, or an accumulator in a byte.
    pub(crate) fn rounds(self) -> bool {
        let has_codes = matches!(
            self.optimizer,
            RowOptimizer::RowWiseAdagrad { accumulator: Accumulator::Byte, .. }
        );
        self.precision != RowPrecision::F32 || has_codes
    }
}

/// Rows in `f32`, whose optimizer's state no budget counts.
impl From<RowOptimizer> for RowFormat {
    fn from(optimizer: RowOptimizer) -> Self {
        Self::new(RowPrecision::F32, optimizer)
    }
}

/// `f32`, plain gradient steps.
impl Default for RowFormat {
    fn default() -> Self {
        RowOptimizer::Sgd.into()
    }
}
