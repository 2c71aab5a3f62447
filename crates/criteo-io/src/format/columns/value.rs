//! How the text or the number of one field becomes a token or a dense value. Apart from the
//! readers, so that every container gives the same value.

use serde::{Deserialize, Serialize};

use crate::format::encode::{dense_integer, log1p};

/// What the texts of a categorical column are, which decides how a text becomes a token of 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Any text: [`hash_text`].
    #[default]
    String,
    /// Eight hex digits, as in Criteo's logs: the token itself. Anything else is malformed.
    Hex,
    /// An integer: the token itself from 0 to 2³² − 1 (`007` is 7); one that is negative or larger
    /// is hashed as a text, by [`hash_text`]. Anything but an integer is malformed.
    Integer,
}

/// How a number becomes a dense value. A missing number is 0 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transform {
    /// ln(x + 1), and 0 where x is not positive: for counts.
    #[default]
    Log1p,
    /// The number itself: for numbers that are scaled already.
    None,
}

/// The token of a text: FNV-1a with 64 bits over its bytes, upper half xor lower half.
///
/// The function never changes, so that saved models remain valid. Of n different texts of a field
/// about n²/2³³ pairs share a token: one pair of 100,000 texts, 12,000 pairs of 10 million.
///
/// ```
/// assert_eq!(criteo_io::hash_text(b""), 0xcbf2_9ce4 ^ 0x8422_2325);
/// assert_eq!(criteo_io::hash_text(b"a"), 0xaf63_dc4c ^ 0x8601_ec8c);
/// assert_eq!(criteo_io::hash_text(b"foobar"), 0x8594_4171 ^ 0xf739_67e8);
/// ```
#[must_use]
pub fn hash_text(text: &[u8]) -> u32 {
    // The parameters of FNV-1a with 64 bits (draft-eastlake-fnv).
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = text.iter().fold(OFFSET, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    (hash >> 32) as u32 ^ hash as u32
}

impl Kind {
    /// The token of `text`; `None` if the text is not of this kind.
    #[must_use]
    pub fn token(self, text: &[u8]) -> Option<u32> {
        match self {
            Self::String => Some(hash_text(text)),
            Self::Hex => hex_token(text),
            Self::Integer => integer_token(text),
        }
    }

    /// The token of an integer: that of its decimal text.
    ///
    /// `None` if the column holds hex digits, which are not integers.
    #[must_use]
    pub fn integer_token(self, value: i128) -> Option<u32> {
        match (self, u32::try_from(value)) {
            (Self::Hex, _) => None,
            (Self::Integer, Ok(token)) => Some(token),
            _ => Some(hash_text(value.to_string().as_bytes())),
        }
    }

    /// The description of valid texts in messages.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::String => "a text",
            Self::Hex => "eight hex digits or nothing",
            Self::Integer => "an integer or nothing",
        }
    }
}

fn hex_token(text: &[u8]) -> Option<u32> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let fold = |sum: u32, byte: &u8| Some((sum << 4) | digit(byte)?);
    if text.len() == 8 { text.iter().try_fold(0, fold) } else { None }
}

fn integer_token(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let is_negative = digits.len() < text.len();
    let fold = |sum: u32, digit: &u8| sum.checked_mul(10)?.checked_add(u32::from(digit - b'0'));
    let value = if is_negative { None } else { digits.iter().try_fold(0, fold) };
    Some(value.unwrap_or_else(|| hash_text(text)))
}

impl Transform {
    /// The dense value of a number; `None` if the number is infinite or NaN, or its value does not
    /// fit in an f32.
    #[must_use]
    pub fn dense(self, number: f64) -> Option<f32> {
        let value = match self {
            _ if !number.is_finite() => return None,
            Self::Log1p => log1p(number),
            Self::None => number as f32,
        };
        value.is_finite().then_some(value)
    }

    /// The dense value of an integer: the bits of [`Transform::dense`], at less cost.
    #[must_use]
    pub fn dense_integer(self, number: i64) -> f32 {
        match self {
            Self::Log1p => dense_integer(number),
            Self::None => number as f64 as f32,
        }
    }

