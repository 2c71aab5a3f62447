//! The content of a figure: series of points on two axes. Both the picture and the table below it
//! are made from this.

use super::ticks::number;
use crate::report::compare::Spread;

/// The content of a figure.
pub(super) struct Chart {
    pub(super) title: String,
    /// What it shows and how it was measured.
    pub(super) note: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    pub(super) form: Form,
    /// Whether it shows times, which differ between equal runs: tests leave those out.
    pub(super) is_timing: bool,
}

/// How points are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Joined by lines.
    Lines,
    /// Marks only: there is nothing between two names.
    Marks,
    /// Bars from zero, one below the other.
    Bars,
}

pub(super) struct Axis {
    pub(super) label: String,
    pub(super) scale: Scale,
    /// Digits after the decimal point in tables.
    pub(super) digits: usize,
}

pub(super) enum Scale {
    Linear,
    Log,
    /// Categories; `x` is the index of a name.
    Names(Vec<String>),
}

pub(super) struct Series {
    pub(super) name: String,
    pub(super) style: Style,
    pub(super) points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// Index into the palette of the style sheet.
    pub(super) color: usize,
    pub(super) is_dashed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    /// The values that `y` is the mean of; `None` for a single measurement.
    pub(super) range: Option<Range>,
}

/// The extremes of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub(super) low: f64,
    pub(super) high: f64,
    /// How many values.
    pub(super) n: usize,
}

impl Axis {
    pub(super) fn linear(label: &str, digits: usize) -> Self {
        Self { label: label.to_owned(), scale: Scale::Linear, digits }
    }

    pub(super) fn log(label: &str, digits: usize) -> Self {
        Self { scale: Scale::Log, ..Self::linear(label, digits) }
    }

    pub(super) fn names(label: &str, names: Vec<String>) -> Self {
        Self { scale: Scale::Names(names), ..Self::linear(label, 0) }
    }
}

impl Point {
    pub(super) fn new(x: f64, y: f64) -> Self {
        Self { x, y, range: None }
    }

    /// The mean of `spread` at `x`, with its extremes.
    pub(super) fn mean(x: f64, spread: Spread) -> Self {
        let Spread { mean, low, high, n } = spread;
        Self { x, y: mean, range: Some(Range { low, high, n }) }
    }

    /// The lowest and the highest y value that is drawn.
    pub(super) fn extent(&self) -> [f64; 2] {
        self.range.map_or([self.y, self.y], |range| [range.low, range.high])
    }
}

impl Chart {
    pub(super) fn n_points(&self) -> usize {
        self.series.iter().map(|series| series.points.len()).sum()
    }

    /// Removes empty series; `None` if no point is left.
    pub(super) fn if_any(mut self) -> Option<Self> {
        self.series.retain(|series| !series.points.is_empty());
        (self.n_points() > 0).then_some(self)
    }
}

/// A value on the x axis as text for a table.
pub(super) fn x_text(axis: &Axis, x: f64) -> String {
    match &axis.scale {
        Scale::Names(names) => names.get(x as usize).cloned().unwrap_or_default(),
        Scale::Linear | Scale::Log => number(x, axis.digits),
    }
}
