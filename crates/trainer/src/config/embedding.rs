//! `[embedding]`: the method, and what it may spend.

use cafe_core::methods::Importance;
use cafe_core::table::Signs;
use cafe_core::{Accumulator, RowPrecision, VictimPolicy};
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
    pub accumulator: Option<Accumulator>,
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

impl EmbeddingConfig {
    /// Fills in what follows from the method, with rows that are stepped by `optimizer`.
    pub(crate) fn complete(&mut self, optimizer: EmbeddingOptimizer) {
        let counts_all = self.method.entry().counts_all_bytes;
        let (precision, accumulator) = if counts_all {
            (RowPrecision::I8, Accumulator::Byte)
        } else {
            (RowPrecision::F32, Accumulator::F32)
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
    pub sizing: CafeSizing,
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
    /// Which slot is evicted when a bucket is full: of `lightest`, `lightest-cold`, `last-slot` or
    /// `by-chance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub victim: Option<VictimPolicy>,
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
    /// Earlier versions: `residual` added hot rows to the shared ones.
    #[serde(default, skip_serializing, deserialize_with = "Removed::exclusive")]
    pub hot: Removed,
    /// Earlier versions: the share of a hot row that went back into the shared ones.
    #[serde(default, skip_serializing, deserialize_with = "Removed::zero")]
    pub write_back: Removed,
    /// Earlier versions: `per-field` had a sketch for each field.
    #[serde(default, skip_serializing, deserialize_with = "Removed::one")]
    pub sketches: Removed,
    /// Earlier versions: `compact` had slots of four bytes.
    #[serde(default, skip_serializing, deserialize_with = "Removed::full")]
    pub slot_layout: Removed,
    /// Earlier versions: the hot rows of a bucket of compact slots.
    #[serde(default, skip_serializing, deserialize_with = "Removed::always")]
    pub rows_per_bucket: Removed,
}

/// A key that was removed. Its one value that says what is done anyway is read and forgotten, since
/// earlier versions wrote it into reports; any other is refused, since to leave it out would be
/// another method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed;

impl Removed {
    fn exclusive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::but(deserializer, &toml::Value::from("exclusive"))
    }

    fn zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::but(deserializer, &toml::Value::from(0.0))
    }

    fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::but(deserializer, &toml::Value::from("one"))
    }

    fn full<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::but(deserializer, &toml::Value::from("full"))
    }

    fn always<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::but(deserializer, &toml::Value::Boolean(false))
    }

    /// Accepts `kept`, or no value at all.
    fn but<'de, D: Deserializer<'de>>(
        deserializer: D,
        kept: &toml::Value,
    ) -> Result<Self, D::Error> {
        match Option::<toml::Value>::deserialize(deserializer)? {
            Some(value) if value != *kept => Err(serde::de::Error::custom(
                "was removed: measured gain in docs/figures.md; leave it out",
            )),
            _ => Ok(Self),
        }
    }
}

/// How the budget becomes sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CafeSizing {
    /// Never over the budget.
    #[default]
    Within,
    /// The published code's formulas.
    Paper,
}

/// Which kind of [`cafe_core::methods::Promotion`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HotRule {
    /// `K` stays.
    Threshold,
    /// `K` follows the hot rows in use.
    Quota,
}

/// Which kind of [`cafe_core::methods::Shared`].
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
    #[serde(default, alias = "signed", deserialize_with = "signs")]
    pub signs: Signs,
    /// Whether every field has a row that all of its features add.
    #[serde(default = "default_true")]
    pub field_rows: bool,
}

/// Reads a name, or what `signed` said in earlier versions: true for a sign a row, false for none.
fn signs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Signs, D::Error> {
    struct SignsVisitor;
    impl Visitor<'_> for SignsVisitor {
        type Value = Signs;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("`none`, `row` or `coordinate`")
        }

        fn visit_bool<E>(self, is_signed: bool) -> Result<Signs, E> {
            Ok(if is_signed { Signs::Row } else { Signs::None })
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Signs, E> {
            Signs::deserialize(serde::de::value::StrDeserializer::new(name))
        }
    }
    deserializer.deserialize_any(SignsVisitor)
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
