//! Ranges, and rules between keys: everything that can be said before data is touched.

use std::path::Path;

use criteo_io::Format;
use dlrm_model::DeviceSpec;

use super::{CafeTable, Config, Method, Paths};

impl Config {
    /// Every problem, each naming its key, what was expected and what was there.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
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
        if data.rows == Some(0) {
            problems.push("data.rows: expected at least 1 row".into());
        }
        self.check_stdin(problems);
    }

    /// Standard input can be read once and not counted.
    fn check_stdin(&self, problems: &mut Vec<String>) {
        let is_stdin =
            |paths: &Option<Paths>| paths.as_ref().is_some_and(|p| p.to_vec().iter().any(|p| p == Path::new("-")));
        let (train, test) = (is_stdin(&self.data.path), is_stdin(&self.data.test_path));
        if train && test {
            problems.push("data.path and data.test_path: standard input (`-`) can only be one of them".into());
        }
        if train && self.train.epochs > 1 {
            problems.push("train.epochs: standard input (`-`) can be read once only".into());
        }
        if train && self.data.test_path.is_none() {
            if self.data.rows.is_none() {
                problems.push("data.path: rows of standard input (`-`) can't be counted ahead; set data.rows to their number, or data.test_path".into());
            }
            if self.train.eval_every > 0 {
                problems.push("train.eval_every: the test rows of standard input (`-`) come after the training rows; set it to 0, or set data.test_path".into());
            }
        }
        if test && self.train.eval_every > 0 {
            problems.push(
                "train.eval_every: test rows from standard input (`-`) can be read once only; set it to 0".into(),
            );
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
        if let Err(error) = self.device.parse::<DeviceSpec>() {
            problems.push(format!("device: {error}"));
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

    #[test]
    fn standard_input_is_read_once() {
        let base = "[embedding]\ncompression = 10\n[data]\npath = \"-\"\n";
        assert!(problems(base).starts_with("data.path: rows of standard input"));
        assert!(problems(&format!("{base}rows = 10\n[train]\nepochs = 2\n")).starts_with("train.epochs"));
        assert!(problems(&format!("{base}rows = 10\n[train]\neval_every = 2\n")).starts_with("train.eval_every"));
        assert!(Config::parse(&format!("{base}rows = 10\n"), Path::new("a.toml"), &[]).is_ok());
    }
}
