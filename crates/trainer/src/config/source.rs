//! The file and the overrides as one tree, in which every key and value knows where it was written:
//! what makes a problem name its line.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// Of settings that exclude each other, the later one wins: what the override of one takes out.
const EXCLUSIVE: [(&[&str], [&str; 2]); 6] = [
    (&["embedding", "compression"], ["embedding", "budget"]),
    (&["embedding", "budget"], ["embedding", "compression"]),
    (&["data", "path"], ["data", "synthetic"]),
    (&["data", "synthetic"], ["data", "path"]),
    (&["data", "synthetic"], ["data", "test_path"]),
    (&["data", "synthetic"], ["data", "cache"]),
];

/// The text of a file with the overrides behind it, a line each, so that a position says which of
/// them it belongs to.
pub(super) struct Texts<'a> {
    file: &'a Path,
    all: String,
    /// Where the file's own text ends.
    file_end: usize,
    /// The position of each override in `all`.
    overrides: Vec<Range<usize>>,
}

impl<'a> Texts<'a> {
    pub(super) fn new(text: &str, file: &'a Path, overrides: &[String]) -> Self {
        let (mut all, file_end) = (text.to_owned(), text.len());
        let overrides = overrides.iter().map(|one| {
            all.push('\n');
            let start = all.len();
            all.push_str(one);
            start..all.len()
        });
        let overrides = overrides.collect();
        Self { file, all, file_end, overrides }
    }

    /// What was written at `span`.
    pub(super) fn excerpt(&self, span: &Range<usize>) -> &str {
        self.all.get(span.clone()).unwrap_or_default()
    }

    /// `FILE:LINE`, `--set KEY=VALUE`, or the file alone.
    fn place(&self, position: Option<usize>) -> String {
        let file = self.file.display();
        let Some(position) = position else { return file.to_string() };
        if let Some(idx) = self.override_at(position) {
            return format!("--set {}", &self.all[self.overrides[idx].clone()]);
        }
        format!("{file}:{}", self.line(position))
    }

    /// The line of a position in the file, from 1.
    fn line(&self, position: usize) -> usize {
        1 + self.all[..position].matches('\n').count()
    }

    /// A problem as it is shown.
    pub(super) fn show(&self, problem: &Problem) -> String {
        let Problem { position, key, message } = problem;
        let colon = if key.is_empty() { "" } else { ": " };
        format!("{}: {key}{colon}{message}", self.place(*position))
    }

    /// Whether both positions are of one override.
    pub(super) fn is_same_override(&self, one: usize, other: usize) -> bool {
        self.override_at(one).is_some_and(|idx| self.override_at(other) == Some(idx))
    }

