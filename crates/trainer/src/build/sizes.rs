//! What each method consists of: bytes and rows for `trainer plan`, and the embedding itself.

use std::fmt::Debug;

use cafe_core::frequency::{FrequencyConfig, FrequencyEmbedding};
use cafe_core::methods::{
    AdaConfig, AdaEmbedding, CafeConfig, CafeEmbedding, CafePlusConfig, CafePlusEmbedding,
    FeatureCounts, FullConfig, FullEmbedding, HashedConfig, HashedEmbedding, MdeConfig,
    MdeEmbedding, OfflineConfig, OfflineEmbedding, Promotion, QrConfig, QrEmbedding, UnifiedConfig,
    UnifiedEmbedding,
};
use cafe_core::table::{FieldKind, FieldRows, Hashes, Signs, UnifiedSettings};
use cafe_core::{Embedding, RowOptimizer};

use crate::text::{bytes, grouped};

/// The sizes of one method, before any memory is taken.
pub trait Sizes: Debug + Send + Sync {
    /// Rows and sketch: what the budget limits. For the full table what it can grow to.
    fn embedding_bytes(&self) -> u64;

    /// What of it will be there in the end: less only where a table grows.
    fn expected_bytes(&self) -> u64 {
        self.embedding_bytes()
    }

    /// Maps, free lists and whatever else is not in the budget, without the optimizer's state.
    fn beside_bytes(&self) -> u64 {
        0
    }

    /// Rows of all kinds, for the optimizer's state.
    fn n_rows(&self) -> u64;

    /// What the optimizer of a format remembers of all rows.
    fn optimizer_bytes(&self, optimizer: RowOptimizer, dim: usize) -> u64 {
        self.n_rows() * optimizer.state_bytes(dim)
    }

    /// What it consists of, as labels and values.
    fn lines(&self) -> Vec<(&'static str, String)>;

    /// Rows that belong to a field, and in words.
    fn field_rows(&self, field: usize) -> (u64, String);

    /// What these rows occupy; `row_bytes` has a row of the embedding's length.
    fn field_bytes(&self, field: usize, row_bytes: u64) -> u64 {
        self.field_rows(field).0 * row_bytes
    }

    /// Whether it wants to know how often each feature occurs, from a pass over the training rows
    /// beforehand.
    fn wants_counts(&self) -> bool {
        false
    }

    /// Builds the embedding. `counts` are empty unless `wants_counts`.
    fn build(&self, counts: &FeatureCounts) -> Box<dyn Embedding>;
}

/// Rows and what they occupy.
fn rows_line(n_rows: u64, row_bytes: u64) -> String {
    format!("{} rows, {}", grouped(n_rows), bytes(n_rows * row_bytes))
}

/// A row for every feature seen.
#[derive(Clone, Debug)]
pub struct FullSizes {
    /// The table when it has grown to its full size.
    pub table: FullConfig,
    /// Rows of data that there will be, if that is known: no field shows more features.
    pub max_rows: Option<u64>,
}

/// About what a map occupies for each of its entries, when it has grown.
const MAP_ENTRY_BYTES: u64 = 40;

impl Sizes for FullSizes {
    fn embedding_bytes(&self) -> u64 {
        self.table.embedding_bytes()
    }

    fn expected_bytes(&self) -> u64 {
        self.n_rows() * self.table.format.row_bytes(self.table.dim)
    }

    fn beside_bytes(&self) -> u64 {
        MAP_ENTRY_BYTES * self.n_rows()
    }

    fn n_rows(&self) -> u64 {
        let limit = self.max_rows.unwrap_or(u64::MAX);
        self.table.features.iter().map(|&n| n.min(limit)).sum()
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        vec![("rows", "one for each feature seen, up to the full table".to_owned())]
    }

    fn field_rows(&self, field: usize) -> (u64, String) {
        (self.table.features[field], format!("up to {}", grouped(self.table.features[field])))
    }

