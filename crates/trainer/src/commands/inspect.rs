//! `trainer inspect`: the sizes of a trained model's parts, and its hot features.

use std::fmt::Write as _;

use anyhow::Result;
use cafe_core::{FeatureId, HotFeature, MemoryUsage, TierSummary};
use dlrm_model::TrainableModel;
use serde::Serialize;

use crate::commands::model_args::ModelArgs;
use crate::config::{Named, dialect};
use crate::data::names;
use crate::text::{bytes, grouped, table};
use crate::train::trained::Trained;

/// Arguments of `trainer inspect`.
#[derive(Clone, Debug, clap::Args)]
pub struct InspectArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Hot features to list per field
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Print one line of JSON instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Findings {
    name: String,
    method: &'static str,
    model: &'static str,
    step: u64,
    rows_trained: u64,
    epochs_done: u32,
    dense_parameters: u64,
    dense_bytes: u64,
    dense_optimizer_bytes: u64,
    rows_bytes: u64,
    sketch_bytes: u64,
    index_bytes: u64,
    free_list_bytes: u64,
    embedding_optimizer_bytes: u64,
    embedding_total_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tiers: Option<Tiers>,
}

/// Null or empty if the method has no such figure.
#[derive(Serialize)]
struct Tiers {
    hot_rows: u64,
    max_hot_rows: u64,
    promoted: u64,
    demoted: u64,
    slots: u64,
    slots_in_use: u64,
    score_mass: Option<f64>,
    score_mass_since_decay: Option<f64>,
    decays: Option<u64>,
    /// The threshold that all fields share.
    threshold: Option<f32>,
    fields: Vec<Field>,
}

#[derive(Serialize)]
struct Field {
    name: String,
    hot_rows: u64,
    threshold: Option<f32>,
    top: Vec<Top>,
}

#[derive(Serialize)]
struct Top {
    /// Eight hex digits; null for a missing value.
    token: Option<String>,
    score: Option<f32>,
}

/// Describes a model; returns the text to print.
///
/// # Errors
/// If there is no such model.
pub fn inspect(args: &InspectArgs) -> Result<String> {
    let trained = args.model.open()?;
    let dialect = dialect::dialect(&trained.config)?;
    let fields = names::fields(&dialect);
    let findings = Findings::new(&trained, fields, args.top);
    Ok(if args.json { serde_json::to_string(&findings)? + "\n" } else { findings.text() })
}

impl Findings {
    fn new(trained: &Trained, fields: Vec<String>, top: usize) -> Self {
        let Trained { config, learner, state } = trained;
        let memory = learner.embedding.memory();
        let MemoryUsage {
            rows_bytes,
            sketch_bytes,
            index_bytes,
            free_list_bytes,
            optimizer_bytes,
            ..
        } = memory;
        let (counters, n_parameters) = (state.counters, learner.model.n_parameters() as u64);
        let tiers = learner.embedding.tiers().map(|summary| {
            let fields = by_field(&summary, fields, &learner.embedding.hot_features(), top);
            let TierSummary {
                hot_rows,
                max_hot_rows,
                slots,
                slots_in_use,
                mass,
                mass_since_decay,
                ..
            } = summary;
            Tiers {
                hot_rows,
                max_hot_rows,
                promoted: counters.promoted,
                demoted: counters.demoted,
                slots,
                slots_in_use,
                score_mass: mass,
                score_mass_since_decay: mass_since_decay,
                decays: summary.n_decays,
                threshold: if let [threshold] = summary.thresholds[..] {
                    Some(threshold)
                } else {
                    None
                },
                fields,
            }
        });
        Self {
            name: config.name.clone(),
            method: config.embedding.method.name(),
            model: config.model.kind.name(),
            step: counters.step,
            rows_trained: counters.rows,
            epochs_done: state.epochs_done,
            dense_parameters: n_parameters,
            dense_bytes: 4 * n_parameters,
            dense_optimizer_bytes: learner.model.n_state_bytes() as u64,
            rows_bytes,
            sketch_bytes,
            index_bytes,
            free_list_bytes,
            embedding_optimizer_bytes: optimizer_bytes,
            embedding_total_bytes: memory.total_bytes(),
            tiers,
        }
    }

