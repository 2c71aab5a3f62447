//! `[embedding]` and its tables.

use cafe_core::RowPrecision;
use cafe_core::methods::CafeSettings;
use criteo_io::Schema;

use super::Problems;
use crate::config::{
    CafePlusTable, CafeSizing, CafeTable, CodedTable, Cold, Config, EmbeddingConfig,
    EmbeddingOptimizer, Method, Named, OfflineTable, UnifiedTable, cafe, dialect,
};

/// Of a field: its tokens have 32 bits.
const MAX_FEATURES: u64 = 1 << 32;

impl Config {
    pub(super) fn check_embedding(&self, problems: &mut Problems) {
        let embedding = &self.embedding;
        match (embedding.method, embedding.compression, embedding.budget) {
            (_, Some(_), Some(_)) => {
                problems.add(
                    "embedding.budget",
                    "expected embedding.compression or embedding.budget, got both; remove one of them",
                );
            }
            (Method::Full, None, None) => {}
            (_, None, None) => {
                problems.add(
                    "embedding.compression",
                    "missing; give a ratio such as 1000, or embedding.budget in bytes",
                );
            }
            (_, Some(ratio), None) if !(ratio >= 1.0 && ratio.is_finite()) => {
                problems.add("embedding.compression", format!("expected at least 1, got {ratio}"));
            }
            _ => {}
        }
        self.check_features(problems);
        if embedding.method == Method::Cafe && embedding.cafe.sizing == CafeSizing::Paper {
            if embedding.precision.is_some_and(|it| it != RowPrecision::F32) {
                problems.add(
                    "embedding.cafe.sizing",
                    "expected `within` for rows in less than f32, got `paper`; the paper's sizes are for f32",
                );
            }
            if embedding.count_optimizer == Some(true) {
                problems.add(
                    "embedding.cafe.sizing",
                    "expected `within` with count_optimizer, got `paper`; the paper's sizes leave the optimizer out",
                );
            }
        }
        if embedding.accumulator.is_some()
            && self.train.row_optimizer() != EmbeddingOptimizer::RowWiseAdagrad
        {
            let optimizer = self.train.row_optimizer().name();
            problems.add(
                "embedding.accumulator",
                format!("expected none, as rows are stepped by {optimizer}; remove it, or set train.embedding_optimizer = \"row-wise-adagrad\""),
            );
        }
        if dialect::dialect(self).is_ok_and(|dialect| dialect.schema().n_fields == 0) {
            problems.add(
                "data.columns.categorical",
                "expected at least one column, got none; every model needs a field",
            );
        }
        check_cafe(&embedding.cafe, problems);
        self.check_methods(problems);
    }

    /// How many features the fields have.
    fn check_features(&self, problems: &mut Problems) {
        let embedding = &self.embedding;
        if let (Some(features), Ok(dialect)) = (&embedding.features, dialect::dialect(self)) {
            let n_fields = dialect.schema().n_fields;
            if features.len() != n_fields || features.contains(&0) {
                let got = if features.contains(&0) {
                    "one that is 0".to_owned()
                } else {
                    features.len().to_string()
                };
                let message =
                    format!("expected {n_fields} numbers of at least 1, one a field, got {got}");
                problems.add("embedding.features", message);
            }
        }
        let largest =
            dialect::schema(self).ok().and_then(|schema| schema.features.into_iter().max());
        if let Some(n_features) = largest.filter(|&largest| largest > MAX_FEATURES) {
            problems.add(
                "embedding.features",
                format!("expected at most {MAX_FEATURES} a field, got {n_features}"),
            );
        }
        let is_unknown = |schema: Schema| schema.n_fields > 0 && schema.features.is_empty();
        if embedding.features.is_none() && dialect::schema(self).is_ok_and(is_unknown) {
            problems.add("embedding.features", "missing, and nothing else says how many features each field has; `trainer scan --config FILE` counts them and prints what to paste",
            );
        }
    }

