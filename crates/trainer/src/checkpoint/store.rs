//! The directory of checkpoints: the order of operations in which they come and go.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::error::{LoadError, StoreError};
use super::files::{Files, SyncWrite};
use super::format::{self, Encoded};
use super::{Checkpoint, Disk};

mod read;

const MANIFEST: &str = "MANIFEST";
const TENSORS: &str = "state.safetensors";
/// Of what is being written.
const NEW: &str = ".tmp";
/// Of what is being removed.
const PRUNED: &str = ".pruned.tmp";
/// Of a checkpoint whose successor of the same step takes its place.
const OLD: &str = ".old";

/// A directory of checkpoints, of which one process may be the writer.
///
/// # What it promises
/// *All or nothing.* A checkpoint is written under another name, each of its files is synced, then
/// their directory; only then it gets its name, and the directory above is synced. From the moment
/// in which [`Store::save`] returns, it survives a loss of power; before, the earlier ones do.
///
/// *The old goes last.* [`Store::prune`] first sees that enough newer ones are good. What it
/// removes loses its name first, durably, so that no half of a checkpoint is ever taken for one.
///
/// *What was not written is not read.* [`Store::load`] compares lengths and checksums of all parts
/// before it returns anything.
///
/// *No second try.* A sync that failed is never repeated on the same file: what was written is left
/// for the next start to remove, and the next save writes everything anew.
///
/// Each promise has a test that breaks off at every operation; `docs/checkpoint.md` lists them.
#[derive(Debug)]
pub struct Store<F: Files = Disk> {
    files: F,
    dir: PathBuf,
    /// Steps that this store has written or read wholly.
    good: Mutex<BTreeSet<u64>>,
}

/// What [`Store::load_newest`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The newest good checkpoint; none if there is no checkpoint at all.
    pub checkpoint: Option<Checkpoint>,
    /// Newer ones that can't be used, the newest first.
    pub passed_over: Vec<(u64, LoadError)>,
}

impl<F: Files> Store<F> {
    /// The store in `dir` for the process that saves there: makes the directory, durably, and
    /// removes what interrupted saves left behind.
    ///
    /// # Errors
    /// If the directory can't be made, read, synced or tidied.
    pub fn open(files: F, dir: &Path) -> Result<Self, StoreError> {
        files.create_dir(dir).map_err(failed("made", dir))?;
        let store = Self::view(files, dir);
        // Before anything is removed: a process that was killed may have left names that are not
        // durable yet.
        store.sync_dir(dir)?;
        store.sync_ancestors()?;
        store.tidy()?;
        Ok(store)
    }

    /// The store in `dir` for a reader beside the process that saves there: nothing is made or
    /// removed.
    pub fn view(files: F, dir: &Path) -> Self {
        Self { files, dir: dir.to_owned(), good: Mutex::default() }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes a checkpoint. When this returns, it is durable.
    ///
    /// Where an equal one of the same step is there already and is good, it stays; another or a
    /// damaged one is replaced. Besides the checkpoint itself, this needs memory for its manifest
    /// only.
    ///
    /// # Errors
    /// If something can't be written, or the checkpoint could not be loaded again. Earlier
    /// checkpoints are as before.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let step = checkpoint.step;
        let encoded =
            format::encode(checkpoint).map_err(|reason| StoreError::Refused { step, reason })?;
        let is_there = self.steps()?.contains(&step);
        if is_there && self.is_equal(step, &encoded.manifest) {
            // A process that was killed may have left it without.
            self.sync_dir(&self.dir)?;
        } else {
            let new = self.place(step, NEW);
            self.write(&new, &encoded).inspect_err(|_| {
                // To make room for others; what can't be removed now is removed by the next start.
                let _ = self.remove(&new);
            })?;
            if is_there { self.replace(step) } else { self.publish(step) }?;
        }
        self.good().insert(step);
        Ok(())
    }

    /// Removes all checkpoints older than the last `keep`, but not the one of step `best`. Only
    /// good ones count among the `keep`: those that this store saved or loaded are known to be,
    /// others are read once. With fewer than `keep` good ones nothing is removed.
    ///
    /// # Errors
    /// If something can't be removed. The ones that are to be kept are as before.
    ///
    /// # Panics
    /// If `keep` is 0.
    pub fn prune(&self, keep: usize, best: Option<u64>) -> Result<(), StoreError> {
        assert!(keep > 0, "at least one checkpoint is kept");
        let steps = self.steps()?;
        let mut kept = steps.iter().rev().filter(|&&step| self.is_good(step));
        let Some(&oldest) = kept.nth(keep - 1) else { return Ok(()) };
        let gone: Vec<u64> =
            steps.into_iter().filter(|&step| step < oldest && Some(step) != best).collect();
        self.discard(&gone, "")
    }

    /// The steps of which there are checkpoints, ascending. Whether they are good is not known.
    ///
    /// # Errors
    /// If the directory can't be read.
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
        self.files.create_dir(dir).map_err(failed("made", dir))?;
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
        let mut file = self.files.create(path).map_err(failed("made", path))?;
        parts.try_for_each(|part| file.write_all(part)).map_err(failed("written", path))?;
        file.sync().map_err(failed("made durable", path))
    }

    /// Gives what was written its name.
    fn publish(&self, step: u64) -> Result<(), StoreError> {
        let (new, place) = (self.place(step, NEW), self.place(step, ""));
        self.rename(&new, &place)?;
        self.sync_dir(&self.dir).inspect_err(|_| {
            // Left under its name it would be taken for durable by the next save of this step.
            let _ = self.files.rename(&place, &new);
        })
    }

    /// Puts what was written in the place of a checkpoint of the same step. At every moment one of
    /// them is there for [`Store::open`]: the old one under its other name, where the new one has
    /// none yet.
    fn replace(&self, step: u64) -> Result<(), StoreError> {
        let (place, old) = (self.place(step, ""), self.place(step, OLD));
        self.good().remove(&step);
        self.remove(&old)?;
        self.rename(&place, &old)?;
        self.publish(step).inspect_err(|_| {
            let _ = self.files.rename(&old, &place);
        })?;
        // The new one is durable; what can't be removed now is removed by the next start.
        let _ = self.discard(&[step], OLD);
        Ok(())
    }

    /// Removes the directories of these steps with this suffix. Each loses its name first, durably:
    /// otherwise a loss of power could bring back the name without all of the files.
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

    /// Removes what interrupted saves and prunes left behind.
    fn tidy(&self) -> Result<(), StoreError> {
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

    /// Removes a checkpoint's directory with its files, if it is there.
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

    /// Makes durable that the directory is there: the one above, and what of those further up may
    /// be touched.
    fn sync_ancestors(&self) -> Result<(), StoreError> {
        for (depth, above) in self.dir.ancestors().skip(1).enumerate() {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            match self.files.sync_dir(above) {
                Err(error) if depth == 0 => return Err(failed("made durable", above)(error)),
                // Directories of others were there before.
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Where the checkpoint of a step is, or with a suffix what becomes of it or was it.
    fn place(&self, step: u64, suffix: &str) -> PathBuf {
        self.dir.join(format!("step-{step:012}{suffix}"))
    }

    fn good(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.good.lock().expect("nothing panics while it is held")
    }
}

/// The step in a name that [`Store::place`] gives.
fn step_of(name: &str, suffix: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.strip_suffix(suffix)?.parse().ok()?;
    (name == format!("step-{step:012}{suffix}")).then_some(step)
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}
