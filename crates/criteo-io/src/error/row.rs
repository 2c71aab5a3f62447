//! What can be wrong with one row. Apart from the errors of files, because parsers know no file.

use std::fmt;

use super::bad_row::BadRowReason;

/// What is wrong in one line, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{column}: {fault}")]
pub struct RowError {
    /// The byte in the line where the field starts, from 1.
    pub column: usize,
    /// The fault.
    pub fault: RowFault,
}

/// The ways in which a line is not a row. Fields count from 0; messages name them from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// The line is empty.
    #[error("expected a row, got an empty line")]
    EmptyLine,
    /// Columns are missing.
    #[error(
        "expected {expected} tab-separated columns, got {got}{}",
        few_columns_hint(*expected, *got, *has_label)
    )]
    TooFewColumns {
        /// Columns of the format.
        expected: usize,
        /// Columns of the line.
        got: usize,
        /// Whether one of those expected is a label.
        has_label: bool,
    },
    /// There are columns that the format does not have.
    #[error(
        "expected {expected} tab-separated columns, got {got}{}",
        many_columns_hint(*expected, *got, *has_label)
    )]
    TooManyColumns {
        /// Columns of the format.
        expected: usize,
        /// Columns of the line.
        got: usize,
        /// Whether one of those expected is a label.
        has_label: bool,
    },
    /// The label is neither 0 nor 1.
    #[error("field label: expected 0 or 1, got {got}")]
    Label {
        /// The text of the field.
        got: Excerpt,
    },
    /// An integer field holds something else.
    #[error("field I{}: expected an integer or nothing, got {got}", field + 1)]
    Integer {
        /// The integer field.
        field: usize,
        /// The text of the field.
        got: Excerpt,
    },
    /// An integer does not fit.
    #[error("field I{}: expected an integer of at most 64 bits, got {got}", field + 1)]
    IntegerOverflow {
        /// The integer field.
        field: usize,
        /// The text of the field.
        got: Excerpt,
    },
    /// A categorical field holds something else than a token.
    #[error("field C{}: expected eight hex digits or nothing, got {got}", field + 1)]
    Token {
        /// The categorical field.
        field: usize,
        /// The text of the field.
        got: Excerpt,
    },
    /// A row of a described table has another number of columns.
    #[error("expected {expected} columns, got {got}")]
    Columns {
        /// Columns of the header, or of the first row.
        expected: usize,
        /// Columns of the row.
        got: usize,
    },
    /// A quoted field of a described table is followed by text.
    #[error("{TEXT_BEHIND_QUOTE}")]
    Quote,
    /// A field of a described table does not fit the description.
    #[error("field {name}: expected {expected}, got {got}")]
    Field {
        /// Its name, or its number.
        name: String,
        /// A description of valid texts.
        expected: &'static str,
        /// The text of the field.
        got: Excerpt,
        /// The reason in short: label, number, token or day.
        reason: BadRowReason,
    },
}

impl RowFault {
    /// The reason in short.
    #[must_use]
    pub fn reason(&self) -> BadRowReason {
        match self {
            Self::EmptyLine => BadRowReason::EmptyLine,
            Self::TooFewColumns { .. } => BadRowReason::TooFewColumns,
            Self::Columns { expected, got } if got < expected => BadRowReason::TooFewColumns,
            Self::TooManyColumns { .. } | Self::Columns { .. } => BadRowReason::TooManyColumns,
            Self::Label { .. } => BadRowReason::Label,
            Self::Integer { .. } => BadRowReason::Integer,
            Self::IntegerOverflow { .. } => BadRowReason::IntegerOverflow,
            Self::Token { .. } => BadRowReason::Token,
            Self::Field { reason, .. } => *reason,
            Self::Quote => BadRowReason::Quote,
        }
    }
}

/// The fault of a quoted field that is followed by text, as two errors word it.
pub(crate) const TEXT_BEHIND_QUOTE: &str = "expected the end of the field behind its closing \
     quote, got more text; double the quotes inside it";

/// The beginning of a field for a message: at most 32 bytes, escaped unless printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    const MAX_BYTES: usize = 32;

    /// The excerpt of `field`.
    #[must_use]
    pub fn new(field: &[u8]) -> Self {
        match field.get(..Self::MAX_BYTES) {
            Some(head) if field.len() > head.len() => Self(format!("{}...", head.escape_ascii())),
            _ => Self(field.escape_ascii().to_string()),
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("nothing") } else { write!(f, "`{}`", self.0) }
    }
}

fn many_columns_hint(expected: usize, got: usize, has_label: bool) -> String {
    if got == expected + 1 && !has_label {
        format!(" ({got} columns look like a file with labels, which are not expected here)")
    } else {
        String::new()
    }
}

fn few_columns_hint(expected: usize, got: usize, has_label: bool) -> String {
    if got + 1 == expected && has_label {
        format!(" ({got} columns look like a file without labels, which cannot be used here)")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_are_short_and_printable() {
        assert_eq!(Excerpt::new(b"0x1f").to_string(), "`0x1f`");
        assert_eq!(Excerpt::new(b"").to_string(), "nothing");
        assert_eq!(Excerpt::new(b"\0\xff\r").to_string(), r"`\x00\xff\r`");
        assert_eq!(Excerpt::new(&[b'7'; 32]).to_string(), format!("`{}`", "7".repeat(32)));
        assert_eq!(Excerpt::new(&[b'7'; 33]).to_string(), format!("`{}...`", "7".repeat(32)));
    }
}
