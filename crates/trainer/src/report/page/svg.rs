//! Draws a chart as SVG. The page's style sheet sets the colours. Every point is one element of
//! class `m`, which the tests count.

use std::fmt::Write as _;

use super::chart::{Axis, Chart, Form, Point, Range, Scale, Series, Style};
use super::escape::escape;
use super::ticks;

/// Size in user units; the browser scales the picture to the width of its figure.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 330.0;
/// Left margin: room for tick labels such as `0.7512` and the turned axis label.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
/// Bottom margin: a line of tick labels and the axis label.
const BOTTOM: f64 = 46.0;
/// Height of a bar with the gap around it.
const BAR: f64 = 26.0;
/// Longest series name beside a bar, in characters; longer names are cut.
const LONGEST_NAME: usize = 26;
/// Mean width of a character in the style sheet's font size.
const CHARACTER_WIDTH: f64 = 6.4;
/// Lines with more points get smaller marks and no error bars, which would overlap.
const MANY: usize = 12;
/// Ticks that an axis has room for.
const N_TICKS: usize = 6;

/// Maps the values of an axis to coordinates.
struct AxisMap {
    low: f64,
    high: f64,
    is_log: bool,
    /// Coordinates of `low` and `high`.
    ends: [f64; 2],
}

/// Both axes of a picture.
struct Axes {
    x: AxisMap,
    y: AxisMap,
}

/// Where a bar is drawn.
struct BarPlace<'a> {
    x: &'a AxisMap,
    left: f64,
    top: f64,
}

impl AxisMap {
    fn new(axis: &Axis, values: impl Iterator<Item = f64>, ends: [f64; 2]) -> Self {
        let is_log = matches!(axis.scale, Scale::Log);
        if let Scale::Names(names) = &axis.scale {
            return Self { low: -0.5, high: names.len() as f64 - 0.5, is_log, ends };
        }
        let values =
            values.map(|value| if is_log { value.max(f64::MIN_POSITIVE).log10() } else { value });
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        // Margin around the values; a single value lies in the middle.
        let room = if high > low { 0.05 * (high - low) } else { (0.05 * low.abs()).max(0.5e-3) };
        Self { low: low - room, high: high + room, is_log, ends }
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.is_log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let share = (value - self.low) / (self.high - self.low);
        self.ends[0] + share * (self.ends[1] - self.ends[0])
    }

    /// About [`N_TICKS`] values to mark on the axis, with their labels.
    fn ticks(&self, axis: &Axis) -> Vec<(f64, String)> {
        if let Scale::Names(names) = &axis.scale {
            // Names are short: three fit where a number would.
            let every = names.len().div_ceil(N_TICKS * 3).max(1);
            let shown = names.iter().enumerate().filter(|(at, _)| at % every == 0);
            return shown.map(|(at, name)| (at as f64, name.clone())).collect();
        }
        let ticks = if self.is_log {
            ticks::log(10_f64.powf(self.low), 10_f64.powf(self.high))
        } else {
            ticks::linear(self.low, self.high, N_TICKS)
        };
        let step = ticks.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
        ticks
            .into_iter()
            .map(|tick| (tick, ticks::text(tick, if self.is_log { tick } else { step })))
            .collect()
    }
}

/// Draws `chart`.
pub(super) fn draw(chart: &Chart) -> String {
    match chart.form {
        Form::Lines | Form::Marks => lines(chart),
        Form::Bars => bars(chart),
    }
}

fn open(out: &mut String, chart: &Chart, height: f64) {
    let title = escape(&chart.title);
    let _ =
        write!(out, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">");
}

fn lines(chart: &Chart) -> String {
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let axes = Axes {
        x: AxisMap::new(&chart.x, points().map(|point| point.x), [LEFT, WIDTH - RIGHT]),
        y: AxisMap::new(&chart.y, points().flat_map(Point::extent), [HEIGHT - BOTTOM, TOP]),
    };
    let mut out = String::new();
    open(&mut out, chart, HEIGHT);
    grid(&mut out, chart, &axes);
    for series in &chart.series {
        line(&mut out, chart, series, &axes);
    }
    out.push_str("</svg>");
    out
}

fn grid(out: &mut String, chart: &Chart, axes: &Axes) {
    let Axes { x, y } = axes;
    let bottom = HEIGHT - BOTTOM;
    for (value, text) in x.ticks(&chart.x) {
        let at = x.place(value);
        let _ = write!(out, "<path class=\"g\" d=\"M{at:.1} {TOP}V{bottom}\"/>");
        let _ = write!(
            out,
            "<text x=\"{at:.1}\" y=\"{}\" class=\"t c\">{}</text>",
            bottom + 16.0,
            escape(&text)
        );
    }
    for (value, text) in y.ticks(&chart.y) {
        let at = y.place(value);
        let _ = write!(out, "<path class=\"g\" d=\"M{LEFT} {at:.1}H{}\"/>", WIDTH - RIGHT);
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{:.1}\" class=\"t r\">{text}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    let _ = write!(
        out,
        "<text x=\"{middle}\" y=\"{}\" class=\"a c\">{}</text>",
        HEIGHT - 8.0,
        escape(&chart.x.label)
    );
    let turned = f64::midpoint(TOP, bottom);
    let label = escape(&chart.y.label);
    let _ = write!(
        out,
        "<text transform=\"translate(14 {turned}) rotate(-90)\" class=\"a c\">{label}</text>"
    );
}

