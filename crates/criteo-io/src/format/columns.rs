//! The columns of any delimited file: a plain description that can be part of a configuration.
//! Apart from the reader, because sizing tables, printing a plan and reading another container need
//! the description alone.

pub(crate) mod check;
pub(crate) mod column;
pub(crate) mod label;
mod short_form;
pub(crate) mod value;

use serde::{Deserialize, Serialize};

use self::column::Column;
use self::label::Label;
use self::value::{Kind, Transform};

/// The columns of a table: the label, the features, and how their texts become values.
///
/// A file is rows of fields between delimiters. With a header, columns are identified by name or by
/// number (from 1), in any order, and columns not named here are ignored. Without a header they are
/// identified by number, or by the names in [`Columns::names`]. The order of the lists here is the
/// order of the fields of the model.
///
/// ```
/// use criteo_io::{Column, Columns, Kind};
///
/// let columns: Columns = toml::from_str(r#"
///     delimiter = ","
///     label = { column = "rating", at_least = 4 }
///     numeric = ["age", { column = "price", transform = "none" }]
///     categorical = [
///         "city",
///         { column = "genres", separator = "|" },
///         { column = "item", kind = "integer" },
///     ]
///     missing = ["", "NA"]
///     day = { column = "time", first = 10 }
/// "#)?;
/// assert_eq!(columns.check(), Ok(()));
/// assert_eq!(columns.categorical[0].column, Column::from("city"));
/// assert_eq!(columns.categorical[2].kind, Kind::Integer);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// The separator of fields: one ASCII character.
    #[serde(default = "comma")]
    pub delimiter: char,
    /// Whether the first row of every file names its columns.
    #[serde(default = "yes")]
    pub header: bool,
    /// Names for all columns of files without a header, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Whether a field may be enclosed in double quotes, and then contain delimiters, line feeds,
    /// and double quotes written twice.
    #[serde(default = "yes")]
    pub quoting: bool,
    /// Texts that mean a missing value, in every column but the label.
    #[serde(default = "empty_text")]
    pub missing: Vec<String>,
    /// What a model predicts.
    pub label: Label,
    /// Columns of numbers.
    #[serde(default)]
    pub numeric: Vec<Numeric>,
    /// Columns of categories: the fields of the embedding, in order.
    #[serde(default)]
    pub categorical: Vec<Categorical>,
    /// Columns that must exist and are not used. Columns that are not named anywhere are ignored
    /// without that check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<Column>,
    /// The column that tells the day, for data in the order of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// The number of features of each column in `categorical`, in order: replaces their own
    /// `features`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<u64>,
    /// Whether the column of the label is absent and every label is negative. Not a setting of
    /// configurations; set by [`Dialect::without_label`](crate::Dialect::without_label).
    #[serde(skip)]
    pub unlabelled: bool,
}

/// A column of numbers, whole or not. In a configuration its name or number alone is enough.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Numeric {
    /// The column, by name or number.
    pub column: Column,
    /// How a number becomes a dense value.
    pub transform: Transform,
    /// Further texts that mean a missing value in this column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// A column of categories. In a configuration its name or number alone is enough.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Categorical {
    /// The column, by name or number.
    pub column: Column,
    /// What the texts are, which decides how they become tokens.
    pub kind: Kind,
    /// One ASCII character between the values of a field that holds any number of them: a bag,
    /// whose embedding rows are summed. Missing values in a bag are left out; a bag without values
    /// is the missing feature of the field. A value that occurs twice counts twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<char>,
    /// The number of features in the whole data set, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<u64>,
    /// Further texts that mean a missing value in this column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

/// The column, or part of a column, that tells the day. The rows of a day are consecutive; each
/// change of the text begins a new day, and days are numbered from 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Day {
    /// The column, by name or number.
    pub column: Column,
    /// The number of leading bytes that count: 10 of `2014-10-21 07:00:00`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<usize>,
    /// The number of last bytes that do not count: 2 of `14102107`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drop_last: usize,
}

impl Columns {
    /// A file with a header, commas and quoting, and no columns yet but its label.
    #[must_use]
    pub fn csv(label: Label) -> Self {
        Self {
            delimiter: comma(),
            header: true,
            names: Vec::new(),
            quoting: true,
            missing: empty_text(),
            label,
            numeric: Vec::new(),
            categorical: Vec::new(),
            ignore: Vec::new(),
            day: None,
            features: Vec::new(),
            unlabelled: false,
        }
    }

    /// A file without header or quoting, between tabs, whose columns have these names.
    #[must_use]
    pub fn tsv(names: &[&str], label: Label) -> Self {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Self { delimiter: '\t', header: false, names, quoting: false, ..Self::csv(label) }
    }

    /// The number of features of each categorical field; empty unless it is given for all of them.
    #[must_use]
    pub fn n_features(&self) -> Vec<u64> {
        if !self.features.is_empty() {
            return self.features.clone();
        }
        let each = self.categorical.iter().map(|field| field.features);
        each.collect::<Option<_>>().unwrap_or_default()
    }

    /// Removes the column of the label from the description.
    pub(crate) fn drop_label(&mut self) {
        self.unlabelled = true;
        let place = match &self.label.column {
            Column::Number(number) => number.checked_sub(1),
            Column::Name(name) => self.names.iter().position(|other| other == name),
        };
        let Some(place) = place else { return };
        if place < self.names.len() {
            self.names.remove(place);
        }
        let numeric = self.numeric.iter_mut().map(|it| &mut it.column);
        let categorical = self.categorical.iter_mut().map(|it| &mut it.column);
        let rest = self.ignore.iter_mut().chain(self.day.iter_mut().map(|day| &mut day.column));
        for column in numeric.chain(categorical).chain(rest) {
            if let Column::Number(number) = column
                && *number > place + 1
            {
                *number -= 1;
            }
        }
    }

    /// Whether a field may hold several values.
    #[must_use]
    pub fn has_bags(&self) -> bool {
        self.categorical.iter().any(|field| field.separator.is_some())
    }
}

impl Numeric {
    /// A column whose numbers become ln(x + 1).
    #[must_use]
    pub fn new(column: impl Into<Column>) -> Self {
        Self { column: column.into(), transform: Transform::default(), missing: Vec::new() }
    }
}

impl Categorical {
    /// A column with one category per row.
    #[must_use]
    pub fn new(column: impl Into<Column>, kind: Kind) -> Self {
        Self { column: column.into(), kind, separator: None, features: None, missing: Vec::new() }
    }
}

impl Day {
    /// The part of `text` that tells the day; `None` if it is empty.
    #[must_use]
    pub fn key<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let text = self.first.map_or(text, |n_bytes| &text[..text.len().min(n_bytes)]);
        let key = &text[..text.len().checked_sub(self.drop_last)?];
        (!key.is_empty()).then_some(key)
    }
}

fn comma() -> char {
    ','
}

fn yes() -> bool {
    true
}

fn empty_text() -> Vec<String> {
    vec![String::new()]
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
