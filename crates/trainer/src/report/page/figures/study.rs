//! Sensitivity: the effect of one setting of a method, all others being equal.

use std::collections::{BTreeMap, BTreeSet};

use super::super::chart::{Axis, Chart, Form, Point, Series, Style};
use crate::config::settings::shown;
use crate::report::compare::{Cell, Group, Spread, Variant, share_of_bytes, short};

/// How a setting is shown that is not given.
const UNSET: &str = "default";
/// Colours of the style sheet; further lines repeat them, dashed.
const PALETTE: usize = 11;

pub(super) fn charts(group: &Group<'_>) -> Vec<Chart> {
    let keys: BTreeSet<&String> =
        group.variants.iter().flat_map(|variant| variant.deviations.keys()).collect();
    keys.into_iter().filter_map(|key| chart(group, key)).collect()
}

/// What is equal along a line of the chart.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    method: String,
    /// Its other settings, as a part of the line's name.
    others: String,
    /// The bits of the compression ratio: `f64` has no total order.
    ratio_bits: u64,
}

fn chart(group: &Group<'_>, key: &str) -> Option<Chart> {
    let mut lines: BTreeMap<Line, BTreeMap<String, Spread>> = BTreeMap::new();
    for variant in &group.variants {
        for cell in &variant.cells {
            if let Some(auc) = cell.auc() {
                let value = variant.embedding.get(key).map_or_else(|| UNSET.to_owned(), shown);
                lines.entry(line(variant, cell, key)).or_default().insert(value, auc);
            }
        }
    }
    lines.retain(|_, values| values.len() > 1);
    let names = in_order(lines.values().flat_map(BTreeMap::keys));
    let x = |value: &String| names.iter().position(|name| name == value).unwrap_or(0) as f64;
    let series = lines.iter().enumerate().map(|(number, (line, values))| {
        let Line { method, others, ratio_bits } = line;
        let mut points: Vec<_> =
            values.iter().map(|(value, auc)| Point::mean(x(value), *auc)).collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        let name = format!("{method}{others}, {}", share_of_bytes(f64::from_bits(*ratio_bits)));
        Series {
            name,
            style: Style { color: number % PALETTE, is_dashed: number >= PALETTE },
            points,
        }
    });
    let series = series.collect();
    Chart {
        title: format!("Test AUC by {}", short(key)),
        note: format!(
            "{key}; all other settings of a line are equal. Means over seeds; bars from the \
             lowest to the highest."
        ),
        x: Axis::names(&short(key), names),
        y: Axis::linear("test AUC", 5),
        series,
        form: Form::Lines,
        is_timing: false,
    }
    .if_any()
}

fn line(variant: &Variant<'_>, cell: &Cell<'_>, key: &str) -> Line {
    let others = variant.deviations.iter().filter(|(other, _)| *other != key);
    let others = others
        .fold(String::new(), |out, (other, value)| format!("{out}, {} {value}", short(other)));
    Line { method: variant.method.clone(), others, ratio_bits: cell.ratio.to_bits() }
}

/// Numbers by size, other values by name, [`UNSET`] last.
fn in_order<'a>(values: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut values: Vec<_> = values.cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let size = |value: &str| value.parse().unwrap_or(f64::INFINITY);
    values.sort_by(|a, b| {
        (a == UNSET).cmp(&(b == UNSET)).then(size(a).total_cmp(&size(b))).then(a.cmp(b))
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_sorted() {
        let values = ["default", "500.0", "20.0", "1e8", "quota"].map(str::to_owned);
        assert_eq!(in_order(values.iter()), ["20.0", "500.0", "1e8", "quota", "default"]);
    }
}
