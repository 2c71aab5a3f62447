//! Throughput and latency by method.

use super::super::chart::{Axis, Chart, Form, Point, Series};
use super::style;
use crate::report::compare::{Group, Spread, Variant};
use crate::results::report::Report;
use crate::results::runs::RunRecord;

type Figure<'a> = &'a dyn Fn(&RunRecord, &Report) -> Option<f64>;

pub(super) fn charts(group: &Group<'_>) -> Vec<Chart> {
    let note = "Of all runs, whatever their ratio, beside whatever else the machine did: compare within one sweep only.";
    let figures: [(&str, &str, usize, Figure<'_>); 3] = [
        ("Training throughput", "samples/s", 0, &|_, report| Some(report.samples_per_second)),
        ("Embedding's part of a step", "ms a step, lookup and update", 3, &|run, report| {
            let steps =
                report.train_rows as f64 / run.setting("train.batch")?.parse::<f64>().ok()?;
            Some(1e3 * (report.phase_seconds.lookup + report.phase_seconds.update) / steps)
        }),
        ("Prediction latency", "µs a row in evaluation", 3, &|run, report| {
            let n_rows = report.test_rows * run.evaluations.len() as u64;
            (n_rows > 0).then(|| 1e6 * report.evaluation_seconds / n_rows as f64)
        }),
    ];
    let chart = |(title, label, digits, figure): (&str, &str, usize, _)| {
        let series = group.main_variants().map(|variant| Series {
            name: variant.label.clone(),
            style: style(variant),
            points: spread(variant, figure)
                .map(|spread| Point::of(0.0, spread))
                .into_iter()
                .collect(),
        });
        Chart {
            title: title.to_owned(),
            note: note.to_owned(),
            x: Axis::linear("", 0),
            y: Axis::linear(label, digits),
            series: series.collect(),
            form: Form::Bars,
            is_timing: true,
        }
        .if_any()
    };
    figures.into_iter().filter_map(chart).collect()
}

fn spread(variant: &Variant<'_>, figure: Figure<'_>) -> Option<Spread> {
    let runs = variant.cells.iter().flat_map(|cell| &cell.runs);
    Spread::of(runs.filter_map(|run| figure(run, run.report.as_ref()?)))
}
