//! The header of a cache, to bytes and back. No field is used before the checksum is verified.

use std::fs::File;
use std::io::{self, Read};

use super::input_stamp::{InputStamp, Stamp};
use super::row::{CHECKSUM_BYTES, RowLayout};
use crate::error::cache_fault::CacheFault;
use crate::record::bad_rows::{BadRows, SkipLimits};

/// The first byte is not ASCII, so that no text file begins like this.
const MAGIC: [u8; 8] = *b"\x89CTRROWS";
/// The version of the file format, to be raised whenever the bytes of the same rows change.
pub(super) const VERSION: u32 = 4;
/// Magic, version, and the length of the header.
const START_BYTES: usize = 16;
/// The longest header: far above any list of inputs, so that a damaged length does not allocate
/// gigabytes.
const MAX_BYTES: u32 = 16 << 20;
/// The most rows: far above any file, so that sums of lengths do not overflow.
const MAX_ROWS: u64 = 1 << 48;
/// The most columns of a kind: far above any row, so that products of sizes do not overflow.
const MAX_SIZE: u32 = 1 << 16;

/// The description of a cache.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    /// The name of the dialect.
    pub(super) format: String,
    /// The digest of the description of the columns.
    pub(super) digest: u64,
    pub(super) layout: RowLayout,
    /// The number of rows, malformed ones included.
    pub(super) n_rows: u64,
    /// Whether these are all rows of the inputs, and not only the first ones.
    pub(super) is_whole: bool,
    /// The policy for malformed rows when the cache was built.
    pub(super) bad_rows: BadRows,
    /// Whether there are malformed rows.
    pub(super) has_bad_rows: bool,
    pub(super) inputs: Vec<InputStamp>,
}

impl Header {
    /// The bytes of the header; their number depends on the format and the inputs alone.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = [&MAGIC[..], &VERSION.to_le_bytes(), &[0; 4]].concat();
        push_text(&self.format, &mut out);
        out.extend_from_slice(&self.digest.to_le_bytes());
        let RowLayout { n_integers, n_dense, n_fields, integer_bytes, has_day } = self.layout;
        for number in
            [n_integers, n_dense, n_fields, integer_bytes, usize::from(has_day), self.inputs.len()]
        {
            out.extend_from_slice(&(number as u32).to_le_bytes());
        }
        out.extend_from_slice(&self.n_rows.to_le_bytes());
        out.push(u8::from(self.is_whole));
        let limits = if let BadRows::Skip(limits) = self.bad_rows { Some(limits) } else { None };
        out.extend([u8::from(limits.is_some()), u8::from(self.has_bad_rows)]);
        let SkipLimits { max_rows, max_fraction } = limits.unwrap_or_default();
        out.extend_from_slice(&max_rows.to_le_bytes());
        out.extend_from_slice(&max_fraction.to_le_bytes());
        for InputStamp { path, stamp } in &self.inputs {
            push_text(path, &mut out);
            out.extend_from_slice(&stamp.n_bytes.to_le_bytes());
            out.extend_from_slice(&stamp.modified.to_le_bytes());
            out.extend_from_slice(&stamp.head.to_le_bytes());
            out.extend_from_slice(&stamp.tail.to_le_bytes());
        }
        let n_bytes = (out.len() + CHECKSUM_BYTES) as u32;
        out[START_BYTES - 4..START_BYTES].copy_from_slice(&n_bytes.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out
    }

    /// Reads the header from the start of `file`; also returns its number of bytes.
    pub(super) fn read(mut file: &File) -> Result<(Self, u64), CacheFault> {
        let mut bytes = vec![0; START_BYTES];
        read_exact(&mut file, &mut bytes)?;
        let mut start = Fields(&bytes);
        if start.take(MAGIC.len()) != Some(&MAGIC) {
            return Err(CacheFault::NotACache);
        }
        let (version, n_bytes) = start.u32().zip(start.u32()).ok_or(CacheFault::DamagedHeader)?;
        if version != VERSION {
            return Err(CacheFault::Version { found: version, expected: VERSION });
        }
        if !(START_BYTES as u32 + CHECKSUM_BYTES as u32..=MAX_BYTES).contains(&n_bytes) {
            return Err(CacheFault::DamagedHeader);
        }
        bytes.resize(n_bytes as usize, 0);
        read_exact(&mut file, &mut bytes[START_BYTES..])?;
        let (fields, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
        if crc32fast::hash(fields).to_le_bytes() != checksum {
            return Err(CacheFault::DamagedHeader);
        }
        let header = Self::parse(&mut Fields(&fields[START_BYTES..])).ok_or(CacheFault::Foreign)?;
        Ok((header, u64::from(n_bytes)))
    }

    /// `None` if a field has a value that this version does not write.
    fn parse(fields: &mut Fields<'_>) -> Option<Self> {
        let (format, digest) = (fields.text()?, fields.u64()?);
        let mut size = || fields.u32().filter(|&size| size <= MAX_SIZE).map(|size| size as usize);
        let (n_integers, n_dense, n_fields) = (size()?, size()?, size()?);
        let (integer_bytes, has_day, n_inputs) = (size()?, size()?, fields.u32()?);
        let layout =
            RowLayout { n_integers, n_dense, n_fields, integer_bytes, has_day: has_day == 1 };
        let n_rows = fields.u64()?;
        let &[is_whole, skips, has_bad_rows] = fields.take(3)? else { return None };
        let limits =
            SkipLimits { max_rows: fields.u64()?, max_fraction: f64::from_bits(fields.u64()?) };
        let bad_rows = if skips == 1 { BadRows::Skip(limits) } else { BadRows::Error };
        let (is_whole, has_bad_rows) = (is_whole == 1, has_bad_rows == 1);
        let input = |_| {
            let path = fields.text()?;
            let (n_bytes, modified) = (fields.u64()?, fields.u64()? as i64);
            let (head, tail) = (fields.u32()?, fields.u32()?);
            Some(InputStamp { path, stamp: Stamp { n_bytes, modified, head, tail } })
        };
        let inputs = (0..n_inputs).map(input).collect::<Option<_>>()?;
        // The checksum is right, so that an unknown value comes from another program, not from
        // damage.
        let is_known = matches!(integer_bytes, 4 | 8) && has_day <= 1 && n_rows < MAX_ROWS;
        is_known.then_some(Self {
            format,
            digest,
            layout,
            n_rows,
            is_whole,
            bad_rows,
            has_bad_rows,
            inputs,
        })
    }
}

fn push_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The length of the file is not checked yet, so that its end is an ordinary case here.
fn read_exact(file: &mut &File, bytes: &mut [u8]) -> Result<(), CacheFault> {
    file.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => CacheFault::DamagedHeader,
        _ => CacheFault::Unreadable(error),
    })
}

/// The rest of the fields; every step is checked.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n_bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n_bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let n_bytes = self.u32()? as usize;
        String::from_utf8(self.take(n_bytes)?.to_vec()).ok()
    }
}