    /// The dense value of a text; `None` if the text is not a number.
    pub(crate) fn dense_text(self, text: &[u8]) -> Option<f32> {
        match short_integer(text) {
            Some(integer) => Some(self.dense_integer(integer)),
            None => self.dense(real(text)?),
        }
    }
}

/// Up to 15 digits with or without a minus sign: below 10^15, and so exact in `f64`.
fn short_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if !(1..=15).contains(&digits.len()) {
        return None;
    }
    let fold =
        |sum: i64, byte: &u8| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'));
    let value = digits.iter().try_fold(0, fold)?;
    Some(if digits.len() < text.len() { -value } else { value })
}

/// A number in decimal notation, with or without exponent; not `inf` or `nan`.
pub(super) fn real(text: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::encode::encode_integer;

    #[test]
    fn text_hash_vectors_are_fixed() {
        // The 64-bit values are those of FNV-1a's own test suite.
        let vectors: [(&str, u64); 6] = [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("b", 0xaf63_df4c_8601_f1a5),
            ("fo", 0x0898_5907_b541_d342),
            ("foobar", 0x8594_4171_f739_67e8),
            ("chongo was here!\n", 0x4681_0940_eff5_f915),
        ];
        for (text, hash) in vectors {
            assert_eq!(hash_text(text.as_bytes()), (hash >> 32) as u32 ^ hash as u32, "{text}");
        }
    }

    #[test]
    fn tokens_by_kind() {
        assert_eq!(Kind::String.token(b"68fd1e64"), Some(hash_text(b"68fd1e64")));
        assert_eq!(Kind::Hex.token(b"68fd1e64"), Some(0x68fd_1e64));
        assert_eq!(Kind::Hex.token(b"68FD1E64"), Some(0x68fd_1e64));
        for text in ["", "68fd1e6", "68fd1e640", "68fd1e6g", "+8fd1e64"] {
            assert_eq!(Kind::Hex.token(text.as_bytes()), None, "{text}");
        }
        for (text, token) in [("0", 0), ("007", 7), ("4294967295", u32::MAX)] {
            assert_eq!(Kind::Integer.token(text.as_bytes()), Some(token));
        }
        for text in ["-1", "-0", "4294967296", "12057878999086460853"] {
            assert_eq!(
                Kind::Integer.token(text.as_bytes()),
                Some(hash_text(text.as_bytes())),
                "{text}"
            );
        }
        for text in ["", "-", "+1", "1.0", "1e3", "--1", " 1"] {
            assert_eq!(Kind::Integer.token(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn integers_are_taken_as_their_texts() {
        for value in [0, 7, -1, i128::from(u32::MAX), 1 << 32, i128::from(u64::MAX)] {
            for kind in [Kind::String, Kind::Integer] {
                assert_eq!(kind.integer_token(value), kind.token(value.to_string().as_bytes()));
            }
            assert_eq!(Kind::Hex.integer_token(value), None);
        }
    }

    #[test]
    fn numbers_by_transform() {
        for number in [i64::MIN, -1, 0, 1, 4095, 4096, 1_669_366, 999_999_999_999_999, i64::MAX] {
            let text = number.to_string();
            let expected = encode_integer(Some(number));
            assert_eq!(
                Transform::Log1p.dense_text(text.as_bytes()).unwrap().to_bits(),
                expected.to_bits(),
                "{text}"
            );
            assert_eq!(Transform::None.dense_text(text.as_bytes()), Some(number as f64 as f32));
        }
        assert_eq!(Transform::Log1p.dense_text(b"0.5"), Some(1.5_f64.ln() as f32));
        assert_eq!(Transform::Log1p.dense_text(b"-0.5"), Some(0.0));
        assert_eq!(Transform::None.dense_text(b"-2.5e-1"), Some(-0.25));
        assert_eq!(Transform::Log1p.dense_text(b"1e39"), Some(1e39_f64.ln() as f32));
        for text in
            ["", "nan", "inf", "-inf", "1e999", "1,5", "0x10", " 1", "1 ", "-", "1e39", "\u{661}"]
        {
            assert_eq!(Transform::None.dense_text(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Transform::None.dense_text(b"\xff"), None);
    }
}
