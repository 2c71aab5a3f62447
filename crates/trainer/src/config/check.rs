//! Ranges, and rules between keys: everything that can be said before data is touched.

use criteo_io::{DialectError, Schema};
use dlrm_model::{DeviceSpec, EngineKind, Precision};

use super::{
    CafePlusTable, CafeTable, Config, EmbeddingConfig, Method, ModelConfig, ModelKind, OfflineTable, Paths,
    RowPrecision, Schedule, Sizing, SplitKind, UnifiedTable,
};
use crate::setup;

/// More than any one machine has; what asks for more is a slip.
const MAX_THREADS: usize = 1024;

impl Config {
    /// Every problem, each naming its key, what was expected and what was there.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.name.is_empty() || self.name.contains(['/', '\\']) || self.name.starts_with('.') {
            // It becomes a directory below runs/.
            problems.push(format!("name: expected a name without `/` and not starting with `.`, got {:?}", self.name));
        }
        if self.threads > MAX_THREADS {
            problems.push(format!("threads: expected at most {MAX_THREADS}, 0 for one a core, got {}", self.threads));
        }
        self.check_data(&mut problems);
        self.check_model(&mut problems);
        self.check_embedding(&mut problems);
        self.check_train(&mut problems);
        problems
    }

    /// Those of `[data]` alone.
    pub(super) fn data_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        self.check_data(&mut problems);
        problems
    }

    fn check_data(&self, problems: &mut Vec<String>) {
        let data = &self.data;
        match (&data.path, &data.synthetic) {
            (None, None) => {
                problems.push("data.path: missing; give a file, or data.synthetic.rows for generated rows".into());
            }
            (Some(_), Some(_)) => problems.push("data.path and data.synthetic: give one of the two".into()),
            (None, Some(synthetic)) => {
                if data.test_path.is_some() {
                    problems.push("data.test_path: generated rows are split by data.train_fraction; remove it".into());
                }
                if data.cache {
                    problems.push("data.cache: generated rows are not cached, only files are; remove it".into());
                }
                if data.format != "criteo-kaggle" {
                    problems.push("data.format: generated rows are shaped like criteo-kaggle; remove it".into());
                }
                if synthetic.rows == 0 || synthetic.rows_per_day == 0 {
                    problems.push("data.synthetic: rows and rows_per_day are at least 1".into());
                }
            }
            (Some(_), None) => {}
        }
        match setup::dialect(self) {
            Ok(_) => {}
            Err(error @ DialectError::NoColumns) => {
                problems.push(format!("data.columns: {error}; the README has an example"));
            }
            Err(error @ (DialectError::Columns(_) | DialectError::NotText { .. })) => {
                problems.push(format!("data.columns: {error}"));
            }
            Err(error) => problems.push(format!("data.format: {error}")),
        }
        if let Some(fraction) = data.train_fraction.filter(|fraction| !(*fraction > 0.0 && *fraction < 1.0)) {
            problems.push(format!("data.train_fraction: expected a number between 0 and 1, got {fraction}"));
        }
        if data.cache_dir.as_ref().is_some_and(|dir| dir.as_os_str().is_empty()) {
            problems.push("data.cache_dir: expected a directory, got nothing; `.` is the current one".into());
        }
        self.check_unused_data(problems);
        if data.rows == Some(0) {
            problems.push("data.rows: expected at least 1 row".into());
        }
    }

    /// Keys that would do nothing, and files that can't be read as asked.
    fn check_unused_data(&self, problems: &mut Vec<String>) {
        let data = &self.data;
        let is_split = data.test_path.is_none();
        let has_share = data.split_kind() != SplitKind::LastDay;
        for (key, is_set, is_used, when) in [
            ("split", data.split.is_some(), is_split, "without data.test_path"),
            ("train_fraction", data.train_fraction.is_some(), is_split, "without data.test_path"),
            ("train_fraction", data.train_fraction.is_some(), has_share, "with a split by position or at random"),
            ("split_seed", data.split_seed != 0, data.split_kind() == SplitKind::Random, "with split = \"random\""),
            ("cache_dir", data.cache_dir.is_some(), data.cache, "with cache = true"),
        ] {
            if is_set && !is_used {
                problems.push(format!("data.{key}: it counts {when} only; remove it"));
            }
        }
        let lists = [("path", &data.path), ("test_path", &data.test_path)].map(|(key, paths)| {
            let files = paths.as_ref().map(Paths::to_vec);
            if files.as_ref().is_some_and(Vec::is_empty) {
                problems.push(format!("data.{key}: expected a file or more, got none"));
            }
            files.unwrap_or_default()
        });
        if lists.iter().flatten().filter(|path| path.as_os_str() == "-").count() > 1 {
            problems.push("data.path: standard input can be read once; name `-` once".into());
        }
        if data.cache && setup::dialect(self).is_ok_and(|dialect| dialect.has_bags()) {
            problems.push("data.cache: fields with several values are not cached; remove it".into());
        }
    }

    fn check_model(&self, problems: &mut Vec<String>) {
        if self.model.dim == 0 {
            problems.push("model.dim: expected at least 1".into());
        }
        let model = &self.model;
        let is_dlrm = model.kind == ModelKind::Dlrm;
        if is_dlrm {
            self.check_dlrm(problems);
        } else if model.deep.is_empty() || model.deep.contains(&0) {
            problems.push(format!("model.deep: expected sizes of at least 1, got {:?}", model.deep));
        }
        // A key that does nothing is most often meant for another model.
        for (key, is_set, is_used, whose) in [
            ("bottom", !model.bottom.is_empty(), is_dlrm, "dlrm has"),
            ("top", !model.top.is_empty(), is_dlrm, "dlrm has"),
            ("deep", !model.deep.is_empty(), !is_dlrm, "wdl, dcn, dcnv2 and deepfm have"),
            ("cross_layers", model.cross_layers.is_some(), model.kind.has_crosses(), "dcn and dcnv2 have"),
            ("cross_rank", model.cross_rank.is_some(), model.kind == ModelKind::Dcnv2, "dcnv2 has"),
        ] {
            if is_set && !is_used {
                problems.push(format!("model.{key}: only {whose} it, not {}; remove it", model.kind.name()));
            }
        }
        for (key, value) in [("cross_layers", model.cross_layers), ("cross_rank", model.cross_rank)] {
            if value == Some(0) {
                problems.push(format!("model.{key}: expected at least 1"));
            }
        }
        self.check_engine(problems);
    }

    fn check_dlrm(&self, problems: &mut Vec<String>) {
        let ModelConfig { bottom, top, dim, .. } = &self.model;
        // A format that nobody knows has its own message.
        let Ok(schema) = setup::schema(self) else { return };
        let needs_bottom = schema.n_integers > 0;
        if !needs_bottom && !bottom.is_empty() {
            problems.push("model.bottom: the data have no numeric columns to go into it; remove it".into());
        }
        let bottom = needs_bottom.then_some(("model.bottom", bottom, *dim, "model.dim"));
        for (key, layers, last, why) in bottom.into_iter().chain([("model.top", top, 1, "one logit")]) {
            if layers.last() != Some(&last) || layers.contains(&0) {
                problems.push(format!("{key}: expected sizes of at least 1, the last {last} ({why}), got {layers:?}"));
            }
        }
    }

    fn check_engine(&self, problems: &mut Vec<String>) {
        let engine = self.engine.parse::<EngineKind>();
        match (self.device.parse::<DeviceSpec>(), &engine) {
            (Err(error), _) => problems.push(format!("device: {error}")),
            (_, Err(error)) => problems.push(format!("engine: {error}")),
            (Ok(DeviceSpec::Cuda(_)), Ok(EngineKind::Native)) => {
                problems.push("engine: `native` runs on a CPU; set it to `candle`, or device to `cpu`".into());
            }
            _ => {}
        }
        match self.precision.parse::<Precision>() {
            Err(error) => problems.push(format!("precision: {error}")),
            Ok(precision) if precision != Precision::F32 && engine == Ok(EngineKind::Candle) => {
                problems.push(format!("precision: `{precision}` needs engine = \"native\"; `candle` computes in f32"));
            }
            Ok(_) => {}
        }
    }

    fn check_embedding(&self, problems: &mut Vec<String>) {
        let embedding = &self.embedding;
        match (embedding.method, embedding.compression, embedding.budget) {
            (Method::Full, _, _) => {}
            (_, Some(_), Some(_)) => {
                problems.push("embedding.compression and embedding.budget: give one of the two".into());
            }
            (_, None, None) => {
                problems.push(
                    "embedding.compression: missing; give a ratio such as 1000, or embedding.budget in bytes".into(),
                );
            }
            (_, Some(ratio), None) if !(ratio >= 1.0 && ratio.is_finite()) => {
                problems.push(format!("embedding.compression: expected at least 1, got {ratio}"));
            }
            _ => {}
        }
        if let (Some(features), Ok(dialect)) = (&embedding.features, setup::dialect(self)) {
            let n_fields = dialect.schema().n_fields;
            if features.len() != n_fields || features.contains(&0) {
                let got = features.len();
                problems.push(format!("embedding.features: expected {n_fields} numbers of at least 1, got {got}"));
            }
        }
        let is_unknown = |schema: Schema| schema.n_fields > 0 && schema.features.is_empty();
        if embedding.features.is_none() && setup::schema(self).is_ok_and(is_unknown) {
            problems.push(
                "embedding.features: missing, and nothing else says how many features each field has; run \
                 `trainer scan --config FILE` to count them, and paste what it prints"
                    .into(),
            );
        }
        if embedding.cafe.sizing == Sizing::Paper && embedding.precision.is_some_and(|it| it != RowPrecision::F32) {
            problems.push(
                "embedding.cafe.sizing: the paper's sizes are for rows in f32; set it to \"within\" for others".into(),
            );
        }
        if setup::dialect(self).is_ok_and(|dialect| dialect.schema().n_fields == 0) {
            problems.push("data.columns.categorical: expected at least one column; every model needs a field".into());
        }
        check_cafe(&embedding.cafe, problems);
        self.check_methods(problems);
    }

    fn check_methods(&self, problems: &mut Vec<String>) {
        let EmbeddingConfig { method, cafe_plus, unified, offline, .. } = &self.embedding;
        if !(1..=2).contains(&unified.hashes) {
            problems.push(format!("embedding.unified.hashes: expected 1 or 2, got {}", unified.hashes));
        }
        let shares = [
            ("cafe_plus.shared_share", cafe_plus.shared_share),
            ("cafe_plus.filter_share", cafe_plus.filter_share),
            ("offline.shared_share", offline.shared_share),
        ];
        for (key, share) in shares {
            if let Some(share) = share.filter(|share| !(*share > 0.0 && *share <= 0.999)) {
                problems.push(format!("embedding.{key}: expected a number over 0 and up to 0.999, got {share}"));
            }
        }
        if cafe_plus.slots.is_some_and(|slots| !(1..=1024).contains(&slots)) {
            problems.push("embedding.cafe_plus.slots: expected 1 to 1024".into());
        }
        if let Some(growth) = cafe_plus.growth.filter(|growth| !(1.0..1.01).contains(growth)) {
            problems.push(format!("embedding.cafe_plus.growth: expected 1 or a little more, below 1.01, got {growth}"));
        }
        if offline.rows == Some(0) {
            problems.push("embedding.offline.rows: expected at least 1 row".into());
        }
        // A table that does nothing is most often meant for another method.
        let is_cafe = matches!(method, Method::Cafe | Method::CafeBest);
        for (table, is_set, is_used) in [
            ("cafe_plus", *cafe_plus != CafePlusTable::default(), *method == Method::CafePlus),
            ("offline", *offline != OfflineTable::default(), *method == Method::Offline),
            ("unified", *unified != UnifiedTable::default(), *method == Method::Unified || is_cafe),
        ] {
            if is_set && !is_used {
                tracing::warn!("[embedding.{table}] does nothing with method = \"{}\"", method.name());
            }
        }
    }

    fn check_train(&self, problems: &mut Vec<String>) {
        let train = &self.train;
        for (key, value) in [
            ("train.batch", train.batch as u64),
            ("train.epochs", u64::from(train.epochs)),
            ("train.log_every", train.log_every),
        ] {
            if value == 0 {
                problems.push(format!("{key}: expected at least 1"));
            }
        }
        for (key, rate) in [("lr", Some(train.lr)), ("embedding_lr", train.embedding_lr)] {
            if let Some(rate) = rate.filter(|rate| !(*rate > 0.0 && rate.is_finite())) {
                problems.push(format!("train.{key}: expected a positive number, got {rate}"));
            }
        }
        check_schedule(&train.schedule, problems);
    }
}