    fn check_methods(&self, problems: &mut Problems) {
        let EmbeddingConfig { method, coded, cafe, cafe_plus, unified, offline, .. } =
            &self.embedding;
        if !(1..=2).contains(&unified.hashes) {
            problems.add(
                "embedding.unified.hashes",
                format!("expected 1 or 2, got {}", unified.hashes),
            );
        }
        let shares = [
            ("cafe_plus.shared_share", cafe_plus.shared_share),
            ("cafe_plus.filter_share", cafe_plus.filter_share),
            ("offline.shared_share", offline.shared_share),
        ];
        for (key, share) in shares {
            if let Some(share) = share.filter(|share| !(*share > 0.0 && *share <= 0.999)) {
                problems.add(
                    format!("embedding.{key}"),
                    format!("expected a number over 0 and up to 0.999, got {share}"),
                );
            }
        }
        if let Some(slots) = cafe_plus.slots.filter(|slots| !(1..=1024).contains(slots)) {
            problems.add("embedding.cafe_plus.slots", format!("expected 1 to 1024, got {slots}"));
        }
        if let Some(growth) = cafe_plus.growth.filter(|growth| !(1.0..1.01).contains(growth)) {
            problems.add(
                "embedding.cafe_plus.growth",
                format!("expected 1 or a little more, below 1.01, got {growth}"),
            );
        }
        if offline.rows == Some(0) {
            problems.add(
                "embedding.offline.rows",
                "expected at least 1, got 0; leave it out to count in all rows",
            );
        }
        // A table that does nothing is most often meant for another method.
        let is_cafe = *method == Method::Cafe;
        let settings = cafe::cafe_settings(self);
        let is_unified = cafe.cold == Some(Cold::Unified);
        // Configurations of the paper's sizes are there to compare other methods with.
        let cafe_but_sizing = CafeTable { sizing: CafeSizing::default(), ..cafe.clone() };
        for (table, is_set, is_used) in [
            ("coded", *coded != CodedTable::default(), *method == Method::Coded),
            ("cafe", cafe_but_sizing != CafeTable::default(), is_cafe),
            ("cafe_plus", *cafe_plus != CafePlusTable::default(), *method == Method::CafePlus),
            ("offline", *offline != OfflineTable::default(), *method == Method::Offline),
            (
                "unified",
                *unified != UnifiedTable::default(),
                *method == Method::Unified || is_unified,
            ),
        ] {
            if is_set && !is_used {
                let without = if is_cafe && table == "unified" {
                    " without cafe.cold = \"unified\""
                } else {
                    ""
                };
                tracing::warn!(
                    "[embedding.{table}] does nothing with method = \"{}\"{without}",
                    method.name()
                );
            }
        }
        if let Some(settings) = settings {
            self.warn_of_unused_options(&settings);
        }
    }

    /// Keys of `[embedding.cafe]` that wait for another one.
    fn warn_of_unused_options(&self, settings: &CafeSettings) {
        let EmbeddingConfig { cafe, .. } = &self.embedding;
        let (is_quota, decays) = (settings.promotion.is_quota(), settings.decay.is_some());
        for (key, is_set, is_used, when) in [
            ("decay_every", cafe.decay_every.is_some(), decays, "a decay_factor below 1"),
            ("hysteresis", cafe.hysteresis.is_some(), is_quota, "rule = \"quota\""),
        ] {
            if is_set && !is_used {
                tracing::warn!("embedding.cafe.{key} does nothing without {when}");
            }
        }
    }
}

fn check_cafe(cafe: &CafeTable, problems: &mut Problems) {
    if !cafe.multi_level && (cafe.medium_share.is_some() || cafe.medium_threshold_ratio.is_some()) {
        problems.add(
            "embedding.cafe.multi_level",
            "expected true with medium_share or medium_threshold_ratio, got false",
        );
    }
    if let Some(hysteresis) = cafe.hysteresis.filter(|it| !(*it >= 1.0 && it.is_finite())) {
        problems.add("embedding.cafe.hysteresis", format!("expected at least 1, got {hysteresis}"));
    }
    if cafe.multi_level && !matches!(cafe.cold, None | Some(Cold::PerField)) {
        problems.add(
            "embedding.cafe.multi_level",
            "expected false with this embedding.cafe.cold, got true; the middle tier is defined \
             for cold = \"per-field\" only",
        );
    }
    let mut check = |key: &str, value: Option<f64>, low: f64, high: f64| {
        if let Some(value) = value.filter(|value| !(*value > low && *value <= high)) {
            problems.add(
                format!("embedding.cafe.{key}"),
                format!("expected a number over {low} and up to {high}, got {value}"),
            );
        }
    };
    check("shared_share", cafe.shared_share, 0.0, 0.999);
    check("threshold", cafe.threshold.map(f64::from), 0.0, 1e30);
    check("slots", cafe.slots.map(|slots| slots as f64), 0.0, 1024.0);
    check("decay_every", cafe.decay_every, 0.0, 1e300);
    check("decay_factor", cafe.decay_factor.map(f64::from), 0.0, 1.0);
    check("medium_threshold_ratio", cafe.medium_threshold_ratio.map(f64::from), 0.0, 1.0);
    check("medium_share", cafe.medium_share, 0.0, 0.999);
}
