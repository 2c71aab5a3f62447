//! The sweep file: a base configuration and what is varied.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::config::ConfigError;
use crate::config::settings::{flat, shown};

/// A sweep as its file describes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    /// The question that the sweep is to answer.
    #[serde(default)]
    pub(super) question: Option<String>,
    /// The configuration that all runs start from, relative to the directory of the file.
    base: PathBuf,
    /// Directory of the runs.
    #[serde(default)]
    out: Option<PathBuf>,
    /// Settings of all runs.
    #[serde(default)]
    set: Table,
    #[serde(rename = "study")]
    studies: Vec<Study>,
    #[serde(skip)]
    file: PathBuf,
}

/// Runs that differ along axes: the Cartesian product of their values.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Study {
    name: String,
    /// Settings of its runs.
    #[serde(default)]
    set: Table,
    /// The first axis changes slowest.
    axes: Vec<Axis>,
}

/// What is varied along an axis: one key, several keys with the same value, or named cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Axis {
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    values: Vec<Value>,
    #[serde(default)]
    cases: Vec<Case>,
}

/// Settings that are varied together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    set: Table,
}

/// A configuration to run.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// Made of its study and its values; also the name of its directory.
    pub(super) name: String,
    pub(super) study: String,
    /// Overrides in the form of `--set`, in order.
    pub(super) overrides: Vec<String>,
}

/// What an axis contributes to a run.
struct Step {
    label: String,
    overrides: Vec<String>,
}

impl Spec {
    /// Reads and checks a sweep file.
    pub(super) fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
        Self::parse(&text, file)
    }

    fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let mut spec: Self = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            invalid(vec![format!("{}:{line}: {}", file.display(), error.message())])
        })?;
        file.clone_into(&mut spec.file);
        let problems = spec.problems();
        if problems.is_empty() { Ok(spec) } else { Err(invalid(problems)) }
    }

    fn problems(&self) -> Vec<String> {
        let place = |study: &Study| format!("{}: study \"{}\"", self.file.display(), study.name);
        let mut problems = Vec::new();
        if self.studies.is_empty() {
            problems.push(format!("{}: study: expected at least one", self.file.display()));
        }
        for (idx, study) in self.studies.iter().enumerate() {
            if self.studies[..idx].iter().any(|other| other.name == study.name) {
                problems.push(format!("{}: two studies have this name; rename one", place(study)));
            }
            for (number, axis) in study.axes.iter().enumerate() {
                let problem = axis
                    .problem()
                    .map(|problem| format!("{}: axis {}: {problem}", place(study), number + 1));
                problems.extend(problem);
            }
        }
        problems
    }

    /// The configuration that all runs start from.
    pub(super) fn base(&self) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(&self.base)
    }

    /// The directory of the runs, unless `--out` is given.
    pub(super) fn out(&self) -> PathBuf {
        let named = || Path::new("runs").join(self.file.file_stem().unwrap_or("sweep".as_ref()));
        self.out.clone().unwrap_or_else(named)
    }

    /// The file's name.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// All runs, in the order of the file. Later settings override earlier ones: threads, those of
    /// the file, those of the study, `extra`, the axes.
    pub(super) fn points(
        &self,
        threads: usize,
        extra: &[String],
    ) -> Result<Vec<Point>, ConfigError> {
        let mut points: Vec<Point> = Vec::new();
        for study in &self.studies {
            let mut common = vec![format!("threads={threads}")];
            common.extend(overrides(&self.set));
            common.extend(overrides(&study.set));
            common.extend_from_slice(extra);
            let mut partial = vec![Point {
                name: plain(&study.name),
                study: study.name.clone(),
                overrides: common,
            }];
            for axis in &study.axes {
                let steps = axis.steps();
                partial = partial
                    .iter()
                    .flat_map(|point| steps.iter().map(|step| point.with(step)))
                    .collect();
            }
            points.append(&mut partial);
        }
        let twice = points
            .iter()
            .enumerate()
            .find(|(idx, point)| points[..*idx].iter().any(|it| it.name == point.name));
        match twice {
            None => Ok(points),
            Some((_, point)) => Err(invalid(vec![format!(
                "{}: two runs are called {}; give the cases different names",
                self.file.display(),
                point.name
            )])),
        }
    }
}

fn invalid(problems: Vec<String>) -> ConfigError {
    ConfigError::Invalid { problems }
}

