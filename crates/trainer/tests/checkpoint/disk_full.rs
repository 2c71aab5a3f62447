//! A small file system is filled page by page, and a save must fit or fail cleanly. Mounting it
//! needs root; other users skip the test, even with `REQUIRE_ALL`.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use trainer::checkpoint::{Checkpoint, Disk, Dtype, Store, StoreError};

use super::skip::skip;
use super::support::{count, small, tensor};

/// The unit in which a tmpfs gives out room.
const PAGE_BYTES: usize = 4096;
const N_PAGES: usize = 64;
/// "No space left on device" on Linux.
const ENOSPC: i32 = 28;

/// A mounted tmpfs; unmounted on drop.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(dir: &'a Path) -> Option<Self> {
        let size = format!("size={}", N_PAGES * PAGE_BYTES);
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir);
        let status = mount.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success()).then(|| Self(dir))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// Ten pages of tensors.
fn large(step: u64) -> Checkpoint {
    let mut checkpoint = small(step);
    let rows =
        tensor(Dtype::U8, &[10, PAGE_BYTES], (0..).map(|idx: u32| (idx / 7) as u8 ^ step as u8));
    checkpoint.tensors.insert("rows".to_owned(), rows);
    checkpoint
}

/// Whether the second save fitted beside `n_pages` pages of other content.
fn fits_beside(dir: &Path, n_pages: usize) -> bool {
    let checkpoints = dir.join("checkpoints");
    let store = Store::open(Disk, &checkpoints).expect("there is room");
    store.save(&large(1)).expect("there is room");
    let ballast = dir.join("ballast");
    let mut file = fs::File::create(&ballast).expect("there is room");
    for _ in 0..n_pages {
        // Past the last page there is nothing more to fill.
        let _ = file.write_all(&[1; PAGE_BYTES]);
    }
    // Open it would keep its pages when it is removed.
    drop(file);
    let result = store.save(&large(2));
    if let Err(error) = &result {
        let StoreError::Io { path, source, .. } = error else { panic!("{n_pages} pages: {error}") };
        assert_eq!(source.raw_os_error(), Some(ENOSPC), "{n_pages} pages: {error}");
        assert!(path.starts_with(&checkpoints), "{n_pages} pages: {error}");
    }
    let newest = Store::view(Disk, &checkpoints).load_newest().expect("a good one is there");
    assert_eq!(
        newest.checkpoint,
        Some(large(if result.is_ok() { 2 } else { 1 })),
        "{n_pages} pages"
    );
    assert!(newest.passed_over.is_empty(), "{n_pages} pages: {:?}", newest.passed_over);
    fs::remove_file(&ballast).expect("it is there");
    store.save(&large(2)).expect("there is room again");
    Store::open(Disk, &checkpoints).expect("it opens");
    assert_eq!(
        fs::read_dir(&checkpoints).expect("a directory").count(),
        2,
        "{n_pages} pages: leftovers"
    );
    fs::remove_dir_all(&checkpoints).expect("it is there");
    result.is_ok()
}

#[test]
fn full_disk_costs_only_the_new_checkpoint() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(mounted) = Mounted::new(dir.path()) else {
        let why = "a tmpfs cannot be mounted here";
        if rustix::process::geteuid().is_root() {
            skip(why);
        } else {
            println!("skipped: {why}");
        }
        return;
    };
    let step = count(4, 1) as usize;
    let levels: Vec<_> = (0..=N_PAGES).step_by(step).collect();
    let n_fitting = levels.iter().filter(|&&n_pages| fits_beside(mounted.0, n_pages)).count();
    assert!(n_fitting > 0 && n_fitting < levels.len(), "{n_fitting} of {} fit", levels.len());
    println!(
        "disk full: {} fill levels, {n_fitting} saves fitted, the others left the previous checkpoint",
        levels.len()
    );
}
