//! The table below a picture, and its CSV download.

use std::fmt::Write as _;

use super::chart::{Chart, Range, x_text};
use super::escape::escape;
use super::ticks::number;

/// The cells of a chart's table, the header row first.
pub(super) fn cells(chart: &Chart) -> Vec<Vec<String>> {
    let points = || {
        chart
            .series
            .iter()
            .flat_map(|series| series.points.iter().map(move |point| (series, point)))
    };
    let has_range = points().any(|(_, point)| point.range.is_some());
    let has_x = !chart.x.label.is_empty();
    let mut head = vec!["series".to_owned()];
    head.extend(has_x.then(|| chart.x.label.clone()));
    head.push(chart.y.label.clone());
    head.extend(
        has_range.then(|| ["lowest", "highest", "runs"].map(str::to_owned)).into_iter().flatten(),
    );
    let mut rows = vec![head];
    for (series, point) in points() {
        let mut row = vec![series.name.clone()];
        row.extend(has_x.then(|| x_text(&chart.x, point.x)));
        row.push(number(point.y, chart.y.digits));
        if has_range {
            let range = point.range.map(|Range { low, high, n }| {
                [number(low, chart.y.digits), number(high, chart.y.digits), n.to_string()]
            });
            row.extend(range.unwrap_or_default());
        }
        rows.push(row);
    }
    rows
}

/// A collapsed table of `rows` with a link to download them as `name`.csv.
pub(super) fn html(rows: &[Vec<String>], name: &str) -> String {
    let n_rows = rows.len().saturating_sub(1);
    let mut out = format!("<details><summary>Table, {n_rows} rows</summary>");
    let _ =
        write!(out, "<p><a download=\"{name}.csv\" href=\"{}\">CSV</a></p>", data_uri(&csv(rows)));
    out.push_str(&plain(rows));
    out.push_str("</details>");
    out
}

/// A table of `rows`, the first of which is the header.
pub(super) fn plain(rows: &[Vec<String>]) -> String {
    let mut out = String::from("<div class=\"w\"><table>");
    for (number, row) in rows.iter().enumerate() {
        out.push_str(if number == 0 { "<thead><tr>" } else { "<tr>" });
        for cell in row {
            let tag = if number == 0 { "th" } else { "td" };
            let _ = write!(out, "<{tag}>{}</{tag}>", escape(cell));
        }
        out.push_str(if number == 0 { "</tr></thead><tbody>" } else { "</tr>" });
    }
    out.push_str("</tbody></table></div>");
    out
}

/// `rows` as CSV (RFC 4180); numbers lose their thousands separators, so that programs can read
/// them.
fn csv(rows: &[Vec<String>]) -> String {
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().map(|cell| {
            let is_number =
                cell.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '.' | '-'));
            let cell = if is_number { cell.replace(',', "") } else { cell.clone() };
            let is_plain = !cell.contains([',', '"', '\n']);
            if is_plain { cell } else { format!("\"{}\"", cell.replace('"', "\"\"")) }
        });
        out.push_str(&cells.collect::<Vec<_>>().join(","));
        out.push('\n');
    }
    out
}

/// CSV text as a `data:` URI: the page needs no other file.
fn data_uri(text: &str) -> String {
    let mut out = String::from("data:text/csv;charset=utf-8,");
    for byte in text.bytes() {
        let is_plain =
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b',' | b'-' | b'_' | b'/' | b':');
        if is_plain {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_is_quoted_and_escaped() {
        let rows = [["series", "x"], ["a, \"b\"", "1,000"], ["c", "0.5"]]
            .map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(csv(&rows), "series,x\n\"a, \"\"b\"\"\",1000\nc,0.5\n");
        assert_eq!(data_uri("a b%\n"), "data:text/csv;charset=utf-8,a%20b%25%0A");
        assert!(plain(&[vec!["<b>".to_owned()]]).contains("<th>&lt;b&gt;</th>"));
    }
}
