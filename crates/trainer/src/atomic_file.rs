//! Where a command writes: standard output, or a file that appears under its name only when it is
//! whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const BUFFER_BYTES: usize = 1 << 16;

/// Lets `write` write to `path`; `-` is standard output. A file is written under another name
/// beside it, made durable and renamed; if anything fails, whatever was there before stays. Devices
/// and pipes are written to as they are.
///
/// # Errors
/// What `write` says, or that the file can't be written.
pub fn write_to(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    if path.as_os_str() == "-" {
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
        write(&mut out)?;
        return Ok(out.flush()?);
    }
    let written = if fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        write_directly(path, write)
    } else {
        write_whole(path, write)
    };
    // What went wrong with the rows names its own place.
    match written {
        Err(error) if error.is::<io::Error>() => {
            Err(error.context(format!("{}: can't be written", path.display())))
        }
        written => written,
    }
}

fn write_directly(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::options().write(true).open(path)?);
    write(&mut out)?;
    Ok(out.flush()?)
}

fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let partial = partial(path);
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::create(&partial)?);
    let written = write(&mut out).and_then(|()| {
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(fs::rename(&partial, path)?)
    });
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&partial);
        return written;
    }
    Ok(sync_parent(path)?)
}

/// The name under which something is written until it is whole.
#[must_use]
pub fn partial(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".partial");
    name.into()
}

/// Makes durable that `path` has its name.
///
/// # Errors
/// Whatever the system says.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Opens a log to append to it after its first `n_bytes`.
pub(crate) fn log_file(path: &Path, n_bytes: u64) -> Result<File> {
    let open = || {
        let file = OpenOptions::new().create(true).truncate(false).append(true).open(path)?;
        let there = file.metadata()?.len();
        if there < n_bytes {
            tracing::warn!(
                "{}: {} bytes of it are lost; it goes on all the same",
                path.display(),
                n_bytes - there
            );
        }
        file.set_len(n_bytes.min(there))?;
        Ok::<_, io::Error>(file)
    };
    open().with_context(|| format!("{}: can't be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_or_as_it_was() {
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
            message.starts_with(&format!("{}: can't be written: ", nowhere.display())),
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
