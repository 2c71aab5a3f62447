//! The rows of several Parquet files, one row group after another.
//!
//! Every value is taken as its text, and the text as that of a delimited file: so the same rows
//! give the same records in either container.

use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};

use super::table_plan::{DayCounter, FieldFault, Fields, TablePlan};
use crate::bytes::open;
use crate::error::ReadError;
use crate::error::row::RowError;
use crate::format::columns::Columns;
use crate::format::columns::check::{ColumnIndices, ColumnsError};
use crate::record::Record;

pub(super) struct ParquetRows {
    paths: Vec<PathBuf>,
    /// Files opened so far; the one in use is the last of them.
    n_opened: usize,
    columns: Columns,
    missing_number: f32,
    file: Option<OpenFile>,
    texts: Texts,
    days: DayCounter,
}

/// A file in use.
struct OpenFile {
    reader: SerializedFileReader<File>,
    plan: TablePlan,
    /// The schema of the columns that are read.
    schema: SchemaDescPtr,
    /// The separator of each of them, where a field may hold several values.
    separators: Vec<Option<char>>,
    /// The number of row groups begun, and the rows of the last of them.
    n_groups: usize,
    rows: Option<ReaderIter>,
    /// The number of the row that was passed last, from 1.
    row: u64,
}

/// The columns of one row that are read, as texts.
#[derive(Default)]
struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Fields for Texts {
    fn field(&self, column_idx: usize) -> &[u8] {
        let start = if column_idx == 0 { 0 } else { self.ends[column_idx - 1] };
        &self.text.as_bytes()[start..self.ends[column_idx]]
    }
}

impl ParquetRows {
    pub(super) fn new(
        paths: Vec<PathBuf>,
        columns: &Columns,
        missing_number: f32,
    ) -> Result<Self, ReadError> {
        if paths.is_empty() {
            return Err(ReadError::NoFiles);
        }
        for path in &paths {
            // Parquet keeps its schema and offsets at the end of the file: reading needs to seek.
            if open::is_read_once(path)? {
                return Err(ReadError::ReadOnce { file: path.clone() });
            }
        }
        let (columns, texts, days) = (columns.clone(), Texts::default(), DayCounter::default());
        Ok(Self { paths, n_opened: 0, columns, missing_number, file: None, texts, days })
    }

    /// The day of the row that was passed last.
    pub(super) fn day(&self) -> Option<u32> {
        self.days.current
    }

    pub(super) fn read_record(&mut self, record: &mut Record) -> Result<bool, ReadError> {
        if !self.next_row()? {
            return Ok(false);
        }
        let Self { file, texts, days, .. } = self;
        let file = file.as_ref().expect("a row comes out of a file");
        let key = file.plan.day_key(texts).transpose();
        let filled = key.and_then(|key| {
            record.day = key.map(|key| days.number(key));
            file.plan.fill(texts, record)
        });
        if filled.is_err() {
            record.day = days.current;
        }
        filled.map(|()| true).map_err(|FieldFault { column_idx, fault }| ReadError::Row {
            file: self.paths[self.n_opened - 1].clone(),
            line: file.row,
            error: RowError { column: column_idx + 1, fault },
        })
    }

    /// Skips up to `n_rows` rows, counting days; returns how many there were. Without a column of
    /// days, complete row groups are skipped unread.
    pub(super) fn skip_rows(&mut self, n_rows: u64) -> Result<u64, ReadError> {
        let mut n_skipped = 0;
        while n_skipped < n_rows {
            if self.columns.day.is_none() {
                let n_new = self.skip_groups(n_rows - n_skipped)?;
                n_skipped += n_new;
                if n_new > 0 {
                    continue;
                }
            }
            if !self.next_row()? {
                break;
            }
            let file = self.file.as_ref().expect("a row comes out of a file");
            if let Some(Ok(key)) = file.plan.day_key(&self.texts) {
                self.days.number(key);
            }
            n_skipped += 1;
        }
        Ok(n_skipped)
    }

    /// Skips the next row groups as long as they have at most `n_rows` rows together; returns the
    /// number of rows skipped.
    fn skip_groups(&mut self, n_rows: u64) -> Result<u64, ReadError> {
        let mut n_skipped = 0;
        if self.file.is_none() && !self.open_next()? {
            return Ok(0);
        }
        let file = self.file.as_mut().expect("it was just opened");
        while file.rows.is_none() && file.n_groups < file.reader.num_row_groups() {
            let n_new = file.reader.metadata().row_group(file.n_groups).num_rows() as u64;
            if n_skipped + n_new > n_rows {
                break;
            }
            n_skipped += n_new;
            file.n_groups += 1;
        }
        file.row += n_skipped;
        Ok(n_skipped)
    }

    /// Moves to the next row; `false` after the last one, and after an error.
    fn next_row(&mut self) -> Result<bool, ReadError> {
        let next = self.try_next_row();
        if next.is_err() {
            (self.file, self.n_opened) = (None, self.paths.len());
        }
        next
    }

