//! The formats by name, and their columns. Apart from parsing, because tables are sized from here
//! without opening a file.

use std::fmt;
use std::str::FromStr;

use crate::format::columns::Columns;
use crate::format::presets::{self, KAGGLE_FEATURES, TERABYTE_FEATURES};

/// A click log whose columns are known.
///
/// Criteo's are written in one dialect: tab-separated, without header and quoting; a label (0 or
/// 1), thirteen signed integers I1..I13, and 26 categorical values C1..C26 of eight hex digits. Any
/// field but the label may be empty. They differ in how many features a field has. The others are
/// described by their [`Columns`].
///
/// The protocol of the CAFE paper is one epoch, rows in order, and the split that is given here for
/// each format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The Criteo Kaggle display advertising challenge: seven days in one `train.txt`. The first
    /// 6/7 of the rows train.
    CriteoKaggle,
    /// The Criteo Terabyte click logs: `day_0.gz` to `day_23.gz`, of which the last one tests.
    CriteoTerabyte,
    /// A third of them: days 0, 3, 6, …, 21 train and day 23 tests. Sizes are those of all days, as
    /// the smaller counts were not published.
    CriteoTerabyteThird,
    /// Avazu's click log: `train` or `train.gz`, a CSV with header. All days but the last train.
    Avazu,
    /// KDD Cup 2012, track 2: `training.txt`, tab-separated. A random nine tenths of the rows
    /// train.
    Kdd12,
}

/// The columns of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Columns of numbers: the integers of Criteo's logs, which follow the label.
    pub n_integers: usize,
    /// Categorical columns, which follow the integers.
    pub n_fields: usize,
    /// The number of features of each categorical field in the whole data set; empty if not known.
    pub features: Vec<u64>,
}

/// A format name that is not one of [`Format::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown format `{name}`; the known ones are criteo-kaggle, criteo-terabyte, \
     criteo-terabyte-third, avazu, kdd12, and delimited for columns of your own"
)]
pub struct UnknownFormat {
    /// The name as it was given.
    pub name: String,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [
        Self::CriteoKaggle,
        Self::CriteoTerabyte,
        Self::CriteoTerabyteThird,
        Self::Avazu,
        Self::Kdd12,
    ];

    /// The name in configs and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CriteoKaggle => "criteo-kaggle",
            Self::CriteoTerabyte => "criteo-terabyte",
            Self::CriteoTerabyteThird => "criteo-terabyte-third",
            Self::Avazu => "avazu",
            Self::Kdd12 => "kdd12",
        }
    }

    /// The description of its columns; `None` for Criteo's dialect, which has its own parser.
    #[must_use]
    pub fn columns(self) -> Option<Columns> {
        match self {
            Self::CriteoKaggle | Self::CriteoTerabyte | Self::CriteoTerabyteThird => None,
            Self::Avazu => Some(presets::avazu()),
            Self::Kdd12 => Some(presets::kdd12()),
        }
    }

    /// The columns.
    #[must_use]
    pub fn schema(self) -> Schema {
        let features = match self {
            Self::CriteoKaggle => KAGGLE_FEATURES.to_vec(),
            Self::CriteoTerabyte | Self::CriteoTerabyteThird => TERABYTE_FEATURES.to_vec(),
            Self::Avazu => presets::avazu().n_features(),
            Self::Kdd12 => presets::kdd12().n_features(),
        };
        let n_integers = if self.columns().is_none() { N_INTEGERS } else { 0 };
        Schema { n_integers, n_fields: features.len(), features }
    }
}

impl Schema {
    /// The number of columns of a row that are used, the label included.
    #[must_use]
    pub fn n_columns(&self) -> usize {
        1 + self.n_integers + self.n_fields
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| UnknownFormat { name: name.to_owned() })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// I1 to I13 of Criteo's logs.
const N_INTEGERS: usize = 13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_sum_to_the_published_totals() {
        let total = |format: Format| format.schema().features.iter().sum::<u64>();
        assert_eq!(total(Format::CriteoKaggle), 33_762_577);
        assert_eq!(total(Format::CriteoTerabyte), 187_767_399);
        assert_eq!(total(Format::CriteoTerabyteThird), 187_767_399);
        assert_eq!(total(Format::Avazu), 9_449_445);
        assert_eq!(total(Format::Kdd12), 54_689_798);
    }

    #[test]
    fn names_parse_back() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
            let n_columns = match format {
                Format::Avazu => 23,
                Format::Kdd12 => 12,
                _ => 40,
            };
            assert_eq!(format.schema().n_columns(), n_columns);
        }
    }

    #[test]
    fn built_in_descriptions_are_valid() {
        let described = Format::ALL.map(Format::columns).into_iter().flatten();
        let mut n_described = 0;
        for columns in described {
            assert_eq!(columns.check(), Ok(()));
            n_described += 1;
        }
        assert_eq!(n_described, 2);
    }

    #[test]
    fn unknown_name_lists_the_known_ones() {
        let message = "criteo".parse::<Format>().unwrap_err().to_string();
        let start = "unknown format `criteo`; the known ones are criteo-kaggle, criteo-terabyte, ";
        assert!(
            message.starts_with(start)
                && message.ends_with("kdd12, and delimited for columns of your own")
        );
        for format in Format::ALL {
            assert!(message.contains(format.name()));
        }
    }
}
