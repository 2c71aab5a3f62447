//! The directory of checkpoints: the order of operations in which they are written and removed.

mod read;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::error::{LoadError, StoreError};
use super::files::{Files, SyncWrite};
use super::format::{self, Encoded};
use super::{Checkpoint, Disk};

const MANIFEST: &str = "MANIFEST";
const TENSORS: &str = "state.safetensors";
/// Suffix of a checkpoint that is being written.
const NEW: &str = ".tmp";
/// Suffix of a checkpoint that is being removed.
const PRUNED: &str = ".pruned.tmp";
/// Suffix of a checkpoint that is being replaced by another of the same step.
const OLD: &str = ".old";

/// A directory of checkpoints, with at most one writing process.
///
/// # Guarantees
/// *All or nothing.* A checkpoint is written under another name, each of its files is synced, then
/// their directory; only then it gets its name, and the directory above is synced. Once
/// [`Store::save`] has returned, it survives a loss of power; until then, the earlier ones do.
///
/// *Old ones are removed last.* [`Store::prune`] first checks that enough newer ones are good. What
/// it removes loses its name first, durably, so that a partly removed checkpoint is never used.
///
/// *Only what was written is read.* [`Store::load`] compares lengths and checksums of all parts
/// before it returns.
///
/// *No second try.* A failed sync is never repeated on the same file: what was written is removed
/// at the next start, and the next save writes everything again.
///
/// For each guarantee a test interrupts every operation; `docs/checkpoint.md` lists them.
#[derive(Debug)]
pub struct Store<F: Files = Disk> {
    files: F,
    dir: PathBuf,
    /// Steps that this store has written, or read completely.
    good: Mutex<BTreeSet<u64>>,
}

/// The result of [`Store::load_newest`].
#[derive(Debug)]
pub struct Loaded {
    /// The newest good checkpoint; `None` if there are no checkpoints.
    pub checkpoint: Option<Checkpoint>,
    /// Steps and errors of newer checkpoints that cannot be used, the newest first.
    pub passed_over: Vec<(u64, LoadError)>,
}

impl<F: Files> Store<F> {
    /// Opens the store in `dir` for the process that saves there: creates the directory, durably,
    /// and removes the remains of interrupted saves.
    ///
    /// # Errors
    /// If the directory cannot be created, read, synced or tidied.
    pub fn open(files: F, dir: &Path) -> Result<Self, StoreError> {
        files.create_dir(dir).map_err(failed("created", dir))?;
        let store = Self::view(files, dir);
        // Before anything is removed: a killed process may have left names that are not durable
        // yet.
        store.sync_dir(dir)?;
        store.sync_ancestors()?;
        store.clean_up()?;
        Ok(store)
    }

    /// Opens the store in `dir` for reading, while another process may write: nothing is created or
    /// removed.
    pub fn view(files: F, dir: &Path) -> Self {
        Self { files, dir: dir.to_owned(), good: Mutex::default() }
    }

