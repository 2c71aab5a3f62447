//! Parsed rows in a file, for later runs and epochs.
//!
//! ```text
//! header   magic, version, length of the header
//!          format, digest of its description, columns, number of rows, whether these are all
//!          the policy for malformed rows, and whether there were any
//!          each input: path, length, time of modification, checksums of its ends
//!          CRC-32 of the header
//! block 0  1024 rows of equal length, CRC-32
//! block 1  ...
//! block n  the remaining rows, CRC-32
//! ```
//!
//! A row of Criteo's logs takes 164 bytes (its text about 230): label and missing values in a bit
//! each, integers and tokens as binary numbers, and four bytes more if files are days. The cache
//! stores integers and not their logarithms, so that it returns the [`Record`] of the parser to the
//! bit, and does not depend on how rows are encoded. Of described tables it stores the dense
//! numbers of their records. Rows with fields of several values have no fixed length and cannot be
//! cached. A malformed row that was left out keeps its position, with the reason in it: so rows
//! keep their numbers, and a pass over the cache counts what a pass over the files would.
//!
//! # Guarantees
//! *The same rows.* Every change is noticed before a row is used: the header and every block have a
//! checksum, which detects any burst of up to 32 bits, and the length is checked.
//! [`CachePlan::open`] checks all blocks that will be read, at the speed of memory or of the disk,
//! so that damage is repaired before training begins; each block is checked again whenever it is
//! read.
//!
//! *Complete or absent.* A cache is written under another name, synced and renamed, and never
//! changed afterwards.
//!
//! *Memory that does not depend on its length.* One block at a time is mapped.
//!
//! # Changes by other programs
//! Removing or replacing a cache in use does no harm: the old file exists until it is closed.
//! Overwriting or truncating it in place is noticed at the next block ([`ReadError::Cache`]), and
//! the run stops. The block in use, a thousand rows, is a map of the file: if the file is truncated
//! or the disk fails at this moment, the system ends the process with SIGBUS, the price of mapping.
//! Caches are made read-only to prevent such changes by mistake.
//!
//! [`CachePlan::open`]: crate::CachePlan::open

pub(crate) mod build;
mod header;
mod input_stamp;
mod map;
pub(crate) mod plan;
mod row;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use self::map::map;
use self::row::{CHECKSUM_BYTES, ROWS_PER_BLOCK, RowLayout, block_checksum};
use crate::error::ReadError;
use crate::error::cache_fault::CacheFault;
use crate::record::{Record, RecordSource};

/// A verified file of rows. Clones share it.
#[derive(Clone, Debug)]
pub struct Cache {
    file: Arc<File>,
    path: PathBuf,
    layout: RowLayout,
    header_bytes: u64,
    /// The number of rows in the file.
    n_stored: u64,
    /// The number of rows to read.
    n_rows: u64,
    /// Whether some of the rows in the file are malformed.
    has_bad_rows: bool,
}

impl Cache {
    /// The number of rows: all, or as many as the plan requested, malformed ones included.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// The size of the file in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        let n_blocks = self.n_stored.div_ceil(ROWS_PER_BLOCK);
        self.header_bytes
            + self.n_stored * self.layout.row_bytes() as u64
            + n_blocks * CHECKSUM_BYTES as u64
    }

    /// The path of the file when it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The rows from the first on. Skipping takes constant time.
    #[must_use]
    pub fn rows(&self) -> CachedRows {
        CachedRows { cache: self.clone(), next: 0, block: None }
    }

    fn check_length(&self) -> Result<(), CacheFault> {
        let found = self.file.metadata().map_err(CacheFault::Unreadable)?.len();
        let expected = self.n_bytes();
        if found == expected { Ok(()) } else { Err(CacheFault::Length { found, expected }) }
    }

    /// The verified rows of a block.
    fn block(&self, block: u64) -> Result<Mmap, CacheFault> {
        let row_bytes = self.layout.row_bytes() as u64;
        let first = block * ROWS_PER_BLOCK;
        let n_rows = ROWS_PER_BLOCK.min(self.n_stored - first);
        let offset =
            self.header_bytes + block * (ROWS_PER_BLOCK * row_bytes + CHECKSUM_BYTES as u64);
        let n_bytes = (n_rows * row_bytes) as usize;
        let mapped =
            map(&self.file, offset, n_bytes + CHECKSUM_BYTES).map_err(CacheFault::Unreadable)?;
        let (rows, checksum) = mapped.split_at(n_bytes);
        if block_checksum(block, rows).to_le_bytes() != checksum {
            return Err(CacheFault::DamagedRows { first, last: first + n_rows - 1 });
        }
        Ok(mapped)
    }
}

/// The rows of a [`Cache`], as they were parsed.
#[derive(Debug)]
pub struct CachedRows {
    cache: Cache,
    /// The number of the row to be read next.
    next: u64,
    /// The block that was read last, and its number.
    block: Option<(u64, Mmap)>,
}

impl CachedRows {
    /// The bytes of the next row, which must exist.
    fn row(&mut self) -> Result<&[u8], CacheFault> {
        let number = self.next / ROWS_PER_BLOCK;
        if self.block.as_ref().is_none_or(|(current, _)| *current != number) {
            self.block = Some((number, self.cache.block(number)?));
        }
        let row_bytes = self.cache.layout.row_bytes();
        let start = (self.next % ROWS_PER_BLOCK) as usize * row_bytes;
        let (_, rows) = self.block.as_ref().expect("it was just read");
        Ok(&rows[start..start + row_bytes])
    }
}

impl RecordSource for CachedRows {
    fn read_record(&mut self, record: &mut Record) -> Result<bool, ReadError> {
        if self.next >= self.cache.n_rows {
            return Ok(false);
        }
        let layout = self.cache.layout;
        let next = self.next;
        let unknown = |_| CacheFault::DamagedRows { first: next, last: next };
        let reason = match self.row().and_then(|row| layout.decode(row, record).map_err(unknown)) {
            Ok(reason) => reason,
            Err(fault) => {
                // An error other than a malformed row ends the stream.
                self.next = self.cache.n_rows;
                return Err(ReadError::Cache { file: self.cache.path.clone(), fault });
            }
        };
        self.next += 1;
        match reason {
            None => Ok(true),
            Some(reason) => {
                Err(ReadError::CachedRow { file: self.cache.path.clone(), row: self.next, reason })
            }
        }
    }

    fn skip_records(&mut self, n_rows: u64) -> Result<u64, ReadError> {
        let n_skipped = n_rows.min(self.cache.n_rows - self.next);
        self.next += n_skipped;
        Ok(n_skipped)
    }

    /// Malformed rows have to be counted, so that a cache with such rows is read row by row.
    fn jumps(&self) -> bool {
        !self.cache.has_bad_rows
    }
}
