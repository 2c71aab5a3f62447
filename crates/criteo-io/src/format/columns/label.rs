//! Which values of a column are positive labels.

use serde::{Deserialize, Serialize};

use super::column::Column;
use super::value::real;

/// The label: a column, and which of its values are positive.
///
/// At most one rule is given; without one the column holds 0 or 1. A label that is empty or does
/// not fit its rule is malformed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The column, by name or number.
    pub column: Column,
    /// The texts that are positive.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positive: Vec<String>,
    /// The texts that are negative, with `positive`: others are malformed. If empty, all others are
    /// negative.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub negative: Vec<String>,
    /// The least number that is positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// The greatest number that is negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
}

impl Label {
    /// A label of 0 or 1.
    #[must_use]
    pub fn binary(column: impl Into<Column>) -> Self {
        Self {
            column: column.into(),
            positive: Vec::new(),
            negative: Vec::new(),
            at_least: None,
            above: None,
        }
    }

    /// A label that is positive for numbers from `least` on.
    #[must_use]
    pub fn at_least(column: impl Into<Column>, least: f64) -> Self {
        Self { at_least: Some(least), ..Self::binary(column) }
    }

    /// Whether a text is a positive label; `None` if it is not a valid label.
    #[must_use]
    pub fn parse_text(&self, text: &[u8]) -> Option<bool> {
        let is_in = |texts: &[String]| texts.iter().any(|one| one.as_bytes() == text);
        if !self.positive.is_empty() {
            let is_positive = is_in(&self.positive);
            return (is_positive
                || self.negative.is_empty() && !text.is_empty()
                || is_in(&self.negative))
            .then_some(is_positive);
        }
        if self.at_least.is_some() || self.above.is_some() {
            return self.parse_number(real(text)?);
        }
        match text {
            b"0" => Some(false),
            b"1" => Some(true),
            _ => None,
        }
    }

    /// Whether a number is a positive label; `None` if it is not a valid label.
    ///
    /// With a rule for texts, a whole number is compared as its text without a decimal point.
    #[must_use]
    pub fn parse_number(&self, number: f64) -> Option<bool> {
        match (self.at_least, self.above) {
            (Some(least), _) => Some(number >= least),
            (None, Some(bound)) => Some(number > bound),
            (None, None) => self.parse_text(number.to_string().as_bytes()),
        }
    }

    /// The description of valid texts in messages.
    pub(crate) fn expected(&self) -> &'static str {
        if !self.positive.is_empty() {
            if self.negative.is_empty() { "a label" } else { "one of the labels" }
        } else if self.at_least.is_some() || self.above.is_some() {
            "a number"
        } else {
            "0 or 1"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_by_rule() {
        let judged = |label: &Label, texts: &[&str]| -> Vec<_> {
            texts.iter().map(|text| label.parse_text(text.as_bytes())).collect()
        };
        let label = Label::binary("y");
        assert_eq!(
            judged(&label, &["0", "1", "2", "", "1.0"]),
            [Some(false), Some(true), None, None, None]
        );
        assert_eq!(
            [0.0, 1.0, 2.0].map(|number| label.parse_number(number)),
            [Some(false), Some(true), None]
        );

        let label = Label::at_least("y", 1.0);
        assert_eq!(
            judged(&label, &["0", "1", "7", "0.5", "x", ""]),
            [Some(false), Some(true), Some(true), Some(false), None, None]
        );
        let label = Label { above: Some(0.0), ..Label::binary("y") };
        assert_eq!(
            judged(&label, &["0", "1e-3", "-1", "nan"]),
            [Some(false), Some(true), Some(false), None]
        );

        let label =
            Label { positive: vec!["yes".to_owned(), "y".to_owned()], ..Label::binary("y") };
        assert_eq!(
            judged(&label, &["yes", "y", "Yes", ""]),
            [Some(true), Some(true), Some(false), None]
        );
        let label = Label { negative: vec!["no".to_owned()], ..label };
        assert_eq!(
            judged(&label, &["yes", "no", "maybe", ""]),
            [Some(true), Some(false), None, None]
        );
    }
}