    fn text(&self) -> String {
        let count = |n: u64, of: u64| {
            format!(
                "{} of {} ({:.1} %)",
                grouped(n),
                grouped(of),
                100.0 * n as f64 / of.max(1) as f64
            )
        };
        let trained = format!(
            "{} steps, {} rows, {} complete epochs",
            grouped(self.step),
            grouped(self.rows_trained),
            self.epochs_done
        );
        let mut lines = vec![
            ("run", format!("{} ({}, {})", self.name, self.method, self.model)),
            ("trained", trained),
            (
                "network",
                format!(
                    "{} parameters, {}",
                    grouped(self.dense_parameters),
                    bytes(self.dense_bytes)
                ),
            ),
            ("  its optimizer", bytes(self.dense_optimizer_bytes)),
            ("embedding", bytes(self.embedding_total_bytes)),
            ("  rows", bytes(self.rows_bytes)),
            ("  sketch", bytes(self.sketch_bytes)),
            ("  maps", bytes(self.index_bytes)),
            ("  free lists", bytes(self.free_list_bytes)),
            ("  optimizer", bytes(self.embedding_optimizer_bytes)),
        ];
        let Some(tiers) = &self.tiers else {
            lines.push(("hot rows", "none: the method has no tiers".to_owned()));
            return table(&lines);
        };
        let moved =
            format!("{} promoted, {} demoted", grouped(tiers.promoted), grouped(tiers.demoted));
        lines.push(("hot rows", format!("{}, {moved}", count(tiers.hot_rows, tiers.max_hot_rows))));
        if tiers.slots > 0 {
            lines.push(("slots in use", count(tiers.slots_in_use, tiers.slots)));
        }
        if let Some(threshold) = tiers.threshold {
            lines.push(("hot from a score of", format!("{threshold}")));
        }
        if let Some(mass) = tiers.score_mass {
            let since = tiers
                .score_mass_since_decay
                .map(|mass| format!(", {mass:.0} since the last decay"));
            lines.push(("total score", format!("{mass:.0} observed{}", since.unwrap_or_default())));
        }
        if let Some(decays) = tiers.decays {
            lines.push(("decays", grouped(decays)));
        }
        table(&lines) + "\n" + &tiers.field_table()
    }
}

impl Tiers {
    fn field_table(&self) -> String {
        let width = self.fields.iter().map(|field| field.name.len()).max().unwrap_or(0).max(5);
        let mut text =
            format!("{:width$}  {:>9}  hot features with their scores\n", "field", "hot rows");
        for Field { name: field, hot_rows, threshold, top } in &self.fields {
            let top: Vec<_> = top.iter().map(Top::text).collect();
            let from =
                threshold.map_or_else(String::new, |threshold| format!("(from {threshold}) "));
            let line =
                format!("{field:width$}  {:>9}  {from}{}", grouped(*hot_rows), top.join(", "));
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text
    }
}

impl Top {
    fn new(feature: HotFeature) -> Self {
        let HotFeature { id, score } = feature;
        Self { token: id.token().map(|token| format!("{token:08x}")), score }
    }

    fn text(&self) -> String {
        let token = self.token.as_deref().unwrap_or("(missing)");
        self.score.map_or_else(|| token.to_owned(), |score| format!("{token} {score:.1}"))
    }
}

/// The hot rows of each field, with the first `top` of `features` in it; empty if the method does
/// not distinguish fields.
fn by_field(
    summary: &TierSummary,
    names: Vec<String>,
    features: &[HotFeature],
    top: usize,
) -> Vec<Field> {
    let TierSummary { hot_rows_by_field, thresholds, .. } = summary;
    let of_field = |number: usize| {
        let is_of = move |id: FeatureId| id.field() == number;
        features
            .iter()
            .filter(move |feature| is_of(feature.id))
            .take(top)
            .map(|&feature| Top::new(feature))
            .collect()
    };
    let fields = names.into_iter().zip(hot_rows_by_field).enumerate();
    let threshold =
        |number: usize| if thresholds.len() > 1 { thresholds.get(number).copied() } else { None };
    fields
        .map(|(number, (field, &hot_rows))| Field {
            name: field,
            hot_rows,
            threshold: threshold(number),
            top: of_field(number),
        })
        .collect()
}
