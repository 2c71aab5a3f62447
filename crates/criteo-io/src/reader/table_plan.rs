//! A description of columns made ready for reading: where each column is in a file, and how its
//! texts become values. Apart from the containers, because the rows of delimited files and of
//! Parquet are taken in the same way.

use crate::error::bad_row::BadRowReason;
use crate::error::row::{Excerpt, RowFault};
use crate::format::columns::Columns;
use crate::format::columns::check::ColumnIndices;
use crate::format::columns::value::{Kind, Transform};
use crate::record::Record;

/// A row as texts.
pub(super) trait Fields {
    /// The text of one column.
    fn field(&self, column_idx: usize) -> &[u8];
}

/// What to take out of each row of a file.
pub(super) struct TablePlan {
    columns: Columns,
    indices: ColumnIndices,
    /// Names of the columns, as messages show them.
    names: Vec<String>,
    numeric: Vec<NumericField>,
    categorical: Vec<CategoricalField>,
    has_bags: bool,
    /// The value of a missing number.
    missing_number: f32,
}

struct NumericField {
    column_idx: usize,
    transform: Transform,
    missing: MissingTexts,
}

struct CategoricalField {
    column_idx: usize,
    kind: Kind,
    separator: Option<u8>,
    missing: MissingTexts,
}

/// Texts that mean a missing value.
struct MissingTexts(Vec<Vec<u8>>);

impl MissingTexts {
    fn new(everywhere: &[String], here: &[String]) -> Self {
        Self(everywhere.iter().chain(here).map(|text| text.as_bytes().to_vec()).collect())
    }

    fn contains(&self, text: &[u8]) -> bool {
        self.0.iter().any(|missing| missing == text)
    }
}

/// A field that does not fit the description.
pub(super) struct FieldFault {
    pub(super) column_idx: usize,
    pub(super) fault: RowFault,
}

/// Numbers the days of a file: each change of the text that tells the day begins a new one.
#[derive(Default)]
pub(super) struct DayCounter {
    /// The day of the row that was passed last.
    pub(super) current: Option<u32>,
    key: Vec<u8>,
}

impl DayCounter {
    /// The number of the day of a row with this text: the next number if the text differs from the
    /// one before.
    pub(super) fn number(&mut self, key: &[u8]) -> u32 {
        match self.current {
            Some(day) if self.key == key => day,
            before => {
                let day = before.map_or(0, |day| day + 1);
                self.key.clear();
                self.key.extend_from_slice(key);
                self.current = Some(day);
                day
            }
        }
    }
}

impl TablePlan {
    /// `names` are those of the header or of the description; empty for columns without names.
    pub(super) fn new(
        columns: &Columns,
        indices: ColumnIndices,
        names: &[String],
        missing_number: f32,
    ) -> Self {
        let numeric = columns.numeric.iter().zip(&indices.numeric).map(|(column, &column_idx)| {
            NumericField {
                column_idx,
                transform: column.transform,
                missing: MissingTexts::new(&columns.missing, &column.missing),
            }
        });
        let categorical =
            columns.categorical.iter().zip(&indices.categorical).map(|(column, &column_idx)| {
                CategoricalField {
                    column_idx,
                    kind: column.kind,
                    // One ASCII character: the description was checked.
                    separator: column.separator.map(|separator| separator as u8),
                    missing: MissingTexts::new(&columns.missing, &column.missing),
                }
            });
        let name = |column_idx: usize| {
            names.get(column_idx).map_or_else(
                || format!("number {}", column_idx + 1),
                |name| name.escape_debug().to_string(),
            )
        };
        Self {
            numeric: numeric.collect(),
            categorical: categorical.collect(),
            names: (0..indices.n_columns).map(name).collect(),
            has_bags: columns.has_bags(),
            missing_number,
            columns: columns.clone(),
            indices,
        }
    }

    pub(super) fn n_columns(&self) -> usize {
        self.indices.n_columns
    }

