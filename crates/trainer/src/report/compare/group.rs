//! Runs into groups, variants and cells.

use std::collections::{BTreeMap, BTreeSet};

use cafe_core::full_bytes;
use serde::Deserialize;

use super::{Cell, Group, Variant, label};
use crate::config::methods::METHODS;
use crate::config::settings::{Settings, lines, shown};
use crate::config::{Config, Method, Named, dialect};
use crate::results::runs::RunRecord;
use crate::text::grouped;

/// The place of a method in lists and its colour; those that this version does not know come last.
#[must_use]
pub(crate) fn rank(method: &str) -> usize {
    Method::from_name(method).map_or(METHODS.len(), Method::rank)
}

/// Accumulates runs into groups and variants.
#[derive(Default)]
pub(super) struct Builder<'a> {
    groups: BTreeMap<String, Open<'a>>,
}

/// A group in the making.
struct Open<'a> {
    settings: Settings,
    variants: BTreeMap<(usize, String), Variant<'a>>,
    n_runs: usize,
    rows: Option<Rows>,
}

/// Of training, of the test, and those of the test that were clicked. Generated ones differ from
/// seed to seed.
type Rows = (u64, u64, u64);

fn rows(run: &RunRecord) -> Option<Rows> {
    run.report.as_ref().map(|report| (report.train_rows, report.test_rows, report.test_positives))
}

impl<'a> Builder<'a> {
    /// Adds a run, or the reason why there is none.
    pub(super) fn add(
        &mut self,
        settings: &Settings,
        run: Option<&'a RunRecord>,
        why_not: Option<&str>,
    ) {
        let get = |key: &str| settings.get(key).map(shown).unwrap_or_default();
        let method = get("embedding.method");
        let Some(ratio) = ratio(settings, &method) else { return };
        let open = || Open {
            settings: settings.clone(),
            variants: BTreeMap::new(),
            n_runs: 0,
            rows: None,
        };
        let rows = run.and_then(rows);
        let group = self.groups.entry(self.key(settings, rows)).or_insert_with(open);
        group.rows = group.rows.or(rows);
        group.n_runs += usize::from(run.is_some());
        let embedding = label::embedding(settings);
        let deviations = label::deviations(&method, &embedding);
        let label = label::variant(&method, &deviations);
        let new = || Variant {
            label: label.clone(),
            method: method.clone(),
            deviations,
            embedding,
            cells: Vec::new(),
        };
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

    /// Runs on files are told apart by the rows that they found there, too. One that has found none
    /// yet joins the first.
    fn key(&self, settings: &Settings, rows: Option<Rows>) -> String {
        let key = label::group_key(settings);
        match rows {
            Some(rows) if settings.contains_key("data.path") => format!("{key}{rows:?}"),
            Some(_) => key,
            None => {
                self.groups.keys().find(|known| known.starts_with(&key)).cloned().unwrap_or(key)
            }
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
                    // Finished ones came first, and the order stays.
                    cell.runs.sort_by_key(|run| run.seeds());
                    cell.runs.dedup_by_key(|run| run.seeds());
                }
            }
            let mut protocol = label::protocol(&group.settings);
            protocol.push(("seeds", seeds(&variants)));
            protocol.extend(group.rows.map(|(train, test, _)| {
                ("rows", format!("{} train, {} test", grouped(train), grouped(test)))
            }));
            protocol
                .extend(label::common(&mut variants).into_iter().map(|text| ("settings", text)));
            Group { model, protocol, variants }
        };
        groups.into_iter().map(named).collect()
    }
}

/// All that some run has.
fn seeds(variants: &[Variant<'_>]) -> String {
    let runs = variants.iter().flat_map(|variant| &variant.cells).flat_map(|cell| &cell.runs);
    let seeds: BTreeSet<_> =
        runs.filter_map(|run| run.settings.get("seed")?.as_integer()).collect();
    seeds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether a method of that name is compared at a compression ratio.
#[must_use]
pub(crate) fn has_budget(method: &str) -> bool {
    Method::from_name(method).is_none_or(|method| method.entry().has_budget)
}

/// The compression ratio that was asked for, or that a budget in bytes comes to.
fn ratio(settings: &Settings, method: &str) -> Option<f64> {
    if !has_budget(method) {
        return Some(1.0);
    }
    let asked = settings.get("embedding.compression");
    let asked = asked.and_then(|value| {
        value.as_float().or_else(|| value.as_integer().map(|ratio| ratio as f64))
    });
    asked.or_else(|| {
        let config =
            Config::deserialize(toml::from_str::<toml::Table>(&lines(settings.iter())).ok()?)
                .ok()?;
        let features = dialect::schema(&config).ok()?.features;
        Some(full_bytes(&features, config.model.dim) as f64 / config.embedding.budget?.0 as f64)
    })
}
