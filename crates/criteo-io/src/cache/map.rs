//! The one place where a file is mapped into memory.
#![allow(unsafe_code, reason = "the system can't promise that nobody else writes to a mapped file")]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// `n_bytes` of `file` from `offset` on, read-only, brought in at once.
///
/// # Errors
/// If the file ends before, or the system refuses. The length is looked at here, at every call, so
/// that a file which was cut is an error and not a signal.
pub(super) fn map(file: &File, offset: u64, n_bytes: usize) -> io::Result<Mmap> {
    if file.metadata()?.len() < offset + n_bytes as u64 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // SAFETY: a map is unsound if the file changes below it, for then bytes that Rust takes as
    // constant are not. A cache is written under another name, renamed when complete, and never
    // opened for writing again by this library; a new one takes its name and leaves this file, held
    // open, as it is. Only another program that writes into the file in place can break this. What
    // is read from the map are plain integers, every pattern of which is valid, at offsets that
    // depend on the header alone, which was copied out and checked: changed bytes make wrong
    // values, which the checksum is there to catch, and never a wrong address.
    unsafe { MmapOptions::new().offset(offset).len(n_bytes).populate().map(file) }
}
