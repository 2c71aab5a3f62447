//! Counts over the rows of a scan.

use criteo_io::Record;

use super::distinct::Distinct;

/// All counts of a scan.
pub(super) struct Tally {
    /// One per list of files.
    pub(super) parts: Vec<PartTally>,
    pub(super) numeric: Vec<NumericTally>,
    pub(super) fields: Vec<FieldTally>,
    pub(super) distinct: Distinct,
}

/// The rows of one list of files.
#[derive(Default)]
pub(super) struct PartTally {
    pub(super) name: &'static str,
    pub(super) rows: u64,
    pub(super) positives: u64,
    /// Rows of each day; empty if the data have no days.
    pub(super) days: Vec<u64>,
}

/// A column of numbers.
#[derive(Clone, Default)]
pub(super) struct NumericTally {
    pub(super) missing: u64,
    /// Minimum and maximum of the numbers; `None` if all are missing.
    pub(super) range: Option<[f64; 2]>,
}

/// A categorical field.
#[derive(Clone, Default)]
pub(super) struct FieldTally {
    /// Rows without a value.
    pub(super) missing: u64,
    /// Number of values; may exceed the number of rows if the field holds several.
    pub(super) values: u64,
}

impl Tally {
    pub(super) fn new(n_numeric: usize, n_fields: usize, max_exact: usize) -> Self {
        Self {
            parts: Vec::new(),
            numeric: vec![NumericTally::default(); n_numeric],
            fields: vec![FieldTally::default(); n_fields],
            distinct: Distinct::new(n_fields, max_exact),
        }
    }

    /// Starts another list; the following rows belong to it.
    pub(super) fn start_part(&mut self, name: &'static str) {
        self.parts.push(PartTally { name, ..PartTally::default() });
    }

    pub(super) fn add(&mut self, record: &Record) {
        self.parts.last_mut().expect("a part was started").add(record);
        let integers = record.integers.iter().map(|integer| integer.map(|integer| integer as f64));
        let dense =
            record.dense.iter().map(|&number| (!number.is_nan()).then_some(f64::from(number)));
        for (column, number) in self.numeric.iter_mut().zip(integers.chain(dense)) {
            column.add(number);
        }
        let mut start = 0;
        for field in 0..self.fields.len() {
            let end = record.bag_ends.get(field).map_or(start + 1, |&end| end as usize);
            for token in &record.tokens[start..end] {
                match token {
                    Some(token) => {
                        self.fields[field].values += 1;
                        self.distinct.add(field, *token);
                    }
                    None => self.fields[field].missing += 1,
                }
            }
            start = end;
        }
    }

    pub(super) fn n_rows(&self) -> u64 {
        self.parts.iter().map(|part| part.rows).sum()
    }
}

impl PartTally {
    fn add(&mut self, record: &Record) {
        self.rows += 1;
        self.positives += u64::from(record.clicked);
        if let Some(day) = record.day.map(|day| day as usize) {
            if self.days.len() <= day {
                self.days.resize(day + 1, 0);
            }
            self.days[day] += 1;
        }
    }
}

impl NumericTally {
    fn add(&mut self, number: Option<f64>) {
        let Some(number) = number else {
            self.missing += 1;
            return;
        };
        self.range =
            Some(self.range.map_or([number; 2], |[low, high]| [low.min(number), high.max(number)]));
    }
}
