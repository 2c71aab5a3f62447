//! The page around the figures.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;

use super::chart::{Chart, Series};
use super::escape::escape;
use super::figures::{self, Section};
use super::{Source, svg, table};
use crate::report::compare::{Comparison, Group, answer, ratio_text};
use crate::results::runs::RunRecord;
use crate::results::sweep_record::{RunStatus, SweepEntry, SweepRecord};
use crate::results::warnings;
use crate::text::grouped;

/// The style sheet, part of the page so that it needs no other file.
const STYLE: &str = include_str!("style.css");

/// The complete page. With `reload` it reloads itself after that many seconds.
pub(super) fn page(source: &Source, reload: Option<u32>) -> String {
    let comparison = source.comparison();
    let mut out = head(reload);
    out.push_str("<main>");
    out.push_str(&top(source, &comparison));
    out.push_str(&contents(&comparison.groups, !source.sketches.is_empty()));
    for (number, group) in comparison.groups.iter().enumerate() {
        out.push_str(&group_head(group, number));
        out.extend(figures::group_sections(group).iter().map(section_html));
    }
    if !source.sketches.is_empty() {
        out.push_str("<h2 id=\"sketch\">HotSketch</h2>");
        out.extend(
            source.sketches.iter().map(|findings| section_html(&figures::sketch_section(findings))),
        );
    }
    out.push_str(&all_runs(source, &comparison));
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(out, "<footer>Drawn by trainer {version}.</footer></main></body></html>");
    out
}

fn head(reload: Option<u32>) -> String {
    let reload = reload
        .map_or_else(String::new, |s| format!("<meta http-equiv=\"refresh\" content=\"{s}\">"));
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">{reload}\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">\
         <title>Compressed embeddings: runs</title><style>{STYLE}</style></head><body>"
    )
}

/// The question, the answer and the progress of the runs.
fn top(source: &Source, comparison: &Comparison<'_>) -> String {
    let mut out = String::from("<header>");
    let question = comparison.groups.first().and_then(|group| question(source, group));
    let _ =
        write!(out, "<h1>{}</h1>", escape(question.unwrap_or("Embedding methods at equal bytes")));
    if let Some(group) = comparison.groups.first() {
        let sentences = answer(group);
        if !sentences.is_empty() {
            let _ = write!(out, "<p class=\"answer\">{}</p>", escape(&sentences.join(" ")));
        }
    }
    let _ = write!(out, "<p>{}</p></header>", escape(&status(source)));
    out
}

/// The question of the sweep that most of the group's runs belong to.
fn question<'a>(source: &'a Source, group: &Group<'_>) -> Option<&'a str> {
    let dirs: BTreeSet<_> = group
        .cells()
        .flat_map(|(_, cell)| &cell.runs)
        .filter_map(|run| run.dir.file_name())
        .collect();
    let n_common = |sweep: &SweepRecord| {
        sweep.runs.iter().filter(|run| dirs.contains(OsStr::new(&run.dir))).count()
    };
    source
        .sweeps
        .iter()
        .filter(|sweep| n_common(sweep) > 0)
        .max_by_key(|sweep| n_common(sweep))?
        .question
        .as_deref()
}

/// Failed runs with the reason, by the names of their directories.
fn failures(source: &Source) -> BTreeMap<&OsStr, (&SweepEntry, &str)> {
    let runs = source.sweeps.iter().flat_map(|sweep| &sweep.runs);
    let failed = runs.filter_map(|run| match &run.status {
        RunStatus::Failed(why) => Some((OsStr::new(&*run.dir), (run, &**why))),
        _ => None,
    });
    failed.collect()
}

fn status(source: &Source) -> String {
    let failures = failures(source);
    let has_failed =
        |run: &RunRecord| run.dir.file_name().is_some_and(|name| failures.contains_key(name));
    let n_finished = source.runs.iter().filter(|run| run.report.is_some()).count();
    let n_open = source.runs.iter().filter(|run| run.report.is_none() && !has_failed(run)).count();
    let statuses = || source.sweeps.iter().flat_map(|sweep| &sweep.runs).map(|run| &run.status);
    let mut parts = vec![format!("{} runs finished", grouped(n_finished as u64))];
    let mut add = |n: usize, what: &str| {
        if n > 0 {
            parts.push(format!("{} {what}", grouped(n as u64)));
        }
    };
    let n_warned = source
        .runs
        .iter()
        .filter_map(|run| run.report.as_ref())
        .filter(|it| !it.warnings.is_empty())
        .count();
    add(n_warned, "of them with warnings (see all runs)");
    add(n_open, "unfinished");
    add(statuses().filter(|status| matches!(status, RunStatus::Waiting)).count(), "pending");
    add(failures.len(), "failed");
    let is_not_applicable = |status: &&RunStatus| matches!(status, RunStatus::NotApplicable(_));
    add(statuses().filter(is_not_applicable).count(), "not applicable");
    parts.join(", ") + "."
}

