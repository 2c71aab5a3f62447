//! Building a cache: complete under its name, or absent.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::NamedTempFile;

use super::Cache;
use super::header::Header;
use super::plan::CachePlan;
use super::row::{ROWS_PER_BLOCK, RowLayout, TooWide, block_checksum};
use crate::error::ReadError;
use crate::error::cache_fault::CacheFault;
use crate::reader::Reader;
use crate::record::bad_rows::{BadRowFilter, FilteredRow};
use crate::record::{Record, RecordSource};

/// A temporary file that was not written to for an hour was left by a crash: a build writes a block
/// every few milliseconds.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Why a cache could not be built. Nothing of it is left on disk.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The rows cannot be read; the cache is not the cause.
    #[error(transparent)]
    Input(#[from] ReadError),
    /// No file can be created in the directory of the cache.
    #[error("{}: no file can be made here", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Writing failed; the disk may be full.
    #[error("{}: writing failed", file.display())]
    Write {
        /// The cache.
        file: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The cache does not read back as written, or the inputs changed while they were read.
    #[error("{}: not usable right after it was written: {fault}", file.display())]
    Unusable {
        /// The cache.
        file: PathBuf,
        /// What is wrong with it.
        fault: CacheFault,
    },
}

impl CachePlan {
    /// Reads the inputs once and writes the cache; replaces an existing one.
    ///
    /// The rows are written to a temporary file in the same directory, which is synced, checked,
    /// and then renamed: a crash at any point leaves the old cache or the new one, and at worst a
    /// temporary file, which a later build removes. Two processes that build the same cache write
    /// separate files; the later rename wins, and each process uses the file that it wrote.
    ///
    /// `progress` is called with the number of rows so far after every block.
    ///
    /// # Errors
    /// If a row is malformed or an input cannot be read, if no file can be created, if writing
    /// fails, or if an input changed meanwhile.
    pub fn build(&self, progress: &mut dyn FnMut(u64)) -> Result<Cache, CacheError> {
        let write_error = |source| CacheError::Write { file: self.file().to_owned(), source };
        let unusable = |fault| CacheError::Unusable { file: self.file().to_owned(), fault };
        let temporary = self.temporary()?;
        self.write(temporary.as_file(), progress)?;
        temporary.as_file().sync_all().map_err(write_error)?;
        self.check_inputs().map_err(unusable)?;
        let cache =
            self.check(File::open(temporary.path()).map_err(write_error)?).map_err(unusable)?;
        temporary.persist(self.file()).map_err(|error| write_error(error.error))?;
        sync_directory(self.dir()).map_err(write_error)?;
        Ok(cache)
    }

    /// An empty file beside the cache, gone when it is dropped.
    fn temporary(&self) -> Result<NamedTempFile, CacheError> {
        let name = self.file().file_name().unwrap_or_default().to_string_lossy();
        let (prefix, suffix) = (format!("{name}."), ".tmp");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(suffix);
        // Read-only for everyone, because a cache never changes. The umask narrows this down.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o444));
        let made = fs::create_dir_all(self.dir()).and_then(|()| {
            remove_abandoned(self.dir(), &prefix, suffix);
            builder.tempfile_in(self.dir())
        });
        made.map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                CacheError::Write { file: self.file().to_owned(), source }
            }
            _ => CacheError::Directory { dir: self.dir().to_owned(), source },
        })
    }

    /// Writes all rows, with integers of four bytes, or of eight if one does not fit in four.
    fn write(&self, file: &File, progress: &mut dyn FnMut(u64)) -> Result<(), CacheError> {
        for integer_bytes in [size_of::<i32>(), size_of::<i64>()] {
            let mut source = Reader::open(self.paths.clone(), self.dialect.clone())?;
            let header = Header {
                format: self.dialect.name().to_owned(),
                digest: self.dialect.digest(),
                layout: RowLayout::new(&self.dialect, self.paths.len(), integer_bytes),
                n_rows: 0,
                is_whole: false,
                bad_rows: self.bad_rows,
                has_bad_rows: false,
                inputs: self.inputs.clone(),
            };
            let written = Writer { file, header, block: Vec::new(), n_blocks: 0 };
            match written.write(&mut source, self.max_rows, progress) {
                Ok(()) => break,
                Err(WriteError::TooWide) => {}
                Err(WriteError::Input(error)) => return Err(error.into()),
                Err(WriteError::Output(source)) => {
                    return Err(CacheError::Write { file: self.file().to_owned(), source });
                }
            }
        }
        Ok(())
    }
}

/// Why writing ended early.
enum WriteError {
    TooWide,
    Input(ReadError),
    Output(io::Error),
}

impl From<TooWide> for WriteError {
    fn from(TooWide: TooWide) -> Self {
        Self::TooWide
    }
}

impl From<ReadError> for WriteError {
    fn from(error: ReadError) -> Self {
        Self::Input(error)
    }
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

struct Writer<'a> {
    file: &'a File,
    header: Header,
    /// The rows of the block being written.
    block: Vec<u8>,
    n_blocks: u64,
}

impl Writer<'_> {
    fn write(
        mut self,
        source: &mut dyn RecordSource,
        max_rows: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), WriteError> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        // Written again at the end, at the same length, when the number of rows is known.
        self.file.write_all(&self.header.to_bytes())?;
        let (mut record, mut filter) = (Record::default(), BadRowFilter::new(self.header.bad_rows));
        while self.header.n_rows < max_rows {
            match filter.read(source, &mut record)? {
                FilteredRow::Row => self.header.layout.encode(&record, &mut self.block)?,
                FilteredRow::Bad(reason) => {
                    self.header.layout.encode_bad(reason, record.day, &mut self.block);
                }
                FilteredRow::End => {
                    self.header.is_whole = true;
                    break;
                }
            }
            self.header.n_rows += 1;
            if self.header.n_rows.is_multiple_of(ROWS_PER_BLOCK) {
                self.end_block()?;
                progress(self.header.n_rows);
            }
        }
        filter.finish()?;
        self.header.has_bad_rows = filter.counts().total() > 0;
        self.end_block()?;
        self.file.rewind()?;
        self.file.write_all(&self.header.to_bytes())?;
        Ok(())
    }

    /// Writes the block with its checksum, unless it is empty.
    fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let checksum = block_checksum(self.n_blocks, &self.block);
        self.block.extend_from_slice(&checksum.to_le_bytes());
        self.file.write_all(&self.block)?;
        self.block.clear();
        self.n_blocks += 1;
        Ok(())
    }
}

/// Removes temporary files that interrupted builds of this cache left. A build that is suspended
/// for an hour and finds its file removed fails to rename it, and the run continues without a
/// cache.
fn remove_abandoned(dir: &Path, prefix: &str, suffix: &str) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map(|time| time.elapsed().unwrap_or_default());
        if name.starts_with(prefix)
            && name.ends_with(suffix)
            && age.is_ok_and(|age| age > ABANDONED)
        {
            // Fails if another process removed it first, which is as good.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A rename survives a power loss only after its directory is synced.
#[cfg(unix)]
fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}