impl Axis {
    fn problem(&self) -> Option<&'static str> {
        let has_key = self.key.is_some() || !self.keys.is_empty();
        match (has_key, self.cases.is_empty()) {
            (true, false) => Some("expected key with values, or cases, got both"),
            (false, true) => Some("expected key (or keys) with values, or cases, got neither"),
            (true, true) if self.values.is_empty() => Some("values: expected at least one"),
            (false, false) if !self.values.is_empty() => {
                Some("values: they belong to a key, and there is none")
            }
            _ if self.key.is_some() && !self.keys.is_empty() => {
                Some("expected key or keys, got both")
            }
            _ => None,
        }
    }

    fn steps(&self) -> Vec<Step> {
        let keys = || self.key.iter().chain(&self.keys);
        let of_value = |value: &Value| Step {
            label: shown(value),
            overrides: keys().map(|key| format!("{key}={value}")).collect(),
        };
        let of_case =
            |case: &Case| Step { label: case.name.clone(), overrides: overrides(&case.set) };
        self.values.iter().map(of_value).chain(self.cases.iter().map(of_case)).collect()
    }
}

impl Point {
    fn with(&self, step: &Step) -> Self {
        let overrides = self.overrides.iter().chain(&step.overrides).cloned().collect();
        let mut name = format!("{}-{}", self.name, plain(&step.label));
        // File names have at most 255 bytes; this leaves room for suffixes.
        name.truncate(200);
        Self { name, study: self.study.clone(), overrides }
    }
}

/// Replaces everything but ASCII letters, digits and `._-`, for use in a directory's name.
fn plain(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = text.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    // Neither hidden nor the directory above.
    if name.starts_with('.') || name.is_empty() { format!("_{name}") } else { name }
}

/// The settings of a table in the form of `--set`.
fn overrides(table: &Table) -> Vec<String> {
    flat(table).iter().map(|(key, value)| format!("{key}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Spec, ConfigError> {
        Spec::parse(text, Path::new("sweeps/a.toml"))
    }

    #[test]
    fn points_are_the_product_with_the_first_axis_slowest() {
        let spec = parse(
            r#"
base = "../b.toml"
set = { train = { lr = 0.2 } }
[[study]]
name = "s"
set = { "model.dim" = 8 }
axes = [
    { keys = ["seed", "data.synthetic.seed"], values = [1, 2] },
    { cases = [
        { name = "f 32", set = { embedding.method = "cafe", embedding.precision = "f32" } },
        { name = "no" },
    ] },
]
"#,
        )
        .expect("a sweep");
        assert_eq!((spec.base(), spec.out()), ("sweeps/../b.toml".into(), "runs/a".into()));
        let points = spec.points(2, &["train.batch=64".to_owned()]).expect("runs");
        let names: Vec<_> = points.iter().map(|point| &*point.name).collect();
        assert_eq!(names, ["s-1-f_32", "s-1-no", "s-2-f_32", "s-2-no"]);
        let expected = [
            "threads=2",
            "train.lr=0.2",
            "model.dim=8",
            "train.batch=64",
            "seed=2",
            "data.synthetic.seed=2",
            "embedding.method=\"cafe\"",
            "embedding.precision=\"f32\"",
        ];
        assert_eq!(points[2].overrides, expected);
    }

    #[test]
    fn names_are_valid_directory_names() {
        assert_eq!(
            ["a b/c", "../x", "", "höhe", "f32.5-x_y"].map(plain),
            ["a_b_c", "_.._x", "_", "h_he", "f32.5-x_y"]
        );
    }

    #[test]
    fn invalid_sweeps_are_reported_with_their_place() {
        let message = |text: &str| parse(text).expect_err("refused").to_string();
        assert!(
            message("base = \"b\"\nstudies = 3\n")
                .starts_with("sweeps/a.toml:2: unknown field `studies`")
        );
        assert!(message("base = \"b\"\nstudy = []\n").contains("study: expected at least one"));
        let axis = |axis: &str| {
            message(&format!("base = \"b\"\n[[study]]\nname = \"s\"\naxes = [{{ {axis} }}]\n"))
        };
        let place = "sweeps/a.toml: study \"s\": axis 1: ";
        assert_eq!(
            axis(""),
            format!("{place}expected key (or keys) with values, or cases, got neither")
        );
        assert_eq!(axis("key = \"seed\""), format!("{place}values: expected at least one"));
        assert_eq!(
            axis("values = [1]"),
            format!("{place}expected key (or keys) with values, or cases, got neither")
        );
        assert!(
            axis("key = \"seed\", values = [1], cases = [{ name = \"x\" }]").ends_with("got both")
        );
        let twice = "base = \"b\"\n[[study]]\nname = \"s\"\n\
                     axes = [{ cases = [{ name = \"x\" }, { name = \"x\" }] }]\n";
        let refused = parse(twice)
            .expect("each alone is fine")
            .points(1, &[])
            .expect_err("refused")
            .to_string();
        assert_eq!(
            refused,
            "sweeps/a.toml: two runs are called s-x; give the cases different names"
        );
    }
}
