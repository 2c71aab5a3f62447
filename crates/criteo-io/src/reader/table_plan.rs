//! A description of columns made ready for reading: where each stands, and what becomes of it.

use crate::error::bad_row::BadRowReason;
use crate::error::row::{Excerpt, RowFault};
use crate::format::columns::Columns;
use crate::format::columns::check::Places;
use crate::format::columns::value::{Kind, Transform};
use crate::record::Record;

/// A row as texts.
pub(super) trait Fields {
    /// The text of one column.
    fn field(&self, place: usize) -> &[u8];
}

/// What to take out of each row of a file.
pub(super) struct TablePlan {
    columns: Columns,
    places: Places,
    /// Names of the places, as messages have them.
    names: Vec<String>,
    numeric: Vec<(usize, Transform, Missing)>,
    categorical: Vec<Category>,
    has_bags: bool,
    /// What a missing number becomes.
    missing_number: f32,
}

struct Category {
    place: usize,
    kind: Kind,
    separator: Option<u8>,
    missing: Missing,
}

/// Texts that stand for a missing value.
struct Missing(Vec<Vec<u8>>);

impl Missing {
    fn new(everywhere: &[String], here: &[String]) -> Self {
        Self(everywhere.iter().chain(here).map(|text| text.as_bytes().to_vec()).collect())
    }

    fn holds(&self, text: &[u8]) -> bool {
        self.0.iter().any(|marker| marker == text)
    }
}

/// A field is not what the description says.
pub(super) struct Fault {
    pub(super) place: usize,
    pub(super) fault: RowFault,
}

/// Days seen so far, told apart by the text that changes.
#[derive(Default)]
pub(super) struct Days {
    /// The day last seen, and its text.
    pub(super) current: Option<u32>,
    key: Vec<u8>,
}

impl Days {
    /// The day of a row with this text, one later than the last if it differs.
    pub(super) fn at(&mut self, key: &[u8]) -> u32 {
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
    /// `names` are those of the header, or of the description; none for columns without.
    pub(super) fn new(
        columns: &Columns,
        places: Places,
        names: &[String],
        missing_number: f32,
    ) -> Self {
        let numeric = columns.numeric.iter().zip(&places.numeric).map(|(column, &place)| {
            (place, column.transform, Missing::new(&columns.missing, &column.missing))
        });
        let categorical =
            columns.categorical.iter().zip(&places.categorical).map(|(column, &place)| Category {
                place,
                kind: column.kind,
                separator: column.separator.map(|separator| separator as u8),
                missing: Missing::new(&columns.missing, &column.missing),
            });
        let name = |place: usize| {
            names.get(place).map_or_else(
                || format!("number {}", place + 1),
                |name| name.escape_debug().to_string(),
            )
        };
        Self {
            numeric: numeric.collect(),
            categorical: categorical.collect(),
            names: (0..places.n_columns).map(name).collect(),
            has_bags: columns.has_bags(),
            missing_number,
            columns: columns.clone(),
            places,
        }
    }

    pub(super) fn n_columns(&self) -> usize {
        self.places.n_columns
    }

    /// What tells the day in a row; `None` where there is no such column.
    pub(super) fn day_key<'a>(&self, row: &'a impl Fields) -> Option<Result<&'a [u8], Fault>> {
        let (day, place) = self.columns.day.as_ref().zip(self.places.day)?;
        let text = row.field(place);
        Some(day.key(text).ok_or_else(|| self.fault(place, BadRowReason::Day, "a day", text)))
    }

    /// Fills `record` from a row that has all columns, but for its day.
    pub(super) fn fill(&self, row: &impl Fields, record: &mut Record) -> Result<(), Fault> {
        record.integers.clear();
        record.dense.clear();
        record.tokens.clear();
        record.bag_ends.clear();
        record.true_logit = None;
        record.clicked = self.label(row)?;
        for (place, transform, missing) in &self.numeric {
            record.dense.push(self.number(*place, *transform, missing, row.field(*place))?);
        }
        for category in &self.categorical {
            self.push_tokens(category, row.field(category.place), &mut record.tokens)?;
            if self.has_bags {
                record.bag_ends.push(record.tokens.len() as u32);
            }
        }
        Ok(())
    }

    /// The leftmost fault of a row that has one.
    #[cold]
    pub(super) fn leftmost(&self, row: &impl Fields, found: Fault) -> Fault {
        let label = self.label(row).err();
        let numbers = self.numeric.iter().map(|(place, transform, missing)| {
            self.number(*place, *transform, missing, row.field(*place)).err()
        });
        let tokens = self.categorical.iter().map(|category| {
            self.push_tokens(category, row.field(category.place), &mut Vec::new()).err()
        });
        let day = self.day_key(row).and_then(Result::err);
        let faults = std::iter::once(label).chain(numbers).chain(tokens).chain([day]).flatten();
        faults.chain([found]).min_by_key(|fault| fault.place).expect("one was found")
    }

    fn label(&self, row: &impl Fields) -> Result<bool, Fault> {
        let Some(place) = self.places.label else { return Ok(false) };
        let (label, text) = (&self.columns.label, row.field(place));
        label
            .of_text(text)
            .ok_or_else(|| self.fault(place, BadRowReason::Label, label.expected(), text))
    }

    fn number(
        &self,
        place: usize,
        transform: Transform,
        missing: &Missing,
        text: &[u8],
    ) -> Result<f32, Fault> {
        if missing.holds(text) {
            return Ok(self.missing_number);
        }
        transform
            .of_text(text)
            .ok_or_else(|| self.fault(place, BadRowReason::Number, "a number or nothing", text))
    }

    fn push_tokens(
        &self,
        category: &Category,
        text: &[u8],
        tokens: &mut Vec<Option<u32>>,
    ) -> Result<(), Fault> {
        let Category { place, kind, separator, missing } = category;
        let token = |text: &[u8]| {
            kind.token(text)
                .ok_or_else(|| self.fault(*place, BadRowReason::Token, kind.expected(), text))
        };
        let Some(separator) = separator else {
            tokens.push(if missing.holds(text) { None } else { Some(token(text)?) });
            return Ok(());
        };
        let n_before = tokens.len();
        for part in text.split(|byte| byte == separator).filter(|part| !missing.holds(part)) {
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
        place: usize,
        reason: BadRowReason,
        expected: &'static str,
        text: &[u8],
    ) -> Fault {
        let name = self.names[place].clone();
        Fault { place, fault: RowFault::Field { name, expected, got: Excerpt::new(text), reason } }
    }
}
