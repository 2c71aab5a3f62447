//! `[embedding]`: the method, and what it may spend.

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

use super::{ByteSize, EmbeddingOptimizer, Method};

/// The embedding and what it may spend.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingConfig {
    /// See [`Method`].
    #[serde(default)]
    pub method: Method,
    /// The compression ratio CR: bytes of the full table in `f32` over the budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<f64>,
    /// Or the budget itself: bytes, or a text such as "2 MiB".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<ByteSize>,
    /// Features of each field, where they differ from those of the format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<u64>>,
    /// How rows are stored: `f32`, `f16`, `bf16` or `i8`, rounded stochastically; their bytes count
    /// accordingly. By default `f32`, and `i8` for `coded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<RowPrecision>,
    /// How row-wise Adagrad stores the sum of a row: `f32`, or `u8`, a logarithm rounded randomly.
    /// By default `f32`, and `u8` for `coded`; absent with another optimizer of the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accumulator: Option<AccumulatorPrecision>,
    /// Whether the budget pays for the state of the rows' optimizer, too. By default for `coded`
    /// alone: the literature's ratios leave it out. The full table, which has no budget, never
    /// counts it. A saved configuration without it is of an earlier version, and keeps the defaults
    /// of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count_optimizer: Option<bool>,
    /// Whether the network gets how often each feature occurred so far: one more numeric input for
    /// each field. A twentieth of the budget pays for the counts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frequency_inputs: bool,
    /// Settings of `coded`.
    #[serde(default)]
    pub coded: CodedTable,
    /// Settings of `cafe`.
    #[serde(default)]
    pub cafe: CafeTable,
    /// Settings of `cafe_plus`.
    #[serde(default)]
    pub cafe_plus: CafePlusTable,
    /// Settings of `unified`.
    #[serde(default)]
    pub unified: UnifiedTable,
    /// Settings of `offline`.
    #[serde(default)]
    pub offline: OfflineTable,
}

/// [`cafe_core::RowPrecision`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowPrecision {
    /// 4 bytes a value.
    F32,
    /// 2 bytes a value.
    F16,
    /// 2 bytes a value.
    Bf16,
    /// A byte a value, and one a row.
    I8,
}

/// How row-wise Adagrad stores the sum of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccumulatorPrecision {
    /// 4 bytes a row.
    F32,
    /// A byte a row.
    U8,
}

impl EmbeddingConfig {
    /// Fills in what follows from the method, with rows that are stepped by `optimizer`.
    pub(crate) fn complete(&mut self, optimizer: EmbeddingOptimizer) {
        let counts_all = self.method.entry().counts_all_bytes;
        let (precision, accumulator) = if counts_all {
            (RowPrecision::I8, AccumulatorPrecision::U8)
        } else {
            (RowPrecision::F32, AccumulatorPrecision::F32)
        };
        self.precision.get_or_insert(precision);
        if optimizer == EmbeddingOptimizer::RowWiseAdagrad {
            self.accumulator.get_or_insert(accumulator);
        }
        self.count_optimizer.get_or_insert(counts_all);
    }
}

/// Settings of `coded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodedTable {
    /// Whether features claim narrow rows of their own at first sight, where the budget has room
    /// for most of them: some 6 bytes a feature, which is a compression of 10 at 16 values.
    #[serde(default = "default_true")]
    pub own_rows: bool,
}

impl Default for CodedTable {
    fn default() -> Self {
        Self { own_rows: true }
    }
}

/// Settings of `cafe`; what is absent is the paper's setting for the compression ratio.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CafeTable {
    /// `within`: never over the budget. `paper`: for `cafe`, the sizes of the published code, which
    /// round up.
    #[serde(default)]
    pub sizing: Sizing,
    /// `h`: the share of the budget for shared rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_share: Option<f64>,
    /// `K`: the score from which a feature is hot; with a quota the least that `K` may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// `threshold`: `K` stays. `quota`: it follows the hot rows in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<HotRule>,
    /// Under a quota a feature takes an owned row once its score is this many times the owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hysteresis: Option<f32>,
    /// Slots a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<usize>,
    /// What a slot consists of: `full` (id, score, row: 12 bytes) or `compact` (fingerprint and
    /// score: 4 bytes).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot_layout: Option<SlotLayout>,
    /// With compact slots: the hot rows that a bucket has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_per_bucket: Option<usize>,
    /// `one` sketch for all fields, or one `per-field`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketches: Option<Sketches>,
    /// Who makes room in a full bucket: `lightest`, `lightest-cold`, `last-slot` or `by-chance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub victim: Option<Victim>,
    /// What a score measures: `gradient-norm` or `frequency`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importance: Option<Importance>,
    /// A decay multiplies scores by this; 1 never decays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay_factor: Option<f32>,
    /// The score mass from one decay to the next; an average occurrence brings 1. The paper's is
    /// `10 H K`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay_every: Option<f64>,
    /// `exclusive`: a hot row stands in place of the shared ones. `residual`: it is added to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot: Option<HotRows>,
    /// The share of what a hot row knows that goes back into the shared rows when it is taken away;
    /// 0 forgets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_back: Option<f32>,
    /// Where cold features have their vectors: `per-field`; or in one table of all fields,
    /// `unified` or `coded` as the methods of these names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<Cold>,
    /// The multi-level setting: a middle tier that adds a second shared row.
    #[serde(default)]
    pub multi_level: bool,
    /// A feature is of the middle tier from this share of the threshold on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium_threshold_ratio: Option<f32>,
    /// The second table's share of the shared rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium_share: Option<f64>,
}

