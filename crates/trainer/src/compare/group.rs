//! Runs into groups, variants and cells.

use std::collections::BTreeMap;

use super::{Cell, Group, Variant, label};
use crate::runs::RunRecord;
use crate::settings::{Settings, shown};

/// Methods in the order in which they are shown: what compares first.
const ORDER: [&str; 11] =
    ["full", "cafe_best", "cafe", "cafe_plus", "offline", "unified", "hash", "hash2", "qr", "mde", "ada"];

/// Where a method stands in lists and which colour it has.
#[must_use]
pub(crate) fn rank(method: &str) -> usize {
    ORDER.iter().position(|&known| known == method).unwrap_or(ORDER.len())
}

/// Collects.
#[derive(Default)]
pub(super) struct Builder<'a> {
    groups: BTreeMap<String, Open<'a>>,
}

/// A group in the making.
struct Open<'a> {
    settings: Settings,
    variants: BTreeMap<(usize, String), Variant<'a>>,
    n_runs: usize,
}

impl<'a> Builder<'a> {
    /// Adds a run, or the reason why there is none.
    pub(super) fn add(&mut self, settings: &Settings, run: Option<&'a RunRecord>, why_not: Option<&str>) {
        let get = |key: &str| settings.get(key).map(shown).unwrap_or_default();
        let method = get("embedding.method");
        let Some(ratio) = ratio(settings, run, &method) else { return };
        let group = self.groups.entry(label::group_key(settings));
        let open = || Open { settings: settings.clone(), variants: BTreeMap::new(), n_runs: 0 };
        let group = group.or_insert_with(open);
        group.n_runs += usize::from(run.is_some());
        let embedding = label::embedding(settings);
        let deviations = label::deviations(&embedding);
        let label = label::variant(&method, &deviations);
        let new = || Variant { label: label.clone(), method: method.clone(), deviations, embedding, cells: Vec::new() };
        let variant = group.variants.entry((rank(&method), label.clone())).or_insert_with(new);
        let at = variant.cells.iter().position(|cell| cell.ratio == ratio).unwrap_or_else(|| {
            variant.cells.push(Cell { ratio, runs: Vec::new(), not_applicable: None });
            variant.cells.len() - 1
        });
        let cell = &mut variant.cells[at];
        cell.runs.extend(run);
        if let Some(why) = why_not {
            cell.not_applicable.get_or_insert_with(|| why.to_owned());
        }
    }

    pub(super) fn finish(self) -> Vec<Group<'a>> {
        let mut groups: Vec<_> = self.groups.into_iter().collect();
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.n_runs));
        // The first group of a kind is called by it; others by what is different.
        let mut firsts: BTreeMap<String, Settings> = BTreeMap::new();
        let named = |(_, group): (_, Open<'a>)| {
            let kind = group.settings.get("model.kind").map(shown).unwrap_or_default();
            let first = firsts.entry(kind.clone()).or_insert_with(|| group.settings.clone());
            let model = format!("{kind}{}", label::differences(first, &group.settings));
            let mut variants: Vec<_> = group.variants.into_values().collect();
            for variant in &mut variants {
                variant.cells.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
                for cell in &mut variant.cells {
                    cell.runs.sort_by_key(|run| (run.setting("seed"), run.setting("data.synthetic.seed")));
                }
            }
            let mut protocol = label::protocol(&group.settings);
            protocol.extend(label::common(&mut variants).into_iter().map(|text| ("settings", text)));
            Group { model, protocol, variants }
        };
        groups.into_iter().map(named).collect()
    }
}

/// The compression ratio that was asked for; of a budget in bytes the one that it comes to, once a report says so.
fn ratio(settings: &Settings, run: Option<&RunRecord>, method: &str) -> Option<f64> {
    if method == "full" {
        return Some(1.0);
    }
    let asked = settings.get("embedding.compression");
    let asked = asked.and_then(|value| value.as_float().or_else(|| value.as_integer().map(|ratio| ratio as f64)));
    let report = run.and_then(|run| run.report.as_ref());
    asked.or_else(|| report.map(|report| report.full_bytes as f64 / report.budget_bytes as f64))
}
