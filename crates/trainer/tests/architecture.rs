//! Holds the arrows of ARCHITECTURE.md: which part of a crate may import from which, read from the
//! `use` lines and the `crate::` paths of the sources. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 4] = ["cafe-core", "criteo-io", "dlrm-model", "trainer"];

/// Modules by name, such as `report/page/html`, with those that each imports from.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names of all modules below `dir` with the files that hold them.
fn files(dir: &Path, prefix: &str, found: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory of sources") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let name = if prefix.is_empty() { stem.clone() } else { format!("{prefix}/{stem}") };
        if path.is_dir() {
            files(&path, &name, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !["tests", "main"].contains(&stem.as_str())
        {
            found.insert(name, path);
        }
    }
}

/// The source without comments and without the unit tests at its end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source");
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The paths that a `use` tree such as `a::{b, c::{d, e}}` names.
fn expanded(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else { return vec![tree.to_owned()] };
    let (head, body) = (&tree[..open], &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())]);
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in body.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&body[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&body[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(expanded).map(|part| format!("{head}{part}")).collect()
}

/// Every path in `code` that starts with `crate::` or `super::`, with `use` trees taken apart.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                continue;
            }
            let is_use = code[..at].trim_end().ends_with("use");
            let is_end = |c: char| {
                if is_use { c == ';' } else { !(c.is_alphanumeric() || c == '_' || c == ':') }
            };
            let end = code[at..].find(is_end).map_or(code.len(), |length| at + length);
            found.extend(expanded(&code[at..end]));
        }
    }
    found
}

/// The module that `path`, seen from `module`, leads to or into.
fn target(path: &str, module: &str, modules: &BTreeMap<String, PathBuf>) -> Option<String> {
    let mut parts: Vec<&str> = path.split("::").map(str::trim).collect();
    let mut base: Vec<&str> = Vec::new();
    if parts[0] == "super" {
        base = module.split('/').collect();
        while parts.first() == Some(&"super") {
            parts.remove(0);
            base.pop();
        }
    } else {
        parts.remove(0);
    }
    base.extend(parts);
    (1..=base.len())
        .rev()
        .map(|length| base[..length].join("/"))
        .find(|name| modules.contains_key(name))
}

/// A module and those below it may see each other.
fn are_related(one: &str, other: &str) -> bool {
    let below = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'));
    one == other || below(one, other) || below(other, one)
}

fn imports(name: &str) -> Imports {
    let mut modules = BTreeMap::new();
    files(&workspace().join("crates").join(name).join("src"), "", &mut modules);
    assert!(modules.len() > 20, "{name} has only {} modules", modules.len());
    let of = |module: &String, path: &PathBuf| {
        let targets = paths(&code(path)).into_iter();
        targets
            .filter_map(|path| target(&path, module, &modules))
            .filter(|other| !are_related(module, other))
            .collect()
    };
    modules.iter().map(|(module, path)| (module.clone(), of(module, path))).collect()
}

/// A circle that starts and ends with `module`, if there is one.
fn circle(imports: &Imports, module: &str) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut open = vec![vec![module.to_owned()]];
    while let Some(way) = open.pop() {
        for next in &imports[&way[way.len() - 1]] {
            if next == module {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                open.push([way.clone(), vec![next.clone()]].concat());
            }
        }
    }
    None
}

/// The part of a crate that a module belongs to: its first directory.
fn part(module: &str) -> &str {
    module.split('/').next().unwrap_or(module)
}

/// The arrows that ARCHITECTURE.md allows in each crate: below "arrows of CRATE:", a line
/// `part -> part part` each.
fn allowed() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let text = fs::read_to_string(workspace().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut crates: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("arrows of ").and_then(|rest| rest.strip_suffix(':'))
        {
            current = Some(name.to_owned());
        } else if line.starts_with("```") {
            current = None;
        } else if let (Some(name), Some((from, to))) = (&current, line.split_once(" -> ")) {
            let to = to.split_whitespace().map(str::to_owned);
            let parts = crates.entry(name.clone()).or_default();
            parts.entry(from.trim().to_owned()).or_default().extend(to);
        }
    }
    crates
}

