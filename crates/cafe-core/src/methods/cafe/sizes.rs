//! From a budget to the sizes of a CAFE embedding.

use super::levers::{Cold, Sketches, SlotLayout};
use super::tracker::slot_bytes;
use super::{CafeConfig, CafeSettings, Decay};
use crate::budget::{
    Budget, BudgetError, by_owning, is_small, owners, proportional_rows, scaled_rows,
};
use crate::sketch::HotSketch;
use crate::table::cold::{FieldKind, FieldRows};
use crate::table::own_rows::OwnRows;
use crate::table::signed_table::UnifiedSettings;

impl CafeConfig {
    /// The sizes that the paper's published code gives a compression ratio: `H = floor(n (1 - h) /
    /// CR * 4d / (4d + 12c))` hot rows and as many buckets, `ceil(h n_f / CR)` shared rows in each
    /// field of more than `2000 / CR` features, and a row for every feature of the smaller fields.
    /// Rounding up a row in each field can overspend the budget by a percent at high ratios;
    /// [`CafeConfig::within`] does not.
    ///
    /// # Errors
    /// If nothing is left for a hot row, or there are more than the sketch can number; if the
    /// settings contradict each other, or the paper has no sizes for them: slots that are not full,
    /// a unified cold table.
    pub fn paper(
        features: &[u64],
        dim: usize,
        compression: f64,
        settings: &CafeSettings,
    ) -> Result<Self, BudgetError> {
        if settings.layout != SlotLayout::Full || settings.cold != Cold::PerField {
            return Err(BudgetError::Contradiction {
                what: "the paper's sizes are for full slots and rows of each field",
            });
        }
        let n = features.iter().sum::<u64>() as f64;
        let row_bytes = settings.format.row_bytes(dim);
        let share = row_bytes as f64 / bucket_bytes(row_bytes, settings) as f64;
        let n_hot = (n * (1.0 / compression) * (1.0 - settings.shared_share) * share) as u64;
        let is_small = |n_f: u64| is_small(n_f, compression);
        let scale = settings.shared_share / compression;
        let fields = features.iter().map(|&n_f| {
            if is_small(n_f) {
                FieldRows::own(n_f)
            } else {
                FieldRows::shared(n_f, scaled_rows(&[n_f], scale)[0], settings.second_share())
            }
        });
        let budget = Budget::Compression(compression).bytes(features, dim);
        let needed = (bucket_bytes(row_bytes, settings) as f64 / (1.0 - settings.shared_share))
            .ceil() as u64;
        let too_small = BudgetError::TooSmall { budget, needed, what: HOT_ROW };
        Self::assemble(dim, n_hot, (fields.collect(), 0), settings, too_small)
    }

    /// The sizes for a budget that is never overspent: `h` of the bytes for shared rows, in
    /// proportion to the fields' features or in one table for all, the rest for hot rows and their
    /// buckets.
    ///
    /// # Errors
    /// If the budget can't hold a row for each field and one hot row (of a unified table: the rows
    /// that it needs at least; of a sketch for each field: a bucket for each), or the hot rows are
    /// more than the sketch can number; if the settings contradict each other.
    pub fn within(
        features: &[u64],
        dim: usize,
        budget: Budget,
        settings: &CafeSettings,
    ) -> Result<Self, BudgetError> {
        let (compression, budget_bytes) =
            (budget.compression(features, dim), budget.bytes(features, dim));
        let row_bytes = settings.format.row_bytes(dim);
        let shared_bytes = (budget_bytes as f64 * settings.shared_share) as u64;
        let (fields, n_unified) = match settings.cold {
            Cold::PerField => {
                (field_rows(features, compression, (shared_bytes, row_bytes), settings)?, 0)
            }
            Cold::Unified(unified) => unified_rows(features, shared_bytes / row_bytes, &unified),
        };
        let n_own =
            fields.iter().filter(|field| field.is_own()).map(FieldRows::n_rows).sum::<u64>();
        let n_rows = n_unified + fields.iter().map(FieldRows::n_rows).sum::<u64>();
        let spent = OwnRows::bytes_for(n_own as usize) + n_rows * row_bytes;
        let bucket_bytes = bucket_bytes(row_bytes, settings);
        let n_buckets = budget_bytes.saturating_sub(spent) / bucket_bytes;
        let needed = spent + bucket_bytes * min_buckets(&fields, settings);
        let too_small = BudgetError::TooSmall { budget: budget_bytes, needed, what: HOT_ROW };
        Self::assemble(dim, n_buckets, (fields, n_unified), settings, too_small)
    }

