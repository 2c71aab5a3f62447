//! `manifest.json`: how the inputs of a row are computed from its text, and the structure of the
//! network.

use anyhow::Result;
use cafe_core::FeatureId;
use criteo_io::Columns;
use dlrm_model::{ModelConfig as Shape, TrainableModel};
use serde::Serialize;

use super::tensors::Written;
use crate::config::{ModelConfig, dialect};
use crate::data::names;
use crate::train::trained::Trained;

/// The name of the file.
pub(super) const FILE: &str = "manifest.json";
/// Incremented with each change that affects readers.
const VERSION: u32 = 1;
/// For models whose only numeric input is a constant, which readers of version 1 do not support.
const CONSTANT_VERSION: u32 = 2;
/// For models with frequencies of features as inputs, which readers of versions 1 and 2 do not
/// support.
const FREQUENCY_VERSION: u32 = 3;

#[derive(Serialize)]
pub(super) struct Manifest {
    format: &'static str,
    version: u32,
    run: String,
    step: u64,
    rows_trained: u64,
    /// Kind and layer sizes.
    model: ModelConfig,
    n_dense: usize,
    n_fields: usize,
    /// Precision of the matrix products in training and in scoring with this program.
    precision: String,
    data_format: &'static str,
    /// Description of the columns; null for Criteo's formats.
    columns: Option<Columns>,
    /// How the first `n_dense - n_frequencies` numeric inputs are computed.
    dense: &'static str,
    /// How many of the last numeric inputs are frequencies: one for each field, or 0.
    n_frequencies: usize,
    /// How frequencies are computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    frequencies: Option<&'static str>,
    tokens: &'static str,
    id: &'static str,
    /// The vector of a field with several values is the sum of their vectors.
    fields: Vec<Field>,
    n_features: u64,
    /// Number of rows in which these features were found.
    n_rows: u64,
    files: [Written; 1],
}

#[derive(Serialize)]
struct Field {
    name: String,
    n_features: u64,
}

const CRITEO_DENSE: &str =
    "ln(x + 1) of an integer x above 0; 0 of any other, and where it is missing";
const CONSTANT_DENSE: &str = "the constant 1, for every row: the data have no numeric columns";
const DESCRIBED_DENSE: &str = "x, or ln(x + 1) where x is above 0, else 0, as the column's \
                               transform says; 0 where it is missing";
const FREQUENCIES: &str = "the number of the row's feature in the tensor `frequencies`, by field; \
                           of a field that holds several values their mean, 0 for no value";
const CRITEO_TOKENS: &str = "the number that the eight hexadecimal digits are";
const DESCRIBED_TOKENS: &str = "by the column's kind: hex is the number that the eight digits are; \
                                integer the number itself from 0 to 2^32 - 1 and any other as a \
                                string; string is FNV-1a with 64 bits over its bytes, upper half \
                                xor lower half";
const ID: &str =
    "field << 33 | token, with fields from 0; field << 33 | 1 << 32 where the value is missing";

impl Manifest {
    pub(super) fn new(
        trained: &Trained,
        ids: &[FeatureId],
        n_rows: u64,
        file: Written,
    ) -> Result<Self> {
        let Trained { config, learner, state } = trained;
        let shape: &Shape = learner.model.config();
        let dialect = dialect::dialect(config)?;
        let names = names::fields(&dialect);
        let fields = names.into_iter().enumerate().map(|(field, name)| {
            let before = |field: usize| ids.partition_point(|id| id.field() < field) as u64;
            Field { name, n_features: before(field + 1) - before(field) }
        });
        let is_described = dialect.columns().is_some();
        let is_constant = config.model.constant_input == Some(true);
        let (version, dense) = match (is_constant, is_described) {
            (true, _) => (CONSTANT_VERSION, CONSTANT_DENSE),
            (false, true) => (VERSION, DESCRIBED_DENSE),
            (false, false) => (VERSION, CRITEO_DENSE),
        };
        let has_frequencies = config.embedding.frequency_inputs;
        Ok(Self {
            format: "cafe-export",
            version: if has_frequencies { FREQUENCY_VERSION } else { version },
            run: config.name.clone(),
            step: state.counters.step,
            rows_trained: state.counters.rows,
            model: config.model.clone(),
            n_dense: shape.n_dense(),
            n_fields: shape.n_fields(),
            precision: config.precision.clone(),
            data_format: dialect.name(),
            columns: dialect.columns().cloned(),
            dense,
            n_frequencies: if has_frequencies { shape.n_fields() } else { 0 },
            frequencies: has_frequencies.then_some(FREQUENCIES),
            tokens: if is_described { DESCRIBED_TOKENS } else { CRITEO_TOKENS },
            id: ID,
            fields: fields.collect(),
            n_features: ids.len() as u64,
            n_rows,
            files: [file],
        })
    }
}
