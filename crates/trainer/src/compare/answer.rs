//! The sentence on top: how small can one go, and with which method?

use std::collections::BTreeMap;

use super::{Cell, Group, Spread, Variant, share_of_bytes};
use crate::runs::RunRecord;

/// Who keeps this share of the full table's AUC has lost little.
const LITTLE_LOST: f64 = 0.99;

/// What the runs of a group say, in sentences; nothing where there is nothing to compare.
#[must_use]
pub fn answer(group: &Group<'_>) -> Vec<String> {
    let Some((ratio, ranking)) = smallest_compared(group) else { return Vec::new() };
    let full = group.variants.iter().find(|variant| variant.method == "full" && variant.deviations.is_empty());
    let full = full.and_then(|variant| variant.at(1.0)?.auc());
    let mut sentences = vec![match full {
        Some(full) => against_full(ratio, &ranking, full),
        None => against_each_other(ratio, &ranking),
    }];
    sentences.push(level(&ranking));
    sentences.extend(full.map(|full| smallest_within(group, full)));
    sentences
}

/// Methods with their cells and the spread of their AUC.
type Ranking<'a> = Vec<Ranked<'a>>;

#[derive(Clone, Copy)]
struct Ranked<'a> {
    variant: &'a Variant<'a>,
    cell: &'a Cell<'a>,
    auc: Spread,
}

/// The highest ratio at which methods can be compared, or else settings of one, and how they come out, the best first.
fn smallest_compared<'a>(group: &'a Group<'a>) -> Option<(f64, Ranking<'a>)> {
    let main: Vec<_> = group.main_variants().collect();
    smallest_with_two(group, &main).or_else(|| smallest_with_two(group, &group.variants.iter().collect::<Vec<_>>()))
}

fn smallest_with_two<'a>(group: &Group<'_>, variants: &[&'a Variant<'a>]) -> Option<(f64, Ranking<'a>)> {
    group.ratios().into_iter().rev().filter(|&ratio| ratio > 1.0).find_map(|ratio| {
        let at = |variant: &&'a Variant<'a>| {
            let cell = variant.at(ratio)?;
            Some(Ranked { variant, cell, auc: cell.auc()? })
        };
        let mut ranking: Ranking<'a> = variants.iter().filter_map(at).collect();
        ranking.sort_by(|a, b| b.auc.mean.total_cmp(&a.auc.mean));
        (ranking.len() > 1).then_some((ratio, ranking))
    })
}

/// Whom the best is held against: plain hashing, or else the last.
fn other<'a>(ranking: &Ranking<'a>) -> Ranked<'a> {
    let hash = ranking[1..].iter().find(|it| it.variant.label == "hash");
    *hash.unwrap_or(&ranking[ranking.len() - 1])
}

fn against_full(ratio: f64, ranking: &Ranking<'_>, full: Spread) -> String {
    let kept = |spread: Spread| 100.0 * spread.mean / full.mean;
    let (best, other) = (ranking[0], other(ranking));
    format!(
        "At {} of its bytes, {} keeps {:.1} % of the full table's AUC ({:.4} of {:.4}); {} keeps {:.1} %.",
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
    let (best, other) = (ranking[0], other(ranking));
    format!(
        "At {} of the full table's bytes, {} has the highest test AUC, {:.4}; {} has {:.4}. The full table was not run.",
        share_of_bytes(ratio),
        best.variant.label,
        best.auc.mean,
        other.variant.label,
        other.auc.mean
    )
}

/// Who can't be told from the best: seeds differ more than methods do, so seed is compared with seed.
fn level(ranking: &Ranking<'_>) -> String {
    let best = ranking[0];
    let of_best = by_seed(best.cell);
    if ranking.iter().any(|it| by_seed(it.cell).keys().ne(of_best.keys())) {
        return "Not all have run with the same seeds yet, which differ more than methods do.".to_owned();
    }
    if best.auc.n < 2 {
        return "One seed each: how far chance goes is not known.".to_owned();
    }
    let is_level = |it: &&Ranked<'_>| by_seed(it.cell).iter().any(|(seed, auc)| *auc >= of_best[seed]);
    let level: Vec<_> = ranking[1..].iter().filter(is_level).map(|it| &*it.variant.label).collect();
    let (best, n) = (&best.variant.label, best.auc.n);
    match level[..] {
        [] => format!("{best} is ahead of every other on each of {n} seeds."),
        _ => format!("On some of {n} seeds {best} is not ahead of: {}.", level.join(", ")),
    }
}

/// Test AUCs of a cell by the seeds of weights and rows.
fn by_seed(cell: &Cell<'_>) -> BTreeMap<[Option<String>; 2], f64> {
    let seeds = |run: &RunRecord| [run.setting("seed"), run.setting("data.synthetic.seed")];
    cell.runs.iter().filter_map(|run| Some((seeds(run), run.report.as_ref()?.test_auc?))).collect()
}

/// The highest ratio at which somebody keeps nearly all of the full table's AUC.
fn smallest_within(group: &Group<'_>, full: Spread) -> String {
    let main = group.main_variants().flat_map(|variant| variant.cells.iter().map(move |cell| (variant, cell)));
    let keeps = main.filter_map(|(variant, cell)| Some((variant, cell.ratio, cell.auc()?)));
    let keeps = keeps.filter(|(_, ratio, auc)| *ratio > 1.0 && auc.mean >= LITTLE_LOST * full.mean);
    let smallest = keeps.max_by(|a, b| a.1.total_cmp(&b.1).then(a.2.mean.total_cmp(&b.2.mean)));
    smallest.map_or_else(
        || format!("No method came within {:.0} % of the full table's AUC.", 100.0 * (1.0 - LITTLE_LOST)),
        |(variant, ratio, _)| {
            format!(
                "The smallest that lost less than {:.0} % of it: {} at {} of the bytes.",
                100.0 * (1.0 - LITTLE_LOST),
                variant.label,
                share_of_bytes(ratio)
            )
        },
    )
}
