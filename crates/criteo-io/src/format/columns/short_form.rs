//! The short form of numeric and categorical columns: a name or a number in place of a table. Apart
//! from the columns, because serde derives everything else.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::column::{Column, ColumnVisitor};
use super::value::{Kind, Transform};
use super::{Categorical, Numeric};

/// The fields of a [`Numeric`], whose table form serde derives.
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

/// The fields of a [`Categorical`], whose table form serde derives.
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

/// Accepts a name, a number, or a table. Written by hand, because an untagged enum would lose the
/// reason why a table is refused.
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
