//! Every operation of a save and a prune fails once, or permanently from then on: the error names
//! the file and the cause, and no checkpoint is lost.

use std::cell::Cell;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;

use serde_json::json;
use trainer::checkpoint::{Checkpoint, Disk, Files, Store, StoreError, SyncWrite};

use super::memory::{Memory, PowerLoss};
use super::support::{count, small};

/// Error numbers of Linux: an I/O error, and no space left on the device.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Eio,
    /// This operation and all later ones that write or sync: the disk stays full.
    EnospcFromNowOn,
    /// A write of a part, and the next one fails.
    ShortWrite,
}

/// A failure of the operation number `at`, counted from 0.
#[derive(Clone, Copy, Debug)]
struct Failure {
    at: u64,
    kind: Kind,
}

/// Counts operations, and fails those that are due.
#[derive(Clone)]
struct Failing<F> {
    files: F,
    n_done: Rc<Cell<u64>>,
    due: Rc<Cell<Option<(u64, Kind)>>>,
}

impl<F> Failing<F> {
    fn new(files: F) -> Self {
        Self { files, n_done: Rc::default(), due: Rc::default() }
    }

    fn operation(&self) -> io::Result<()> {
        let now = self.n_done.replace(self.n_done.get() + 1);
        match self.due.get() {
            Some((at, Kind::Eio)) if at == now => Err(io::Error::from_raw_os_error(EIO)),
            Some((at, Kind::EnospcFromNowOn)) if at <= now => {
                Err(io::Error::from_raw_os_error(ENOSPC))
            }
            _ => Ok(()),
        }
    }
}

struct FailingFile<F: Files> {
    file: F::Writer,
    files: Failing<F>,
}

