//! The sentences at the top of a comparison: how much can be compressed, and with which method?

use std::collections::BTreeMap;

use super::{Cell, Group, Spread, Variant, has_budget, share_of_bytes};
use crate::config::{Method, Named};

/// A method is close to the full table if it keeps this share of its AUC.
const LITTLE_LOST: f64 = 0.99;

/// What the runs of a group show, in sentences; empty if there is nothing to compare.
#[must_use]
pub fn answer(group: &Group<'_>) -> Vec<String> {
    let Some((ratio, ranking, compared)) = smallest_compared(group) else { return Vec::new() };
    let full = full(group);
    let comparable = full.filter(|full| by_seed(full).keys().eq(by_seed(ranking[0].cell).keys()));
    let mut sentences = vec![if let Some(full) = comparable.and_then(Cell::auc) {
        against_full(ratio, &ranking, full)
    } else {
        let why =
            if full.is_some() { "has not run with the same seeds yet" } else { "was not run" };
        format!("{} The full table {why}.", against_each_other(ratio, &ranking))
    }];
    sentences.push(if is_open(&compared, ratio) { NOT_ALL.to_owned() } else { ties(&ranking) });
    sentences.extend(comparable.and_then(|full| smallest_within(group, full)));
    sentences
}

/// In place of a comparison that would compare seeds rather than methods.
const NOT_ALL: &str =
    "Not all have run with the same seeds yet, which differ more than methods do.";

/// The cell of the full table.
fn full<'a>(group: &'a Group<'a>) -> Option<&'a Cell<'a>> {
    let full = group.variants.iter().filter(|variant| !has_budget(&variant.method));
    full.min_by_key(|variant| variant.deviations.len()).and_then(|variant| variant.cell_at(1.0))
}

/// Whether a method has an unfinished run at this ratio.
fn is_open(compared: &[&Variant<'_>], ratio: f64) -> bool {
    let mut cells = compared.iter().filter_map(|variant| variant.cell_at(ratio));
    cells.any(|cell| cell.runs.iter().any(|run| run.report.is_none()))
}

/// Methods at one ratio, the best first.
type Ranking<'a> = Vec<Ranked<'a>>;

/// A method with its cell and its AUC.
#[derive(Clone, Copy)]
struct Ranked<'a> {
    variant: &'a Variant<'a>,
    cell: &'a Cell<'a>,
    auc: Spread,
}

/// The highest ratio at which two methods, or else two variants, have results: the ratio, their
/// ranking, and all variants that take part.
fn smallest_compared<'a>(group: &'a Group<'a>) -> Option<(f64, Ranking<'a>, Vec<&'a Variant<'a>>)> {
    let (main, all): (Vec<_>, Vec<_>) =
        (group.main_variants().collect(), group.variants.iter().collect());
    // At a single ratio a method cannot be distinguished from a study of its settings.
    let has_ratios = group.ratios().iter().filter(|&&ratio| ratio > 1.0).count() > 1;
    let of_methods = if has_ratios { smallest_with_two(group, &main) } else { None };
    match of_methods {
        Some((ratio, ranking)) => Some((ratio, ranking, main)),
        None => smallest_with_two(group, &all).map(|(ratio, ranking)| (ratio, ranking, all)),
    }
}

fn smallest_with_two<'a>(
    group: &Group<'_>,
    variants: &[&'a Variant<'a>],
) -> Option<(f64, Ranking<'a>)> {
    group.ratios().into_iter().rev().filter(|&ratio| ratio > 1.0).find_map(|ratio| {
        let ranked = |variant: &&'a Variant<'a>| {
            let cell = variant.cell_at(ratio)?;
            Some(Ranked { variant, cell, auc: cell.auc()? })
        };
        let mut ranking: Ranking<'a> = variants.iter().filter_map(ranked).collect();
        ranking.sort_by(|a, b| b.auc.mean.total_cmp(&a.auc.mean));
        (ranking.len() > 1).then_some((ratio, ranking))
    })
}

