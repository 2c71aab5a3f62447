//! The file operations that a store needs, as a trait: tests replace them by implementations that
//! fail, or that lose what was not synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

/// A file system. Only what was synced survives a loss of power.
pub trait Files {
    /// A file that is being written.
    type Writer: SyncWrite;
    /// A file that is being read.
    type Reader: Read;

    /// Creates a file that does not exist yet.
    ///
    /// # Errors
    /// The error of the system, here and in the other methods.
    fn create(&self, path: &Path) -> io::Result<Self::Writer>;
    /// Opens a file to read it; also returns its length in bytes.
    ///
    /// # Errors
    /// See [`Files::create`].
    fn open(&self, path: &Path) -> io::Result<(Self::Reader, u64)>;
    /// Renames a directory to a name in the same directory that is not in use.
    ///
    /// # Errors
    /// See [`Files::create`].
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    ///
    /// # Errors
    /// See [`Files::create`].
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Creates a directory and its ancestors, unless they exist.
    ///
    /// # Errors
    /// See [`Files::create`].
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// See [`Files::create`].
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    ///
    /// # Errors
    /// See [`Files::create`].
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// The names in a directory in any order; those that are not Unicode may be left out.
    ///
    /// # Errors
    /// See [`Files::create`].
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
}

/// A writer whose content can be made durable once. `sync` consumes it, because a failed sync must
/// not be repeated: the system may have dropped what it could not write, and the second sync would
/// report success.
pub trait SyncWrite: Write {
    /// Makes the content durable and closes the file.
    ///
    /// # Errors
    /// If it is not known to be durable.
    fn sync(self) -> io::Result<()>;
}

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    type Writer = File;
    type Reader = File;

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    fn open(&self, path: &Path) -> io::Result<(File, u64)> {
        let file = File::open(path)?;
        let n_bytes = file.metadata()?.len();
        Ok((file, n_bytes))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }
}

impl SyncWrite for File {
    fn sync(self) -> io::Result<()> {
        self.sync_all()
    }
}
