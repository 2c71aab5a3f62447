//! What is wrong with a configuration, in words: where, which key, what was expected, what was
//! there, what to do.

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    /// Where it was written, as far as it was.
    pub(super) position: Option<usize>,
    /// The key with its sections; empty where there is none.
    pub(super) key: String,
    /// What was expected, what was there, what to do.
    pub(super) message: String,
}

/// Problems as a check finds them: their places are looked up afterwards.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { position: None, key: key.into(), message: message.into() });
    }
}

/// What serde said, in our words.
pub(super) struct Reworded {
    pub(super) message: String,
    /// The last part of the key that was meant, where a key is unknown or missing.
    pub(super) meant: Option<String>,
    pub(super) kind: Kind,
}

/// Kinds of problems that serde finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    UnknownKey,
    Missing,
    Value,
}

/// Values that earlier versions knew, and what to do without them.
const RETIRED: [(&str, &str); 2] = [
    ("hash2", "use `hash` or `unified`; it measured as `hash` does (docs/figures.md)"),
    (
        "cafe_best",
        "at equal bytes `coded`, the default, is level with it or better; a sketch in front of that \
         table is `cafe` with embedding.cafe.cold = \"coded\" (docs/quality.md has what it buys)",
    ),
];

/// Rewords a message of serde's about the value `got`, or about the key `name`.
pub(super) fn reword(message: &str, name: &str, got: &str) -> Reworded {
    let plain = |message: String| Reworded { message, meant: None, kind: Kind::Value };
    let expected = message.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
    let quoted =
        |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    if message.starts_with("unknown field ") {
        let known = quoted(expected);
        let meant = nearest(name, &known).map(str::to_owned);
        let message = match &meant {
            Some(meant) => format!("unknown key; did you mean `{meant}`?"),
            None => format!("unknown key; expected one of {}", listed(&known)),
        };
        return Reworded { message, meant, kind: Kind::UnknownKey };
    }
    if message.starts_with("unknown variant ") {
        let name = got.trim_matches(['"', '\'']);
        if let Some((_, way_out)) = RETIRED.iter().find(|(retired, _)| *retired == name) {
            return plain(format!("`{name}` is gone: {way_out}"));
        }
        return plain(one_of(&quoted(expected), got.trim_matches(['"', '\''])));
    }
    if let Some(field) =
        message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
    {
        return Reworded {
            message: "missing; add it".to_owned(),
            meant: Some(field.to_owned()),
            kind: Kind::Missing,
        };
    }
    if message.starts_with("invalid ") {
        return plain(format!("expected {}, got {}", described(expected), shown(got)));
    }
    if message.contains(", got ") {
        plain(message.to_owned())
    } else {
        plain(format!("{message}, got {}", shown(got)))
    }
}

/// The message about a name that is not one of `known`, with the one that was probably meant.
pub(super) fn one_of(known: &[impl AsRef<str>], got: &str) -> String {
    let meant =
        nearest(got, known).map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    format!("expected one of {}, got `{got}`{meant}", listed(known))
}

/// The name that differs in the fewest letters, if in few enough to be a slip.
fn nearest<'k>(name: &str, known: &'k [impl AsRef<str>]) -> Option<&'k str> {
    /// No key is longer, and computing the distance takes time quadratic in the length.
    const MAX_BYTES: usize = 64;
    if name.len() > MAX_BYTES {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let name = plain(name);
    let distances = known
        .iter()
        .map(|one| (strsim::damerau_levenshtein(&name, &plain(one.as_ref())), one.as_ref()));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1.max(name.chars().count() / 3)).then_some(nearest)
}

fn listed(names: &[impl AsRef<str>]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// A type as a person calls it.
fn described(expected: &str) -> &str {
    match expected {
        "usize" | "u64" | "u32" => "a whole number of 0 or more",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "a string" => "a text",
        "a character" => "one character",
        "a sequence" => "a list",
        structure if structure.starts_with("struct ") => "a section",
        // Some of our own types say it in full.
        own => own.strip_prefix("expected ").unwrap_or(own),
    }
}

/// A value as it was written, in one line.
fn shown(got: &str) -> String {
    const MAX_CHARS: usize = 40;
    let line = got.lines().next().unwrap_or_default();
    if line.starts_with(['{', '[']) && line.chars().count() > MAX_CHARS {
        return if line.starts_with('[') { "a list".to_owned() } else { "a section".to_owned() };
    }
    if line.is_empty() {
        return "nothing".to_owned();
    }
    let is_whole = got.len() == line.len() && line.chars().count() <= MAX_CHARS;
    let head: String = line.chars().take(MAX_CHARS).collect();
    if is_whole { format!("`{head}`") } else { format!("`{head}...`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_slip_away() {
        let known =
            ["batch", "epochs", "lr", "embedding_lr", "cafe", "cafe_best", "cafe_plus", "last-day"];
        for (name, expected) in [
            ("bacth", Some("batch")),
            ("Batch", Some("batch")),
            ("embeding_lr", Some("embedding_lr")),
            ("cafe-best", Some("cafe_best")),
            ("cafebest", Some("cafe_best")),
            ("last_day", Some("last-day")),
            ("lrr", Some("lr")),
            ("learning_rate", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, &known), expected, "{name}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), &known), None);
    }

    #[test]
    fn values_are_shown_in_one_line() {
        for (got, expected) in [
            ("-1", "`-1`"),
            ("", "nothing"),
            ("\"\"\"a\nb\"\"\"", "`\"\"\"a...`"),
            ("[1, 2]", "`[1, 2]`"),
            ("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]", "a list"),
            (
                "\"a name of more than forty characters, which is long\"",
                "`\"a name of more than forty characters, w...`",
            ),
        ] {
            assert_eq!(shown(got), expected);
        }
    }
}
