//! Which pictures are drawn of a group of runs. Each returns nothing where the runs don't have what it shows.

mod curves;
mod hot;
mod quality;
mod sketch;
mod speed;
mod study;

use super::chart::{Chart, Style};
use crate::compare::{Cell, Group, Variant, rank};
use crate::sketch::Findings;

/// Pictures under one heading.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) charts: Vec<Chart>,
}

/// Pictures of a group, `number` on the page.
pub(super) fn of_group(group: &Group<'_>, number: usize) -> Vec<Section> {
    let sections = [
        ("Quality against size", quality::charts(group)),
        ("While training", curves::charts(group)),
        ("Speed", speed::charts(group)),
        ("One setting at a time", study::charts(group)),
        ("The hot set", hot::charts(group)),
    ];
    with_ids(sections, &format!("g{number}"))
}

/// Pictures of the sketch alone.
pub(super) fn of_sketch(file: &Findings, number: usize) -> Vec<Section> {
    with_ids([("HotSketch alone", sketch::charts(file))], &format!("k{number}"))
}

fn with_ids<const N: usize>(sections: [(&'static str, Vec<Chart>); N], prefix: &str) -> Vec<Section> {
    let mut n_charts = 0;
    let numbered = sections.into_iter().map(|(title, mut charts)| {
        for chart in &mut charts {
            n_charts += 1;
            chart.id = format!("{prefix}-{n_charts}");
        }
        Section { title, charts }
    });
    numbered.filter(|section| !section.charts.is_empty()).collect()
}

/// A method keeps its colour on the whole page; what deviates from its defaults is dashed.
fn style(variant: &Variant<'_>) -> Style {
    Style { color: rank(&variant.method), is_dashed: !variant.deviations.is_empty() }
}

/// The cells of the variants that stand for methods, with runs, at a ratio; the full table beside each.
fn at<'a>(group: &'a Group<'a>, ratio: f64) -> impl Iterator<Item = (&'a Variant<'a>, &'a Cell<'a>)> {
    let cells = group.main_variants().filter_map(move |variant| {
        let ratio = if variant.method == "full" { 1.0 } else { ratio };
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
        (Some(least), Some(most)) => format!("Means of {least} to {most} seeds; bars from the lowest to the highest."),
        _ => String::new(),
    }
}
