//! The identity of a feature: which field it is of, and which 32-bit token it holds.

use std::fmt;

/// One feature: a value (`token`) of one categorical field.
///
/// Packed into 40 bits, so that a sketch slot holds it exactly next to a row index:
///
/// ```text
/// bit  39 .. 33   32        31 .. 0
///      field      missing   token
/// ```
///
/// A missing value is an ordinary feature of its field, distinct from every token.
/// The same token in two fields is two features, so fields never share by accident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureId(u64);

impl FeatureId {
    /// Bits in use: every raw id is below `1 << BITS`.
    pub const BITS: u32 = 40;
    /// Fields that an id can distinguish.
    pub const MAX_FIELDS: usize = 1 << 7;

    /// The feature that `token` is in `field`.
    ///
    /// # Panics
    /// If `field` is not below [`FeatureId::MAX_FIELDS`].
    #[must_use]
    #[inline]
    pub fn new(field: usize, token: u32) -> Self {
        assert!(
            field < Self::MAX_FIELDS,
            "field {field} is past the limit of {}",
            Self::MAX_FIELDS
        );
        Self(((field as u64) << 33) | u64::from(token))
    }

    /// The feature of a missing value in `field`.
    ///
    /// # Panics
    /// If `field` is not below [`FeatureId::MAX_FIELDS`].
    #[must_use]
    #[inline]
    pub fn missing(field: usize) -> Self {
        Self(Self::new(field, 0).0 | (1 << 32))
    }

    /// The id as an integer below `1 << BITS`; the inverse of [`FeatureId::from_raw`].
    #[must_use]
    #[inline]
    pub fn raw(self) -> u64 {
        self.0
    }

    /// The id that [`FeatureId::raw`] gave, or any other key below `1 << BITS`: a sketch used
    /// alone takes whatever a stream consists of.
    ///
    /// # Panics
    /// If `raw` does not fit in [`FeatureId::BITS`] bits.
    #[must_use]
    #[inline]
    pub fn from_raw(raw: u64) -> Self {
        assert!(raw >> Self::BITS == 0, "a feature id has {} bits, got {raw:#x}", Self::BITS);
        Self(raw)
    }

    /// The field.
    #[must_use]
    #[inline]
    pub fn field(self) -> usize {
        (self.0 >> 33) as usize
    }

    /// The token, or `None` for a missing value.
    #[must_use]
    pub fn token(self) -> Option<u32> {
        (self.0 & (1 << 32) == 0).then_some(self.0 as u32)
    }
}

impl fmt::Display for FeatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.token() {
            Some(token) => write!(f, "C{}={token:08x}", self.field() + 1),
            None => write!(f, "C{}=(missing)", self.field() + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back() {
        for field in [0, 1, 25, 127] {
            for token in [0, 1, 0xffff_ffff] {
                let id = FeatureId::new(field, token);
                assert_eq!((id.field(), id.token()), (field, Some(token)));
                assert_eq!(FeatureId::from_raw(id.raw()), id);
            }
            assert_eq!(FeatureId::missing(field).token(), None);
            assert_eq!(FeatureId::missing(field).field(), field);
        }
    }

    #[test]
    #[should_panic(expected = "field 128")]
    fn a_field_past_the_limit_is_refused() {
        let _ = FeatureId::new(128, 0);
    }

    #[test]
    fn display_names_field_and_token() {
        assert_eq!(FeatureId::new(2, 0x1f).to_string(), "C3=0000001f");
        assert_eq!(FeatureId::missing(25).to_string(), "C26=(missing)");
    }
}
