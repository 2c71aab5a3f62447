//! A comparison as text.

use std::fmt::Write as _;

use super::{Comparison, Group, answer, ratio_text};
use crate::results::runs::RunRecord;
use crate::results::sweep_record::SweepRecord;
use crate::text::grouped;

const HEAD: [&str; 8] = [
    "method",
    "CR",
    "test AUC",
    "lowest to highest",
    "log-loss",
    "embedding bytes",
    "samples/s",
    "runs",
];

/// For each group its protocol, the answer in sentences, and a table.
#[must_use]
pub fn text(runs: &[RunRecord], sweeps: &[SweepRecord]) -> String {
    let comparison = Comparison::new(runs, sweeps);
    let mut out = String::new();
    for group in &comparison.groups {
        let _ = writeln!(out, "{}", group.model);
        for (name, text) in &group.protocol {
            let _ = writeln!(out, "  {name}: {text}");
        }
        out.push('\n');
        for sentence in answer(group) {
            let _ = writeln!(out, "{sentence}");
        }
        out.push('\n');
        out.push_str(&aligned(&rows(group)));
        out.push('\n');
    }
    out
}

fn rows(group: &Group<'_>) -> Vec<[String; 8]> {
    let mut rows = vec![HEAD.map(str::to_owned)];
    let mut cells: Vec<_> =
        group.variants.iter().flat_map(|it| it.cells.iter().map(move |cell| (it, cell))).collect();
    cells.sort_by(|a, b| a.1.ratio.total_cmp(&b.1.ratio));
    for (variant, cell) in cells {
        let [method, ratio] = [variant.label.clone(), ratio_text(cell.ratio)];
        let Some(auc) = cell.auc() else {
            let why = match (&cell.not_applicable, cell.runs.is_empty()) {
                (Some(why), true) => why.split(';').next().unwrap_or_default().to_owned(),
                _ if cell.runs.iter().any(|run| run.report.is_some()) => {
                    "no AUC: all labels are equal".to_owned()
                }
                _ => "not finished".to_owned(),
            };
            let mut row = [const { String::new() }; 8];
            [row[0], row[1], row[2]] = [method, ratio, why];
            rows.push(row);
            continue;
        };
        let mean = |figure: fn(&crate::results::report::Report) -> f64| {
            cell.spread(|report| Some(figure(report)))
        };
        rows.push([
            method,
            ratio,
            format!("{:.4}", auc.mean),
            format!("{:.4} to {:.4}", auc.low, auc.high),
            mean(|report| report.test_logloss)
                .map_or_else(String::new, |it| format!("{:.4}", it.mean)),
            mean(|report| report.embedding_bytes as f64)
                .map_or_else(String::new, |it| grouped(it.mean as u64)),
            mean(|report| report.samples_per_second)
                .map_or_else(String::new, |it| grouped(it.mean as u64)),
            auc.n.to_string(),
        ]);
    }
    rows
}

/// Aligns columns: names to the left, numbers to the right.
fn aligned(rows: &[[String; 8]]) -> String {
    // A row without results has a reason in place of the numbers.
    let is_reason = |row: &[String; 8]| row[7].is_empty();
    let width = |column: usize| {
        let rows = rows.iter().filter(|row| column < 2 || !is_reason(row));
        rows.map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; 8] = std::array::from_fn(width);
    rows.iter().fold(String::new(), |mut out, row| {
        let _ = write!(
            out,
            "{:<width$}  {:>ratio$}",
            row[0],
            row[1],
            width = widths[0],
            ratio = widths[1]
        );
        if is_reason(row) {
            let _ = write!(out, "  {}", row[2]);
        } else {
            for (text, width) in row.iter().zip(widths).skip(2) {
                let _ = write!(out, "  {text:>width$}");
            }
        }
        out.push('\n');
        out
    })
}