    fn try_next_row(&mut self) -> Result<bool, ReadError> {
        loop {
            let Some(file) = &mut self.file else {
                if !self.open_next()? {
                    return Ok(false);
                }
                continue;
            };
            let path = &self.paths[self.n_opened - 1];
            match file.next_row().map_err(|error| damaged(path, &error))? {
                Some(row) => {
                    let taken = self.texts.take(&row, &file.separators);
                    return taken.map(|()| true).map_err(|name| ReadError::Parquet {
                        file: path.clone(),
                        detail: format!(
                            "column `{name}` holds what is neither a value nor a list with a \
                             separator"
                        ),
                    });
                }
                None => self.file = None,
            }
        }
    }

    fn open_next(&mut self) -> Result<bool, ReadError> {
        let Some(path) = self.paths.get(self.n_opened) else { return Ok(false) };
        self.n_opened += 1;
        let file = File::open(path).map_err(|error| ReadError::opening(path, error))?;
        let reader = SerializedFileReader::new(file).map_err(|error| damaged(path, &error))?;
        let opened = OpenFile::new(reader, &self.columns, self.missing_number);
        let opened =
            opened.map_err(|error| ReadError::Columns { file: path.clone(), line: 1, error })?;
        self.file = Some(opened);
        Ok(true)
    }
}

fn damaged(path: &std::path::Path, error: &ParquetError) -> ReadError {
    ReadError::Parquet { file: path.to_owned(), detail: error.to_string() }
}

impl OpenFile {
    fn new(
        reader: SerializedFileReader<File>,
        columns: &Columns,
        missing_number: f32,
    ) -> Result<Self, ColumnsError> {
        let root = reader.metadata().file_metadata().schema().clone();
        let all = root.get_fields();
        let names: Vec<String> = all.iter().map(|field| field.name().to_owned()).collect();
        let indices = columns.column_indices(&names)?;
        let used = indices.label.into_iter().chain(indices.day);
        let mut used: Vec<usize> = used
            .chain(indices.numeric.iter().copied())
            .chain(indices.categorical.iter().copied())
            .collect();
        used.sort_unstable();
        used.dedup();
        let read_idx = |idx: usize| used.binary_search(&idx).expect("it is used");
        let mut separators = vec![None; used.len()];
        for (column, &idx) in columns.categorical.iter().zip(&indices.categorical) {
            separators[read_idx(idx)] = column.separator;
        }
        let read_indices = ColumnIndices {
            label: indices.label.map(read_idx),
            numeric: indices.numeric.iter().map(|&idx| read_idx(idx)).collect(),
            categorical: indices.categorical.iter().map(|&idx| read_idx(idx)).collect(),
            day: indices.day.map(read_idx),
            n_columns: used.len(),
        };
        let read_names: Vec<_> = used.iter().map(|&idx| names[idx].clone()).collect();
        let fields = used.iter().map(|&idx| Arc::clone(&all[idx])).collect();
        let projected = Type::group_type_builder(root.name()).with_fields(fields).build();
        let projected = projected.expect("a part of a schema is one");
        Ok(Self {
            plan: TablePlan::new(columns, read_indices, &read_names, missing_number),
            reader,
            schema: Arc::new(SchemaDescriptor::new(Arc::new(projected))),
            separators,
            n_groups: 0,
            rows: None,
            row: 0,
        })
    }

    fn next_row(&mut self) -> Result<Option<Row>, ParquetError> {
        loop {
            if let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                self.row += 1;
                return row.map(Some);
            }
            self.rows = None;
            if self.n_groups == self.reader.num_row_groups() {
                return Ok(None);
            }
            let group = self.reader.get_row_group(self.n_groups)?;
            self.n_groups += 1;
            self.rows = Some(TreeBuilder::new().as_iter(Arc::clone(&self.schema), &*group)?);
        }
    }
}

impl Texts {
    /// Takes the texts of a row.
    ///
    /// # Errors
    /// The name of the first column whose value has no text.
    fn take(&mut self, row: &Row, separators: &[Option<char>]) -> Result<(), String> {
        self.text.clear();
        self.ends.clear();
        for ((name, field), separator) in row.get_column_iter().zip(separators) {
            match (field, separator) {
                (Field::ListInternal(list), Some(separator)) => {
                    for (number, item) in list.elements().iter().enumerate() {
                        if number > 0 {
                            self.text.push(*separator);
                        }
                        self.push(item).ok_or_else(|| name.clone())?;
                    }
                }
                _ => self.push(field).ok_or_else(|| name.clone())?,
            }
            self.ends.push(self.text.len());
        }
        Ok(())
    }

    /// Appends one value as a delimited file would have it; nothing for a null. `None` if the value
    /// has no text.
    fn push(&mut self, field: &Field) -> Option<()> {
        match field {
            Field::Null => {}
            Field::Str(text) => self.text.push_str(text),
            // Writers often leave text columns without the annotation that says so.
            Field::Bytes(bytes) => self.text.push_str(&String::from_utf8_lossy(bytes.data())),
            Field::Bool(is_true) => self.text.push(if *is_true { '1' } else { '0' }),
            // `Display` of a `Field` gives scientific notation, or a fixed number of digits.
            Field::Float(number) => write!(self.text, "{number}").ok()?,
            Field::Double(number) => write!(self.text, "{number}").ok()?,
            Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => return None,
            _ => write!(self.text, "{field}").ok()?,
        }
        Some(())
    }
}
