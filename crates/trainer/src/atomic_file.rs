//! Output of commands: standard output, or a file that appears under its name only once it is
//! complete.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// 64 KiB: few system calls beside the work for a row.
const BUFFER_BYTES: usize = 1 << 16;

/// Calls `write` with an output for `path`; `-` is standard output. A file is written under another
/// name beside it, synced and renamed; on failure a previous file stays as it was. Devices and
/// pipes are written to directly.
///
/// # Errors
/// Those of `write`, or if the file cannot be written.
pub fn write_to(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    if path.as_os_str() == "-" {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
        write(&mut out)?;
        return Ok(out.flush()?);
    }
    let written = if fs::metadata(path).is_ok_and(|existing| !existing.is_file()) {
        write_directly(path, write)
    } else {
        write_atomically(path, write)
    };
    // Errors of `write` about its rows name their own place.
    match written {
        Err(error) if error.is::<io::Error>() => {
            Err(error.context(format!("{}: cannot be written", path.display())))
        }
        written => written,
    }
}

fn write_directly(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::options().write(true).open(path)?);
    write(&mut out)?;
    Ok(out.flush()?)
}

fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let partial = partial(path);
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::create(&partial)?);
    let written = write(&mut out).and_then(|()| {
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(fs::rename(&partial, path)?)
    });
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&partial);
        return written;
    }
    Ok(sync_parent(path)?)
}

/// The name under which a file or directory is written until it is complete.
#[must_use]
pub fn partial(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".partial");
    name.into()
}

/// Makes the name of `path` durable by syncing the directory that holds it.
///
/// # Errors
/// If the directory cannot be opened or synced.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Opens a log to append after its first `n_bytes`; what follows them is cut off.
pub(crate) fn log_file(path: &Path, n_bytes: u64) -> Result<File> {
    let open = || {
        let file = OpenOptions::new().create(true).truncate(false).append(true).open(path)?;
        let existing = file.metadata()?.len();
        if existing < n_bytes {
            tracing::warn!(
                "{}: its last {} bytes are lost; it is continued without them",
                path.display(),
                n_bytes - existing
            );
        }
        file.set_len(n_bytes.min(existing))?;
        Ok::<_, io::Error>(file)
    };
    open().with_context(|| format!("{}: cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_complete_or_unchanged() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("scores.tsv");
        write_to(&path, |out| Ok(out.write_all(b"one")?)).expect("written");
        let failed = write_to(&path, |out| {
            out.write_all(b"other")?;
            anyhow::bail!("the rows end here")
        });
        assert_eq!(failed.expect_err("it fails").to_string(), "the rows end here");
        assert_eq!(fs::read(&path).expect("readable"), b"one");
        assert_eq!(fs::read_dir(&dir).expect("readable").count(), 1, "nothing is left behind");
        let nowhere = dir.path().join("no/such/place");
        let message = format!("{:#}", write_to(&nowhere, |_| Ok(())).expect_err("no directory"));
        assert!(
            message.starts_with(&format!("{}: cannot be written: ", nowhere.display())),
            "{message}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let null = Path::new("/dev/null");
        write_to(null, |out| Ok(out.write_all(b"one")?)).expect("written");
        assert!(fs::metadata(null).expect("it is there").file_type().is_char_device());
    }
}
