//! The figures of a group of runs. Each is left out if the runs lack the data for it.

mod curves;
mod hot;
mod sketch;
mod study;
mod summary;

use super::chart::{Chart, Style};
use crate::report::compare::{Cell, Group, Variant, has_budget, rank};
use crate::results::sketch_findings::Findings;

/// Figures under one heading.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) charts: Vec<Chart>,
}

/// The figures of a group, by section.
pub(super) fn group_sections(group: &Group<'_>) -> Vec<Section> {
    let sections = [
        ("Quality against size", summary::quality_charts(group)),
        ("During training", curves::charts(group)),
        ("Speed", summary::speed_charts(group)),
        ("One setting at a time", study::charts(group)),
        ("The hot set", hot::charts(group)),
    ];
    let sections = sections.into_iter().map(|(title, charts)| Section { title, charts });
    sections.filter(|section| !section.charts.is_empty()).collect()
}

/// The figures of `trainer sketch --sweep`.
pub(super) fn sketch_section(findings: &Findings) -> Section {
    Section { title: "HotSketch alone", charts: sketch::charts(findings) }
}

/// A method has the same colour everywhere on the page; variants with settings other than its
/// defaults are dashed.
fn style(variant: &Variant<'_>) -> Style {
    Style { color: rank(&variant.method), is_dashed: !variant.deviations.is_empty() }
}

/// The cells with runs of the main variants at a ratio, and the full table, whose ratio is 1.
fn cells_at<'a>(
    group: &'a Group<'a>,
    ratio: f64,
) -> impl Iterator<Item = (&'a Variant<'a>, &'a Cell<'a>)> {
    let cells = group.main_variants().filter_map(move |variant| {
        let ratio = if has_budget(&variant.method) { ratio } else { 1.0 };
        Some((variant, variant.cell_at(ratio)?))
    });
    cells.filter(|(_, cell)| !cell.runs.is_empty())
}

/// A sentence on how many seeds the means are taken over.
fn seeds(group: &Group<'_>) -> String {
    let counts: Vec<_> = group.cells().map(|(_, cell)| cell.runs.len()).collect();
    match (counts.iter().min(), counts.iter().max()) {
        (Some(1), Some(1)) => "One seed.".to_owned(),
        (Some(least), Some(most)) if least == most => {
            format!("Means of {least} seeds; bars from the lowest to the highest.")
        }
        (Some(least), Some(most)) => {
            format!("Means of {least} to {most} seeds; bars from the lowest to the highest.")
        }
        _ => String::new(),
    }
}
