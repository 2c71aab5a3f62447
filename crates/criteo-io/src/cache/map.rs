//! The one place where a file is mapped into memory.
#![allow(
    unsafe_code,
    reason = "no system call prevents other programs from writing to a mapped file"
)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// Maps `n_bytes` of `file` from `offset` on, read-only and loaded at once.
///
/// # Errors
/// If the file ends before, or the system refuses. The length is checked at every call, so that a
/// truncated file is an error and not a signal.
pub(super) fn map(file: &File, offset: u64, n_bytes: usize) -> io::Result<Mmap> {
    if file.metadata()?.len() < offset + n_bytes as u64 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    // SAFETY: a map is unsound if the file changes below it, because Rust then takes changing bytes
    // for constant ones. A cache is written under another name, renamed when complete, and never
    // opened for writing again by this library; a new cache takes its name and leaves this file,
    // which is held open, as it is. Only another program that writes into the file in place can
    // break this. The map is read as plain integers, for which every bit pattern is valid, at
    // offsets that depend on the header alone, which was copied and checked: changed bytes give
    // wrong values, which the checksum detects, and never a wrong address.
    unsafe { MmapOptions::new().offset(offset).len(n_bytes).populate().map(file) }
}