#[test]
fn files_import_without_circles() {
    for name in CRATES {
        let imports = imports(name);
        let n_imports: usize = imports.values().map(BTreeSet::len).sum();
        assert!(n_imports > 20, "{name}: only {n_imports} imports were found");
        for module in imports.keys() {
            let found = circle(&imports, module);
            assert_eq!(found, None, "{name}: a circle of imports");
        }
    }
}

#[test]
fn parts_import_along_the_arrows() {
    let allowed = allowed();
    for name in CRATES {
        let arrows = allowed.get(name).unwrap_or_else(|| panic!("no arrows of {name}"));
        let ends = arrows.values().flatten().map(|end| (end.clone(), BTreeSet::new()));
        let mut ends: Imports = ends.collect();
        ends.extend(arrows.clone());
        for part in ends.keys() {
            assert_eq!(circle(&ends, part), None, "{name}: a circle of arrows");
        }
        let mut used: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let imports = imports(name);
        for (module, others) in &imports {
            for other in others.iter().filter(|other| part(other) != part(module)) {
                let is_allowed =
                    arrows.get(part(module)).is_some_and(|to| to.contains(part(other)));
                assert!(
                    is_allowed || part(module) == "lib",
                    "{name}: {module} imports from {other}, but ARCHITECTURE.md has no arrow from {} to {}",
                    part(module),
                    part(other)
                );
                used.entry(part(module)).or_default().insert(part(other));
            }
        }
        for (from, to) in arrows {
            for to in to {
                let is_used =
                    used.get(from.as_str()).is_some_and(|used| used.contains(to.as_str()));
                assert!(is_used, "{name}: nothing uses the arrow from {from} to {to} any more");
            }
        }
    }
}

#[test]
fn files_of_the_page_exist() {
    let text = fs::read_to_string(workspace().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut sources = BTreeMap::new();
    files(&workspace().join("crates"), "", &mut sources);
    let sources: Vec<String> = sources.keys().map(|name| format!("/{name}.rs")).collect();
    let is_path = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    let named: BTreeSet<_> = text
        .split(|c| !is_path(c))
        .map(|word| word.strip_prefix("crates/").unwrap_or(word))
        .filter(|word| Path::new(word).extension().is_some_and(|extension| extension == "rs"))
        .filter(|word| !word.ends_with("main.rs"))
        .collect();
    assert!(named.len() > 30, "only {} files are named", named.len());
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !sources.iter().any(|source| source.ends_with(&format!("/{name}"))))
        .collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md names files that do not exist: {missing:?}");
}

/// The scanner finds what it is meant to find.
#[test]
fn use_trees_are_taken_apart() {
    let code =
        "use crate::{a::{b, c::D}, e};\nfn f() { crate::g::h(); super::i::J }\nuse super::k;";
    let found: BTreeSet<_> = paths(code).into_iter().collect();
    let expected =
        ["crate::a::b", "crate::a::c::D", "crate::e", "crate::g::h", "super::i::J", "super::k"];
    assert_eq!(found, expected.map(str::to_owned).into());
    let modules = ["a", "a/b", "x/y", "x/i"].map(|name| (name.to_owned(), PathBuf::new())).into();
    assert_eq!(target("crate::a::b::C", "x/y", &modules), Some("a/b".to_owned()));
    assert_eq!(target("super::i::J", "x/y", &modules), Some("x/i".to_owned()));
    let circular: Imports = [("a", "b"), ("b", "c"), ("c", "a")]
        .map(|(from, to)| (from.to_owned(), [to.to_owned()].into()))
        .into();
    assert!(circle(&circular, "a").is_some());
}
