//! Whether a description of columns is valid, before any file is opened, and the indices of its
//! columns in a file.

use cafe_core::FeatureId;

use super::Columns;
use super::column::Column;

/// Why a description of columns is not valid, or does not fit a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ColumnsError {
    /// The delimiter is not an ASCII character that can separate fields.
    #[error(
        "delimiter: expected one ASCII character that is no quote and no line end, got {got:?}"
    )]
    Delimiter {
        /// The setting.
        got: char,
    },
    /// The separator is not an ASCII character that can separate the values of a field.
    #[error(
        "column {column}: separator: expected one ASCII character other than the delimiter, got \
         {got:?}"
    )]
    Separator {
        /// The column.
        column: Column,
        /// The setting.
        got: char,
    },
    /// Names were given for files whose header has names.
    #[error("names: only files without a header need them; remove them, or set header to false")]
    NamesAndHeader,
    /// A column is identified by name where columns have no names.
    #[error("column {column}: without a header columns go by number, from 1, or by `names`")]
    NoNames {
        /// The column.
        column: Column,
    },
    /// A column is numbered 0.
    #[error("columns are numbered from 1, got 0")]
    NumberZero,
    /// There is no column of this name.
    #[error("there is no column {column}; the columns are {}", listed(names))]
    NoSuchColumn {
        /// The column.
        column: Column,
        /// The names that there are, in order.
        names: Vec<String>,
    },
    /// The number of a column is greater than the number of columns.
    #[error("there is no column {column}; there are {n_columns} columns; check the delimiter")]
    TooFewColumns {
        /// The column.
        column: Column,
        /// The number of columns.
        n_columns: usize,
    },
    /// A name that is used belongs to two columns.
    #[error("there are two columns {column}; give the number of the one that is meant")]
    Ambiguous {
        /// The column.
        column: Column,
    },
    /// A column has two uses that exclude each other.
    #[error("column {column}: {first} and {second} at once; drop one of them")]
    UsedTwice {
        /// The column.
        column: Column,
        /// One use.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// The rules for the label exclude each other.
    #[error(
        "label: at most one of positive, at_least and above can be its rule, and negative goes \
         with \
         positive"
    )]
    LabelRule,
    /// There are no features.
    #[error("there is no numeric and no categorical column")]
    NoFeatures,
    /// There are more categorical fields than feature ids have room for.
    #[error("{n_fields} categorical columns; at most {} are possible", FeatureId::MAX_FIELDS)]
    TooManyFields {
        /// The number of categorical columns.
        n_fields: usize,
    },
    /// The numbers of features do not match the categorical columns.
    #[error(
        "features: expected {n_fields} numbers of at least 1, one a categorical column, got {}",
        numbers(got)
    )]
    Features {
        /// Categorical columns.
        n_fields: usize,
        /// The setting.
        got: Vec<u64>,
    },
    /// No byte of the column tells the day.
    #[error("day: first = 0 leaves nothing to tell days apart")]
    Day,
}

/// The indices, from 0, of the columns of a description in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnIndices {
    /// The label; `None` if rows have none.
    pub label: Option<usize>,
    /// The numeric columns, in the order of the description.
    pub numeric: Vec<usize>,
    /// The categorical columns, in the order of the description.
    pub categorical: Vec<usize>,
    /// The column that tells the day.
    pub day: Option<usize>,
    /// The number of columns of the file.
    pub n_columns: usize,
}

impl Columns {
    /// Checks the description as far as possible without a file.
    ///
    /// # Errors
    /// If it contradicts itself.
    pub fn check(&self) -> Result<(), ColumnsError> {
        let is_separator = |c: char| c.is_ascii() && !matches!(c, '"' | '\n' | '\r' | '\0');
        if !is_separator(self.delimiter) {
            return Err(ColumnsError::Delimiter { got: self.delimiter });
        }
        for field in &self.categorical {
            if let Some(got) = field.separator.filter(|&c| !is_separator(c) || c == self.delimiter)
            {
                return Err(ColumnsError::Separator { column: field.column.clone(), got });
            }
        }
        self.check_label()?;
        self.check_sizes()?;
        self.check_uses()?;
        self.check_names()
    }

    fn check_label(&self) -> Result<(), ColumnsError> {
        let label = &self.label;
        let rules = [!label.positive.is_empty(), label.at_least.is_some(), label.above.is_some()];
        let is_clear = rules.iter().filter(|&&rule| rule).count() <= 1;
        let has_positive = label.negative.is_empty() || !label.positive.is_empty();
        if is_clear && has_positive { Ok(()) } else { Err(ColumnsError::LabelRule) }
    }

