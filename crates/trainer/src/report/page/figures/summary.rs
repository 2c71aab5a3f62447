//! Results of finished runs by method: quality against the compression ratio and against bytes,
//! throughput and latency.

use super::super::chart::{Axis, Chart, Form, Point, Series};
use super::{seeds, style};
use crate::report::compare::{Cell, Group, Spread, Variant};
use crate::results::report::Report;
use crate::results::runs::RunRecord;

/// An x axis, and where a cell lies on it.
struct Position<'a> {
    axis: Axis,
    x: &'a dyn Fn(&Cell<'_>) -> Option<f64>,
}

/// A measure of quality.
struct Quality {
    label: &'static str,
    value: fn(&Report) -> Option<f64>,
}

/// A measure of speed.
struct Speed {
    title: &'static str,
    label: &'static str,
    digits: usize,
    value: fn(&RunRecord, &Report) -> Option<f64>,
}

const AUC: Quality = Quality { label: "test AUC", value: |report| report.test_auc };
const LOG_LOSS: Quality =
    Quality { label: "test log-loss", value: |report| Some(report.test_logloss) };

const SPEEDS: [Speed; 3] = [
    Speed {
        title: "Training throughput",
        label: "samples/s",
        digits: 0,
        value: |_, report| Some(report.samples_per_second),
    },
    Speed {
        title: "Embedding's part of a step",
        label: "ms per step, lookup and update",
        digits: 3,
        value: |run, report| {
            let steps =
                report.train_rows as f64 / run.setting("train.batch")?.parse::<f64>().ok()?;
            Some(1e3 * (report.phase_seconds.lookup + report.phase_seconds.update) / steps)
        },
    },
    Speed {
        title: "Prediction latency",
        label: "µs per row in evaluation",
        digits: 3,
        value: |run, report| {
            let n_rows = report.test_rows * run.evaluations.len() as u64;
            (n_rows > 0).then(|| 1e6 * report.evaluation_seconds / n_rows as f64)
        },
    },
];

/// Test AUC and log-loss, each by compression ratio and by bytes.
pub(super) fn quality_charts(group: &Group<'_>) -> Vec<Chart> {
    let bytes_of = |cell: &Cell<'_>| {
        cell.spread(|report| Some(report.embedding_bytes as f64)).map(|spread| spread.mean)
    };
    let by_ratio =
        || Position { axis: Axis::log("compression ratio", 0), x: &|cell| Some(cell.ratio) };
    let by_bytes = || Position { axis: Axis::log("bytes of rows and sketch", 0), x: &bytes_of };
    [
        quality_chart(group, "Test AUC by compression ratio", by_ratio(), &AUC),
        quality_chart(group, "Test log-loss by compression ratio", by_ratio(), &LOG_LOSS),
        quality_chart(group, "Test AUC by bytes", by_bytes(), &AUC),
        quality_chart(group, "Test log-loss by bytes", by_bytes(), &LOG_LOSS),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn quality_chart(
    group: &Group<'_>,
    title: &str,
    position: Position<'_>,
    quality: &Quality,
) -> Option<Chart> {
    let point = |cell: &Cell<'_>| {
        let spread = cell.spread(quality.value)?;
        Some(Point::mean((position.x)(cell)?, spread))
    };
    let series = group.main_variants().map(|variant| Series {
        name: variant.label.clone(),
        style: style(variant),
        points: variant.cells.iter().filter_map(point).collect(),
    });
    let chart = Chart {
        title: title.to_owned(),
        note: format!("{} The full table is at ratio 1.", seeds(group)),
        series: series.collect(),
        x: position.axis,
        y: Axis::linear(quality.label, 5),
        form: Form::Lines,
        is_timing: false,
    };
    // A single point shows nothing that the table of runs does not.
    chart.if_any().filter(|chart| chart.n_points() > 1)
}

/// A bar for each method and measure of speed.
pub(super) fn speed_charts(group: &Group<'_>) -> Vec<Chart> {
    SPEEDS.iter().filter_map(|speed| speed_chart(group, speed)).collect()
}

fn speed_chart(group: &Group<'_>, speed: &Speed) -> Option<Chart> {
    let note = "Over all runs, whatever their ratio, with whatever else the machine was doing: \
                compare within one sweep only.";
    let series = group.main_variants().map(|variant| Series {
        name: variant.label.clone(),
        style: style(variant),
        points: speed_spread(variant, speed)
            .map(|spread| Point::mean(0.0, spread))
            .into_iter()
            .collect(),
    });
    Chart {
        title: speed.title.to_owned(),
        note: note.to_owned(),
        x: Axis::linear("", 0),
        y: Axis::linear(speed.label, speed.digits),
        series: series.collect(),
        form: Form::Bars,
        is_timing: true,
    }
    .if_any()
}

fn speed_spread(variant: &Variant<'_>, speed: &Speed) -> Option<Spread> {
    let runs = variant.cells.iter().flat_map(|cell| &cell.runs);
    Spread::new(runs.filter_map(|run| (speed.value)(run, run.report.as_ref()?)))
}
