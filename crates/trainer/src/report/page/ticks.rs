//! Tick positions along an axis and their labels.

use crate::text::grouped;

/// About `n` round numbers from `low` to `high`.
pub(super) fn linear(low: f64, high: f64, n: usize) -> Vec<f64> {
    let raw = (high - low) / n.max(1) as f64;
    if !raw.is_finite() || raw <= 0.0 {
        return vec![low];
    }
    let magnitude = 10_f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        // A little less than `raw` will do: rounding must not double the step.
        .find(|factor| factor * magnitude >= raw * 0.999)
        .unwrap_or(10.0);
    let step = factor * magnitude;
    // 1e-9: a `high` on a tick keeps it despite rounding.
    let (first, last) = ((low / step).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(|at| at as f64 * step).collect()
}

/// The powers of ten from `low` to `high`; if there are fewer than three, with 2 and 5 times each.
pub(super) fn log(low: f64, high: f64) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let within = |ticks: Vec<f64>| {
        ticks.into_iter().filter(|tick| (low..=high).contains(tick)).collect::<Vec<_>>()
    };
    let powers = within(decades.clone().map(|power| 10_f64.powi(power)).collect());
    if powers.len() >= 3 {
        return powers;
    }
    within(
        decades
            .flat_map(|power| [1.0, 2.0, 5.0].map(|factor| factor * 10_f64.powi(power)))
            .collect(),
    )
}

/// A short label for a tick, with enough digits to distinguish it from ticks `step` away.
pub(super) fn text(value: f64, step: f64) -> String {
    for (unit, factor) in [("G", 1e9), ("M", 1e6), ("k", 1e3)] {
        if value.abs() >= factor {
            return format!("{}{unit}", trimmed(value / factor, step / factor));
        }
    }
    trimmed(value, step)
}

fn trimmed(value: f64, step: f64) -> String {
    let digits = if step > 0.0 { (-step.log10().floor()).clamp(0.0, 6.0) as usize } else { 0 };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A number for a table: `digits` after the decimal point, scientific notation for smaller values;
/// whole numbers with thousands separators.
pub(super) fn number(value: f64, digits: usize) -> String {
    let is_whole = value.fract().abs() < 1e-9 || value >= 100.0;
    match digits {
        0 if value >= 0.0 && is_whole => grouped(value.round() as u64),
        0 => format!("{value:.2}"),
        _ if value != 0.0 && value.abs() < 10_f64.powi(-(digits as i32)) => format!("{value:.2e}"),
        _ => format!("{value:.digits$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let close = |found: Vec<f64>, expected: &[f64]| {
            assert_eq!(found.len(), expected.len(), "{found:?}");
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}");
        };
        close(linear(0.0, 10.0, 5), &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        close(linear(0.6934, 0.7612, 5), &[0.7, 0.72, 0.74, 0.76]);
        close(linear(3.0, 3.0, 5), &[3.0]);
        close(log(1.0, 10_000.0), &[1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        close(log(8.0, 130.0), &[10.0, 20.0, 50.0, 100.0]);
        assert_eq!(
            [text(0.72, 0.02), text(1000.0, 9000.0), text(2_500_000.0, 500_000.0)],
            ["0.72", "1k", "2.5M"]
        );
        assert_eq!([text(10.0, 10.0), text(0.0, 0.5), text(100.0, 50.0)], ["10", "0", "100"]);
        assert_eq!([number(0.75174, 4), number(2_160_804.0, 0)], ["0.7517", "2,160,804"]);
        assert_eq!(
            [number(7.9, 0), number(0.000_244, 3), number(0.0, 3)],
            ["7.90", "2.44e-4", "0.000"]
        );
    }
}
