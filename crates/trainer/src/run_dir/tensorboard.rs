//! Writes scalars to event files for `TensorBoard`.
//!
//! An event file is a sequence of records: the length of the data (8 bytes, little-endian) and its
//! checksum, the data and their checksum. The data are an `Event` in protobuf's encoding, of which
//! this module writes four fields:
//!
//! ```text
//! Event   1 wall_time: double   2 step: int64   3 file_version: string   5 summary: Summary
//! Summary 1 value: repeated Value
//! Value   1 tag: string         2 simple_value: float
//! ```
//!
//! Hand-written, because the available crates depend on protobuf 2 or prost 0.12 and on image or
//! array libraries, for what is a page of code here.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::atomic_file::log_file;

/// `TensorBoard` recognises event files by `tfevents` in the name. There is one per run.
const FILE_NAME: &str = "events.out.tfevents.trainer";
/// The first record of every file, required by the format.
const FILE_VERSION: &str = "brain.Event:2";

/// An event file that is being written.
pub struct EventFile {
    path: PathBuf,
    out: BufWriter<File>,
    n_bytes: u64,
}

impl EventFile {
    /// Opens the file in `dir`, which is created if necessary, to append after its first `n_bytes`;
    /// without these it starts empty.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open(dir: &Path, n_bytes: Option<u64>) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("{}: cannot be created", dir.display()))?;
        let path = dir.join(FILE_NAME);
        let file = log_file(&path, n_bytes.unwrap_or(0))?;
        let n_bytes =
            file.metadata().with_context(|| format!("{}: cannot be read", path.display()))?.len();
        let mut events = Self { path, out: BufWriter::new(file), n_bytes };
        if n_bytes == 0 {
            let mut event = Message::event();
            event.bytes(3, FILE_VERSION.as_bytes());
            events.write(&event)?;
        }
        Ok(events)
    }

    /// The current length in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// A further handle of the file.
    ///
    /// # Errors
    /// If the system refuses a handle.
    pub fn try_clone(&self) -> io::Result<File> {
        self.out.get_ref().try_clone()
    }

    /// Appends the numbers of a line of `metrics.jsonl` at its step, except the numbers of rows and
    /// days.
    ///
    /// `train_auc` becomes `train/auc`, or `day/auc` in the line of a day; nulls are left out.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn line(&mut self, line: &Value) -> Result<()> {
        let step = line["step"].as_u64().unwrap_or(0);
        let is_day = line.get("day").is_some();
        let numbers = line.as_object().into_iter().flatten();
        let scalars: Vec<_> = numbers
            .filter(|(key, _)| !matches!(key.as_str(), "step" | "rows" | "day" | "day_rows"))
            .filter_map(|(key, value)| Some((tag(key, is_day), value.as_f64()?)))
            .collect();
        self.scalars(step, &scalars)
    }

    /// Appends tags with their values at `step`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn scalars(&mut self, step: u64, scalars: &[(String, f64)]) -> Result<()> {
        let mut summary = Message::default();
        for (tag, number) in scalars {
            let mut value = Message::default();
            value.bytes(1, tag.as_bytes());
            value.float(2, *number as f32);
            summary.bytes(1, &value.0);
        }
        let mut event = Message::event();
        event.integer(2, step);
        event.bytes(5, &summary.0);
        self.write(&event)
    }

    fn write(&mut self, event: &Message) -> Result<()> {
        // Flushed immediately: TensorBoard follows runs in progress.
        let record = record(&event.0);
        let written = self.out.write_all(&record).and_then(|()| self.out.flush());
        self.n_bytes += record.len() as u64;
        written.with_context(|| format!("{}: cannot be written", self.path.display()))
    }
}

/// The tag of a key. `TensorBoard` groups tags by the part before the slash.
fn tag(key: &str, is_day: bool) -> String {
    match (key, key.split_once('_')) {
        (_, Some(("train", rest))) if is_day => format!("day/{rest}"),
        _ if is_day => format!("day/{key}"),
        (_, Some((group @ ("train" | "test"), rest))) => format!("{group}/{rest}"),
        ("hot_rows" | "hot_share" | "promoted" | "demoted", _) => format!("embedding/{key}"),
        _ => key.to_owned(),
    }
}

/// A message in protobuf's encoding, field by field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// An `Event` with the current time.
    fn event() -> Self {
        let mut event = Self::default();
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        event.key(1, 1);
        event.0.extend(now.to_le_bytes());
        event
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    /// Seven bits per byte, the lowest first; the top bit is set if more follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }
}

/// A record: length, data and their checksums.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(data.len() + 16);
    out.extend(length);
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked_crc(data).to_le_bytes());
    out
}

/// CRC-32C, masked as in `TFRecord`: rotated by 15 bits plus a constant, because a CRC of
/// data that contain CRCs is unreliable.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}