    fn build(&self, _: &FeatureCounts) -> Box<dyn Embedding> {
        Box::new(FullEmbedding::new(&self.table))
    }
}

/// A method, and a sketch of how often features occur.
#[derive(Debug)]
pub struct FrequencySizes {
    /// The method, in what the sketch leaves of the budget.
    pub method: Box<dyn Sizes>,
    /// The sketch.
    pub frequencies: FrequencyConfig,
}

impl Sizes for FrequencySizes {
    fn embedding_bytes(&self) -> u64 {
        self.method.embedding_bytes() + self.frequencies.bytes()
    }

    fn expected_bytes(&self) -> u64 {
        self.method.expected_bytes() + self.frequencies.bytes()
    }

    fn beside_bytes(&self) -> u64 {
        self.method.beside_bytes()
    }

    fn n_rows(&self) -> u64 {
        self.method.n_rows()
    }

    fn optimizer_bytes(&self, optimizer: RowOptimizer, dim: usize) -> u64 {
        self.method.optimizer_bytes(optimizer, dim)
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let sketch = format!(
            "{} buckets of 4 slots, {}",
            grouped(self.frequencies.n_buckets as u64),
            bytes(self.frequencies.bytes())
        );
        self.method.lines().into_iter().chain([("frequencies", sketch)]).collect()
    }

    fn field_rows(&self, field: usize) -> (u64, String) {
        self.method.field_rows(field)
    }

    fn field_bytes(&self, field: usize, row_bytes: u64) -> u64 {
        self.method.field_bytes(field, row_bytes)
    }

    fn wants_counts(&self) -> bool {
        self.method.wants_counts()
    }

    fn build(&self, counts: &FeatureCounts) -> Box<dyn Embedding> {
        Box::new(FrequencyEmbedding::new(self.method.build(counts), &self.frequencies))
    }
}

impl Sizes for HashedConfig {
    fn embedding_bytes(&self) -> u64 {
        self.embedding_bytes()
    }

    fn n_rows(&self) -> u64 {
        self.n_rows()
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        vec![("hash rows", rows_line(self.n_rows(), self.format.row_bytes(self.dim)))]
    }

    fn field_rows(&self, field: usize) -> (u64, String) {
        (self.field_rows[field], grouped(self.field_rows[field]))
    }

    fn build(&self, _: &FeatureCounts) -> Box<dyn Embedding> {
        Box::new(HashedEmbedding::new(self))
    }
}

impl Sizes for QrConfig {
    fn embedding_bytes(&self) -> u64 {
        self.embedding_bytes()
    }

    fn n_rows(&self) -> u64 {
        self.n_rows()
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        vec![(
            "rows",
            rows_line(self.n_rows(), self.format.row_bytes(self.dim))
                + ", of remainders + quotients",
        )]
    }

    fn field_rows(&self, field: usize) -> (u64, String) {
        let n_rows = QrConfig::field_rows(self, field);
        let modulus = self.moduli[field];
        (n_rows, format!("{} + {}", grouped(modulus), grouped(n_rows - modulus)))
    }

    fn build(&self, _: &FeatureCounts) -> Box<dyn Embedding> {
        Box::new(QrEmbedding::new(self))
    }
}

impl Sizes for MdeConfig {
    fn embedding_bytes(&self) -> u64 {
        self.embedding_bytes()
    }

    fn n_rows(&self) -> u64 {
        self.n_rows()
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let (rows, projections) =
            (0..self.features.len()).fold((0, 0), |(rows, projections), field| {
                (rows + self.rows_bytes(field), projections + self.projection_bytes(field))
            });
        vec![
            (
                "rows",
                format!(
                    "one a feature, of {} to {} values, {}",
                    self.dims.iter().min().unwrap_or(&0),
                    self.dim,
                    bytes(rows)
                ),
            ),
            ("projections", bytes(projections)),
        ]
    }

