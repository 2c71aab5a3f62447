//! What can be built otherwise than the paper builds it; the defaults are the paper's.

use super::CafeConfig;
use crate::sketch::VictimPolicy;
use crate::table::cold::FieldRows;
use crate::table::signed_table::UnifiedSettings;

/// Who gets a hot row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum HotRule {
    /// Whoever has the score `K`, while rows are free.
    #[default]
    Threshold,
    /// The heaviest, as many as there are rows. `K` follows them: it falls while rows are free and
    /// rises to the score of the last one that has room. An owner keeps its row until its score is
    /// below `K / hysteresis`, so that two features of about equal weight don't take a row from
    /// each other over and over.
    ///
    /// With [`SlotLayout::Full`], `K` is found by a scan of the sketch each time that the mass
    /// observed since the last one is four for each slot: a constant for each observation. With
    /// [`SlotLayout::Compact`] there is no `K` but the least one: a newcomer takes the row of the
    /// lightest owner in its bucket once it outweighs it by the factor.
    Quota {
        /// At least 1.
        hysteresis: f32,
    },
}

/// What a hot row holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HotRows {
    /// The feature's whole vector. A promoted feature starts with a copy of its shared one, and
    /// learns alone from then on.
    #[default]
    Exclusive,
    /// What is added to the shared vector, zero at first. Gradients go to both in full; who loses
    /// the row falls back to a shared vector that has learned with it.
    Residual,
}

/// One sketch for all fields, or one for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sketches {
    /// Features of all fields compete for all hot rows.
    #[default]
    One,
    /// Buckets and hot rows are divided among the fields in proportion to their features, at least
    /// one for each.
    PerField,
}

/// What a slot of the sketch consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlotLayout {
    /// 12 bytes: the id, the score as `f32`, the number of the row that the feature owns. A bucket
    /// for each hot row.
    #[default]
    Full,
    /// 4 bytes: 16 bits of a hash of the id, the score in 16 bits. Rows belong to buckets, and the
    /// heaviest features of a bucket own them. Two features of a bucket are taken for one with a
    /// chance of 1 in 65,535; where both are in a batch, their row takes a step for each.
    Compact {
        /// Hot rows of a bucket, fewer than its slots.
        rows_per_bucket: usize,
    },
}

impl SlotLayout {
    /// Hot rows that come with a bucket.
    #[must_use]
    pub fn rows_per_bucket(self) -> usize {
        match self {
            Self::Full => 1,
            Self::Compact { rows_per_bucket } => rows_per_bucket,
        }
    }
}

/// Where features without a hot row have their vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cold {
    /// In rows of their field, as many as its share of all features; small fields have a row for
    /// each.
    #[default]
    PerField,
    /// In one table for all fields, as sums of signed rows; no field is treated as small.
    Unified(UnifiedSettings),
}

impl CafeConfig {
    /// Why these settings can't work together or at all, if they can't.
    pub(crate) fn contradiction(&self) -> Option<&'static str> {
        let is_compact = matches!(self.layout, SlotLayout::Compact { .. });
        let spares_by_score =
            matches!(self.victim, VictimPolicy::LightestCold | VictimPolicy::ByChance);
        let is_plain = self.hot == HotRows::Exclusive
            && self.cold == Cold::PerField
            && self.write_back.is_none();
        let n_listed = self.field_buckets.iter().sum::<usize>();
        let has_listed = !self.field_buckets.is_empty();
        let n_owned =
            if has_listed { n_listed } else { self.n_buckets } * self.layout.rows_per_bucket();
        let checks = [
            (
                (is_compact || has_listed) && n_owned != self.n_hot,
                "where rows belong to buckets there are as many hot rows as the buckets have",
            ),
            (
                has_listed
                    && (self.field_buckets.len() != self.fields.len()
                        || n_listed != self.n_buckets),
                "buckets are listed for every field, and their sum is the number of buckets",
            ),
            (
                self.decay.is_some_and(|decay| {
                    !((0.0..=1.0).contains(&decay.factor) && decay.every > 0.0)
                }),
                "scores fade by a factor from 0 to 1, after some mass",
            ),
            (
                self.cold != Cold::PerField && self.fields.iter().any(FieldRows::is_own),
                "with a unified cold table no field owns rows",
            ),
            (
                self.medium.is_some() && !is_plain,
                "the middle tier (multi_level) is defined for hot = \"exclusive\" and cold = \"per-field\" without write_back only",
            ),
            (
                is_compact && !spares_by_score,
                "compact slots need a victim policy that spares owners by score: victim = \"lightest-cold\" or \"by-chance\"",
            ),
            (
                is_compact && self.write_back.is_some(),
                "compact slots don't know the id that a row is written back for: leave out write_back, or set slot_layout = \"full\"",
            ),
            (
                !(1..).contains(&self.layout.rows_per_bucket())
                    || is_compact && self.layout.rows_per_bucket() >= self.slots,
                "a bucket has at least one hot row, and with compact slots fewer of them than slots",
            ),
            (
                matches!(self.rule, HotRule::Quota { hysteresis } if !(hysteresis >= 1.0 && hysteresis.is_finite())),
                "the hysteresis of a quota is at least 1",
            ),
            (
                self.write_back.is_some_and(|share| !(share > 0.0 && share <= 1.0)),
                "the share that is written back is above 0 and at most 1",
            ),
            (
                matches!(self.cold, Cold::Unified(settings) if !(1..=2).contains(&settings.n_hashes)),
                "a unified cold table has one or two hashes",
            ),
        ];
        checks.into_iter().find(|(is_wrong, _)| *is_wrong).map(|(_, why)| why)
    }
}
