//! Which rows train and which test: by position, by day, or randomly.

use cafe_core::{mix64, unit_f64};

use crate::error::ReadError;
use crate::record::{Record, RecordSource};

/// The number of first rows that train: `fraction` of `total`, rounded down.
///
/// A product within floating-point noise of a whole number counts as that number: 0.9 of 10,000
/// rows is 9,000, and six sevenths of 7 rows is 6, even if the product is slightly below.
///
/// # Panics
/// If `fraction` is not within 0 and 1.
///
/// ```
/// // Six days of the seven in Criteo Kaggle.
/// assert_eq!(criteo_io::train_rows(45_840_617, 6.0 / 7.0), 39_291_957);
/// ```
#[must_use]
pub fn train_rows(total: u64, fraction: f64) -> u64 {
    assert!((0.0..=1.0).contains(&fraction), "the fraction {fraction} is not within 0 and 1");
    let product = total as f64 * fraction;
    let nearest = product.round();
    // The total, the fraction and the product are rounded, each by half an epsilon at most; four
    // epsilons leave room.
    let noise = 4.0 * f64::EPSILON * product;
    let rows = if (product - nearest).abs() <= noise { nearest } else { product.floor() };
    (rows as u64).min(total)
}

/// How the rows of a log are divided into training and test rows, by the number of the row alone,
/// from 0.
///
/// A split by day is a split by position: the rows of a day are consecutive, so that [`count_days`]
/// and [`train_rows_of_days`] give the position where the test days begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Split {
    /// The first rows train.
    Position {
        /// The number of rows that train.
        n_train: u64,
    },
    /// Each row trains with this probability, independently of the others.
    Random {
        /// The seed of the draws.
        seed: u64,
        /// The expected share of rows that train, within 0 and 1.
        fraction: f64,
    },
}

/// One side of a [`Split`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The rows to train on.
    Train,
    /// The rows to test on.
    Test,
}

impl Split {
    /// The part that row number `row` belongs to.
    #[must_use]
    pub fn part_of_row(self, row: u64) -> Part {
        let trains = match self {
            Self::Position { n_train } => row < n_train,
            Self::Random { seed, fraction } => {
                // "split" in ASCII, so that the draws are independent of others of the same seed.
                unit_f64(mix64(row, mix64(seed, 0x73_706c_6974))) < fraction
            }
        };
        if trains { Part::Train } else { Part::Test }
    }

    /// How many of the first `n_rows` rows train. A random split draws for every row, which takes a
    /// second for 10^9 rows.
    #[must_use]
    pub fn n_train(self, n_rows: u64) -> u64 {
        match self {
            Self::Position { n_train } => n_train.min(n_rows),
            Self::Random { .. } => {
                (0..n_rows).filter(|&row| self.part_of_row(row) == Part::Train).count() as u64
            }
        }
    }
}

/// The rows of a source that belong to one part of a split, in order.
///
/// Training and test are two passes, each over its own source at row 0. Rows of the other part are
/// skipped, which for files means that they are not parsed.
pub struct PartRows {
    source: Box<dyn RecordSource>,
    split: Split,
    part: Part,
    /// The number of the row that comes next in the source.
    row: u64,
}

/// Rows whose part is computed ahead, at most: enough for one skip per chunk to cost nothing.
const CHUNK: u64 = 1 << 16;

impl PartRows {
    /// The rows of `part` in `source`, of which no row has been read.
    #[must_use]
    pub fn new(source: Box<dyn RecordSource>, split: Split, part: Part) -> Self {
        Self { source, split, part, row: 0 }
    }

    /// How many of the next `n_rows` rows belong to the part.
    fn n_in_part(&self, n_rows: u64) -> u64 {
        let rows = self.row..self.row.saturating_add(n_rows);
        rows.filter(|&row| self.split.part_of_row(row) == self.part).count() as u64
    }

