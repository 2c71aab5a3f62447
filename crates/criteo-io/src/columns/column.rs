//! How a configuration names columns: by text, by number, or at length.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Categorical, Kind, Numeric, Transform};

/// A column, by its name in the header or by its number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Column {
    /// The name; in a configuration a text.
    Name(String),
    /// The number, from 1; in a configuration a number.
    Number(usize),
}

impl From<&str> for Column {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<usize> for Column {
    fn from(number: usize) -> Self {
        Self::Number(number)
    }
}

/// As a message names it: `` `age` ``, or `number 3`.
impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Number(number) => write!(f, "number {number}"),
        }
    }
}

impl Serialize for Column {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => serializer.serialize_str(name),
            Self::Number(number) => serializer.serialize_u64(*number as u64),
        }
    }
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ColumnVisitor)
    }
}

struct ColumnVisitor;

impl Visitor<'_> for ColumnVisitor {
    type Value = Column;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a column, or its number from 1")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Column, E> {
        Ok(Column::from(name))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Column, E> {
        usize::try_from(number).map(Column::Number).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Column, E> {
        usize::try_from(number)
            .map(Column::Number)
            .map_err(|_| E::custom("columns are numbered from 1"))
    }
}

/// The same as a [`Numeric`], for serde to derive.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NumericTable {
    column: Column,
    #[serde(default)]
    transform: Transform,
    #[serde(default)]
    missing: Vec<String>,
}

impl From<NumericTable> for Numeric {
    fn from(NumericTable { column, transform, missing }: NumericTable) -> Self {
        Self { column, transform, missing }
    }
}

impl From<Column> for Numeric {
    fn from(column: Column) -> Self {
        Self::new(column)
    }
}

impl<'de> Deserialize<'de> for Numeric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(ShortOrTable::<NumericTable>::new())
            .map(ShortOrTableValue::into)
    }
}

/// The same as a [`Categorical`], for serde to derive.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CategoricalTable {
    column: Column,
    #[serde(default)]
    kind: Kind,
    separator: Option<char>,
    features: Option<u64>,
    #[serde(default)]
    missing: Vec<String>,
}

impl From<CategoricalTable> for Categorical {
    fn from(
        CategoricalTable { column, kind, separator, features, missing }: CategoricalTable,
    ) -> Self {
        Self { column, kind, separator, features, missing }
    }
}

impl From<Column> for Categorical {
    fn from(column: Column) -> Self {
        Self::new(column, Kind::default())
    }
}

impl<'de> Deserialize<'de> for Categorical {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(ShortOrTable::<CategoricalTable>::new())
            .map(ShortOrTableValue::into)
    }
}

/// Takes a name, a number, or a table. By hand, because an untagged enum would lose the reason why
/// a table is refused.
struct ShortOrTable<T>(std::marker::PhantomData<T>);

enum ShortOrTableValue<T> {
    Short(Column),
    Table(T),
}

impl<T> ShortOrTableValue<T> {
    fn into<V: From<T> + From<Column>>(self) -> V {
        match self {
            Self::Short(column) => V::from(column),
            Self::Table(table) => V::from(table),
        }
    }
}

impl<T> ShortOrTable<T> {
    fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ShortOrTable<T> {
    type Value = ShortOrTableValue<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a column, its number from 1, or a table with `column`")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        ColumnVisitor.visit_str(name).map(ShortOrTableValue::Short)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        ColumnVisitor.visit_u64(number).map(ShortOrTableValue::Short)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        ColumnVisitor.visit_i64(number).map(ShortOrTableValue::Short)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(ShortOrTableValue::Table)
    }
}
