//! The rows of several delimited files: headers, columns, days, and the current row and line.

use std::path::PathBuf;

use super::table_plan::{DayCounter, FieldFault, Fields, TablePlan};
use crate::bytes::files::Files;
use crate::error::ReadError;
use crate::error::row::{RowError, RowFault, TEXT_BEHIND_QUOTE};
use crate::format::columns::Columns;
use crate::format::columns::check::ColumnsError;
use crate::record::Record;
use crate::text::csv_rows::{CsvRows, Next, QuoteFault};
use crate::text::{BUFFER_BYTES, BYTE_ORDER_MARK, LINE_LIMIT};

impl Fields for CsvRows {
    fn field(&self, column_idx: usize) -> &[u8] {
        Self::field(self, column_idx)
    }
}

pub(super) struct TableRows {
    files: Files,
    rows: CsvRows,
    columns: Columns,
    missing_number: f32,
    /// The plan of the file in use. Without a header it is made at the first row, for all files.
    plan: Option<TablePlan>,
    days: DayCounter,
}

impl TableRows {
    pub(super) fn new(
        paths: Vec<PathBuf>,
        columns: &Columns,
        missing_number: f32,
    ) -> Result<Self, ReadError> {
        let rows = CsvRows::new(columns.delimiter as u8, columns.quoting, BUFFER_BYTES);
        let (files, columns) = (Files::new(paths)?, columns.clone());
        Ok(Self { files, rows, columns, missing_number, plan: None, days: DayCounter::default() })
    }

    pub(super) fn set_buffer_bytes(&mut self, n_bytes: usize) {
        self.rows.set_buffer_bytes(n_bytes);
    }

    /// The day of the row that was passed last.
    pub(super) fn day(&self) -> Option<u32> {
        self.days.current
    }

    pub(super) fn read_record(&mut self, record: &mut Record) -> Result<bool, ReadError> {
        if !self.next_row()? {
            return Ok(false);
        }
        let Self { rows, plan, days, .. } = self;
        let plan = plan.as_ref().expect("a row comes after its header");
        let filled = check_columns(rows, plan).and_then(|()| {
            record.day = match plan.day_key(rows) {
                Some(key) => Some(days.number(key?)),
                None => None,
            };
            plan.fill(rows, record)
        });
        match filled {
            Ok(()) => Ok(true),
            Err(fault) => {
                record.day = self.days.current;
                Err(self.row_error(fault))
            }
        }
    }

    /// Skips up to `n_rows` rows, counting days; returns how many there were.
    pub(super) fn skip_rows(&mut self, n_rows: u64) -> Result<u64, ReadError> {
        for n_skipped in 0..n_rows {
            if !self.next_row()? {
                return Ok(n_skipped);
            }
            let Self { rows, plan, days, .. } = self;
            let plan = plan.as_ref().expect("a row comes after its header");
            if check_columns(rows, plan).is_ok()
                && let Some(Ok(key)) = plan.day_key(rows)
            {
                days.number(key);
            }
        }
        Ok(n_rows)
    }

    /// Moves to the next row, in the next file if need be; `false` after the last row, and after an
    /// error.
    fn next_row(&mut self) -> Result<bool, ReadError> {
        let next = self.try_next_row();
        self.files.end_on_error(next)
    }

    fn try_next_row(&mut self) -> Result<bool, ReadError> {
        loop {
            if self.files.input().is_none() && !self.open_next()? {
                return Ok(false);
            }
            if !self.next_in_file()? {
                self.files.end_file();
                continue;
            }
            if self.plan.is_none() {
                let n_columns = self.rows.n_fields();
                let indices = self
                    .columns
                    .column_indices_by_number(n_columns)
                    .map_err(|error| self.columns_error(error))?;
                self.plan = Some(TablePlan::new(&self.columns, indices, &[], self.missing_number));
            }
            return Ok(true);
        }
    }

