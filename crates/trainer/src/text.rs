//! Numbers and tables for people.

use std::fmt::Write as _;

/// Lines with a label and a value, aligned.
#[must_use]
pub fn table(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut out, (label, value)| {
        let _ = writeln!(out, "{label:width$}  {value}");
        out
    })
}

/// A number with thousands separators: `1,234,567`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| group.iter().map(|&d| d as char).collect::<String>())
        .collect();
    groups.join(",")
}

/// A size, exact and rounded: `217,408 B (217.4 kB)`.
#[must_use]
pub fn bytes(n: u64) -> String {
    let (unit, factor) = match n {
        1_000_000_000.. => ("GB", 1e9),
        1_000_000.. => ("MB", 1e6),
        _ => ("kB", 1e3),
    };
    format!("{} B ({:.1} {unit})", grouped(n), n as f64 / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_formatted() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(bytes(217_408), "217,408 B (217.4 kB)");
        assert_eq!(bytes(2_160_804_928), "2,160,804,928 B (2.2 GB)");
    }
}
