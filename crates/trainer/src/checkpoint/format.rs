//! The manifest: its content, its bytes, and the limits that are checked before its content is
//! used. Works on bytes in memory only.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{Damage, Section};
use super::header::{self, Place};
use super::{Checkpoint, Dtype, Tensor};

/// The format version that is written. Earlier versions are read.
pub const VERSION: u32 = 1;
/// Most tensors of a checkpoint. This and the other limits keep a damaged file from causing huge
/// allocations.
pub const MAX_TENSORS: usize = 4096;
/// Most dimensions of a tensor.
pub const MAX_RANK: usize = 8;
/// Longest name of a tensor, in bytes.
pub const MAX_NAME_BYTES: usize = 200;
/// Longest header of the file of tensors, in bytes.
pub const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Longest manifest, in bytes.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

const MAGIC: &str = "cafe-checkpoint";
/// Bound for the search for the end of the first line; no valid one is as long.
const MAX_LINE_BYTES: usize = 64;

/// The JSON of a manifest.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) step: u64,
    /// The file `state.safetensors`.
    pub(super) file: Part,
    /// The header at its beginning, including the 8 bytes of its length.
    pub(super) header: Part,
    /// In the order of the file.
    pub(super) tensors: Vec<Entry>,
    pub(super) state: Value,
}

/// Length and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) n_bytes: u64,
    pub(super) crc32c: u32,
}

/// Type, shape, place and checksum of a tensor.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Offset of its first byte in the file.
    pub(super) begin: u64,
    /// Offset of the byte after its last.
    pub(super) end: u64,
    pub(super) crc32c: u32,
}

/// The bytes of a checkpoint's files: the manifest, and header and tensors of `state.safetensors`.
pub(super) struct Encoded<'a> {
    pub(super) manifest: Vec<u8>,
    pub(super) header: Vec<u8>,
    pub(super) tensors: Vec<(&'a str, &'a Tensor)>,
}

impl Part {
    fn new(bytes: &[u8]) -> Self {
        Self { n_bytes: bytes.len() as u64, crc32c: crc32c::crc32c(bytes) }
    }

    /// Length and checksum of this part together with the `n_bytes` after it.
    pub(super) fn followed_by(self, n_bytes: u64, crc32c: u32) -> Self {
        let combined = crc32c::crc32c_combine(self.crc32c, crc32c, n_bytes as usize);
        Self { n_bytes: self.n_bytes + n_bytes, crc32c: combined }
    }
}

/// Encodes `checkpoint`. The result is decoded again as a check, so that nothing is saved that
/// could not be loaded.
pub(super) fn encode(checkpoint: &Checkpoint) -> Result<Encoded<'_>, Damage> {
    let Checkpoint { step, state, tensors } = checkpoint;
    let tensors = header::stored_order(tensors);
    for (name, tensor) in &tensors {
        check_tensor(name, tensor.dtype, &tensor.shape, tensor.bytes.len() as u64)?;
    }
    let header = header::encode(&tensors)?;
    let mut file = Part::new(&header);
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, tensor) in &tensors {
        let Part { n_bytes, crc32c } = Part::new(&tensor.bytes);
        let begin = file.n_bytes;
        file = file.followed_by(n_bytes, crc32c);
        let (name, dtype, shape) = ((*name).to_owned(), tensor.dtype, tensor.shape.clone());
        entries.push(Entry { name, dtype, shape, begin, end: file.n_bytes, crc32c });
    }
    let header_part = Part::new(&header);
    let manifest =
        Manifest { step: *step, file, header: header_part, tensors: entries, state: state.clone() };
    let bytes = manifest.encode()?;
    if Manifest::decode(&bytes).map_err(Fault::damage)? != manifest {
        return Err(Damage::invalid(
            Section::Manifest,
            "the state is changed by a round trip through JSON",
        ));
    }
    header::check(&header, manifest.places())?;
    Ok(Encoded { manifest: bytes, header, tensors })
}

/// The reason why a manifest cannot be used.
#[derive(Debug)]
pub(super) enum Fault {
    Newer { found: u32 },
    Damaged(Damage),
}

