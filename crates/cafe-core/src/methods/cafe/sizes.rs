//! From a budget to the sizes of a CAFE embedding.

use super::{CafeConfig, CafeSettings, Decay, Shared};
use crate::budget::{BudgetError, is_small, scaled_rows};
use crate::sketch::HotSketch;
use crate::table::cold::{ColdSizes, FieldKind, FieldRows, OwnerMaps};
use crate::table::signed_table::UnifiedSettings;
use crate::table::sizing::Sizing;

impl CafeConfig {
    /// The sizes that the paper's published code gives a compression ratio: `H = floor(n (1 - h) /
    /// CR * 4d / (4d + 12c))` hot rows and as many buckets, `ceil(h n_f / CR)` shared rows in each
    /// field of more than `2000 / CR` features, and a row for every feature of the smaller fields.
    /// Rounding up a row in each field can exceed the budget by a percent at high ratios;
    /// [`CafeConfig::within`] does not.
    ///
    /// # Errors
    /// If nothing is left for a hot row, or there are more than the sketch can number; if features
    /// share one table, for which the paper has no sizes.
    pub fn paper(sizing: &Sizing<'_>, settings: &CafeSettings) -> Result<Self, BudgetError> {
        if let Shared::Table(_) = settings.shared {
            return Err(BudgetError::NotPublished);
        }
        let Sizing { features, .. } = *sizing;
        let compression = sizing.compression();
        let n = features.iter().sum::<u64>() as f64;
        let row_bytes = sizing.row_bytes();
        let share = row_bytes as f64 / bucket_bytes(row_bytes, settings) as f64;
        let n_hot = (n * (1.0 / compression) * (1.0 - settings.shared_share) * share) as u64;
        let scale = settings.shared_share / compression;
        let fields = features.iter().map(|&n_f| {
            if is_small(n_f, compression) {
                FieldRows::own(n_f)
            } else {
                FieldRows::shared(n_f, scaled_rows(&[n_f], scale)[0], settings.second_share())
            }
        });
        let needed = (bucket_bytes(row_bytes, settings) as f64 / (1.0 - settings.shared_share))
            .ceil() as u64;
        let shared = SharedSizes { fields: fields.collect(), n_table_rows: 0 };
        Self::assemble(sizing, settings, shared, &HotSizes { n_hot, needed })
    }

    /// The sizes for a budget that is never exceeded: `h` of the bytes for shared rows, in
    /// proportion to the fields' features or in one table for all, the rest for hot rows and a
    /// bucket for each.
    ///
    /// # Errors
    /// If the budget can't hold a row for each field and one hot row (of one table: the rows that
    /// it needs at least), or the hot rows are more than the sketch can number.
    pub fn within(sizing: &Sizing<'_>, settings: &CafeSettings) -> Result<Self, BudgetError> {
        let (budget_bytes, row_bytes) = (sizing.budget_bytes(), sizing.row_bytes());
        let (shared, spent) = match settings.shared {
            Shared::PerField { .. } => {
                let (h, second) = (settings.shared_share, settings.second_share());
                let ColdSizes { fields, bytes } =
                    ColdSizes::within(sizing, h, second, OwnerMaps::One)?;
                (SharedSizes { fields, n_table_rows: 0 }, bytes)
            }
            Shared::Table(table) => {
                let shared_bytes = (budget_bytes as f64 * settings.shared_share) as u64;
                let shared = table_rows(sizing.features, shared_bytes / row_bytes, table);
                let spent = shared.n_table_rows * row_bytes;
                (shared, spent)
            }
        };
        let bucket_bytes = bucket_bytes(row_bytes, settings);
        let n_hot = budget_bytes.saturating_sub(spent) / bucket_bytes;
        let needed = spent + bucket_bytes;
        Self::assemble(sizing, settings, shared, &HotSizes { n_hot, needed })
    }

    /// Bytes of rows and sketch: what
    /// [`MemoryUsage::embedding_bytes`](crate::MemoryUsage::embedding_bytes) will be.
    #[must_use]
    pub fn embedding_bytes(&self) -> u64 {
        self.sketch_bytes() + self.n_rows() * self.format.row_bytes(self.dim)
    }

    /// Bytes of the sketch.
    #[must_use]
    pub fn sketch_bytes(&self) -> u64 {
        (self.n_buckets * self.settings.slots * HotSketch::SLOT_BYTES) as u64
    }

    /// Rows of small fields, each owned by a feature.
    #[must_use]
    pub fn n_own_rows(&self) -> u64 {
        self.fields.iter().filter(|field| field.is_own()).map(FieldRows::n_rows).sum()
    }

    /// Rows of all tiers.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        let of_fields = self.fields.iter().map(FieldRows::n_rows).sum::<u64>();
        self.n_hot as u64 + self.n_shared_table_rows + of_fields
    }

    fn assemble(
        sizing: &Sizing<'_>,
        settings: &CafeSettings,
        shared: SharedSizes,
        hot: &HotSizes,
    ) -> Result<Self, BudgetError> {
        if hot.n_hot == 0 {
            let (budget, needed) = (sizing.budget_bytes(), hot.needed);
            let what = "a row for each field and one hot row";
            return Err(BudgetError::TooSmall { budget, needed, what });
        }
        let n_hot = hot.n_hot as usize;
        if n_hot > HotSketch::MAX_ROWS {
            return Err(BudgetError::TooManyHotRows { n_hot, limit: HotSketch::MAX_ROWS });
        }
        let interval = settings.decay.and_then(Decay::interval);
        let paper_interval = 10.0 * n_hot as f64 * f64::from(settings.promotion.threshold());
        Ok(Self {
            dim: sizing.dim,
            n_hot,
            n_buckets: n_hot,
            n_shared_table_rows: shared.n_table_rows,
            fields: shared.fields,
            decay_interval: interval.unwrap_or(paper_interval),
            format: sizing.format,
            seed: sizing.seed,
            settings: settings.clone(),
        })
    }
}

/// Rows of features that own none.
struct SharedSizes {
    fields: Vec<FieldRows>,
    /// Of the table that all fields share.
    n_table_rows: u64,
}

/// Hot rows, and the bytes with which there would be one.
struct HotSizes {
    n_hot: u64,
    needed: u64,
}

/// A bucket and the hot row that comes with it.
fn bucket_bytes(row_bytes: u64, settings: &CafeSettings) -> u64 {
    row_bytes + (settings.slots * HotSketch::SLOT_BYTES) as u64
}

/// Fields without rows, and how many rows they share: no more than there are features, and no fewer
/// than the table needs.
fn table_rows(features: &[u64], max_rows: u64, settings: UnifiedSettings) -> SharedSizes {
    let fields =
        features.iter().map(|&n_features| FieldRows { n_features, kind: FieldKind::Unified });
    let least = settings.min_rows(features.len());
    let n_table_rows = max_rows.min(features.iter().sum::<u64>() + least).max(least);
    SharedSizes { fields: fields.collect(), n_table_rows }
}
