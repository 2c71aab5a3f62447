//! Output of a scan: a table and a block to paste into a configuration, or JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::distinct::standard_error;
use super::tally::Tally;
use crate::text::{grouped, table};

/// The results, as printed with `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    format: String,
    rows: u64,
    positives: u64,
    positive_share: f64,
    parts: Vec<Part>,
    numeric: Vec<Numeric>,
    fields: Vec<Field>,
    /// Number of features by field, for `embedding.features`.
    features: Vec<u64>,
    /// Maximum number of distinct values that are counted exactly, over all fields.
    max_exact: u64,
    /// The relative standard error of those `features` that are not exact.
    standard_error: f64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Part {
    key: &'static str,
    rows: u64,
    positives: u64,
    /// Rows of each day; empty if the data have no days.
    days: Vec<u64>,
}

#[derive(Debug, Serialize)]
struct Numeric {
    name: String,
    missing_share: f64,
    min: Option<f64>,
    max: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Field {
    name: String,
    missing_share: f64,
    values_per_row: f64,
    /// Distinct values, including the missing value if it occurs.
    features: u64,
    is_exact: bool,
}

impl Findings {
    /// `names` are those of the numeric columns, followed by those of the fields.
    pub(super) fn new(
        tally: &Tally,
        format: &str,
        names: &[String],
        max_exact: u64,
        seconds: f64,
    ) -> Self {
        let rows = tally.n_rows();
        let share = |part: u64| part as f64 / rows as f64;
        let positives = tally.parts.iter().map(|part| part.positives).sum();
        let (of_numeric, of_fields) = names.split_at(tally.numeric.len());
        let parts = tally.parts.iter().map(|part| Part {
            key: part.name,
            rows: part.rows,
            positives: part.positives,
            days: part.days.clone(),
        });
        let numeric = tally.numeric.iter().zip(of_numeric).map(|(column, name)| Numeric {
            name: name.clone(),
            missing_share: share(column.missing),
            min: column.range.map(|range| range[0]),
            max: column.range.map(|range| range[1]),
        });
        let counts = tally.distinct.counts();
        let fields =
            tally.fields.iter().zip(of_fields).zip(counts).map(|((field, name), count)| Field {
                name: name.clone(),
                missing_share: share(field.missing),
                values_per_row: share(field.values),
                features: count.n + u64::from(field.missing > 0),
                is_exact: count.is_exact,
            });
        let fields: Vec<_> = fields.collect();
        Self {
            format: format.to_owned(),
            rows,
            positives,
            positive_share: share(positives),
            parts: parts.collect(),
            numeric: numeric.collect(),
            features: fields.iter().map(|field| field.features).collect(),
            fields,
            max_exact,
            standard_error: standard_error(),
            seconds,
        }
    }

    /// The results as a table.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![
            ("format", self.format.clone()),
            ("rows", grouped(self.rows)),
            (
                "positives",
                format!("{} ({:.3} %)", grouped(self.positives), 100.0 * self.positive_share),
            ),
        ];
        for part in &self.parts {
            if self.parts.len() > 1 {
                lines.push((part.key, format!("{} rows", grouped(part.rows))));
            }
            if !part.days.is_empty() {
                let days: Vec<_> = part.days.iter().map(|&n_rows| grouped(n_rows)).collect();
                lines.push(("  rows per day", days.join(" ")));
            }
        }
        lines.push(("read in", format!("{:.1} s", self.seconds)));
        let mut out = table(&lines);
        self.write_columns(&mut out);
        if !self.fields.is_empty() {
            let features: Vec<_> = self.features.iter().map(u64::to_string).collect();
            let _ = write!(out, "\n[embedding]\nfeatures = [{}]\n", features.join(", "));
        }
        out
    }

    fn write_columns(&self, out: &mut String) {
        let name_width =
            |names: &mut dyn Iterator<Item = &String>| names.map(|name| name.chars().count()).max();
        let names = &mut self
            .numeric
            .iter()
            .map(|it| &it.name)
            .chain(self.fields.iter().map(|it| &it.name));
        let width = name_width(names).unwrap_or(0).max("numeric".len());
        // Writing to a string cannot fail.
        if !self.numeric.is_empty() {
            let _ = writeln!(out, "\n{:width$}  missing           min           max", "numeric");
        }
        for column in &self.numeric {
            let number = |number: Option<f64>| {
                number.map_or_else(|| "none".to_owned(), |number| number.to_string())
            };
            let (missing, [min, max]) =
                (100.0 * column.missing_share, [column.min, column.max].map(number));
            let _ = writeln!(out, "{:width$}  {missing:5.1} %  {min:>12}  {max:>12}", column.name);
        }
        if !self.fields.is_empty() {
            let _ = writeln!(out, "\n{:width$}  missing    values/row      features", "field");
        }
        for field in &self.fields {
            let about = if field.is_exact { "" } else { "  estimated" };
            let (missing, n_features) = (100.0 * field.missing_share, grouped(field.features));
            let per_row = field.values_per_row;
            let _ = writeln!(
                out,
                "{:width$}  {missing:5.1} %  {per_row:12.3}  {n_features:>12}{about}",
                field.name
            );
        }
        if self.fields.iter().any(|field| !field.is_exact) {
            let (error, limit) = (100.0 * self.standard_error, grouped(self.max_exact));
            let _ = writeln!(
                out,
                "estimated by HyperLogLog, standard error {error:.2} %: the fields together hold \
                 more than {limit} distinct values"
            );
        }
        if self.fields.iter().any(|field| field.missing_share > 0.0) {
            let _ =
                writeln!(out, "a missing value is a feature of its field and counted if it occurs");
        }
    }
}
