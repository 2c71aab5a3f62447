//! The hot set and how it changes: methods with tiers, at one ratio.

use super::super::chart::{Axis, Chart, Form, Point, Series};
use super::curves::{means, windows};
use super::{cells_at, style};
use crate::report::compare::{Cell, Group, Spread, Variant, share_of_bytes};
use crate::results::report::TierReport;
use crate::results::runs::RunRecord;

pub(super) fn charts(group: &Group<'_>) -> Vec<Chart> {
    let Some(ratio) = ratio(group) else { return Vec::new() };
    let cells: Vec<_> = cells_at(group, ratio).filter(|(_, cell)| has_tiers(cell)).collect();
    let title = |name: &str| format!("{name}, {} of the bytes", share_of_bytes(ratio));
    let over_time =
        |name: &str, note: &str, label: &str, points: &dyn Fn(&Cell<'_>) -> Vec<Point>| {
            let frame = Frame {
                title: title(name),
                note,
                x: Axis::linear("training rows", 0),
                y: Axis::linear(label, 5),
            };
            frame.chart(&cells, points)
        };
    let share = |cell: &Cell<'_>| windows(cell, &|line| line.hot_share);
    let rows = |cell: &Cell<'_>| windows(cell, &|line| Some(line.hot_rows as f64));
    let by_score = Frame {
        title: title("Scores in the sketch"),
        note: "Slots in use at the end, by score: from each power of two to the next.",
        x: Axis::log("score", 3),
        y: Axis::linear("slots", 0),
    };
    let of_fields = Frame {
        title: title("Hot rows by field"),
        note: "At the end of training; methods that keep fields apart.",
        x: Axis::names("field", fields(&cells)),
        y: Axis::linear("share of hot rows", 5),
    };
    [
        over_time(
            "Lookups that hot rows serve",
            "For the last batch of each window, before its step.",
            "share of lookups",
            &share,
        ),
        over_time("Hot rows in use", "At the end of each window.", "hot rows", &rows),
        over_time(
            "Turnover of the hot set",
            "Features that got a hot row since the previous window, over those that own one.",
            "share of hot rows",
            &turnover,
        ),
        by_score.chart(&cells, &scores),
        of_fields.chart(&cells, &by_field).map(|chart| Chart { form: Form::Marks, ..chart }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn has_tiers(cell: &Cell<'_>) -> bool {
    cell.runs.iter().any(|run| run.windows.iter().any(|line| line.hot_rows > 0))
}

/// The ratio at which most methods with tiers can be compared; of several the highest.
fn ratio(group: &Group<'_>) -> Option<f64> {
    let count = |ratio: f64| cells_at(group, ratio).filter(|(_, cell)| has_tiers(cell)).count();
    let counted =
        group.ratios().into_iter().map(|ratio| (count(ratio), ratio)).filter(|(n, _)| *n > 0);
    counted.max_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))).map(|(_, ratio)| ratio)
}

/// A chart without its series.
struct Frame<'a> {
    title: String,
    note: &'a str,
    x: Axis,
    y: Axis,
}

impl Frame<'_> {
    /// The chart with a line for each cell.
    fn chart(
        self,
        cells: &[(&Variant<'_>, &Cell<'_>)],
        points: &dyn Fn(&Cell<'_>) -> Vec<Point>,
    ) -> Option<Chart> {
        let Self { title, note, x, y } = self;
        let of_cell = |(variant, cell): &(&Variant<'_>, &Cell<'_>)| Series {
            name: variant.label.clone(),
            style: style(variant),
            points: points(cell),
        };
        let series = cells.iter().map(of_cell).collect();
        Chart { title, note: note.to_owned(), x, y, series, form: Form::Lines, is_timing: false }
            .if_any()
    }
}

/// Promotions in a window over the hot rows in use at its end.
fn turnover(cell: &Cell<'_>) -> Vec<Point> {
    let of_run = |run: &&RunRecord| {
        let pairs = run.windows.windows(2).filter(|pair| pair[1].hot_rows > 0);
        let share = |pair: &[crate::metrics::line::TrainLine]| {
            (
                pair[1].rows,
                pair[1].promoted.saturating_sub(pair[0].promoted) as f64 / pair[1].hot_rows as f64,
            )
        };
        pairs.map(share).collect::<Vec<_>>()
    };
    means(&cell.runs.iter().map(of_run).collect::<Vec<_>>())
}

fn tiers<'a>(cell: &'a Cell<'_>) -> impl Iterator<Item = &'a TierReport> {
    cell.runs.iter().filter_map(|run| run.report.as_ref()?.tiers.as_ref())
}

/// Slots by score, means over seeds; a seed without a power of two counts as 0 there.
fn scores(cell: &Cell<'_>) -> Vec<Point> {
    let runs: Vec<_> = tiers(cell).map(|tiers| &tiers.score_counts).collect();
    let powers = runs.iter().flat_map(|run| run.iter().map(|(power, _)| *power));
    let powers: std::collections::BTreeSet<i32> = powers.collect();
    let of_run = |run: &[(i32, u64)], power: i32| {
        run.iter().find(|it| it.0 == power).map_or(0.0, |it| it.1 as f64)
    };
    let point = |power: i32| {
        Some(Point::mean(
            2_f64.powi(power),
            Spread::new(runs.iter().map(|run| of_run(run, power)))?,
        ))
    };
    powers.into_iter().filter_map(point).collect()
}

fn fields(cells: &[(&Variant<'_>, &Cell<'_>)]) -> Vec<String> {
    let mut names =
        cells.iter().flat_map(|(_, cell)| tiers(cell)).map(|tiers| tiers.field_names.clone());
    names.find(|names| !names.is_empty()).unwrap_or_default()
}

fn by_field(cell: &Cell<'_>) -> Vec<Point> {
    let runs: Vec<_> = tiers(cell).map(|tiers| &tiers.hot_rows_by_field).collect();
    let n_fields = runs.iter().map(|run| run.len()).max().unwrap_or(0);
    let share = |run: &[u64], field: usize| {
        let all: u64 = run.iter().sum();
        (all > 0).then(|| run.get(field).map_or(0.0, |&n| n as f64 / all as f64))
    };
    let point = |field: usize| {
        Some(Point::mean(
            field as f64,
            Spread::new(runs.iter().filter_map(|run| share(run, field)))?,
        ))
    };
    (0..n_fields).filter_map(point).collect()
}
