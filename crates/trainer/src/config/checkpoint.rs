//! `[checkpoint]`: how often a run saves its state, and how much of that stays.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Checkpoints. The last state is always saved: it is the trained model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointConfig {
    /// A number of steps, a time such as "10min", or 0 for none before the last. While a checkpoint
    /// is still being written, one that is due by steps waits for it, and one that is due by time
    /// is put off to a later step.
    #[serde(default)]
    pub every: Every,
    /// That many of the newest are kept, and beside them the one with the best test AUC.
    #[serde(default = "default_keep")]
    pub keep: usize,
    /// Whether the checkpoints stay once the report is written. Without them a finished run can't
    /// be evaluated, predict or be resumed; its results are kept.
    #[serde(default = "yes")]
    pub keep_at_end: bool,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every: Every::default(), keep: default_keep(), keep_at_end: true }
    }
}

fn yes() -> bool {
    true
}

fn default_keep() -> usize {
    3
}

/// The distance between two checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// So many steps; 0 is never.
    Steps(u64),
    /// So much time.
    Time(Duration),
}

impl Default for Every {
    /// Default: every ten minutes.
    fn default() -> Self {
        Self::Time(Duration::from_secs(600))
    }
}

impl Every {
    /// Whether a checkpoint is due after `step` steps, `time` after the one before it.
    #[must_use]
    pub fn is_due(self, step: u64, time: Duration) -> bool {
        match self {
            // No step but 0 is a multiple of 0.
            Self::Steps(every) => step > 0 && step.is_multiple_of(every),
            Self::Time(every) => time >= every,
        }
    }

    /// Whether one that is due waits for the next step while the one before it is still being
    /// written: steps are kept to exactly, times are not.
    #[must_use]
    pub fn may_wait(self) -> bool {
        matches!(self, Self::Time(_))
    }
}

const EXPECTED: &str = "expected a number of steps, or a time such as \"30s\", \"10min\" or \"2h\"";

impl std::str::FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(steps) = text.parse() {
            return Ok(Self::Steps(steps));
        }
        let unit_start = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_start);
        let seconds = match unit.trim() {
            "s" => 1,
            "min" => 60,
            "h" => 3600,
            _ => 0,
        };
        let time = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
        match time {
            Some(seconds) if seconds > 0 => Ok(Self::Time(Duration::from_secs(seconds))),
            _ => Err(format!("{EXPECTED}, got {text:?}")),
        }
    }
}

impl Serialize for Every {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Steps(steps) => serializer.serialize_u64(steps),
            Self::Time(time) => match time.as_secs() {
                seconds if seconds % 3600 == 0 => {
                    serializer.collect_str(&format_args!("{}h", seconds / 3600))
                }
                seconds if seconds % 60 == 0 => {
                    serializer.collect_str(&format_args!("{}min", seconds / 60))
                }
                seconds => serializer.collect_str(&format_args!("{seconds}s")),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Every {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a number of steps, or a time such as \"30s\", \"10min\" or \"2h\""
        )]
        enum Raw {
            Steps(u64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Steps(steps) => Ok(Self::Steps(steps)),
            Raw::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_times_round_trip() {
        for (text, every) in [
            ("every = 500", Every::Steps(500)),
            ("every = \"45s\"", Every::Time(Duration::from_secs(45))),
            ("every = \"10min\"", Every::Time(Duration::from_secs(600))),
            ("every = \"2h\"", Every::Time(Duration::from_secs(7200))),
        ] {
            let config: CheckpointConfig = toml::from_str(text).expect("valid");
            assert_eq!(config, CheckpointConfig { every, keep: 3, keep_at_end: true }, "{text}");
            assert_eq!(toml::to_string(&config).expect("TOML").lines().next(), Some(text));
        }
    }

    #[test]
    fn other_times_are_refused() {
        for text in [
            "",
            "min",
            "0s",
            "-5min",
            "10 weeks",
            "1.5h",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            let error = text.parse::<Every>().expect_err(text);
            assert_eq!(error, format!("{EXPECTED}, got {text:?}"));
        }
    }

    #[test]
    fn what_is_due() {
        let (now, later) = (Duration::ZERO, Duration::from_secs(60));
        assert!(!Every::Steps(0).is_due(u64::MAX, later) && !Every::Steps(5).is_due(0, later));
        assert!(!Every::Steps(5).is_due(14, later) && Every::Steps(5).is_due(15, now));
        assert!(!Every::Time(later).is_due(99, now) && Every::Time(later).is_due(0, later));
    }
}
