//! What configurations choose by name from a closed set: one table each, of methods and of models.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// A value of an enumeration with a table of its values, in the order in which they are listed.
pub trait Named: Copy + PartialEq + Sized + 'static {
    /// Every value.
    fn all() -> impl Iterator<Item = Self>;

    /// The name in configurations and reports.
    fn name(self) -> &'static str;

    /// The value of that name.
    #[must_use]
    fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|value| value.name() == name)
    }
}

/// `#[serde(serialize_with)]` by name.
pub(super) fn serialize<T: Named, S: Serializer>(
    value: T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.name())
}

/// By name; an unknown one is reported as serde reports an unknown variant.
pub(super) fn deserialize<'de, T: Named, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let name = String::deserialize(deserializer)?;
    T::from_name(&name).ok_or_else(|| {
        let known: Vec<_> = T::all().map(|value| format!("`{}`", value.name())).collect();
        D::Error::custom(format!("unknown variant `{name}`, expected one of {}", known.join(", ")))
    })
}

/// Implements serde's traits by name.
macro_rules! serde_by_name {
    ($named:ty) => {
        impl serde::Serialize for $named {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $crate::config::named::serialize(*self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $named {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::named::deserialize(deserializer)
            }
        }
    };
}
pub(super) use serde_by_name;
