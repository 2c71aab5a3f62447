//! Which pictures are drawn of a group of runs. Each returns nothing where the runs don't have what
//! it shows.

mod curves;
mod hot;
mod quality;
mod sketch;
mod speed;
mod study;

use super::chart::{Chart, Style};
use crate::report::compare::{Cell, Group, Variant, has_budget, rank};
use crate::results::sketch_findings::Findings;

/// Pictures under one heading.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) charts: Vec<Chart>,
}

/// Pictures of a group.
pub(super) fn of_group(group: &Group<'_>) -> Vec<Section> {
    let sections = [
        ("Quality against size", quality::charts(group)),
        ("While training", curves::charts(group)),
        ("Speed", speed::charts(group)),
        ("One setting at a time", study::charts(group)),
        ("The hot set", hot::charts(group)),
    ];
    let sections = sections.into_iter().map(|(title, charts)| Section { title, charts });
    sections.filter(|section| !section.charts.is_empty()).collect()
}

/// Pictures of the sketch alone.
pub(super) fn of_sketch(findings: &Findings) -> Section {
    Section { title: "HotSketch alone", charts: sketch::charts(findings) }
}

/// A method keeps its colour on the whole page; what deviates from its defaults is dashed.
fn style(variant: &Variant<'_>) -> Style {
    Style { color: rank(&variant.method), is_dashed: !variant.deviations.is_empty() }
}

/// The cells of the variants that stand for methods, with runs, at a ratio; the full table beside
/// each.
fn at<'a>(
    group: &'a Group<'a>,
    ratio: f64,
) -> impl Iterator<Item = (&'a Variant<'a>, &'a Cell<'a>)> {
    let cells = group.main_variants().filter_map(move |variant| {
        let ratio = if !has_budget(&variant.method) { 1.0 } else { ratio };
        Some((variant, variant.at(ratio)?))
    });
    cells.filter(|(_, cell)| !cell.runs.is_empty())
}

/// `of 3 seeds`, or as many as there are.
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
