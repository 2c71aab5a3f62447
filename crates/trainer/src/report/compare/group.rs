//! Sorts runs into groups, variants and cells.

use std::collections::{BTreeMap, BTreeSet};

use cafe_core::full_bytes;
use serde::Deserialize;

use super::{Cell, Group, Variant, label};
use crate::config::methods::METHODS;
use crate::config::settings::{Settings, lines, shown};
use crate::config::{Config, Method, Named, dialect};
use crate::results::runs::RunRecord;
use crate::text::grouped;

/// The position of a method in lists, which is also its colour; methods unknown to this version
/// come last.
#[must_use]
pub(crate) fn rank(method: &str) -> usize {
    Method::from_name(method).map_or(METHODS.len(), Method::rank)
}

/// Accumulates runs into groups and variants.
#[derive(Default)]
pub(super) struct Builder<'a> {
    groups: BTreeMap<String, Open<'a>>,
}

/// A group that is being filled.
struct Open<'a> {
    settings: Settings,
    variants: BTreeMap<(usize, String), Variant<'a>>,
    n_runs: usize,
    rows: Option<RowCounts>,
}

/// Numbers of rows that a run has read. Generated rows differ from seed to seed.
#[derive(Clone, Copy, Debug)]
struct RowCounts {
    train: u64,
    test: u64,
    test_positives: u64,
}

impl RowCounts {
    /// Those of a finished run.
    fn read_by(run: &RunRecord) -> Option<Self> {
        let report = run.report.as_ref()?;
        Some(Self {
            train: report.train_rows,
            test: report.test_rows,
            test_positives: report.test_positives,
        })
    }
}

impl<'a> Builder<'a> {
    /// Adds a run, or the reason why the settings are not applicable.
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
        let rows = run.and_then(RowCounts::read_by);
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
        let cell = variant.cells.iter().position(|cell| cell.ratio == ratio).unwrap_or_else(|| {
            variant.cells.push(Cell { ratio, runs: Vec::new(), not_applicable: None });
            variant.cells.len() - 1
        });
        let cell = &mut variant.cells[cell];
        cell.runs.extend(run);
        if let Some(why) = why_not {
            cell.not_applicable.get_or_insert_with(|| why.to_owned());
        }
    }

    /// Runs on files are also distinguished by the rows that they found there: the files may have
    /// changed. An unfinished run joins the first group with its settings.
    fn key(&self, settings: &Settings, rows: Option<RowCounts>) -> String {
        let key = label::group_key(settings);
        match rows {
            Some(RowCounts { train, test, test_positives })
                if settings.contains_key("data.path") =>
            {
                format!("{key}({train}, {test}, {test_positives})")
            }
            Some(_) => key,
            None => {
                self.groups.keys().find(|known| known.starts_with(&key)).cloned().unwrap_or(key)
            }
        }
    }

    pub(super) fn finish(self) -> Vec<Group<'a>> {
        let mut groups: Vec<_> = self.groups.into_iter().collect();
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.n_runs));
        // The first group of a model bears its name; others add the settings that differ from it.
        let mut firsts: BTreeMap<String, Settings> = BTreeMap::new();
        let named = |(_, group): (_, Open<'a>)| {
            let kind = group.settings.get("model.kind").map(shown).unwrap_or_default();
            let first = firsts.entry(kind.clone()).or_insert_with(|| group.settings.clone());
            let model = format!("{kind}{}", label::differences(first, &group.settings));
            let mut variants: Vec<_> = group.variants.into_values().collect();
            for variant in &mut variants {
                variant.cells.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
                for cell in &mut variant.cells {
                    // Finished runs were added first, and sorting keeps their order.
                    cell.runs.sort_by_key(|run| run.seeds());
                    cell.runs.dedup_by_key(|run| run.seeds());
                }
            }
            let mut protocol = label::protocol(&group.settings);
            protocol.push(("seeds", seeds(&variants)));
            protocol.extend(group.rows.map(|RowCounts { train, test, .. }| {
                ("rows", format!("{} train, {} test", grouped(train), grouped(test)))
            }));
            protocol
                .extend(label::common(&mut variants).into_iter().map(|text| ("settings", text)));
            Group { model, protocol, variants }
        };
        groups.into_iter().map(named).collect()
    }
}

/// The seeds of all runs.
fn seeds(variants: &[Variant<'_>]) -> String {
    let runs = variants.iter().flat_map(|variant| &variant.cells).flat_map(|cell| &cell.runs);
    let seeds: BTreeSet<_> =
        runs.filter_map(|run| run.settings.get("seed")?.as_integer()).collect();
    seeds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether the method of this name has a budget, and so a compression ratio.
#[must_use]
pub(crate) fn has_budget(method: &str) -> bool {
    Method::from_name(method).is_none_or(|method| method.entry().has_budget)
}

/// The compression ratio that was configured, or that results from a budget in bytes.
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