impl<F: Files> Write for FailingFile<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = self.files.n_done.get();
        self.files.operation()?;
        match self.files.due.get() {
            Some((at, Kind::ShortWrite)) if at == now => self.file.write(&bytes[..bytes.len() / 2]),
            Some((at, Kind::ShortWrite)) if at + 1 == now => {
                Err(io::Error::from_raw_os_error(ENOSPC))
            }
            _ => self.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<F: Files> SyncWrite for FailingFile<F> {
    fn sync(self) -> io::Result<()> {
        self.files.operation()?;
        self.file.sync()
    }
}

impl<F: Files + Clone> Files for Failing<F> {
    type Writer = FailingFile<F>;
    type Reader = F::Reader;

    fn create(&self, path: &Path) -> io::Result<Self::Writer> {
        self.operation()?;
        Ok(FailingFile { file: self.files.create(path)?, files: self.clone() })
    }

    fn open(&self, path: &Path) -> io::Result<(Self::Reader, u64)> {
        self.operation()?;
        self.files.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation()?;
        self.files.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.operation()?;
        self.files.sync_dir(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.operation()?;
        self.files.create_dir(dir)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.operation()?;
        self.files.remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.operation()?;
        self.files.remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.operation()?;
        self.files.list(dir)
    }
}

/// What is done while an operation fails, on a store that has steps 1 to 4.
#[derive(Clone, Debug)]
enum Work {
    Save(Checkpoint),
    Prune,
    Open,
}

impl Work {
    fn run<F: Files>(&self, store: &Store<F>, files: impl FnOnce() -> F) -> Result<(), StoreError> {
        match self {
            Self::Save(checkpoint) => store.save(checkpoint),
            Self::Prune => store.prune(2, None),
            Self::Open => Store::open(files(), store.dir()).map(drop),
        }
    }
}

fn works() -> [Work; 5] {
    let other = Checkpoint { state: json!("other"), ..small(4) };
    [Work::Save(small(5)), Work::Save(small(4)), Work::Save(other), Work::Prune, Work::Open]
}

/// Lets operation `at` of `work` fail; false if there are fewer. `fresh` gives an empty file system
/// with this directory.
fn fail_at<F: Files + Clone>(
    fresh: &impl Fn() -> F,
    dir: &Path,
    work: &Work,
    failure: Failure,
) -> bool {
    let Failure { at, kind } = failure;
    let what = format!("{work:?}, {kind:?} at {at}");
    let files = fresh();
    let failing = Failing::new(files.clone());
    let store = Store::open(failing.clone(), dir).expect("nothing fails yet");
    (1..=4).for_each(|step| store.save(&small(step)).expect("nothing fails yet"));
    failing.n_done.set(0);
    failing.due.set(Some((at, kind)));
    let result = work.run(&store, || failing.clone());
    failing.due.set(None);
    if failing.n_done.get() <= at {
        return false;
    }
    if let Err(error) = &result {
        let StoreError::Io { path, source, .. } = error else { panic!("{what}: {error}") };
        assert!(matches!(source.raw_os_error(), Some(EIO | ENOSPC)), "{what}: {source}");
        let is_named = error.to_string().starts_with(&path.display().to_string());
        // Opening makes the directories above durable as well.
        assert!(is_named && (path.starts_with(dir) || dir.starts_with(path)), "{what}: {error}");
    }
    // Just now, in this process and in a reader beside it, and in the next process.
    check(&store, work, result.is_ok(), &what);
    check(&Store::view(files.clone(), dir), work, result.is_ok(), &what);
    let next = Store::open(files.clone(), dir).unwrap_or_else(|error| panic!("{what}: {error}"));
    check(&next, work, result.is_ok(), &what);
    assert_eq!(
        files.list(dir).expect("a directory").len(),
        next.steps().expect("a directory").len(),
        "{what}"
    );
    // The process that saw the error can continue.
    work.run(&store, || failing.clone()).unwrap_or_else(|error| panic!("{what}, again: {error}"));
    check(&store, work, true, &what);
    true
}

/// Checks that the previous checkpoints load. The result of `work` must exist if it succeeded, and
/// may exist otherwise.
fn check<F: Files>(store: &Store<F>, work: &Work, is_done: bool, what: &str) {
    let newest = store.load_newest().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(newest.passed_over.is_empty(), "{what}: {:?}", newest.passed_over);
    let newest = newest.checkpoint.expect("there were four");
    match work {
        Work::Save(checkpoint) if is_done => assert_eq!(&newest, checkpoint, "{what}"),
        Work::Save(checkpoint) => {
            assert!(newest == *checkpoint || newest == small(4) || newest == small(3), "{what}");
        }
        Work::Prune | Work::Open => assert_eq!(newest, small(4), "{what}"),
    }
    let steps = store.steps().expect("a directory");
    if is_done && matches!(work, Work::Prune) {
        assert_eq!(steps, [3, 4], "{what}");
    }
    for step in steps.into_iter().filter(|&step| step < 4) {
        assert_eq!(
            store.load(step).unwrap_or_else(|error| panic!("{what}: {error}")),
            small(step),
            "{what}"
        );
    }
}

fn every_operation<F: Files + Clone>(fresh: &impl Fn() -> F, dir: &Path, step: usize) -> u64 {
    let mut n_failed = 0;
    for work in works() {
        for kind in [Kind::Eio, Kind::EnospcFromNowOn, Kind::ShortWrite] {
            let at = (0..).step_by(step);
            n_failed += at
                .take_while(|&at| fail_at(fresh, dir, &work, Failure { at, kind }))
                .count() as u64;
        }
    }
    n_failed
}

#[test]
fn every_operation_fails_in_memory() {
    let n_failed = every_operation(&Memory::default, Path::new("run/checkpoints"), 1);
    assert!(n_failed > 150, "only {n_failed} operations");
    println!("failpoints: {n_failed} failures in memory, none lost a checkpoint");
}

#[test]
fn every_operation_fails_on_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("checkpoints");
    let fresh = || {
        let _ = std::fs::remove_dir_all(&store);
        Disk
    };
    // A disk takes its time to sync.
    let n_failed = every_operation(&fresh, &store, count(7, 1) as usize);
    println!("failpoints: {n_failed} failures on a disk, none lost a checkpoint");
}

/// The save of step 2 fails at every operation, and then the power goes.
#[test]
fn failure_then_power_loss_keeps_previous() {
    let dir = Path::new("run/checkpoints");
    let mut n_images = 0;
    for kind in [Kind::Eio, Kind::EnospcFromNowOn] {
        for at in 0.. {
            let memory = Memory::default();
            let failing = Failing::new(memory.clone());
            let store = Store::open(failing.clone(), dir).expect("nothing fails yet");
            store.save(&small(1)).expect("nothing fails yet");
            failing.n_done.set(0);
            failing.due.set(Some((at, kind)));
            let result = store.save(&small(2));
            if failing.n_done.get() <= at {
                break;
            }
            assert!(result.is_err(), "{kind:?} at {at}");
            for seed in 0..20 {
                let random = <rand_chacha::ChaCha8Rng as rand::SeedableRng>::seed_from_u64(seed);
                let after =
                    Memory::of(memory.image().after_power_loss(&mut PowerLoss::Random(random)));
                let store = Store::open(after, dir).expect("a good disk");
                assert_eq!(store.load(1).expect("it is durable"), small(1), "{kind:?} at {at}");
                n_images += 1;
            }
        }
    }
    println!(
        "failpoints: {n_images} images of a loss of power after a failed save, each with the previous checkpoint"
    );
}

/// After a failed sync nothing that was written is used again, not even by a second save of the
/// same step.
#[test]
fn failed_sync_is_not_trusted_later() {
    let dir = Path::new("run/checkpoints");
    let memory = Memory::default();
    let failing = Failing::new(memory.clone());
    let store = Store::open(failing.clone(), dir).expect("nothing fails yet");
    let n_open = failing.n_done.get();
    store.save(&small(1)).expect("nothing fails yet");
    let last = failing.n_done.get() - n_open - 1;
    failing.n_done.set(0);
    failing.due.set(Some((last, Kind::Eio)));
    store.save(&small(2)).expect_err("the last operation is the sync of the directory");
    assert_eq!(store.steps().expect("a directory"), [1], "what may not be durable has no name");
    failing.n_done.set(0);
    failing.due.set(None);
    memory.record();
    store.save(&small(2)).expect("nothing fails any more");
    let n_changes = memory.recorded().len();
    assert!(n_changes > 10, "everything is written again, in {n_changes} operations");
}