    /// The directory of the checkpoints.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a checkpoint. When this returns, it is durable.
    ///
    /// A good and equal checkpoint of the same step is kept; a different or damaged one is
    /// replaced. Besides the checkpoint itself this needs memory for its manifest only.
    ///
    /// # Errors
    /// If a file cannot be written, or the checkpoint could not be loaded again. Earlier
    /// checkpoints are unchanged.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let step = checkpoint.step;
        let encoded =
            format::encode(checkpoint).map_err(|reason| StoreError::Refused { step, reason })?;
        let exists = self.steps()?.contains(&step);
        if exists && self.is_equal(step, &encoded.manifest) {
            // A killed process may not have synced it.
            self.sync_dir(&self.dir)?;
        } else {
            let new = self.place(step, NEW);
            self.write(&new, &encoded).inspect_err(|_| {
                // To make room for others; what cannot be removed now is removed at the next start.
                let _ = self.remove(&new);
            })?;
            if exists { self.replace(step) } else { self.publish(step) }?;
        }
        self.good().insert(step);
        Ok(())
    }

    /// Removes all checkpoints older than the last `keep`, except that of step `best`. Only good
    /// ones count: those that this store saved or loaded are known to be good, others are read
    /// once. With fewer than `keep` good ones nothing is removed.
    ///
    /// # Errors
    /// If a checkpoint cannot be removed. Those that are to be kept are unchanged.
    ///
    /// # Panics
    /// If `keep` is 0.
    pub fn prune(&self, keep: usize, best: Option<u64>) -> Result<(), StoreError> {
        assert!(keep > 0, "at least one checkpoint is kept");
        let steps = self.steps()?;
        let mut kept = steps.iter().rev().filter(|&&step| self.is_good(step));
        let Some(&oldest) = kept.nth(keep - 1) else { return Ok(()) };
        let obsolete: Vec<u64> =
            steps.into_iter().filter(|&step| step < oldest && Some(step) != best).collect();
        self.discard(&obsolete, "")
    }

    /// The steps that have a checkpoint, ascending, whether it is good or damaged.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn steps(&self) -> Result<Vec<u64>, StoreError> {
        self.list_steps().map_err(failed("read", &self.dir))
    }

    fn list_steps(&self) -> io::Result<Vec<u64>> {
        let names = self.files.list(&self.dir)?;
        let mut steps: Vec<u64> = names.iter().filter_map(|name| step_of(name, "")).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Writes all files of a checkpoint into a new directory and makes them durable.
    fn write(&self, dir: &Path, encoded: &Encoded<'_>) -> Result<(), StoreError> {
        let Encoded { manifest, header, tensors } = encoded;
        self.remove(dir)?;
        self.files.create_dir(dir).map_err(failed("created", dir))?;
        let parts = tensors.iter().map(|(_, tensor)| tensor.bytes.as_slice());
        self.write_file(&dir.join(TENSORS), std::iter::once(header.as_slice()).chain(parts))?;
        self.write_file(&dir.join(MANIFEST), std::iter::once(manifest.as_slice()))?;
        self.sync_dir(dir)
    }

    fn write_file<'a>(
        &self,
        path: &Path,
        mut parts: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), StoreError> {
        let mut file = self.files.create(path).map_err(failed("created", path))?;
        parts.try_for_each(|part| file.write_all(part)).map_err(failed("written", path))?;
        file.sync().map_err(failed("made durable", path))
    }

    /// Gives a complete checkpoint its name.
    fn publish(&self, step: u64) -> Result<(), StoreError> {
        let (new, place) = (self.place(step, NEW), self.place(step, ""));
        self.rename(&new, &place)?;
        self.sync_dir(&self.dir).inspect_err(|_| {
            // Under its name the next save of this step would assume that it is durable.
            let _ = self.files.rename(&place, &new);
        })
    }

    /// Replaces a checkpoint of the same step. At every moment [`Store::open`] finds one of them:
    /// the old one under its temporary name while the new one has no name yet.
    fn replace(&self, step: u64) -> Result<(), StoreError> {
        let (place, old) = (self.place(step, ""), self.place(step, OLD));
        self.good().remove(&step);
        self.remove(&old)?;
        self.rename(&place, &old)?;
        self.publish(step).inspect_err(|_| {
            let _ = self.files.rename(&old, &place);
        })?;
        // The new one is durable; what cannot be removed now is removed at the next start.
        let _ = self.discard(&[step], OLD);
        Ok(())
    }

    /// Removes the directories of these steps with this suffix. Each loses its name first, durably:
    /// otherwise the name could reappear after a loss of power without all of its files.
    fn discard(&self, steps: &[u64], suffix: &str) -> Result<(), StoreError> {
        for &step in steps {
            self.good().remove(&step);
            let to = self.place(step, PRUNED);
            self.remove(&to)?;
            self.rename(&self.place(step, suffix), &to)?;
        }
        if !steps.is_empty() {
            self.sync_dir(&self.dir)?;
        }
        steps.iter().try_for_each(|&step| self.remove(&self.place(step, PRUNED)))
    }

    /// Removes the remains of interrupted saves and prunes.
    fn clean_up(&self) -> Result<(), StoreError> {
        let names = self.files.list(&self.dir).map_err(failed("read", &self.dir))?;
        for step in names.iter().filter_map(|name| step_of(name, OLD)) {
            let (place, old) = (self.place(step, ""), self.place(step, OLD));
            if names.iter().any(|name| step_of(name, "") == Some(step)) {
                self.discard(&[step], OLD)?;
            } else {
                self.rename(&old, &place)?;
                self.sync_dir(&self.dir)?;
            }
        }
        let is_left = |name: &&String| step_of(name, NEW).or(step_of(name, PRUNED)).is_some();
        names.iter().filter(is_left).try_for_each(|name| self.remove(&self.dir.join(name)))
    }

    /// Removes a checkpoint's directory with its files, if it exists.
    fn remove(&self, dir: &Path) -> Result<(), StoreError> {
        let names = match self.files.list(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("read", dir)(error)),
        };
        for path in names.iter().map(|name| dir.join(name)) {
            self.files.remove_file(&path).map_err(failed("removed", &path))?;
        }
        self.files.remove_dir(dir).map_err(failed("removed", dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.files.rename(from, to).map_err(failed("renamed", from))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.files.sync_dir(dir).map_err(failed("made durable", dir))
    }

    /// Makes the directory itself durable: syncs the one above, and those further up as far as
    /// permissions allow.
    fn sync_ancestors(&self) -> Result<(), StoreError> {
        for (depth, above) in self.dir.ancestors().skip(1).enumerate() {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            match self.files.sync_dir(above) {
                Err(error) if depth == 0 => return Err(failed("made durable", above)(error)),
                // Directories without permission were not created by this program.
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The directory of a step's checkpoint, or with a suffix that of a temporary state.
    fn place(&self, step: u64, suffix: &str) -> PathBuf {
        self.dir.join(format!("step-{step:012}{suffix}"))
    }

    fn good(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.good.lock().expect("nothing panics while it is held")
    }
}

/// The step in a name made by [`Store::place`].
fn step_of(name: &str, suffix: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.strip_suffix(suffix)?.parse().ok()?;
    (name == format!("step-{step:012}{suffix}")).then_some(step)
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}
