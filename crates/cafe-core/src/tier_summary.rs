//! What an embedding reports of the features that own rows, for the inspection of a trained model.

use crate::feature::FeatureId;

/// A feature that owns a row for its importance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HotFeature {
    /// The feature.
    pub id: FeatureId,
    /// Its score now; `None` where a method keeps no scores.
    pub score: Option<f32>,
}

/// How many rows of a method with tiers have owners, and by which scores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TierSummary {
    /// Rows that important features can own.
    pub max_hot_rows: u64,
    /// Those that are owned.
    pub hot_rows: u64,
    /// Owned rows of each field; empty where they are not known.
    pub hot_rows_by_field: Vec<u64>,
    /// Whether features are known by their ids, so that
    /// [`Embedding::hot_features`](crate::Embedding::hot_features) names them all.
    pub knows_features: bool,
    /// Slots of the sketch, or entries of the statistics.
    pub slots: u64,
    /// Those that are in use.
    pub slots_in_use: u64,
    /// The score from which a feature is hot, for all fields; empty where there is no such score.
    pub thresholds: Vec<f32>,
    /// How many slots in use have a score `s` with `2^e <= s < 2^(e + 1)`, as `(e, count)` in
    /// ascending order of `e`; only what occurs, so it is empty where a method keeps no
    /// scores. Scores of zero and below the least normal `f32` are left out.
    pub score_counts: Vec<(i32, u64)>,
    /// The total score that was ever observed, where it is counted.
    pub mass: Option<f64>,
    /// The part of it since the last decay.
    pub mass_since_decay: Option<f64>,
    /// How often scores have decayed so far, where that is known.
    pub n_decays: Option<u64>,
}

/// From the highest score to the lowest; equal ones, and those without a score, by id.
pub(crate) fn by_score(mut features: Vec<HotFeature>) -> Vec<HotFeature> {
    let score = |feature: &HotFeature| feature.score.unwrap_or(0.0);
    features.sort_unstable_by(|a, b| score(b).total_cmp(&score(a)).then(a.id.cmp(&b.id)));
    features
}

/// How many of the features are of each field.
pub(crate) fn count_by_field(ids: impl Iterator<Item = FeatureId>, n_fields: usize) -> Vec<u64> {
    let mut counts = vec![0; n_fields];
    ids.for_each(|id| counts[id.field()] += 1);
    counts
}

/// [`TierSummary::score_counts`] of these scores.
pub(crate) fn count_by_exponent(scores: impl Iterator<Item = f32>) -> Vec<(i32, u64)> {
    let mut counts = [0_u64; 1 << EXPONENT_BITS];
    scores.filter(|score| score.is_normal()).for_each(|score| counts[exponent_bits(score)] += 1);
    let all = (1 - f32::MAX_EXP..).zip(counts);
    all.filter(|&(_, count)| count > 0).collect()
}

const EXPONENT_BITS: u32 = 8;

/// The exponent as a positive `f32` stores it.
fn exponent_bits(score: f32) -> usize {
    (score.to_bits() >> (f32::MANTISSA_DIGITS - 1)) as usize & ((1 << EXPONENT_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_counted_by_their_power_of_two() {
        assert_eq!(count_by_exponent([].into_iter()), []);
        let scores = [
            0.0,
            f32::MIN_POSITIVE / 2.0,
            f32::MIN_POSITIVE,
            0.5,
            0.999,
            1.0,
            1.999,
            2.0,
            3.0,
            700.0,
            f32::MAX,
        ];
        let counts = [(-126, 1), (-1, 2), (0, 2), (1, 2), (9, 1), (127, 1)];
        assert_eq!(count_by_exponent(scores.into_iter()), counts);
        for score in [1e-30_f32, 0.3, 7.7, 1e20] {
            let exponent = f64::from(score).log2().floor() as i32;
            assert_eq!(count_by_exponent([score].into_iter()), [(exponent, 1)]);
        }
    }
}