    fn field_rows(&self, field: usize) -> (u64, String) {
        (self.features[field], format!("{} of {}", grouped(self.features[field]), self.dims[field]))
    }

    fn field_bytes(&self, field: usize, _: u64) -> u64 {
        self.rows_bytes(field) + self.projection_bytes(field)
    }

    fn build(&self, _: &FeatureCounts) -> Box<dyn Embedding> {
        Box::new(MdeEmbedding::new(self))
    }
}

impl Sizes for AdaConfig {
    fn embedding_bytes(&self) -> u64 {
        self.embedding_bytes()
    }

    fn beside_bytes(&self) -> u64 {
        4 * self.n_rows()
    }

    fn n_rows(&self) -> u64 {
        self.n_rows()
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            (
                "rows",
                rows_line(self.n_rows(), self.format.row_bytes(self.dim))
                    + ", for features of any field",
            ),
            ("statistics", bytes(self.statistics_bytes())),
        ]
    }

    fn field_rows(&self, _: usize) -> (u64, String) {
        (0, "in common".to_owned())
    }

    fn build(&self, _: &FeatureCounts) -> Box<dyn Embedding> {
        Box::new(AdaEmbedding::new(self))
    }
}

impl Sizes for OfflineConfig {
    fn embedding_bytes(&self) -> u64 {
        self.embedding_bytes()
    }

    fn beside_bytes(&self) -> u64 {
        self.index_bytes()
    }

    fn n_rows(&self) -> u64 {
        self.n_rows()
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let row_bytes = self.format.row_bytes(self.dim);
        tier_lines(self.n_hot as u64, self.n_rows(), self.n_own_rows(), row_bytes).into()
    }

    fn field_rows(&self, field: usize) -> (u64, String) {
        shared_or_own(&self.fields[field])
    }

    fn wants_counts(&self) -> bool {
        true
    }

    fn build(&self, counts: &FeatureCounts) -> Box<dyn Embedding> {
        Box::new(OfflineEmbedding::new(self, &self.hot_features(counts)))
    }
}

impl Sizes for UnifiedConfig {
    fn embedding_bytes(&self) -> u64 {
        self.embedding_bytes()
    }

    fn n_rows(&self) -> u64 {
        self.n_rows()
    }

    fn optimizer_bytes(&self, optimizer: RowOptimizer, dim: usize) -> u64 {
        let own = self.own_rows.map_or(0, |own| own.n_slots() * optimizer.state_bytes(own.width));
        self.n_shared * optimizer.state_bytes(dim) + own
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let UnifiedSettings { hashes, signs, field_rows } = self.settings;
        let signs = match signs {
            Signs::None => "",
            Signs::Row => ", with a sign each",
            Signs::Coordinate => ", with a sign for each value",
        };
        let hashed = match hashes {
            Hashes::One => "one",
            Hashes::Two => "the sum of 2",
        };
        let fields = if field_rows { ", plus the row of its field" } else { "" };
        let mut lines = vec![
            (
                "rows",
                rows_line(self.n_shared, self.format.row_bytes(self.dim))
                    + ", shared by all fields",
            ),
            ("a feature is", format!("{hashed} of them{signs}{fields}")),
        ];
        if let Some(own) = self.own_rows {
            let (n, bytes) = (grouped(own.n_slots()), bytes(own.bytes(self.format)));
            lines.push((
                "own rows",
                format!("{n} of {} values, claimed at first sight, {bytes}", own.width),
            ));
        }
        lines
    }

    fn field_rows(&self, _: usize) -> (u64, String) {
        (0, "in common".to_owned())
    }

    fn build(&self, _: &FeatureCounts) -> Box<dyn Embedding> {
        Box::new(UnifiedEmbedding::new(self))
    }
}

impl Sizes for CafePlusConfig {
    fn embedding_bytes(&self) -> u64 {
        self.embedding_bytes()
    }

