//! Which cache belongs to which files: its path, and whether the file there is valid.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cafe_core::mix64;

use super::Cache;
use super::header::Header;
use super::input_stamp::InputStamp;
use super::row::{ROWS_PER_BLOCK, RowLayout};
use crate::error::ReadError;
use crate::error::cache_fault::CacheFault;
use crate::format::dialect::Dialect;
use crate::record::bad_rows::BadRows;

/// A list of inputs in their current state, and the cache that belongs to it.
///
/// There is one cache for each list of files (resolved paths, in order) and format, whatever the
/// state of the files and the description of their columns: a new cache replaces the old one. Its
/// name is that of the first file with 64 bits of a hash of the list:
/// `train.txt.0123456789abcdef.rows`.
#[derive(Clone, Debug)]
pub struct CachePlan {
    pub(super) paths: Vec<PathBuf>,
    pub(super) dialect: Dialect,
    pub(super) max_rows: u64,
    pub(super) bad_rows: BadRows,
    pub(super) inputs: Vec<InputStamp>,
    file: PathBuf,
}

impl CachePlan {
    /// Reads the stamps of the files. The cache is in `dir`, or beside the first file.
    ///
    /// With `max_rows` the cache need not hold more than that number of rows.
    ///
    /// # Errors
    /// If a file is missing, cannot be read, is empty, or can be read only once, or if fields hold
    /// several values, because rows of varying length cannot be cached.
    pub fn new(
        paths: Vec<PathBuf>,
        dialect: impl Into<Dialect>,
        max_rows: Option<u64>,
        dir: Option<&Path>,
    ) -> Result<Self, ReadError> {
        let dialect = dialect.into();
        if dialect.has_bags() {
            return Err(ReadError::BagsInCache);
        }
        let first = paths.first().ok_or(ReadError::NoFiles)?;
        let inputs =
            paths.iter().map(|path| InputStamp::read(path)).collect::<Result<Vec<_>, _>>()?;
        let dir = dir.unwrap_or_else(|| first.parent().unwrap_or(Path::new("")));
        let name = first.file_name().unwrap_or_default().to_string_lossy();
        let file = dir.join(format!("{name}.{:016x}.rows", hash(dialect.name(), &inputs)));
        let max_rows = max_rows.unwrap_or(u64::MAX);
        Ok(Self { paths, dialect, max_rows, bad_rows: BadRows::Error, inputs, file })
    }

    /// Sets the policy for malformed rows; by default the first one is an error. A cache that
    /// leaves out malformed rows is valid for every plan that allows at least as many, and a cache
    /// without malformed rows for every plan.
    #[must_use]
    pub fn with_bad_rows(mut self, bad_rows: BadRows) -> Self {
        self.bad_rows = bad_rows;
        self
    }

    /// The path of the cache, whether it exists or not.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The directory of the cache.
    pub(super) fn dir(&self) -> &Path {
        let dir = self.file.parent().unwrap_or(Path::new(""));
        if dir == Path::new("") { Path::new(".") } else { dir }
    }

    /// Checks that the inputs have not changed since the plan was made.
    ///
    /// # Errors
    /// [`CacheFault::Stale`] with the first input that changed.
    pub(super) fn check_inputs(&self) -> Result<(), CacheFault> {
        let is_same = |(path, then): (&PathBuf, &InputStamp)| {
            InputStamp::read(path).is_ok_and(|now| now == *then)
        };
        match self.paths.iter().zip(&self.inputs).position(|pair| !is_same(pair)) {
            Some(changed) => Err(CacheFault::Stale { file: self.inputs[changed].path.clone() }),
            None => Ok(()),
        }
    }

    /// Opens the cache, and checks every block that will be read.
    ///
    /// # Errors
    /// The reason if the cache cannot be used; [`CachePlan::build`] then rebuilds it.
    pub fn open(&self) -> Result<Cache, CacheFault> {
        let file = File::open(&self.file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => CacheFault::Absent,
            _ => CacheFault::Unreadable(error),
        })?;
        self.check(file)
    }

    /// Takes `file` if it is the cache of this plan: header, length, and every block to be read.
    pub(super) fn check(&self, file: File) -> Result<Cache, CacheFault> {
        let (header, header_bytes) = Header::read(&file)?;
        let Header {
            format,
            digest,
            layout,
            n_rows: n_stored,
            is_whole,
            bad_rows,
            has_bad_rows,
            inputs,
        } = header;
        let paths_differ =
            !inputs.iter().map(|input| &input.path).eq(self.inputs.iter().map(|input| &input.path));
        if format != self.dialect.name() || paths_differ {
            return Err(CacheFault::Foreign);
        }
        let expected = RowLayout::new(&self.dialect, self.paths.len(), layout.integer_bytes);
        if digest != self.dialect.digest() || layout != expected {
            return Err(CacheFault::Described);
        }
        if let Some((input, _)) = self.inputs.iter().zip(&inputs).find(|(now, then)| now != then) {
            return Err(CacheFault::Stale { file: input.path.clone() });
        }
        if n_stored < self.max_rows && !is_whole {
            return Err(CacheFault::TooFewRows { n_rows: n_stored });
        }
        if has_bad_rows && !self.bad_rows.allows_all_of(bad_rows) {
            return Err(CacheFault::BadRows);
        }
        let path = self.file().to_owned();
        let n_rows = n_stored.min(self.max_rows);
        let cache = Cache {
            file: Arc::new(file),
            path,
            layout,
            header_bytes,
            n_stored,
            n_rows,
            has_bad_rows,
        };
        cache.check_length()?;
        (0..n_rows.div_ceil(ROWS_PER_BLOCK)).try_for_each(|block| cache.block(block).map(drop))?;
        Ok(cache)
    }
}

/// A hash of the format and the paths, not of the state of the files.
fn hash(format: &str, inputs: &[InputStamp]) -> u64 {
    let texts = std::iter::once(format).chain(inputs.iter().map(|input| input.path.as_str()));
    texts.fold(0, |hash, text| {
        let chunk =
            |bytes: &[u8]| bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        // The length first, so that different lists never give the same sequence of words.
        text.as_bytes()
            .chunks(8)
            .map(chunk)
            .fold(mix64(text.len() as u64, hash), |hash, value| mix64(value, hash))
    })
}
