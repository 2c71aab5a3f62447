//! The sentence on top: how small can one go, and with which method?

use super::{Group, Spread, Variant, share_of_bytes};

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
    sentences.extend(level(&ranking));
    sentences.extend(full.map(|full| smallest_within(group, full)));
    sentences
}

type Ranking<'a> = Vec<(&'a Variant<'a>, Spread)>;

/// The highest ratio at which methods can be compared, and how they come out, the best first.
fn smallest_compared<'a>(group: &'a Group<'a>) -> Option<(f64, Ranking<'a>)> {
    group.ratios().into_iter().rev().filter(|&ratio| ratio > 1.0).find_map(|ratio| {
        let at = |variant: &'a Variant<'a>| Some((variant, variant.at(ratio)?.auc()?));
        let mut ranking: Ranking<'a> = group.main_variants().filter_map(at).collect();
        ranking.sort_by(|a, b| b.1.mean.total_cmp(&a.1.mean));
        (ranking.len() > 1).then_some((ratio, ranking))
    })
}

/// Whom the best is held against: plain hashing, or else the last.
fn other<'a, 'b>(ranking: &'b Ranking<'a>) -> &'b (&'a Variant<'a>, Spread) {
    let hash = ranking[1..].iter().find(|(variant, _)| variant.label == "hash");
    hash.unwrap_or(&ranking[ranking.len() - 1])
}

fn against_full(ratio: f64, ranking: &Ranking<'_>, full: Spread) -> String {
    let kept = |spread: Spread| 100.0 * spread.mean / full.mean;
    let ((best, auc), (other, other_auc)) = (ranking[0], *other(ranking));
    format!(
        "At {} of its bytes, {} keeps {:.1} % of the full table's AUC ({:.4} of {:.4}); {} keeps {:.1} %.",
        share_of_bytes(ratio),
        best.label,
        kept(auc),
        auc.mean,
        full.mean,
        other.label,
        kept(other_auc)
    )
}

fn against_each_other(ratio: f64, ranking: &Ranking<'_>) -> String {
    let ((best, auc), (other, other_auc)) = (ranking[0], *other(ranking));
    format!(
        "At {} of the full table's bytes, {} has the highest test AUC, {:.4}; {} has {:.4}. The full table was not run.",
        share_of_bytes(ratio),
        best.label,
        auc.mean,
        other.label,
        other_auc.mean
    )
}

/// Who can't be told from the best: their ranges over the seeds overlap, or there is one seed.
fn level(ranking: &Ranking<'_>) -> Option<String> {
    let best = ranking[0].1;
    if ranking.iter().any(|(_, it)| it.n != best.n) {
        return Some("Not all have run with the same seeds yet, which differ more than methods do.".to_owned());
    }
    if best.n < 2 {
        return Some("One seed each: how far chance goes is not known.".to_owned());
    }
    let level: Vec<_> = ranking[1..].iter().filter(|(_, it)| it.high >= best.low).map(|(it, _)| &*it.label).collect();
    (!level.is_empty()).then(|| format!("Within the spread over {} seeds of it: {}.", best.n, level.join(", ")))
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