fn check_schedule(schedule: &Schedule, problems: &mut Vec<String>) {
    let Schedule { warmup_steps, decay_start, decay_steps, power, floor } = *schedule;
    if decay_steps > 0 && decay_start < warmup_steps {
        problems.push(format!(
            "train.schedule.decay_start: expected {warmup_steps} or more, where the warm-up ends, got {decay_start}"
        ));
    }
    if decay_steps == 0 && decay_start > 0 {
        problems
            .push("train.schedule.decay_steps: 0, so decay_start does nothing; set how long the decay takes".into());
    }
    if decay_steps == 0 && (floor != 0.0 || power != Schedule::default().power) {
        problems
            .push("train.schedule.decay_steps: 0, so power and floor do nothing; say how long the decay takes".into());
    }
    if !(power > 0.0 && power.is_finite()) {
        problems.push(format!("train.schedule.power: expected a positive number, got {power}"));
    }
    if !(0.0..=1.0).contains(&floor) {
        problems.push(format!("train.schedule.floor: expected a number from 0 to 1, got {floor}"));
    }
}

fn check_cafe(cafe: &CafeTable, problems: &mut Vec<String>) {
    if !cafe.multi_level && (cafe.medium_share.is_some() || cafe.medium_threshold_ratio.is_some()) {
        problems.push(
            "embedding.cafe.multi_level: false, so medium_share and medium_threshold_ratio do nothing; set it to true"
                .into(),
        );
    }
    if cafe.hysteresis.is_some_and(|hysteresis| !(hysteresis >= 1.0 && hysteresis.is_finite())) {
        problems.push(format!("embedding.cafe.hysteresis: expected at least 1, got {:?}", cafe.hysteresis));
    }
    if cafe.write_back.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
        problems.push(format!("embedding.cafe.write_back: expected a number from 0 to 1, got {:?}", cafe.write_back));
    }
    let mut check = |key: &str, value: Option<f64>, low: f64, high: f64| {
        if let Some(value) = value.filter(|value| !(*value > low && *value <= high)) {
            problems.push(format!("embedding.cafe.{key}: expected a number over {low} and up to {high}, got {value}"));
        }
    };
    check("shared_share", cafe.shared_share, 0.0, 0.999);
    check("threshold", cafe.threshold.map(f64::from), 0.0, 1e30);
    check("slots", cafe.slots.map(|slots| slots as f64), 0.0, 1024.0);
    check("decay_every", cafe.decay_every, 0.0, 1e300);
    check("rows_per_bucket", cafe.rows_per_bucket.map(|rows| rows as f64), 0.0, 1023.0);
    check("decay_factor", cafe.decay_factor.map(f64::from), 0.0, 1.0);
    check("medium_threshold_ratio", cafe.medium_threshold_ratio.map(f64::from), 0.0, 1.0);
    check("medium_share", cafe.medium_share, 0.0, 0.999);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn problems(text: &str) -> String {
        Config::parse(text, Path::new("a.toml"), &[]).expect_err("invalid").to_string()
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = "device = \"tpu\"\n[data]\ntrain_fraction = 1.5\n[model]\ntop = [8]\n[train]\nbatch = 0\nlr = -1.0\n\
                    [embedding]\ncompression = 0.5\nfeatures = [1, 2]\n[embedding.cafe]\nshared_share = 2.0\n";
        let all = problems(text);
        let keys: Vec<_> = all.lines().map(|line| line.split(':').next().unwrap_or_default()).collect();
        assert_eq!(
            keys,
            [
                "data.path",
                "data.train_fraction",
                "model.top",
                "device",
                "embedding.compression",
                "embedding.features",
                "embedding.cafe.shared_share",
                "train.batch",
                "train.lr"
            ],
            "{all}"
        );
    }
}
