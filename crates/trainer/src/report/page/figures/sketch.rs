//! Recall and speed of HotSketch without a model.

use std::collections::{BTreeMap, BTreeSet};

use super::super::chart::{Axis, Chart, Form, Point, Series, Style};
use crate::report::compare::Spread;
use crate::results::sketch_findings::{Findings, Speed};

pub(super) fn charts(file: &Findings) -> Vec<Chart> {
    [recall(file), drift(file), speed(file)].into_iter().flatten().collect()
}

/// A colour for each number of slots per bucket; 0 is that of the full table.
fn style(file: &Findings, slots: usize, is_dashed: bool) -> Style {
    let all: BTreeSet<usize> =
        file.recall.iter().map(|it| it.slots).chain(file.drift.iter().map(|it| it.slots)).collect();
    Style { color: 1 + all.iter().position(|&it| it == slots).unwrap_or(0), is_dashed }
}

fn stream(file: &Findings) -> String {
    let grouped = crate::text::grouped;
    format!(
        "A Zipf({}) stream of {} observations over {} features.",
        file.skew,
        grouped(file.observations),
        grouped(file.features)
    )
}

/// For each x the mean of its values over the seeds.
fn spreads(values: impl Iterator<Item = (usize, f64)>) -> Vec<Point> {
    let mut by_x: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    values.for_each(|(x, y)| by_x.entry(x).or_default().push(y));
    by_x.into_iter().filter_map(|(x, ys)| Some(Point::mean(x as f64, Spread::new(ys)?))).collect()
}

fn recall(file: &Findings) -> Option<Chart> {
    let top = file.recall.first()?.top;
    let slots: BTreeSet<usize> = file.recall.iter().map(|it| it.slots).collect();
    let of = |slots: usize| file.recall.iter().filter(move |it| it.slots == slots);
    let measured = slots.iter().map(|&slots| Series {
        name: format!("{slots} slots per bucket"),
        style: style(file, slots, false),
        points: spreads(of(slots).map(|it| (it.bytes, it.recall))),
    });
    let proven = slots.iter().map(|&slots| Series {
        name: format!("{slots} slots, proven bound for the least frequent"),
        style: style(file, slots, true),
        points: spreads(of(slots).filter_map(|it| Some((it.bytes, it.bound?)))),
    });
    Chart {
        title: format!("Recall of the top {top} by memory"),
        note: format!("{} Share of the true top that the sketch holds at the end.", stream(file)),
        x: Axis::log("bytes of the sketch", 0),
        y: Axis::linear("recall", 4),
        series: measured.chain(proven).collect(),
        form: Form::Lines,
        is_timing: false,
    }
    .if_any()
}

fn drift(file: &Findings) -> Option<Chart> {
    let bytes = file.drift.first()?.bytes;
    let lines: BTreeSet<(bool, usize)> =
        file.drift.iter().map(|it| (!it.decay, it.slots)).collect();
    let series = lines.iter().map(|&(stays, slots)| Series {
        name: format!("{slots} slots, {}", if stays { "no decay" } else { "decay" }),
        style: style(file, slots, stays),
        points: spreads(
            file.drift
                .iter()
                .filter(|it| it.slots == slots && it.decay != stays)
                .map(|it| (it.observations, it.recall)),
        ),
    });
    Chart {
        title: "Ranking under drift".to_owned(),
        note: format!(
            "All features are replaced eight times; {} bytes. Share of the current part's true top \
             whose scores are among the highest of the sketch.",
            crate::text::grouped(bytes as u64)
        ),
        x: Axis::linear("observations", 0),
        y: Axis::linear("share of the top", 4),
        series: series.collect(),
        form: Form::Lines,
        is_timing: false,
    }
    .if_any()
}

fn speed(file: &Findings) -> Option<Chart> {
    let slots: BTreeSet<usize> = file.speed.iter().map(|it| it.slots).collect();
    let line = |slots: usize, what: &str, is_dashed: bool, rate: fn(&Speed) -> f64| Series {
        name: format!("{what}, {slots} slots"),
        style: style(file, slots, is_dashed),
        points: file
            .speed
            .iter()
            .filter(|it| it.slots == slots)
            .map(|it| Point::new(it.bytes as f64, rate(it) / 1e6))
            .collect(),
    };
    let series = slots.iter().flat_map(|&slots| {
        let observe = line(slots, "observe", false, |it| it.observe_per_second);
        [observe, line(slots, "estimate", true, |it| it.estimate_per_second)]
    });
    Chart {
        title: "Operations per second".to_owned(),
        note: "On one core, in batches.".to_owned(),
        x: Axis::log("bytes of the sketch", 0),
        y: Axis::linear("million operations/s", 1),
        series: series.collect(),
        form: Form::Lines,
        is_timing: true,
    }
    .if_any()
}