    /// Where `key` was written, or else the innermost of its sections that the file has.
    pub(super) fn locate(&self, tree: &DeTable<'_>, key: &str) -> Option<usize> {
        let (mut at, mut found) = (tree, None);
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            let Some((name, value)) = at.get_key_value(part) else { break };
            let position = name.span().start;
            // A key that is missing has nothing to do with an override that names its section.
            if parts.peek().is_none() || self.override_at(position).is_none() {
                found = Some(position);
            }
            let DeValue::Table(table) = value.get_ref() else { break };
            at = table;
        }
        found
    }

    fn override_at(&self, position: usize) -> Option<usize> {
        self.overrides.iter().rposition(|range| range.start <= position)
    }

    /// The tree, or everything that is no TOML or no override.
    pub(super) fn parse(&self) -> Result<DeTable<'_>, Vec<Problem>> {
        let (tree, errors) = DeTable::parse_recoverable(&self.all[..self.file_end]);
        let (mut problems, mut lines) = (Vec::new(), BTreeSet::new());
        for error in errors {
            let position = error.span().map_or(0, |span| span.start).min(self.file_end);
            // After the first slip of a line the parser has lost its way there.
            if lines.insert(self.line(position)) {
                let message = error.message().to_owned();
                problems.push(Problem { position: Some(position), key: String::new(), message });
            }
        }
        let mut tree = tree.into_inner();
        for range in &self.overrides {
            if let Err(problem) = self.set(&mut tree, range) {
                problems.push(problem);
            }
        }
        if problems.is_empty() { Ok(tree) } else { Err(problems) }
    }

    /// Puts an override into the tree: TOML where its value parses as such, else a plain text.
    fn set<'t>(&'t self, tree: &mut DeTable<'t>, range: &Range<usize>) -> Result<(), Problem> {
        let problem = |key: String, message: &str| {
            Err(Problem { position: Some(range.start), key, message: message.to_owned() })
        };
        let text = &self.all[range.clone()];
        let Some((path, plain)) = text.split_once('=') else {
            return problem(String::new(), "expected key.path=value");
        };
        let path: Vec<&str> = path.split('.').map(str::trim).collect();
        if path.iter().any(|key| key.is_empty()) {
            return problem(String::new(), "expected key.path=value");
        }
        exclude(tree, &path);
        let value_start = range.end - plain.trim_start().len();
        let plain = plain.trim();
        let value_range = value_start..value_start + plain.len();
        let value = DeValue::parse(plain).map(|value| moved(value, value_start));
        let value = value
            .unwrap_or_else(|_| Spanned::new(value_range, DeValue::String(Cow::Borrowed(plain))));
        let (last, sections) = path.split_last().expect("a path has a key");
        let mut at = tree;
        for (idx, &key) in sections.iter().enumerate() {
            let table = || Spanned::new(self.span_of(key), DeValue::Table(DeTable::new()));
            let section =
                at.entry(Spanned::new(self.span_of(key), Cow::Borrowed(key))).or_insert_with(table);
            let DeValue::Table(table) = section.get_mut() else {
                return problem(
                    path[..=idx].join("."),
                    "expected a section, got a value; drop what follows its name",
                );
            };
            at = table;
        }
        // The old key would keep its old place.
        at.remove(*last);
        at.insert(Spanned::new(self.span_of(last), Cow::Borrowed(*last)), value);
        Ok(())
    }

    /// The position of a part of the text.
    fn span_of(&self, part: &str) -> Range<usize> {
        let start = part.as_ptr() as usize - self.all.as_ptr() as usize;
        start..start + part.len()
    }

    /// An override's value at `position` as the plain text that it also is, for keys that want text
    /// which looks like a number. `None` where it is a text already, or comes from the file.
    pub(super) fn as_text<'t>(
        &'t self,
        tree: &DeTable<'t>,
        position: usize,
    ) -> Option<DeTable<'t>> {
        let (path, plain) =
            self.all[self.overrides[self.override_at(position)?].clone()].split_once('=')?;
        let (mut tree, plain) = (tree.clone(), plain.trim());
        let (last, sections) =
            path.rsplit_once('.').map_or((path, None), |(sections, last)| (last, Some(sections)));
        let mut at = &mut tree;
        for key in sections.into_iter().flat_map(|sections| sections.split('.')) {
            let DeValue::Table(table) = at.get_mut(key.trim())?.get_mut() else { return None };
            at = table;
        }
        let value = at.get_mut(last.trim())?;
        if value.get_ref().is_str() {
            return None;
        }
        *value = Spanned::new(self.span_of(plain), DeValue::String(Cow::Borrowed(plain)));
        Some(tree)
    }
}

/// Takes out what the override of `path` excludes.
fn exclude(tree: &mut DeTable<'_>, path: &[&str]) {
    for (mine, [section, key]) in EXCLUSIVE {
        if path.starts_with(mine)
            && let Some(DeValue::Table(section)) = tree.get_mut(section).map(Spanned::get_mut)
        {
            section.remove(key);
        }
    }
}

/// Moves the positions in a value by `by` bytes.
fn moved(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let shift = |span: Range<usize>| span.start + by..span.end + by;
    let span = shift(value.span());
    let value = match value.into_inner() {
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().map(|item| moved(item, by)).collect())
        }
        DeValue::Table(table) => {
            let mut all = DeTable::new();
            for (key, value) in table {
                all.insert(Spanned::new(shift(key.span()), key.into_inner()), moved(value, by));
            }
            DeValue::Table(all)
        }
        plain => plain,
    };
    Spanned::new(span, value)
}

/// What stood at a position of the tree.
pub(super) struct Taken {
    /// The key, with its sections.
    pub(super) key: String,
    /// Where the value was.
    pub(super) value: Range<usize>,
}

/// Takes out the key or value at `span`.
pub(super) fn take(tree: &mut DeTable<'_>, span: &Range<usize>) -> Option<Taken> {
    let at = tree.iter().find(|(name, value)| name.span() == *span || value.span() == *span);
    if let Some(name) = at.map(|(name, _)| name.get_ref().clone()) {
        let value = tree.remove(&*name)?.span();
        return Some(Taken { key: name.into_owned(), value });
    }
    tree.iter_mut().find_map(|(name, value)| {
        let taken = take_inside(value.get_mut(), span)?;
        let dot = if taken.key.is_empty() { "" } else { "." };
        Some(Taken { key: format!("{}{dot}{}", name.get_ref(), taken.key), ..taken })
    })
}

/// Positions of the keys in a value. Elements of a list have no key of their own.
fn take_inside(value: &mut DeValue<'_>, span: &Range<usize>) -> Option<Taken> {
    match value {
        DeValue::Table(table) => take(table, span),
        DeValue::Array(items) => {
            if let Some(idx) = items.iter().position(|item| item.span() == *span) {
                *items = [&items[..idx], &items[idx + 1..]].concat().into_iter().collect();
                return Some(Taken { key: String::new(), value: span.clone() });
            }
            items.iter_mut().find_map(|item| take_inside(item.get_mut(), span))
        }
        _ => None,
    }
}