    /// The text that tells the day of a row; `None` where the description has no such column.
    pub(super) fn day_key<'a>(&self, row: &'a impl Fields) -> Option<Result<&'a [u8], FieldFault>> {
        let (day, column_idx) = self.columns.day.as_ref().zip(self.indices.day)?;
        let text = row.field(column_idx);
        let fault = || self.fault(column_idx, BadRowReason::Day, "a day", text);
        Some(day.key(text).ok_or_else(fault))
    }

    /// Fills all of `record` but its day from a row that has all columns.
    pub(super) fn fill(&self, row: &impl Fields, record: &mut Record) -> Result<(), FieldFault> {
        record.integers.clear();
        record.dense.clear();
        record.tokens.clear();
        record.bag_ends.clear();
        record.true_logit = None;
        record.clicked = self.label(row)?;
        for field in &self.numeric {
            record.dense.push(self.number(field, row)?);
        }
        for field in &self.categorical {
            self.push_tokens(field, row, &mut record.tokens)?;
            if self.has_bags {
                record.bag_ends.push(record.tokens.len() as u32);
            }
        }
        Ok(())
    }

    /// The leftmost fault of a row in which `found` was found first. Fields are parsed in the order
    /// of the description; a message names the first one that a reader of the file comes to.
    #[cold]
    pub(super) fn leftmost_fault(&self, row: &impl Fields, found: FieldFault) -> FieldFault {
        let label = self.label(row).err();
        let numbers = self.numeric.iter().map(|field| self.number(field, row).err());
        let tokens = self
            .categorical
            .iter()
            .map(|field| self.push_tokens(field, row, &mut Vec::new()).err());
        let day = self.day_key(row).and_then(Result::err);
        let faults = std::iter::once(label).chain(numbers).chain(tokens).chain([day]).flatten();
        faults.chain([found]).min_by_key(|fault| fault.column_idx).expect("one was found")
    }

    fn label(&self, row: &impl Fields) -> Result<bool, FieldFault> {
        let Some(column_idx) = self.indices.label else { return Ok(false) };
        let (label, text) = (&self.columns.label, row.field(column_idx));
        let fault = || self.fault(column_idx, BadRowReason::Label, label.expected(), text);
        label.parse_text(text).ok_or_else(fault)
    }

    fn number(&self, field: &NumericField, row: &impl Fields) -> Result<f32, FieldFault> {
        let NumericField { column_idx, transform, missing } = field;
        let text = row.field(*column_idx);
        if missing.contains(text) {
            return Ok(self.missing_number);
        }
        let fault = || self.fault(*column_idx, BadRowReason::Number, "a number or nothing", text);
        transform.dense_text(text).ok_or_else(fault)
    }

    fn push_tokens(
        &self,
        field: &CategoricalField,
        row: &impl Fields,
        tokens: &mut Vec<Option<u32>>,
    ) -> Result<(), FieldFault> {
        let CategoricalField { column_idx, kind, separator, missing } = field;
        let text = row.field(*column_idx);
        let token = |text: &[u8]| {
            let fault = || self.fault(*column_idx, BadRowReason::Token, kind.expected(), text);
            kind.token(text).ok_or_else(fault)
        };
        let Some(separator) = separator else {
            tokens.push(if missing.contains(text) { None } else { Some(token(text)?) });
            return Ok(());
        };
        let n_before = tokens.len();
        for part in text.split(|byte| byte == separator).filter(|part| !missing.contains(part)) {
            tokens.push(Some(token(part)?));
        }
        if tokens.len() == n_before {
            tokens.push(None);
        }
        Ok(())
    }

    #[cold]
    fn fault(
        &self,
        column_idx: usize,
        reason: BadRowReason,
        expected: &'static str,
        text: &[u8],
    ) -> FieldFault {
        let (name, got) = (self.names[column_idx].clone(), Excerpt::new(text));
        FieldFault { column_idx, fault: RowFault::Field { name, expected, got, reason } }
    }
}