    /// Bytes of rows and sketch: what [`crate::Memory::embedding_bytes`] will be.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        self.sketch_bytes() + self.n_rows() * self.format.row_bytes(self.dim)
    }

    /// Bytes of the sketch.
    #[must_use]
    pub fn sketch_bytes(&self) -> u64 {
        (self.n_buckets * self.slots * slot_bytes(self.layout)) as u64
    }

    /// Rows of small fields, each owned by a feature.
    #[must_use]
    pub fn n_own_rows(&self) -> u64 {
        self.fields.iter().filter(|field| field.is_own()).map(FieldRows::n_rows).sum()
    }

    /// Rows of all tiers.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_hot as u64 + self.n_unified + self.fields.iter().map(FieldRows::n_rows).sum::<u64>()
    }

    /// `too_small` says that the buckets are fewer than there must be.
    fn assemble(
        dim: usize,
        n_buckets: u64,
        (fields, n_unified): (Vec<FieldRows>, u64),
        settings: &CafeSettings,
        too_small: BudgetError,
    ) -> Result<Self, BudgetError> {
        if n_buckets < min_buckets(&fields, settings) {
            return Err(too_small);
        }
        let field_buckets = match settings.sketches {
            Sketches::One => Vec::new(),
            Sketches::PerField => buckets_of_fields(&fields, n_buckets)?,
        };
        let n_buckets =
            if field_buckets.is_empty() { n_buckets as usize } else { field_buckets.iter().sum() };
        let n_hot = n_buckets * settings.layout.rows_per_bucket();
        if n_hot > HotSketch::MAX_ROWS {
            return Err(BudgetError::TooManyHotRows { n_hot, limit: HotSketch::MAX_ROWS });
        }
        // As the paper's code: a decay is due once the mass seen would fill every bucket to 10 K.
        let every =
            settings.decay_every.unwrap_or(10.0 * n_hot as f64 * f64::from(settings.threshold));
        let CafeSettings {
            shared_share: _,
            threshold,
            rule,
            slots,
            layout,
            sketches: _,
            victim,
            importance,
            decay_factor,
            decay_every: _,
            hot,
            write_back,
            cold,
            medium,
            format,
            seed,
        } = settings.clone();
        let decay = decay_factor.map(|factor| Decay { factor, every });
        let config = Self {
            dim,
            n_hot,
            n_buckets,
            slots,
            victim,
            importance,
            threshold,
            rule,
            decay,
            hot,
            write_back,
            medium,
            layout,
            field_buckets,
            cold,
            n_unified,
            fields,
            format,
            seed,
        };
        match config.contradiction() {
            None => Ok(config),
            Some(what) => Err(BudgetError::Contradiction { what }),
        }
    }
}

const HOT_ROW: &str = "a row for each field and one hot row";

/// A bucket and the hot rows that come with it.
fn bucket_bytes(row_bytes: u64, settings: &CafeSettings) -> u64 {
    let n_rows = settings.layout.rows_per_bucket() as u64;
    n_rows * row_bytes + (settings.slots * slot_bytes(settings.layout)) as u64
}

/// Rows of each field within `shared_bytes`: one for each feature of small fields, shared ones in
/// proportion to features.
fn field_rows(
    features: &[u64],
    compression: f64,
    (shared_bytes, row_bytes): (u64, u64),
    settings: &CafeSettings,
) -> Result<Vec<FieldRows>, BudgetError> {
    let own_bytes = |sizes: &[u64]| {
        let n_own = sizes.iter().sum::<u64>();
        n_own * row_bytes + OwnRows::bytes_for(n_own as usize)
    };
    let owns = owners(features, compression, (shared_bytes, row_bytes), own_bytes);
    let (small, large) = by_owning(features, &owns);
    // Every field needs a row, however small its share of the budget.
    let max_rows =
        (shared_bytes.saturating_sub(own_bytes(&small)) / row_bytes).max(large.len() as u64);
    let shared = proportional_rows(&large, row_bytes, max_rows)?;
    let mut sizes = shared.iter();
    let fields = features.iter().zip(owns).map(|(&n_f, owns)| {
        if owns {
            FieldRows::own(n_f)
        } else {
            FieldRows::shared(n_f, sizes.next().copied().unwrap_or(1), settings.second_share())
        }
    });
    Ok(fields.collect())
}

/// Fields without rows, and how many rows they share: no more than there are features, and no fewer
/// than must be.
fn unified_rows(
    features: &[u64],
    max_rows: u64,
    settings: &UnifiedSettings,
) -> (Vec<FieldRows>, u64) {
    let fields =
        features.iter().map(|&n_features| FieldRows { n_features, kind: FieldKind::Unified });
    let least = settings.min_rows(features.len());
    let n_rows = max_rows.min(features.iter().sum::<u64>() + least).max(least);
    (fields.collect(), n_rows)
}

/// Buckets that there must be.
fn min_buckets(fields: &[FieldRows], settings: &CafeSettings) -> u64 {
    match settings.sketches {
        Sketches::One => 1,
        Sketches::PerField => fields.iter().filter(|field| !field.is_own()).count().max(1) as u64,
    }
}

/// Buckets of each field in proportion to its features; none for fields that the sketch does not
/// see, but at least one in all.
fn buckets_of_fields(fields: &[FieldRows], n_buckets: u64) -> Result<Vec<usize>, BudgetError> {
    let seen = |field: &&FieldRows| !field.is_own();
    let features: Vec<u64> = fields.iter().filter(seen).map(|field| field.n_features).collect();
    if features.is_empty() {
        let mut sizes = vec![0; fields.len()];
        sizes.first_mut().into_iter().for_each(|size| *size = n_buckets as usize);
        return Ok(sizes);
    }
    let mut sizes = proportional_rows(&features, 1, n_buckets)?.into_iter();
    let size =
        |field: &FieldRows| if field.is_own() { 0 } else { sizes.next().unwrap_or(1) as usize };
    Ok(fields.iter().map(size).collect())
}
