//! How the text of a file becomes rows: one of the formats by name, or a description of the
//! columns.

use std::sync::Arc;

use cafe_core::mix64;

use crate::format::columns::Columns;
use crate::format::columns::check::ColumnsError;
use crate::format::columns::value::Transform;
use crate::format::schema::{Format, Schema, UnknownFormat};

/// What a [`Reader`](crate::Reader) has to know of its files.
///
/// Criteo's formats have a parser of their own, and any other table is read as its [`Columns`]
/// describe it: Avazu and KDD12 by descriptions that are built in, the rest by the user's.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialect {
    name: &'static str,
    schema: Schema,
    /// `None` for Criteo's dialect.
    columns: Option<Arc<Columns>>,
    /// Whether every file of a list is a day.
    files_are_days: bool,
    /// Whether numbers of described tables are not transformed; see [`Dialect::with_raw_numbers`].
    has_raw_numbers: bool,
    /// Whether rows have a label; see [`Dialect::without_label`].
    has_label: bool,
}

/// Why a format name and a description do not make a dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialectError {
    /// The name is not known.
    #[error(transparent)]
    Unknown(#[from] UnknownFormat),
    /// The format needs a description of the columns, and there is none.
    #[error("format `{DELIMITED}` needs a description of the columns")]
    NoColumns,
    /// A setting for text files was given for files that are not text.
    #[error("{key}: files of format `{PARQUET}` are no text; remove it")]
    NotText {
        /// The setting.
        key: &'static str,
    },
    /// This build has no Parquet reader.
    #[error("this build does not read `{PARQUET}`; rebuild with `--features parquet`")]
    NoParquet,
    /// The columns of the format are known, and a description was given.
    #[error("format `{format}` has columns of its own; for others, name the format `{DELIMITED}`")]
    UnwantedColumns {
        /// The format.
        format: Format,
    },
    /// The description is not valid.
    #[error(transparent)]
    Columns(#[from] ColumnsError),
}

/// The name of the format whose columns the user describes.
const DELIMITED: &str = "delimited";
/// The name of the format of Parquet files, whose columns are described in the same way.
const PARQUET: &str = "parquet";

impl Dialect {
    /// The dialect of a configuration: `delimited` and `parquet` need `columns`, all other formats
    /// have none.
    ///
    /// # Errors
    /// If the name is unknown, or columns are missing, not expected, or not valid.
    pub fn new(name: &str, columns: Option<Columns>) -> Result<Self, DialectError> {
        if name == PARQUET {
            return Self::parquet(columns.ok_or(DialectError::NoColumns)?);
        }
        if name == DELIMITED {
            return Ok(Self::delimited(columns.ok_or(DialectError::NoColumns)?)?);
        }
        let format: Format = name.parse()?;
        if columns.is_some() {
            Err(DialectError::UnwantedColumns { format })
        } else {
            Ok(format.into())
        }
    }

    /// Delimited files with the columns that `columns` describes.
    ///
    /// # Errors
    /// If the description is not valid.
    pub fn delimited(columns: Columns) -> Result<Self, ColumnsError> {
        columns.check()?;
        Ok(Self::described(DELIMITED, columns))
    }

    /// Parquet files with the columns that `columns` names; a missing value is a null, or an empty
    /// text.
    fn parquet(mut columns: Columns) -> Result<Self, DialectError> {
        if !cfg!(feature = "parquet") {
            return Err(DialectError::NoParquet);
        }
        let is_set = [
            ("delimiter", columns.delimiter != ','),
            ("header", !columns.header),
            ("names", !columns.names.is_empty()),
            ("quoting", !columns.quoting),
        ];
        if let Some((key, _)) = is_set.into_iter().find(|(_, is_set)| *is_set) {
            return Err(DialectError::NotText { key });
        }
        columns.check()?;
        if !columns.missing.iter().any(String::is_empty) {
            columns.missing.push(String::new());
        }
        Ok(Self::described(PARQUET, columns))
    }

    /// Whether files are Parquet.
    #[cfg(feature = "parquet")]
    pub(crate) fn is_parquet(&self) -> bool {
        self.name == PARQUET
    }

    fn described(name: &'static str, columns: Columns) -> Self {
        let schema = Schema {
            n_integers: columns.numeric.len(),
            n_fields: columns.categorical.len(),
            features: columns.n_features(),
        };
        Self {
            name,
            schema,
            columns: Some(Arc::new(columns)),
            files_are_days: false,
            has_raw_numbers: false,
            has_label: true,
        }
    }

    /// This dialect without transforms, for statistics of the data:
    /// [`Record::dense`](crate::Record::dense) holds the numbers of the file, and NaN where one is
    /// missing. Criteo's integers are never transformed.
    #[must_use]
    pub fn with_raw_numbers(mut self) -> Self {
        if let Some(columns) = &mut self.columns {
            let numeric = &mut Arc::make_mut(columns).numeric;
            for column in numeric.iter_mut() {
                column.transform = Transform::None;
            }
            self.has_raw_numbers = true;
        }
        self
    }

    /// This dialect for rows without a label, which are to be scored: the column of the label is
    /// absent, and every label reads as 0. Criteo's rows then begin with the first integer. In
    /// described tables the number of every column after the label decreases by one, if the
    /// description tells the position of the label; columns that are named in a header stay, and
    /// the file may have a label all the same.
    #[must_use]
    pub fn without_label(mut self) -> Self {
        if self.has_label
            && let Some(columns) = &mut self.columns
        {
            Arc::make_mut(columns).drop_label();
        }
        self.has_label = false;
        self
    }

    /// Whether rows have a label.
    #[must_use]
    pub fn has_label(&self) -> bool {
        self.has_label
    }

    /// The value of a missing number of a described table.
    pub(crate) fn missing_number(&self) -> f32 {
        if self.has_raw_numbers { f32::NAN } else { 0.0 }
    }

    /// The name in configurations and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The columns that are features.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The description of all columns; `None` for Criteo's formats.
    #[must_use]
    pub fn columns(&self) -> Option<&Columns> {
        self.columns.as_deref()
    }

    /// Whether a categorical field may hold several values.
    #[must_use]
    pub fn has_bags(&self) -> bool {
        self.columns().is_some_and(Columns::has_bags)
    }

    /// Whether the rows of `n_files` files know their day.
    #[must_use]
    pub fn has_days(&self, n_files: usize) -> bool {
        self.columns().is_some_and(|columns| columns.day.is_some()) || self.file_is_day(n_files)
    }

    /// Whether the number of the file in its list is the day.
    pub(crate) fn file_is_day(&self, n_files: usize) -> bool {
        self.files_are_days && n_files > 1
    }

    /// A digest of everything that affects the records of a file; sizes do not. Caches store it, so
    /// that the `Debug` form of [`Columns`] is part of their format.
    pub(crate) fn digest(&self) -> u64 {
        let columns = self.columns().map(|columns| {
            let mut columns = Columns { features: Vec::new(), ..columns.clone() };
            columns.categorical.iter_mut().for_each(|field| field.features = None);
            columns
        });
        let raw = if self.has_raw_numbers { " raw" } else { "" };
        let unlabelled = if self.has_label { "" } else { " unlabelled" };
        let text = format!("{} {columns:?}{raw}{unlabelled}", self.name);
        text.bytes().fold(0, |digest, byte| mix64(u64::from(byte), digest))
    }
}

impl From<Format> for Dialect {
    fn from(format: Format) -> Self {
        if let Some(columns) = format.columns() {
            return Self::described(format.name(), columns);
        }
        let files_are_days = matches!(format, Format::CriteoTerabyte | Format::CriteoTerabyteThird);
        let (name, schema) = (format.name(), format.schema());
        Self {
            name,
            schema,
            columns: None,
            files_are_days,
            has_raw_numbers: false,
            has_label: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::columns::Categorical;
    use crate::format::columns::label::Label;
    use crate::format::columns::value::Kind;

    fn columns() -> Columns {
        Columns {
            categorical: vec![Categorical::new("site", Kind::String)],
            ..Columns::csv(Label::binary("click"))
        }
    }

    #[test]
    fn names_and_columns_are_checked_together() {
        for format in Format::ALL {
            let dialect = Dialect::new(format.name(), None).unwrap();
            assert_eq!(dialect, format.into());
            assert_eq!(dialect.name(), format.name());
            assert_eq!(*dialect.schema(), format.schema());
            let message = Dialect::new(format.name(), Some(columns())).unwrap_err().to_string();
            let expected = "has columns of its own; for others, name the format `delimited`";
            assert_eq!(message, format!("format `{format}` {expected}"));
        }
        let described = Dialect::new("delimited", Some(columns())).unwrap();
        assert_eq!(described.columns(), Some(&columns()));
        assert_eq!((described.schema().n_fields, described.schema().features.len()), (1, 0));
        let message = |name, columns| Dialect::new(name, columns).unwrap_err().to_string();
        assert_eq!(
            message("delimited", None),
            "format `delimited` needs a description of the columns"
        );
        assert!(message("tsv", None).starts_with("unknown format `tsv`; the known ones are "));
        let bad = Columns { delimiter: '"', ..columns() };
        assert!(
            message("delimited", Some(bad)).starts_with("delimiter: expected one ASCII character")
        );
    }

    #[test]
    fn digest_covers_what_changes_records() {
        let digest = |columns| Dialect::delimited(columns).unwrap().digest();
        let mut sized = columns();
        sized.categorical[0].features = Some(7);
        assert_eq!(digest(sized), digest(columns()));
        assert_eq!(digest(Columns { features: vec![7], ..columns() }), digest(columns()));
        let mut other = columns();
        other.categorical[0].kind = Kind::Integer;
        assert_ne!(digest(other), digest(columns()));
        assert_ne!(digest(Columns { delimiter: ';', ..columns() }), digest(columns()));
    }

    #[test]
    fn days_come_from_files_or_a_column() {
        let has_days =
            |format: Format| [1, 2].map(|n_files| Dialect::from(format).has_days(n_files));
        assert_eq!(has_days(Format::CriteoKaggle), [false, false]);
        assert_eq!(has_days(Format::CriteoTerabyte), [false, true]);
        assert_eq!(has_days(Format::CriteoTerabyteThird), [false, true]);
        assert_eq!(has_days(Format::Avazu), [true, true]);
        assert_eq!(has_days(Format::Kdd12), [false, false]);
    }
}