    /// Skips rows of the other part; returns whether a row of this part may follow.
    fn skip_others(&mut self) -> Result<bool, ReadError> {
        loop {
            if let Split::Position { n_train } = self.split
                && self.part == Part::Train
                && self.row >= n_train
            {
                return Ok(false);
            }
            let is_other = |row: &u64| self.split.part_of_row(*row) != self.part;
            let n_others =
                (self.row..self.row.saturating_add(CHUNK)).take_while(is_other).count() as u64;
            if n_others == 0 {
                return Ok(true);
            }
            let n_skipped = self.source.skip_records(n_others)?;
            self.row += n_skipped;
            if n_skipped < n_others {
                return Ok(false);
            }
        }
    }
}

impl RecordSource for PartRows {
    fn read_record(&mut self, record: &mut Record) -> Result<bool, ReadError> {
        if !self.skip_others()? {
            return Ok(false);
        }
        let read = self.source.read_record(record);
        // A malformed row has a number as well.
        self.row += u64::from(!matches!(read, Ok(false)));
        read
    }

    fn skip_records(&mut self, n_rows: u64) -> Result<u64, ReadError> {
        let mut n_passed = 0;
        while n_passed < n_rows && self.skip_others()? {
            // Rows of the part are at most all rows, so that this many cannot skip too many.
            let n_there = CHUNK.min(n_rows - n_passed);
            let n_skipped = self.source.skip_records(n_there)?;
            n_passed += self.n_in_part(n_skipped);
            self.row += n_skipped;
            if n_skipped < n_there {
                break;
            }
        }
        Ok(n_passed)
    }

    fn jumps(&self) -> bool {
        self.source.jumps()
    }
}

/// The number of rows of each day in the rest of `source`, of `limit` rows at most. Empty if the
/// rows have no day. A malformed row counts for the day in which it occurs.
///
/// Reads every row: [`Dialect::count_days`](crate::Dialect::count_days) is faster for files.
///
/// # Errors
/// If the source cannot be read.
pub fn count_days(
    source: &mut dyn RecordSource,
    limit: Option<u64>,
) -> Result<Vec<u64>, ReadError> {
    let (mut record, mut days) = (Record::default(), Vec::new());
    for _ in 0..limit.unwrap_or(u64::MAX) {
        match source.read_record(&mut record) {
            Ok(false) => break,
            Err(error) if error.bad_row().is_none() => return Err(error),
            Ok(true) | Err(_) => {}
        }
        if let Some(day) = record.day {
            add_row(&mut days, day);
        }
    }
    Ok(days)
}

pub(crate) fn add_row(days: &mut Vec<u64>, day: u32) {
    let day = day as usize;
    if day >= days.len() {
        days.resize(day + 1, 0);
    }
    days[day] += 1;
}