    fn check_sizes(&self) -> Result<(), ColumnsError> {
        let n_fields = self.categorical.len();
        if n_fields == 0 && self.numeric.is_empty() {
            return Err(ColumnsError::NoFeatures);
        }
        if n_fields > FeatureId::MAX_FIELDS {
            return Err(ColumnsError::TooManyFields { n_fields });
        }
        let got = if self.features.is_empty() {
            self.categorical.iter().filter_map(|field| field.features).collect()
        } else {
            self.features.clone()
        };
        if !got.is_empty() && got.len() != n_fields || got.contains(&0) {
            return Err(ColumnsError::Features { n_fields, got });
        }
        if self.day.as_ref().is_some_and(|day| day.first == Some(0)) {
            return Err(ColumnsError::Day);
        }
        Ok(())
    }

    /// The label as a feature would leak the answer, and the same feature twice is a mistake. A
    /// column may be numeric, categorical, and the day at the same time.
    fn check_uses(&self) -> Result<(), ColumnsError> {
        let numeric = self.numeric.iter().map(|it| (&it.column, "numeric"));
        let categorical = self.categorical.iter().map(|it| (&it.column, "categorical"));
        let ignored = self.ignore.iter().map(|column| (column, "ignored"));
        let label = [(&self.label.column, "the label")];
        let day = self.day.iter().map(|day| (&day.column, "the day"));
        let uses: Vec<_> =
            label.into_iter().chain(numeric).chain(categorical).chain(day).chain(ignored).collect();
        for (idx, &(column, second)) in uses.iter().enumerate() {
            for &(other, first) in &uses[..idx] {
                let is_odd = first == second || first == "the label" || second == "ignored";
                if other == column && is_odd {
                    return Err(ColumnsError::UsedTwice { column: column.clone(), first, second });
                }
            }
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), ColumnsError> {
        if self.header && !self.names.is_empty() {
            return Err(ColumnsError::NamesAndHeader);
        }
        if !self.names.is_empty() {
            return self.column_indices(&self.names).map(drop);
        }
        match self.used().find(|column| matches!(column, Column::Name(_)) && !self.header) {
            Some(column) => Err(ColumnsError::NoNames { column: column.clone() }),
            None if self.used().any(|column| *column == Column::Number(0)) => {
                Err(ColumnsError::NumberZero)
            }
            None => Ok(()),
        }
    }

    /// Every column that the description mentions.
    fn used(&self) -> impl Iterator<Item = &Column> {
        let features = self
            .numeric
            .iter()
            .map(|it| &it.column)
            .chain(self.categorical.iter().map(|it| &it.column));
        let rest = self.day.iter().map(|day| &day.column).chain(&self.ignore);
        std::iter::once(&self.label.column).chain(features).chain(rest)
    }

    /// The indices of the columns in a file whose columns have `names`, as its header gives them.
    ///
    /// # Errors
    /// If a column that is used is absent or ambiguous, or if one column is used by name and by
    /// number in ways that exclude each other.
    pub fn column_indices(&self, names: &[impl AsRef<str>]) -> Result<ColumnIndices, ColumnsError> {
        let indices = self.indices(names.len(), &|column| match column {
            Column::Number(number) => index_of_number(column, *number, names.len()),
            Column::Name(name) => index_of_name(column, name, names),
        })?;
        let is_feature =
            |idx: &usize| indices.numeric.contains(idx) || indices.categorical.contains(idx);
        if indices.label.as_ref().is_some_and(is_feature) {
            let column = self.label.column.clone();
            let (first, second) = ("the label", "a feature");
            return Err(ColumnsError::UsedTwice { column, first, second });
        }
        Ok(indices)
    }

    /// The indices of the columns in a file of `n_columns` columns without names.
    ///
    /// # Errors
    /// If the file has too few columns, or the description uses a name.
    pub fn column_indices_by_number(
        &self,
        n_columns: usize,
    ) -> Result<ColumnIndices, ColumnsError> {
        self.indices(n_columns, &|column| match column {
            Column::Number(number) => index_of_number(column, *number, n_columns),
            Column::Name(_) => Err(ColumnsError::NoNames { column: column.clone() }),
        })
    }

    fn indices(
        &self,
        n_columns: usize,
        index: &dyn Fn(&Column) -> Result<usize, ColumnsError>,
    ) -> Result<ColumnIndices, ColumnsError> {
        // Ignored columns are not read, but are checked to exist.
        self.ignore.iter().try_for_each(|column| index(column).map(drop))?;
        Ok(ColumnIndices {
            label: if self.unlabelled { None } else { Some(index(&self.label.column)?) },
            numeric: self.numeric.iter().map(|it| index(&it.column)).collect::<Result<_, _>>()?,
            categorical: self
                .categorical
                .iter()
                .map(|it| index(&it.column))
                .collect::<Result<_, _>>()?,
            day: self.day.as_ref().map(|day| index(&day.column)).transpose()?,
            n_columns,
        })
    }
}

fn index_of_number(
    column: &Column,
    number: usize,
    n_columns: usize,
) -> Result<usize, ColumnsError> {
    match number.checked_sub(1) {
        None => Err(ColumnsError::NumberZero),
        Some(idx) if idx < n_columns => Ok(idx),
        Some(_) => Err(ColumnsError::TooFewColumns { column: column.clone(), n_columns }),
    }
}

fn index_of_name(
    column: &Column,
    name: &str,
    names: &[impl AsRef<str>],
) -> Result<usize, ColumnsError> {
    let mut found = names.iter().enumerate().filter(|(_, other)| other.as_ref() == name);
    match (found.next(), found.next()) {
        (Some((idx, _)), None) => Ok(idx),
        (Some(_), Some(_)) => Err(ColumnsError::Ambiguous { column: column.clone() }),
        (None, _) => {
            let names = names.iter().map(|name| name.as_ref().to_owned()).collect();
            Err(ColumnsError::NoSuchColumn { column: column.clone(), names })
        }
    }
}

/// The names as a message lists them: the first 50, so that the message stays readable.
fn listed(names: &[String]) -> String {
    const N_SHOWN: usize = 50;
    let shown = names
        .iter()
        .take(N_SHOWN)
        .map(|name| format!("`{}`", short(name)))
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(N_SHOWN) {
        0 => shown,
        n_more => format!("{shown} and {n_more} more"),
    }
}

/// A name as a message shows it. With a wrong delimiter all of a row is one name.
fn short(name: &str) -> String {
    const MAX_CHARS: usize = 32;
    let head = name.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    if name.chars().count() > MAX_CHARS { head + "..." } else { head }
}

fn numbers(got: &[u64]) -> String {
    if got.contains(&0) { "one that is 0".to_owned() } else { got.len().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Columns {
        toml::from_str(text).unwrap()
    }

    /// Descriptions, all but their label, and the message that refuses them.
    const CONTRADICTIONS: &[(&str, &str)] = &[
        ("", "there is no numeric and no categorical column"),
        (
            "delimiter = '\"'\nnumeric = [2]",
            "delimiter: expected one ASCII character that is no quote and no line end, got '\"'",
        ),
        (
            "delimiter = 'é'\nnumeric = [2]",
            "delimiter: expected one ASCII character that is no quote and no line end, got 'é'",
        ),
        (
            "categorical = [{ column = 2, separator = ',' }]",
            "column number 2: separator: expected one ASCII character other than the delimiter, \
             got ','",
        ),
        (
            "names = ['y', 'a']\nnumeric = ['a']",
            "names: only files without a header need them; remove them, or set header to false",
        ),
        (
            "header = false\nnumeric = ['a']",
            "column `a`: without a header columns go by number, from 1, or by `names`",
        ),
        ("header = false\nnumeric = [0]", "columns are numbered from 1, got 0"),
        ("numeric = ['y']", "column `y`: the label and numeric at once; drop one of them"),
        ("categorical = ['y']", "column `y`: the label and categorical at once; drop one of them"),
        ("numeric = ['a', 'b', 'a']", "column `a`: numeric and numeric at once; drop one of them"),
        (
            "categorical = ['a', 'a']",
            "column `a`: categorical and categorical at once; drop one of them",
        ),
        (
            "numeric = ['a']\nignore = ['a']",
            "column `a`: numeric and ignored at once; drop one of them",
        ),
        (
            "numeric = ['a']\nday = { column = 'd', first = 0 }",
            "day: first = 0 leaves nothing to tell days apart",
        ),
        (
            "categorical = ['a', 'b']\nfeatures = [3]",
            "features: expected 2 numbers of at least 1, one a categorical column, got 1",
        ),
        (
            "categorical = [{ column = 'a', features = 3 }, 'b']",
            "features: expected 2 numbers of at least 1, one a categorical column, got 1",
        ),
        (
            "categorical = ['a']\nfeatures = [0]",
            "features: expected 1 numbers of at least 1, one a categorical column, got one that is \
             0",
        ),
        (
            "header = false\nnames = ['x', 'a']\nnumeric = ['a']",
            "there is no column `y`; the columns are `x`, `a`",
        ),
        (
            "header = false\nnames = ['y', 'a', 'a']\nnumeric = ['a']",
            "there are two columns `a`; give the number of the one that is meant",
        ),
        (
            "header = false\nnames = ['y', 'a']\nnumeric = [3]",
            "there is no column number 3; there are 2 columns; check the delimiter",
        ),
        // By number and by name.
        (
            "header = false\nnames = ['y', 'a']\nnumeric = [1]",
            "column `y`: the label and a feature at once; drop one of them",
        ),
    ];

    #[test]
    fn contradictions_are_refused() {
        for &(text, expected) in CONTRADICTIONS {
            let label = if text.starts_with("header = false") && !text.contains("names") {
                "1"
            } else {
                "'y'"
            };
            let columns = parse(&format!("{text}\n[label]\ncolumn = {label}"));
            assert_eq!(columns.check().unwrap_err().to_string(), expected, "{text}");
        }
        let many: Vec<String> = (0..129).map(|n| format!("'c{n}'")).collect();
        let columns =
            parse(&format!("label = {{ column = 'y' }}\ncategorical = [{}]", many.join(",")));
        assert_eq!(
            columns.check().unwrap_err().to_string(),
            "129 categorical columns; at most 128 are possible"
        );
    }

    #[test]
    fn label_has_at_most_one_rule() {
        for rule in ["at_least = 1, above = 0", "positive = ['1'], above = 0", "negative = ['0']"] {
            let columns = parse(&format!("label = {{ column = 'y', {rule} }}\nnumeric = ['a']"));
            assert_eq!(columns.check(), Err(ColumnsError::LabelRule), "{rule}");
        }
    }

    #[test]
    fn column_may_have_several_uses() {
        let columns = parse(
            "label = { column = 1 }\nnumeric = ['a']\ncategorical = ['a', { column = 3, features = \
             9 }]\n\
             day = { column = 'a' }\nfeatures = [5, 6]",
        );
        assert_eq!(columns.check(), Ok(()));
        assert_eq!(columns.n_features(), [5, 6]);
        let indices = columns.column_indices(&["y", "b", "c", "a"]).unwrap();
        let expected = ColumnIndices {
            label: Some(0),
            numeric: vec![3],
            categorical: vec![3, 2],
            day: Some(3),
            n_columns: 4,
        };
        assert_eq!(indices, expected);
    }

    #[test]
    fn ignored_columns_must_exist() {
        let columns = parse("label = { column = 'y' }\nnumeric = ['a']\nignore = ['id']");
        let message = columns.column_indices(&["y", "a"]).unwrap_err().to_string();
        assert_eq!(message, "there is no column `id`; the columns are `y`, `a`");
        columns.column_indices(&["y", "a", "id", "more"]).unwrap();
        let long = "x".repeat(40);
        let names: Vec<&str> =
            std::iter::once("y").chain(std::iter::repeat_n(long.as_str(), 60)).collect();
        let message = columns.column_indices(&names).unwrap_err().to_string();
        let (start, end) =
            ("there is no column `id`; the columns are `y`, `xxxx", "x...` and 11 more");
        assert!(message.starts_with(start) && message.ends_with(end), "{message}");
    }

    #[test]
    fn configuration_mistakes_are_named() {
        let message =
            |text: &str| toml::from_str::<Columns>(text).unwrap_err().message().to_owned();
        assert_eq!(message("numeric = ['a']"), "missing field `label`");
        let label = "label = { column = 'y' }\n";
        assert!(
            message(&format!("{label}numerics = ['a']"))
                .starts_with("unknown field `numerics`, expected one of")
        );
        assert!(
            message(&format!("{label}numeric = [{{ column = 'a', kind = 'hex' }}]"))
                .starts_with("unknown field `kind`")
        );
        let expected = "unknown variant `hash`, expected one of `string`, `hex`, `integer`";
        assert_eq!(
            message(&format!("{label}categorical = [{{ column = 'a', kind = 'hash' }}]")),
            expected
        );
        let expected = "invalid type: boolean `true`, expected the name of a column, its number \
                        from 1, or a table with `column`";
        assert_eq!(message(&format!("{label}categorical = [true]")), expected);
        assert_eq!(message(&format!("{label}categorical = [-1]")), "columns are numbered from 1");
        assert_eq!(
            message("label = { column = 1.5 }"),
            "invalid type: floating point `1.5`, expected the name of a column, or its number from \
             1"
        );
    }
}
