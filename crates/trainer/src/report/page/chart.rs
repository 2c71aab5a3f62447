//! What a picture shows: points in series, on two axes. The picture and the table are both made of
//! it.

use super::ticks::number;
use crate::report::compare::Spread;

/// A picture.
pub(super) struct Chart {
    pub(super) title: String,
    /// What it says and how it was measured.
    pub(super) note: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    pub(super) form: Form,
    /// Whether it shows times, which differ between equal runs.
    pub(super) is_timing: bool,
}

/// How points are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Joined.
    Lines,
    /// Alone: nothing lies between two names.
    Marks,
    /// One below the other, from zero.
    Bars,
}

pub(super) struct Axis {
    pub(super) label: String,
    pub(super) scale: Scale,
    /// Digits behind the point in tables.
    pub(super) digits: usize,
}

pub(super) enum Scale {
    Linear,
    Log,
    /// A place for each name: `x` counts them from 0.
    Names(Vec<String>),
}

pub(super) struct Series {
    pub(super) name: String,
    pub(super) style: Style,
    pub(super) points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// A place in the palette.
    pub(super) color: usize,
    pub(super) is_dashed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    /// The least and the greatest of what `y` is the mean of, and how many they are.
    pub(super) range: Option<(f64, f64, usize)>,
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

    pub(super) fn of(x: f64, spread: Spread) -> Self {
        Self { x, y: spread.mean, range: Some((spread.low, spread.high, spread.n)) }
    }

    /// The most and the least that is drawn of it.
    pub(super) fn extent(&self) -> [f64; 2] {
        self.range.map_or([self.y, self.y], |(low, high, _)| [low, high])
    }
}

impl Chart {
    pub(super) fn n_points(&self) -> usize {
        self.series.iter().map(|series| series.points.len()).sum()
    }

    /// Nothing where there is nothing to draw.
    pub(super) fn if_any(mut self) -> Option<Self> {
        self.series.retain(|series| !series.points.is_empty());
        (self.n_points() > 0).then_some(self)
    }
}

/// A value on the x axis as a table has it.
pub(super) fn x_text(axis: &Axis, x: f64) -> String {
    match &axis.scale {
        Scale::Names(names) => names.get(x as usize).cloned().unwrap_or_default(),
        Scale::Linear | Scale::Log => number(x, axis.digits),
    }
}
