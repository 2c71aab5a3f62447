//! `sketch.json`, as `trainer sketch --sweep --out` writes it.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// HotSketch's own figures.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SketchFile {
    pub(super) skew: f64,
    pub(super) features: u64,
    pub(super) observations: u64,
    pub(super) recall: Vec<Recall>,
    pub(super) drift: Vec<Drift>,
    pub(super) speed: Vec<Speed>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Recall {
    pub(super) slots: u64,
    pub(super) bytes: u64,
    pub(super) top: u64,
    #[serde(rename = "recall")]
    pub(super) share_held: f64,
    pub(super) bound: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Drift {
    pub(super) slots: u64,
    pub(super) bytes: u64,
    pub(super) observations: u64,
    pub(super) recall: f64,
    pub(super) decay: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Speed {
    pub(super) slots: u64,
    pub(super) bytes: u64,
    pub(super) observe_per_second: f64,
    pub(super) estimate_per_second: f64,
}

impl SketchFile {
    /// The one in `dir`, if there is one.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("sketch.json");
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        serde_json::from_str(&text).map(Some).with_context(|| format!("{}: damaged", path.display()))
    }
}