    fn next_in_file(&mut self) -> Result<bool, ReadError> {
        let input = self.files.input().expect("a file is open");
        let next =
            self.rows.next(input).map_err(|error| ReadError::reading(&self.files.file(), error))?;
        match next {
            Next::Record => match self.rows.quote_fault() {
                // One line, so no other row is part of it: a malformed row that can be left out.
                Some((_, QuoteFault::TextBehind)) if !self.rows.spans_lines() => Ok(true),
                Some((field_idx, fault)) => Err(self.quotes_error(field_idx, fault)),
                None => Ok(true),
            },
            Next::End => Ok(false),
            Next::TooLong => {
                let (file, line) = (self.files.file(), self.rows.first_line());
                Err(ReadError::RowTooLong { file, line, limit: LINE_LIMIT })
            }
        }
    }

    /// An error that ends the stream: how many rows such a record contains is not known, so that it
    /// cannot be counted and left out.
    #[cold]
    fn quotes_error(&self, field_idx: usize, fault: QuoteFault) -> ReadError {
        let (line, column) = self.rows.line_and_column(field_idx);
        let fault = match fault {
            QuoteFault::Unclosed => {
                "expected a closing quote, got the end of the file; close the quote"
            }
            QuoteFault::TextBehind => TEXT_BEHIND_QUOTE,
        };
        ReadError::Quotes { file: self.files.file(), line, column, fault }
    }

    /// Opens the next file and finds its columns; `false` if there is none.
    fn open_next(&mut self) -> Result<bool, ReadError> {
        if !self.files.open_next()? {
            return Ok(false);
        }
        self.rows.restart();
        let input = self.files.input().expect("it was just opened");
        // Spreadsheet programs write a mark.
        let has_bytes = self.rows.skip_mark(input, BYTE_ORDER_MARK);
        if !has_bytes.map_err(|error| ReadError::reading(&self.files.file(), error))? {
            return Err(ReadError::Empty { file: self.files.file() });
        }
        if self.columns.header {
            if !self.next_in_file()? {
                return Err(ReadError::Empty { file: self.files.file() });
            }
            if let Some((field_idx, fault)) = self.rows.quote_fault() {
                return Err(self.quotes_error(field_idx, fault));
            }
            let text = |idx| String::from_utf8_lossy(self.rows.field(idx)).into_owned();
            let names: Vec<String> = (0..self.rows.n_fields()).map(text).collect();
            self.plan_for(&names)?;
        } else if self.plan.is_none() && !self.columns.names.is_empty() {
            self.plan_for(&self.columns.names.clone())?;
        }
        Ok(true)
    }

    fn plan_for(&mut self, names: &[String]) -> Result<(), ReadError> {
        let indices =
            self.columns.column_indices(names).map_err(|error| self.columns_error(error))?;
        self.plan = Some(TablePlan::new(&self.columns, indices, names, self.missing_number));
        Ok(())
    }

    fn columns_error(&self, error: ColumnsError) -> ReadError {
        ReadError::Columns { file: self.files.file(), line: self.rows.first_line(), error }
    }

    #[cold]
    fn row_error(&self, fault: FieldFault) -> ReadError {
        let fault = match (&fault.fault, &self.plan) {
            (RowFault::Field { .. }, Some(plan)) => plan.leftmost_fault(&self.rows, fault),
            _ => fault,
        };
        let (line, column) = self.rows.line_and_column(fault.column_idx);
        ReadError::Row {
            file: self.files.file(),
            line,
            error: RowError { column, fault: fault.fault },
        }
    }
}

fn check_columns(rows: &CsvRows, plan: &TablePlan) -> Result<(), FieldFault> {
    if let Some((column_idx, _)) = rows.quote_fault() {
        return Err(FieldFault { column_idx, fault: RowFault::Quote });
    }
    let (expected, got) = (plan.n_columns(), rows.n_fields());
    if got == expected {
        return Ok(());
    }
    // The first column too many, or the first one that is missing.
    let column_idx = expected.min(got);
    Err(FieldFault { column_idx, fault: RowFault::Columns { expected, got } })
}