/// The number of first rows that train in a split by day: the rows of the first `train_days` days,
/// or of all days but the last, given the number of rows of each day.
///
/// ```
/// assert_eq!(criteo_io::train_rows_of_days(&[30, 40, 20], None), 70);
/// assert_eq!(criteo_io::train_rows_of_days(&[30, 40, 20], Some(1)), 30);
/// ```
#[must_use]
pub fn train_rows_of_days(days: &[u64], train_days: Option<usize>) -> u64 {
    let n_days = train_days.unwrap_or_else(|| days.len().saturating_sub(1));
    days.iter().take(n_days).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn known_splits() {
        assert_eq!(train_rows(45_840_617, 6.0 / 7.0), 39_291_957);
        assert_eq!(train_rows(10_000, 0.9), 9_000);
        assert_eq!(train_rows(7, 6.0 / 7.0), 6);
        assert_eq!(train_rows(10, 0.0), 0);
        assert_eq!(train_rows(10, 1.0), 10);
        assert_eq!(train_rows(0, 0.5), 0);
        assert_eq!(train_rows(u64::MAX, 1.0), u64::MAX);
    }

    #[test]
    #[should_panic(expected = "not within 0 and 1")]
    fn nan_fraction_is_refused() {
        let _ = train_rows(10, f64::NAN);
    }

    proptest! {
        #[test]
        fn train_rows_equal_integer_arithmetic(
            total in 0_u64..1 << 36,
            part in 0_u64..1000,
            parts in 1_u64..1000,
        ) {
            let part = part.min(parts);
            let exact = (u128::from(total) * u128::from(part) / u128::from(parts)) as u64;
            prop_assert_eq!(train_rows(total, part as f64 / parts as f64), exact);
        }
    }

    /// Rows whose first token is their number, seven a day.
    struct Numbered {
        next: u32,
        n_rows: u32,
        n_read: Arc<AtomicU32>,
    }

    impl RecordSource for Numbered {
        fn read_record(&mut self, record: &mut Record) -> Result<bool, ReadError> {
            if self.next == self.n_rows {
                return Ok(false);
            }
            record.tokens.clear();
            record.tokens.push(Some(self.next));
            record.day = Some(self.next / 7);
            self.next += 1;
            self.n_read.fetch_add(1, Ordering::Relaxed);
            Ok(true)
        }

        fn skip_records(&mut self, n_rows: u64) -> Result<u64, ReadError> {
            let n_skipped = n_rows.min(u64::from(self.n_rows - self.next));
            self.next += n_skipped as u32;
            Ok(n_skipped)
        }
    }

    fn numbered(n_rows: u32) -> Numbered {
        Numbered { next: 0, n_rows, n_read: Arc::default() }
    }

    fn numbers(rows: &mut PartRows) -> Vec<u64> {
        let (mut record, mut found) = (Record::default(), Vec::new());
        while rows.read_record(&mut record).unwrap() {
            found.push(u64::from(record.tokens[0].unwrap()));
        }
        assert!(!rows.read_record(&mut record).unwrap());
        assert_eq!(rows.skip_records(1).unwrap(), 0);
        found
    }

    fn split() -> impl Strategy<Value = Split> {
        prop_oneof![
            (0_u64..200).prop_map(|n_train| Split::Position { n_train }),
            (any::<u64>(), 0.0..=1.0).prop_map(|(seed, fraction)| Split::Random { seed, fraction }),
        ]
    }

    proptest! {
        #[test]
        fn parts_hold_their_rows_in_order(
            split in split(),
            n_rows in 0_u32..200,
            n_skipped in 0_u64..200,
        ) {
            let rows = 0..u64::from(n_rows);
            for part in [Part::Train, Part::Test] {
                let source = numbered(n_rows);
                let n_read = Arc::clone(&source.n_read);
                let mut part_rows = PartRows::new(Box::new(source), split, part);
                let is_ours = |row: &u64| split.part_of_row(*row) == part;
                let expected: Vec<u64> = rows.clone().filter(is_ours).collect();
                let n_passed = n_skipped.min(expected.len() as u64);
                prop_assert_eq!(part_rows.skip_records(n_skipped).unwrap(), n_passed);
                prop_assert_eq!(numbers(&mut part_rows), &expected[n_passed as usize..]);
                let n_parsed = u64::from(n_read.load(Ordering::Relaxed));
                prop_assert_eq!(n_parsed, expected.len() as u64 - n_passed);
                if part == Part::Train {
                    prop_assert_eq!(split.n_train(u64::from(n_rows)), expected.len() as u64);
                }
            }
        }
    }

    #[test]
    fn random_split_is_fixed_by_its_seed() {
        let split = |seed| Split::Random { seed, fraction: 0.9 };
        let tests = |seed| {
            (0..40).filter(|&row| split(seed).part_of_row(row) == Part::Test).collect::<Vec<_>>()
        };
        assert_eq!(tests(1), FIRST_TEST_ROWS);
        assert_ne!(tests(1), tests(2));
        for seed in 0..5 {
            let n_train = split(seed).n_train(100_000) as f64;
            // Five standard deviations of the binomial distribution: √(100,000 · 0.9 · 0.1) = 95.
            assert!((n_train - 90_000.0).abs() < 5.0 * 95.0, "{n_train}");
        }
    }

    /// Fixed, because results of training depend on them.
    const FIRST_TEST_ROWS: [u64; 3] = [3, 26, 38];

    #[test]
    fn days_are_counted() {
        assert_eq!(count_days(&mut numbered(20), None).unwrap(), [7, 7, 6]);
        assert_eq!(count_days(&mut numbered(20), Some(10)).unwrap(), [7, 3]);
        assert_eq!(count_days(&mut numbered(0), None).unwrap(), []);
        assert_eq!(train_rows_of_days(&[], None), 0);
        assert_eq!(train_rows_of_days(&[5], None), 0);
        assert_eq!(train_rows_of_days(&[5, 6], Some(9)), 11);
    }
}