/// How the budget becomes sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sizing {
    /// Never over the budget.
    #[default]
    Within,
    /// The published code's formulas.
    Paper,
}

/// [`cafe_core::VictimPolicy`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Victim {
    /// The smallest score, as in the paper.
    Lightest,
    /// The smallest score without a row.
    LightestCold,
    /// The published code's.
    LastSlot,
    /// The smallest score without a row, by a chance in proportion to the newcomer's weight.
    ByChance,
}

/// [`cafe_core::Importance`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Importance {
    /// Scaled gradient norms.
    GradientNorm,
    /// Occurrences.
    Frequency,
}

/// [`cafe_core::HotRule`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HotRule {
    /// `K` stays.
    Threshold,
    /// `K` follows the hot rows in use.
    Quota,
}

/// [`cafe_core::SlotLayout`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotLayout {
    /// Id, score and row.
    Full,
    /// Fingerprint and score.
    Compact,
}

/// [`cafe_core::Sketches`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sketches {
    /// One for all fields.
    One,
    /// One for each.
    PerField,
}

/// [`cafe_core::HotRows`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HotRows {
    /// In place of the shared rows.
    Exclusive,
    /// Added to the shared rows.
    Residual,
}

/// [`cafe_core::Cold`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cold {
    /// Rows of each field.
    PerField,
    /// The table of `unified`, with its settings.
    Unified,
    /// The table of `coded`.
    Coded,
}

/// Settings of `cafe_plus`; what is absent is the paper's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CafePlusTable {
    /// `h`: the share of the budget for shared rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_share: Option<f64>,
    /// The share of the sketch's buckets that the admission filter gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_share: Option<f64>,
    /// Slots a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<usize>,
    /// What a score measures: `gradient-norm` or `frequency`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importance: Option<Importance>,
    /// `α`: what weights grow by from one field's batch to the next; 1 never forgets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth: Option<f64>,
}

/// Settings of `unified`, and of the cold table of `cafe` with `cold = "unified"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnifiedTable {
    /// Rows chosen by hashes, 1 or 2.
    #[serde(default = "default_hashes")]
    pub hashes: usize,
    /// With which signs rows count that a hash chooses: `none`, one for each `row`, or one for each
    /// `coordinate`.
    #[serde(default, alias = "signed")]
    pub signs: Signs,
    /// Whether every field has a row that all of its features add.
    #[serde(default = "default_true")]
    pub field_rows: bool,
}

/// [`cafe_core::Signs`] by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signs {
    /// Rows count as they are.
    None,
    /// One sign a row.
    #[default]
    Row,
    /// One sign a value.
    Coordinate,
}

/// A name, or what `signed` said in earlier versions: true for a sign a row, false for none.
impl<'de> Deserialize<'de> for Signs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfSigns;
        impl Visitor<'_> for OfSigns {
            type Value = Signs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`none`, `row` or `coordinate`")
            }

            fn visit_bool<E>(self, is_signed: bool) -> Result<Signs, E> {
                Ok(if is_signed { Signs::Row } else { Signs::None })
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Signs, E> {
                const NAMES: [&str; 3] = ["none", "row", "coordinate"];
                match name {
                    "none" => Ok(Signs::None),
                    "row" => Ok(Signs::Row),
                    "coordinate" => Ok(Signs::Coordinate),
                    _ => Err(E::unknown_variant(name, &NAMES)),
                }
            }
        }
        deserializer.deserialize_any(OfSigns)
    }
}

/// Settings of `offline`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfflineTable {
    /// The share of the budget for shared rows; by default that of `cafe` at the same ratio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_share: Option<f64>,
    /// Counts features in no more than this many training rows, from the first on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

impl Default for UnifiedTable {
    fn default() -> Self {
        Self { hashes: default_hashes(), signs: Signs::default(), field_rows: true }
    }
}

fn default_hashes() -> usize {
    2
}

fn default_true() -> bool {
    true
}
