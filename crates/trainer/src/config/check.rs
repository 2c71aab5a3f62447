//! Ranges, and rules between keys: everything that can be said before data is touched.

use criteo_io::Format;
use dlrm_model::{DeviceSpec, EngineKind, Precision};

use super::{CafeTable, Config, Method};

impl Config {
    /// Every problem, each naming its key, what was expected and what was there.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.name.is_empty() || self.name.contains(['/', '\\']) || self.name.starts_with('.') {
            // It becomes a directory below runs/.
            problems.push(format!("name: expected a name without `/` and not starting with `.`, got {:?}", self.name));
        }
        self.check_data(&mut problems);
        self.check_model(&mut problems);
        self.check_embedding(&mut problems);
        self.check_train(&mut problems);
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
        if data.format.parse::<Format>().is_err() {
            problems.push(format!("data.format: expected `criteo-kaggle` or `criteo-terabyte`, got `{}`", data.format));
        }
        if !(data.train_fraction > 0.0 && data.train_fraction < 1.0) {
            let fraction = data.train_fraction;
            problems.push(format!("data.train_fraction: expected a number between 0 and 1, got {fraction}"));
        }
        if data.cache_dir.as_ref().is_some_and(|dir| dir.as_os_str().is_empty()) {
            problems.push("data.cache_dir: expected a directory, got nothing; `.` is the current one".into());
        }
        if data.rows == Some(0) {
            problems.push("data.rows: expected at least 1 row".into());
        }
    }

    fn check_model(&self, problems: &mut Vec<String>) {
        if self.model.dim == 0 {
            problems.push("model.dim: expected at least 1".into());
        }
        for (key, layers, last, why) in [
            ("model.bottom", &self.model.bottom, self.model.dim, "model.dim"),
            ("model.top", &self.model.top, 1, "one logit"),
        ] {
            if layers.last() != Some(&last) || layers.contains(&0) {
                problems.push(format!("{key}: expected sizes of at least 1, the last {last} ({why}), got {layers:?}"));
            }
        }
        self.check_engine(problems);
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
        if let (Some(features), Ok(format)) = (&embedding.features, self.data.format.parse::<Format>()) {
            let n_fields = format.schema().n_fields;
            if features.len() != n_fields || features.contains(&0) {
                let got = features.len();
                problems.push(format!("embedding.features: expected {n_fields} numbers of at least 1, got {got}"));
            }
        }
        check_cafe(&embedding.cafe, problems);
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
        if !(train.lr > 0.0 && train.lr.is_finite()) {
            problems.push(format!("train.lr: expected a positive number, got {}", train.lr));
        }
    }
}

fn check_cafe(cafe: &CafeTable, problems: &mut Vec<String>) {
    if !cafe.multi_level && (cafe.medium_share.is_some() || cafe.medium_threshold_ratio.is_some()) {
        problems.push(
            "embedding.cafe.multi_level: false, so medium_share and medium_threshold_ratio do nothing; set it to true"
                .into(),
        );
    }
    let mut check = |key: &str, value: Option<f64>, low: f64, high: f64| {
        if let Some(value) = value.filter(|value| !(*value > low && *value <= high)) {
            problems.push(format!("embedding.cafe.{key}: expected a number over {low} and up to {high}, got {value}"));
        }
    };
    check("shared_share", cafe.shared_share, 0.0, 0.999);
    check("threshold", cafe.threshold.map(f64::from), 0.0, 1e30);
    check("slots", cafe.slots.map(|slots| slots as f64), 0.0, 1024.0);
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
