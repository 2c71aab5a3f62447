//! Test AUC and log-loss against the compression ratio, and against bytes.

use super::super::chart::{Axis, Chart, Form, Point, Series};
use super::{seeds, style};
use crate::report::compare::{Cell, Group, Spread};
use crate::results::report::Report;

type Figure = fn(&Report) -> Option<f64>;
/// Where a cell stands on the x axis.
type Place<'a> = &'a dyn Fn(&Cell<'_>) -> Option<f64>;

pub(super) fn charts(group: &Group<'_>) -> Vec<Chart> {
    let by_ratio = |cell: &Cell<'_>| Some(cell.ratio);
    let by_bytes = |cell: &Cell<'_>| {
        cell.spread(|report| Some(report.embedding_bytes as f64)).map(|it| it.mean)
    };
    let (auc, loss): (Figure, Figure) =
        (|report| report.test_auc, |report| Some(report.test_logloss));
    let ratio = || Axis::log("compression ratio", 0);
    let bytes = || Axis::log("bytes of rows and sketch", 0);
    [
        chart(group, "Test AUC by compression ratio", (ratio(), &by_ratio), ("test AUC", auc)),
        chart(
            group,
            "Test log-loss by compression ratio",
            (ratio(), &by_ratio),
            ("test log-loss", loss),
        ),
        chart(group, "Test AUC by bytes", (bytes(), &by_bytes), ("test AUC", auc)),
        chart(group, "Test log-loss by bytes", (bytes(), &by_bytes), ("test log-loss", loss)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn chart(
    group: &Group<'_>,
    title: &str,
    (x, place): (Axis, Place<'_>),
    (label, figure): (&str, Figure),
) -> Option<Chart> {
    let point = |cell: &Cell<'_>| {
        let spread: Spread = cell.spread(figure)?;
        Some(Point::of(place(cell)?, spread))
    };
    let series = group.main_variants().map(|variant| Series {
        name: variant.label.clone(),
        style: style(variant),
        points: variant.cells.iter().filter_map(point).collect(),
    });
    let chart = Chart {
        title: title.to_owned(),
        note: format!("{} The full table stands at ratio 1.", seeds(group)),
        x,
        y: Axis::linear(label, 5),
        series: series.collect(),
        form: Form::Lines,
        is_timing: false,
    };
    // A single point shows nothing that the table of runs does not.
    chart.if_any().filter(|chart| chart.n_points() > 1)
}
