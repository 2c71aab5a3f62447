//! Quantities that may be written with a unit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A number of bytes, as an integer or as text with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl std::str::FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units: BTreeMap<&str, f64> = BTreeMap::from([
            ("", 1.0),
            ("B", 1.0),
            ("KB", 1e3),
            ("MB", 1e6),
            ("GB", 1e9),
            ("KIB", 1024.0),
            ("MIB", 1_048_576.0),
            ("GIB", 1_073_741_824.0),
        ]);
        let unit_start =
            text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_start);
        let bytes = number.parse::<f64>().ok().zip(units.get(unit.trim().to_uppercase().as_str()));
        match bytes {
            Some((number, unit)) => Ok(Self((number * unit) as u64)),
            None => Err(format!(
                "expected bytes such as 2000000, \"500 KB\" or \"2 MiB\", got {text:?}"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected bytes such as 2000000, \"500 KB\" or \"2 MiB\"")]
        enum Raw {
            Number(u64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Number(bytes) => Ok(Self(bytes)),
            Raw::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}