fn contents(groups: &[Group<'_>], has_sketch: bool) -> String {
    let mut out = String::from("<nav><ul>");
    for (number, group) in groups.iter().enumerate() {
        let _ = write!(out, "<li><a href=\"#group-{number}\">{}</a></li>", escape(&group.model));
    }
    if has_sketch {
        out.push_str("<li><a href=\"#sketch\">HotSketch</a></li>");
    }
    out.push_str("<li><a href=\"#runs\">All runs</a></li></ul></nav>");
    out
}

fn group_head(group: &Group<'_>, number: usize) -> String {
    let mut out = format!("<h2 id=\"group-{number}\">{}</h2><dl>", escape(&group.model));
    for (name, text) in &group.protocol {
        let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escape(text));
    }
    out.push_str("</dl>");
    let sentences = answer(group);
    // Those of the first group are at the top of the page.
    if number > 0 && !sentences.is_empty() {
        let _ = write!(out, "<p>{}</p>", escape(&sentences.join(" ")));
    }
    out
}

fn section_html(section: &Section) -> String {
    let charts = section.charts.iter().map(figure).collect::<String>();
    format!("<h3>{}</h3><div class=\"figures\">{charts}</div>", section.title)
}

fn figure(chart: &Chart) -> String {
    let timing = if chart.is_timing { " data-timing" } else { "" };
    let mut out = format!("<figure{timing}><figcaption>{}</figcaption>", escape(&chart.title));
    out.push_str(&svg::draw(chart));
    if chart.form != super::chart::Form::Bars {
        out.push_str(&legend(&chart.series));
    }
    let _ = write!(out, "<p class=\"note\">{}</p>", escape(&chart.note));
    let name: String =
        chart.title.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    out.push_str(&table::html(&table::cells(chart), &name.to_lowercase()));
    out.push_str("</figure>");
    out
}

fn legend(series: &[Series]) -> String {
    let item = |series: &Series| {
        let dashed = if series.style.is_dashed { " d" } else { "" };
        format!("<li class=\"s{}{dashed}\">{}</li>", series.style.color, escape(&series.name))
    };
    format!("<ul class=\"legend\">{}</ul>", series.iter().map(item).collect::<String>())
}

/// A table of every run, and of every configuration that was not applicable or failed.
fn all_runs(source: &Source, comparison: &Comparison<'_>) -> String {
    let head = ["run", "model", "method", "CR", "seed", "test AUC", "log-loss", "bytes", "status"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut failures = failures(source);
    for group in &comparison.groups {
        for variant in &group.variants {
            for cell in &variant.cells {
                let place = [group.model.clone(), variant.label.clone(), ratio_text(cell.ratio)];
                for run in &cell.runs {
                    let failure = run.dir.file_name().and_then(|name| failures.remove(name));
                    rows.push(run_row(run, &place, failure.map(|(_, why)| why)));
                }
                if let (Some(why), true) = (&cell.not_applicable, cell.runs.is_empty()) {
                    rows.push(other_row("", &place, why));
                }
            }
        }
    }
    // Those that ended too early to leave a record in their directory.
    for (run, why) in failures.into_values() {
        rows.push(other_row(&run.name, &[const { String::new() }; 3], &format!("failed: {why}")));
    }
    format!("<h2 id=\"runs\">All runs</h2>{}", table::html(&rows, "runs"))
}

fn run_row(run: &RunRecord, place: &[String; 3], failure: Option<&str>) -> Vec<String> {
    let name = run.dir.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut row = vec![name.unwrap_or_default()];
    row.extend_from_slice(place);
    row.push(run.setting("seed").unwrap_or_default());
    row.extend(if let Some(report) = &run.report {
        let auc = report.test_auc.map_or_else(String::new, |auc| format!("{auc:.5}"));
        let bytes = grouped(report.embedding_bytes);
        let status = match report.warnings.as_slice() {
            [] => "finished".to_owned(),
            warnings => format!("finished, warnings: {}", warnings::codes(warnings)),
        };
        [auc, format!("{:.5}", report.test_logloss), bytes, status]
    } else {
        let so_far = format!("{} rows so far", grouped(run.rows_trained()));
        let status =
            failure.map_or_else(|| so_far.clone(), |why| format!("{so_far}, failed: {why}"));
        [String::new(), String::new(), String::new(), status]
    });
    row
}

/// A row without results.
fn other_row(name: &str, place: &[String; 3], why: &str) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    row.extend_from_slice(place);
    row.extend([const { String::new() }; 4]);
    row.push(why.to_owned());
    row
}