impl Fault {
    /// The damage, for a manifest of the current version.
    fn damage(self) -> Damage {
        match self {
            Self::Damaged(damage) => damage,
            Self::Newer { .. } => unreachable!("it has the current version"),
        }
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl Manifest {
    fn encode(&self) -> Result<Vec<u8>, Damage> {
        let mut json = serde_json::to_vec(self).map_err(|error| invalid(error.to_string()))?;
        json.push(b'\n');
        let words = first_words(VERSION, json.len() as u64);
        let mut bytes = format!("{words} {:08x}\n", checksum(&words, &json)).into_bytes();
        bytes.append(&mut json);
        Ok(bytes)
    }

    /// Decodes a manifest. Only checked content is used.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        check_manifest_length(bytes.len() as u64)?;
        let line_bytes = bytes.iter().take(MAX_LINE_BYTES).position(|&byte| byte == b'\n');
        let (line, json) = line_bytes
            .and_then(|n_bytes| {
                Some((str::from_utf8(&bytes[..n_bytes]).ok()?, &bytes[n_bytes + 1..]))
            })
            .ok_or_else(|| invalid("it has no first line"))?;
        let FirstLine { version, n_bytes, crc32c } = FirstLine::parse(line).ok_or_else(|| {
            invalid(format!("its first line is not `{MAGIC} VERSION LENGTH CHECKSUM`"))
        })?;
        if json.len() as u64 != n_bytes {
            let before = line.len() as u64 + 1;
            let (expected, got) = (before.saturating_add(n_bytes), bytes.len() as u64);
            return Err(Damage::Length { section: Section::Manifest, expected, got }.into());
        }
        let got = checksum(&first_words(version, n_bytes), json);
        if got != crc32c {
            return Err(
                Damage::Checksum { section: Section::Manifest, expected: crc32c, got }.into()
            );
        }
        // The first line has the same form in all versions, so its checksum has already excluded a
        // damaged version number.
        match version {
            VERSION => {}
            0 => return Err(invalid("there is no version 0").into()),
            found => return Err(Fault::Newer { found }),
        }
        let manifest: Self =
            serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The tensors with their places, in the order of the file.
    pub(super) fn places(&self) -> impl Iterator<Item = Place<'_>> {
        self.tensors.iter().map(|entry| {
            let Entry { name, dtype, shape, begin, end, crc32c: _ } = entry;
            Place { name, dtype: *dtype, shape, begin: *begin, end: *end }
        })
    }

    fn check(&self) -> Result<(), Damage> {
        if self.tensors.len() > MAX_TENSORS {
            return Err(invalid(format!(
                "it has {} tensors, expected at most {MAX_TENSORS}",
                self.tensors.len()
            )));
        }
        if self.header.n_bytes > MAX_HEADER_BYTES {
            let why = format!(
                "it has {} bytes, expected at most {MAX_HEADER_BYTES}",
                self.header.n_bytes
            );
            return Err(Damage::invalid(Section::Header, why));
        }
        let mut end = self.header.n_bytes;
        for entry in &self.tensors {
            if entry.begin != end || entry.end < entry.begin {
                let why = format!(
                    "it lies at {}..{}, expected to begin at {end}",
                    entry.begin, entry.end
                );
                return Err(Damage::invalid(Section::Tensor(entry.name.clone()), why));
            }
            check_tensor(&entry.name, entry.dtype, &entry.shape, entry.end - entry.begin)?;
            end = entry.end;
        }
        if end != self.file.n_bytes {
            let why = format!("the tensors end at byte {end}, expected at {}", self.file.n_bytes);
            return Err(Damage::invalid(Section::File, why));
        }
        let mut names: Vec<_> = self.tensors.iter().map(|entry| &entry.name).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
        twice.map_or(Ok(()), |pair| {
            Err(Damage::invalid(Section::Tensor(pair[0].clone()), "it comes twice"))
        })
    }
}

/// Refuses a length that exceeds the limit, before memory is allocated for it.
pub(super) fn check_manifest_length(got: u64) -> Result<(), Damage> {
    if got <= MAX_MANIFEST_BYTES {
        return Ok(());
    }
    Err(invalid(format!("it has {got} bytes, expected at most {MAX_MANIFEST_BYTES}")))
}

fn invalid(why: impl Into<String>) -> Damage {
    Damage::invalid(Section::Manifest, why)
}

/// Checks that name, shape and length are within the limits and consistent.
fn check_tensor(name: &str, dtype: Dtype, shape: &[usize], n_bytes: u64) -> Result<(), Damage> {
    let wrong = |why: String| Err(Damage::invalid(Section::Tensor(name.to_owned()), why));
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(is_allowed) {
        return wrong(format!("a name has 1 to {MAX_NAME_BYTES} letters, digits, `_`, `-` or `.`"));
    }
    // safetensors uses this name for metadata, and a careless reader might take the others for
    // directories.
    if matches!(name, "__metadata__" | "." | "..") {
        return wrong("this name is reserved".to_owned());
    }
    if shape.len() > MAX_RANK {
        return wrong(format!("it has rank {}, expected at most {MAX_RANK}", shape.len()));
    }
    let expected =
        shape.iter().try_fold(dtype.n_bytes() as u64, |n_bytes, &n| n_bytes.checked_mul(n as u64));
    if expected == Some(n_bytes) {
        Ok(())
    } else {
        wrong(format!("{dtype:?} of shape {shape:?} in {n_bytes} bytes"))
    }
}

/// The first line of a manifest.
struct FirstLine {
    version: u32,
    /// Bytes after the line.
    n_bytes: u64,
    crc32c: u32,
}

impl FirstLine {
    /// Parses a line, and accepts it only if it is spelt exactly as this program writes it.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ').skip(1);
        let version = words.next()?.parse().ok()?;
        let n_bytes = words.next()?.parse().ok()?;
        let crc32c = u32::from_str_radix(words.next()?, 16).ok()?;
        let is_exact = line == format!("{} {crc32c:08x}", first_words(version, n_bytes));
        is_exact.then_some(Self { version, n_bytes, crc32c })
    }
}

/// The first line up to its checksum.
fn first_words(version: u32, n_bytes: u64) -> String {
    format!("{MAGIC} {version} {n_bytes}")
}

/// The checksum of the manifest without itself.
fn checksum(first_words: &str, json: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(first_words.as_bytes()), json)
}