/// The method that the best one is compared with: plain hashing, or else the last.
fn reference<'a>(ranking: &Ranking<'a>) -> Ranked<'a> {
    let hash = ranking[1..].iter().find(|it| it.variant.label == Method::Hash.name());
    *hash.unwrap_or(&ranking[ranking.len() - 1])
}

fn against_full(ratio: f64, ranking: &Ranking<'_>, full: Spread) -> String {
    let kept = |spread: Spread| 100.0 * spread.mean / full.mean;
    let (best, other) = (ranking[0], reference(ranking));
    format!(
        "At {} of its bytes, {} keeps {:.1} % of the full table's AUC ({:.4} of {:.4}); {} keeps \
         {:.1} %.",
        share_of_bytes(ratio),
        best.variant.label,
        kept(best.auc),
        best.auc.mean,
        full.mean,
        other.variant.label,
        kept(other.auc)
    )
}

fn against_each_other(ratio: f64, ranking: &Ranking<'_>) -> String {
    let (best, other) = (ranking[0], reference(ranking));
    format!(
        "At {} of the full table's bytes, {} has the highest test AUC, {:.4}; {} has {:.4}.",
        share_of_bytes(ratio),
        best.variant.label,
        best.auc.mean,
        other.variant.label,
        other.auc.mean
    )
}

/// The methods that are as good as the best on some seed. Seeds differ more than methods do, so
/// AUCs are compared seed by seed.
fn ties(ranking: &Ranking<'_>) -> String {
    let best = ranking[0];
    let of_best = by_seed(best.cell);
    if ranking.iter().any(|it| by_seed(it.cell).keys().ne(of_best.keys())) {
        return NOT_ALL.to_owned();
    }
    if of_best.len() < 2 {
        return "One seed each: the spread over seeds is not known.".to_owned();
    }
    let is_tie =
        |it: &&Ranked<'_>| by_seed(it.cell).iter().any(|(seed, auc)| *auc >= of_best[seed]);
    let ties: Vec<_> = ranking[1..].iter().filter(is_tie).map(|it| &*it.variant.label).collect();
    let (best, n) = (&best.variant.label, of_best.len());
    match ties[..] {
        [] => format!("{best} is ahead of every other on each of {n} seeds."),
        _ => format!("On some of {n} seeds {best} is not ahead of: {}.", ties.join("; ")),
    }
}

/// Test AUCs of a cell by the seeds of weights and of generated rows.
fn by_seed(cell: &Cell<'_>) -> BTreeMap<[Option<String>; 2], f64> {
    cell.runs.iter().filter_map(|run| Some((run.seeds(), run.report.as_ref()?.test_auc?))).collect()
}

/// The highest ratio at which a method keeps [`LITTLE_LOST`] of the full table's AUC; `None` until
/// all methods have run with the seeds of the full table.
fn smallest_within(group: &Group<'_>, full: &Cell<'_>) -> Option<String> {
    let (of_full, lost) = (full.auc()?, format!("{:.0} %", 100.0 * (1.0 - LITTLE_LOST)));
    let main = group
        .main_variants()
        .flat_map(|variant| variant.cells.iter().map(move |cell| (variant, cell)));
    let main: Vec<_> = main.filter(|(_, cell)| cell.ratio > 1.0 && !cell.runs.is_empty()).collect();
    let has_seeds = |cell: &Cell<'_>| by_seed(cell).keys().eq(by_seed(full).keys());
    if !main.iter().all(|(_, cell)| has_seeds(cell)) {
        return None;
    }
    let keeps =
        main.into_iter().filter_map(|(variant, cell)| Some((variant, cell.ratio, cell.auc()?)));
    let keeps = keeps.filter(|(.., auc)| auc.mean >= LITTLE_LOST * of_full.mean);
    let smallest = keeps.max_by(|a, b| a.1.total_cmp(&b.1).then(a.2.mean.total_cmp(&b.2.mean)));
    Some(match smallest {
        None => format!("No method came within {lost} of the full table's AUC."),
        Some((variant, ratio, _)) => format!(
            "The smallest that lost less than {lost} of it: {} at {} of the bytes.",
            variant.label,
            share_of_bytes(ratio)
        ),
    })
}