fn class(style: Style) -> String {
    let Style { color, is_dashed } = style;
    format!("s{color}{}", if is_dashed { " d" } else { "" })
}

fn line(out: &mut String, chart: &Chart, series: &Series, axes: &Axes) {
    let Axes { x, y } = axes;
    let _ = write!(out, "<g class=\"{}\">", class(series.style));
    if chart.form == Form::Lines {
        let mut path = String::new();
        for point in &series.points {
            let step = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", x.place(point.x), y.place(point.y));
        }
        let _ = write!(out, "<path class=\"l\" d=\"{path}\"/>");
    }
    let is_crowded = chart.form == Form::Lines && series.points.len() > MANY;
    let radius = if is_crowded { 1.6 } else { 3.4 };
    for point in &series.points {
        let (at, height) = (x.place(point.x), y.place(point.y));
        if let Some(Range { low, high, n }) = point.range
            && n > 1
            && !is_crowded
        {
            let _ = write!(
                out,
                "<path class=\"e\" d=\"M{at:.1} {:.1}V{:.1}\"/>",
                y.place(low),
                y.place(high)
            );
        }
        let _ =
            write!(out, "<circle class=\"m\" cx=\"{at:.1}\" cy=\"{height:.1}\" r=\"{radius}\">");
        let _ = write!(out, "<title>{}</title></circle>", escape(&tip(chart, series, point)));
    }
    out.push_str("</g>");
}

/// The tooltip of a mark.
fn tip(chart: &Chart, series: &Series, point: &Point) -> String {
    let x = super::chart::x_text(&chart.x, point.x);
    format!("{}, {} {x}: {}", series.name, chart.x.label, ticks::number(point.y, chart.y.digits))
}

/// Horizontal bars, one below the other, with the names on the left.
fn bars(chart: &Chart) -> String {
    let height = TOP + BAR * chart.n_points() as f64 + BOTTOM;
    let bottom = height - BOTTOM;
    let longest = chart
        .series
        .iter()
        .map(|series| series.name.chars().count().min(LONGEST_NAME))
        .max()
        .unwrap_or(0);
    let left = 24.0 + CHARACTER_WIDTH * longest as f64;
    let ends = chart.series.iter().flat_map(|series| &series.points).flat_map(Point::extent);
    let mut x = AxisMap::new(&chart.y, ends.chain([0.0]), [left, WIDTH - RIGHT]);
    // Bars start at zero: their lengths are compared.
    x.low = 0.0;
    let mut out = String::new();
    open(&mut out, chart, height);
    for (value, text) in x.ticks(&chart.y) {
        let at = x.place(value);
        let _ = write!(out, "<path class=\"g\" d=\"M{at:.1} {TOP}V{bottom:.1}\"/>");
        let _ = write!(
            out,
            "<text x=\"{at:.1}\" y=\"{:.1}\" class=\"t c\">{text}</text>",
            bottom + 16.0
        );
    }
    let mut top = TOP;
    for series in &chart.series {
        for point in &series.points {
            bar(&mut out, chart, series, point, &BarPlace { x: &x, left, top });
            top += BAR;
        }
    }
    let middle = f64::midpoint(left, WIDTH - RIGHT);
    let _ = write!(
        out,
        "<text x=\"{middle:.1}\" y=\"{:.1}\" class=\"a c\">{}</text>",
        height - 8.0,
        escape(&chart.y.label)
    );
    out.push_str("</svg>");
    out
}

fn bar(out: &mut String, chart: &Chart, series: &Series, point: &Point, place: &BarPlace<'_>) {
    let &BarPlace { x, left, top } = place;
    let (end, middle) = (x.place(point.y), top + BAR / 2.0);
    let mut name: String = series.name.chars().take(LONGEST_NAME).collect();
    if name.len() < series.name.len() {
        name.push('…');
    }
    let _ = write!(out, "<g class=\"{}\">", class(series.style));
    let _ = write!(
        out,
        "<text x=\"{}\" y=\"{:.1}\" class=\"t r n\">{}</text>",
        left - 6.0,
        middle + 4.0,
        escape(&name)
    );
    let (y, width, height) = (top + 4.0, (end - left).max(0.5), BAR - 8.0);
    let _ = write!(
        out,
        "<rect class=\"m\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\">\
         <title>{}</title></rect>",
        escape(&tip(chart, series, point))
    );
    if let Some(Range { low, high, n }) = point.range
        && n > 1
    {
        let _ = write!(
            out,
            "<path class=\"e\" d=\"M{:.1} {middle:.1}H{:.1}\"/>",
            x.place(low),
            x.place(high)
        );
    }
    out.push_str("</g>");
}