    fn beside_bytes(&self) -> u64 {
        MAP_ENTRY_BYTES * self.n_own_rows() + 4 * self.n_hot as u64
    }

    fn n_rows(&self) -> u64 {
        self.n_rows()
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let (main, filter) =
            (grouped(self.n_main_buckets as u64), grouped(self.n_filter_buckets as u64));
        let slots = self.settings.slots;
        let sketch = format!(
            "{main} buckets, a filter of {filter}, {slots} slots each, {}",
            bytes(self.sketch_bytes())
        );
        let row_bytes = self.format.row_bytes(self.dim);
        let mut lines = vec![("sketch", sketch)];
        lines.extend(tier_lines(self.n_hot as u64, self.n_rows(), self.n_own_rows(), row_bytes));
        lines.push((
            "hot from",
            format!(
                "a score that adapts; weights grow by {} a field and batch",
                self.settings.growth
            ),
        ));
        lines
    }

    fn field_rows(&self, field: usize) -> (u64, String) {
        shared_or_own(&self.fields[field])
    }

    fn build(&self, _: &FeatureCounts) -> Box<dyn Embedding> {
        Box::new(CafePlusEmbedding::new(self))
    }
}

impl Sizes for CafeConfig {
    fn embedding_bytes(&self) -> u64 {
        self.embedding_bytes()
    }

    fn beside_bytes(&self) -> u64 {
        MAP_ENTRY_BYTES * self.n_own_rows() + 4 * self.n_hot as u64
    }

    fn n_rows(&self) -> u64 {
        self.n_rows()
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let row_bytes = self.format.row_bytes(self.dim);
        let n_buckets = grouped(self.n_buckets as u64);
        let decay = self.settings.decay.map_or_else(
            || "they never decay".to_owned(),
            |decay| {
                let (factor, interval) = (decay.factor(), self.decay_interval);
                format!("all scores x {factor} every {interval:.3e} of mass")
            },
        );
        let from = match self.settings.promotion {
            Promotion::Threshold(threshold) => format!("score {threshold}"),
            Promotion::Quota { least, .. } => {
                format!("a score that uses all hot rows, at least {least}")
            }
        };
        let (slots, sketch_bytes) = (self.settings.slots, bytes(self.sketch_bytes()));
        let sketch = format!("{n_buckets} buckets of {slots} slots, {sketch_bytes}");
        let mut lines = vec![("sketch", sketch)];
        lines.extend(tier_lines(self.n_hot as u64, self.n_rows(), self.n_own_rows(), row_bytes));
        if self.n_shared_table_rows > 0 {
            lines.push((
                "of these",
                rows_line(self.n_shared_table_rows, row_bytes) + ", shared by all fields",
            ));
        }
        lines.push(("hot from", format!("{from}; {decay}")));
        lines
    }

    fn field_rows(&self, field: usize) -> (u64, String) {
        shared_or_own(&self.fields[field])
    }

    fn build(&self, _: &FeatureCounts) -> Box<dyn Embedding> {
        Box::new(CafeEmbedding::new(self))
    }
}

/// Hot rows, hash rows, rows of small fields.
fn tier_lines(n_hot: u64, n_rows: u64, n_own: u64, row_bytes: u64) -> [(&'static str, String); 3] {
    [
        ("hot rows", rows_line(n_hot, row_bytes)),
        ("hash rows", rows_line(n_rows - n_hot - n_own, row_bytes)),
        ("small rows", rows_line(n_own, row_bytes)),
    ]
}

fn shared_or_own(field: &FieldRows) -> (u64, String) {
    let text = match field.kind {
        FieldKind::Own => format!("{} own", grouped(field.n_features)),
        FieldKind::Shared { first, second: 0 } => grouped(first),
        FieldKind::Shared { first, second } => format!("{} + {}", grouped(first), grouped(second)),
        FieldKind::Unified => "in common".to_owned(),
    };
    (field.n_rows(), text)
}
