//! The formats by name, and what their columns are. Apart from parsing, because the trainer sizes
//! its tables from here without ever opening a file.

use std::fmt;
use std::str::FromStr;

/// A click log whose columns are known.
///
/// Both are written in one dialect: tab-separated, without header and quoting; a label (0 or 1),
/// thirteen signed integers I1..I13, and 26 categorical values C1..C26 of eight hex digits. Any
/// field but the label may be empty. They differ in how many features a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The Criteo Kaggle display advertising challenge: seven days in one `train.txt`.
    CriteoKaggle,
    /// The Criteo Terabyte click logs: `day_0.gz` to `day_23.gz`.
    CriteoTerabyte,
}

/// The columns of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Integer columns, which follow the label.
    pub n_integers: usize,
    /// Categorical columns, which follow the integers.
    pub n_fields: usize,
    /// How many features each categorical field has in the whole data set.
    pub features: Vec<u64>,
}

/// A format name that is not one of [`Format::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown format `{name}`; the known ones are criteo-kaggle and criteo-terabyte")]
pub struct UnknownFormat {
    /// The name as it was given.
    pub name: String,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::CriteoKaggle, Self::CriteoTerabyte];

    /// The name in configs and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CriteoKaggle => "criteo-kaggle",
            Self::CriteoTerabyte => "criteo-terabyte",
        }
    }

    /// The columns.
    #[must_use]
    pub fn schema(self) -> Schema {
        let features = match self {
            Self::CriteoKaggle => KAGGLE_FEATURES,
            Self::CriteoTerabyte => TERABYTE_FEATURES,
        };
        Schema { n_integers: N_INTEGERS, n_fields: features.len(), features: features.to_vec() }
    }
}

impl Schema {
    /// Columns of a row, the label included.
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

const N_INTEGERS: usize = 13;

const KAGGLE_FEATURES: [u64; 26] = [
    1_460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5_683, 8_351_593, 3_194, 27, 14_992, 5_461_306,
    10, 5_652, 2_173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572,
];

/// Ids are capped at 40 million a field, as in the reference DLRM of `MLPerf`.
const TERABYTE_FEATURES: [u64; 26] = [
    39_884_406, 39_043, 17_289, 7_420, 20_263, 3, 7_120, 1_543, 63, 38_532_951, 2_953_546, 403_346, 10, 2_208, 11_938,
    155, 4, 976, 14, 39_979_771, 25_641_295, 39_664_984, 585_935, 12_972, 108, 36,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_sum_to_the_published_totals() {
        let total = |format: Format| format.schema().features.iter().sum::<u64>();
        assert_eq!(total(Format::CriteoKaggle), 33_762_577);
        assert_eq!(total(Format::CriteoTerabyte), 187_767_399);
    }

    #[test]
    fn names_come_back() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
            assert_eq!(format.schema().n_columns(), 40);
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = "criteo".parse::<Format>().unwrap_err().to_string();
        assert_eq!(message, "unknown format `criteo`; the known ones are criteo-kaggle and criteo-terabyte");
        for format in Format::ALL {
            assert!(message.contains(format.name()));
        }
    }
}
