//! Log-loss and AUC over the course of training.

use std::collections::{BTreeMap, BTreeSet};

use super::super::chart::{Axis, Chart, Form, Point, Series};
use super::{cells_at, style};
use crate::metrics::line::{TestLine, TrainLine};
use crate::report::compare::{Cell, Group, Spread, share_of_bytes};
use crate::results::runs::RunRecord;

/// Most points of a line; with more rows, neighbours are averaged, so that lines stay readable.
const MAX_POINTS: usize = 40;

pub(super) fn charts(group: &Group<'_>) -> Vec<Chart> {
    let online =
        "Each row is judged before the model learns from it; windows of steps, means over seeds.";
    let mut ratios = group.ratios();
    // The full table is drawn beside the others.
    if ratios.len() > 1 {
        ratios.retain(|&ratio| ratio > 1.0);
    }
    ratios
        .into_iter()
        .flat_map(|ratio| {
            let curve = |name: &str, note: &str, points: &dyn Fn(&Cell<'_>) -> Vec<Point>| {
                chart(group, ratio, &Texts { name, note }, points)
            };
            let loss =
                |cell: &Cell<'_>| windows(cell, &|line: &TrainLine| Some(line.train_logloss));
            let auc = |cell: &Cell<'_>| windows(cell, &|line: &TrainLine| line.train_auc);
            [
                curve("Training log-loss", online, &loss),
                curve("Training AUC", online, &auc),
                curve(
                    "Test AUC during training",
                    "Evaluations between steps, means over seeds.",
                    &evaluations,
                ),
            ]
        })
        .flatten()
        .collect()
}

/// What is written at a chart.
struct Texts<'a> {
    name: &'a str,
    note: &'a str,
}

fn chart(
    group: &Group<'_>,
    ratio: f64,
    texts: &Texts<'_>,
    points: &dyn Fn(&Cell<'_>) -> Vec<Point>,
) -> Option<Chart> {
    let Texts { name, note } = texts;
    let series = cells_at(group, ratio).map(|(variant, cell)| Series {
        name: variant.label.clone(),
        style: style(variant),
        points: points(cell),
    });
    Chart {
        title: format!("{name}, {} of the bytes", share_of_bytes(ratio)),
        note: (*note).to_owned(),
        x: Axis::linear("training rows", 0),
        y: Axis::linear(if name.contains("AUC") { "AUC" } else { "log-loss" }, 5),
        series: series.collect(),
        form: Form::Lines,
        is_timing: false,
    }
    .if_any()
}

/// A figure of a cell's runs, window by window: means over the runs that have reached the window.
pub(super) fn windows(cell: &Cell<'_>, figure: &dyn Fn(&TrainLine) -> Option<f64>) -> Vec<Point> {
    let of_run = |run: &RunRecord| {
        let values = run.windows.iter().filter_map(|line| Some((line.rows, figure(line)?)));
        values.collect::<Vec<_>>()
    };
    means(&cell.runs.iter().map(|run| of_run(run)).collect::<Vec<_>>())
}

/// Test AUC at each evaluation; empty if no run has more than the final one.
fn evaluations(cell: &Cell<'_>) -> Vec<Point> {
    let value = |line: &TestLine| Some((line.rows, line.test_auc?));
    let of_run = |run: &RunRecord| run.evaluations.iter().filter_map(value).collect::<Vec<_>>();
    let runs: Vec<_> = cell.runs.iter().map(|run| of_run(run)).collect();
    if runs.iter().all(|run| run.len() < 2) { Vec::new() } else { means(&runs) }
}

/// Means over the runs at each number of rows. With more than [`MAX_POINTS`] of these, neighbours
/// in a run are averaged first.
pub(super) fn means(runs: &[Vec<(u64, f64)>]) -> Vec<Point> {
    let rows: BTreeSet<u64> = runs.iter().flatten().map(|(row, _)| *row).collect();
    let last = rows.last().copied().unwrap_or(0).max(1);
    let bin = |row: u64| {
        if rows.len() <= MAX_POINTS { row } else { (row * MAX_POINTS as u64).div_ceil(last) }
    };
    let mut bins: BTreeMap<u64, (u64, Vec<f64>)> = BTreeMap::new();
    for run in runs {
        for part in run.chunk_by(|a, b| bin(a.0) == bin(b.0)) {
            let row = part[part.len() - 1].0;
            let (end, values) = bins.entry(bin(row)).or_default();
            *end = row.max(*end);
            values.push(part.iter().map(|(_, y)| y).sum::<f64>() / part.len() as f64);
        }
    }
    bins.into_values()
        .filter_map(|(row, values)| Some(Point::mean(row as f64, Spread::new(values)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::chart::Range;
    use super::*;

    #[test]
    fn means_cover_the_runs_that_reached_a_window() {
        let runs = [vec![(10, 1.0), (20, 2.0)], vec![(10, 3.0)]];
        assert_eq!(
            means(&runs),
            [
                Point { x: 10.0, y: 2.0, range: Some(Range { low: 1.0, high: 3.0, n: 2 }) },
                Point { x: 20.0, y: 2.0, range: Some(Range { low: 2.0, high: 2.0, n: 1 }) },
            ]
        );
        // Runs with missing or different lines are not shifted against each other.
        let gaps = [vec![(10, 1.0), (30, 3.0)], vec![(20, 2.0), (30, 5.0)]];
        let points: Vec<_> = means(&gaps).iter().map(|point| (point.x, point.y)).collect();
        assert_eq!(points, [(10.0, 1.0), (20.0, 2.0), (30.0, 4.0)]);
        let long: Vec<(u64, f64)> = (1..=200).map(|row| (row, row as f64)).collect();
        let points = means(&[long]);
        assert_eq!((points.len(), points[0].y, points[39].x), (40, 3.0, 200.0));
        assert_eq!(means(&[]), []);
    }
}
