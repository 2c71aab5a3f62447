//! What a store does on a real disk when nothing goes wrong.

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::json;
use trainer::checkpoint::{Checkpoint, Disk, Dtype, LoadError, Store, StoreError, Tensor};

use super::support::small;

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("Unicode"))
        .collect();
    names.sort();
    names
}

#[test]
fn save_and_load_round_trip() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().join("run/checkpoints");
    let store = Store::open(Disk, &dir).expect("a store");
    let nothing = store.load_newest().expect("an empty directory is fine");
    assert!(nothing.checkpoint.is_none() && nothing.passed_over.is_empty());
    for step in [5, 1_000_000_000_000, 20] {
        store.save(&small(step)).expect("it is saved");
    }
    assert_eq!(store.steps().expect("a directory"), [5, 20, 1_000_000_000_000]);
    assert_eq!(names(&dir), ["step-000000000005", "step-000000000020", "step-1000000000000"]);
    for step in [5, 20, 1_000_000_000_000] {
        assert_eq!(store.load(step).expect("it is good"), small(step));
    }
    let newest = Store::view(Disk, &dir).load_newest().expect("it is good");
    assert_eq!(newest.checkpoint, Some(small(1_000_000_000_000)));
    assert!(matches!(store.load(6), Err(LoadError::Missing { .. })));
}

#[test]
fn safetensors_crate_reads_the_tensors() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(Disk, dir.path()).expect("a store");
    let checkpoint = small(3);
    store.save(&checkpoint).expect("it is saved");
    let bytes = fs::read(dir.path().join("step-000000000003/state.safetensors")).expect("a file");
    let read = SafeTensors::deserialize(&bytes).expect("valid safetensors");
    assert_eq!(read.len(), checkpoint.tensors.len());
    for (name, tensor) in &checkpoint.tensors {
        let view = read.tensor(name).expect("it is there");
        assert_eq!((view.shape(), view.data()), (&tensor.shape[..], &tensor.bytes[..]), "{name}");
        assert_eq!(view.dtype().to_string(), format!("{:?}", tensor.dtype), "{name}");
        assert_eq!(
            (view.data().as_ptr() as usize - bytes.as_ptr() as usize) % tensor.dtype.n_bytes(),
            0,
            "{name}"
        );
    }
}

/// The last and the best are kept; damaged ones do not count.
#[test]
fn prune_keeps_last_and_best() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(Disk, dir.path()).expect("a store");
    for step in 1..=6 {
        store.save(&small(step)).expect("it is saved");
    }
    store.prune(3, Some(2)).expect("they are removed");
    assert_eq!(store.steps().expect("a directory"), [2, 4, 5, 6]);
    fs::write(dir.path().join("step-000000000006/MANIFEST"), "nothing").expect("it is overwritten");
    let store = Store::open(Disk, dir.path()).expect("another process");
    store.prune(2, None).expect("they are removed");
    assert_eq!(
        store.steps().expect("a directory"),
        [4, 5, 6],
        "4 and 5 are the last two that are good"
    );
    store.prune(3, None).expect("nothing is removed");
    assert_eq!(store.steps().expect("a directory"), [4, 5, 6]);
}

/// An equal checkpoint of the same step is kept, a different or damaged one replaced.
#[test]
fn save_replaces_different_or_damaged() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(Disk, dir.path()).expect("a store");
    let place = dir.path().join("step-000000000001");
    store.save(&small(1)).expect("it is saved");
    fs::write(place.join("mark"), "").expect("a mark");
    store.save(&small(1)).expect("it is there");
    assert_eq!(names(&place), ["MANIFEST", "mark", "state.safetensors"], "it stayed");

    let mut other = small(1);
    other.state = json!(null);
    store.save(&other).expect("it is replaced");
    assert_eq!(names(&place), ["MANIFEST", "state.safetensors"]);
    assert_eq!(store.load(1).expect("it is good"), other);

    fs::write(place.join("state.safetensors"), "short").expect("it is overwritten");
    store.save(&other).expect("it is replaced");
    assert_eq!(store.load(1).expect("it is good"), other);
    assert_eq!(names(dir.path()), ["step-000000000001"]);
}

#[test]
fn open_removes_only_remains() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(Disk, dir.path()).expect("a store");
    for step in 1..=3 {
        store.save(&small(step)).expect("it is saved");
    }
    let rename = |from: &str, to: &str| {
        fs::rename(dir.path().join(from), dir.path().join(to)).expect("renamed");
    };
    rename("step-000000000001", "step-000000000001.tmp");
    rename("step-000000000002", "step-000000000002.old");
    rename("step-000000000003", "step-000000000004.pruned.tmp");
    for other in ["notes.tmp", "step-1.tmp", "step-x.old"] {
        fs::create_dir(dir.path().join(other)).expect("made");
    }
    let view = Store::view(Disk, dir.path());
    assert_eq!(view.steps().expect("a directory"), [0; 0]);
    let store = Store::open(Disk, dir.path()).expect("a store");
    assert_eq!(names(dir.path()), ["notes.tmp", "step-000000000002", "step-1.tmp", "step-x.old"]);
    assert_eq!(store.load(2).expect("the replaced one is back"), small(2));
}

#[test]
fn unloadable_checkpoint_is_not_saved() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(Disk, dir.path()).expect("a store");
    let refused = |change: &dyn Fn(&mut Tensor), name: &str, why: &str| {
        let mut checkpoint = small(1);
        let mut ids = checkpoint.tensors.remove("ids").expect("it has ids");
        change(&mut ids);
        checkpoint.tensors.insert(name.to_owned(), ids);
        let error = store.save(&checkpoint).expect_err("it is refused");
        assert!(matches!(error, StoreError::Refused { step: 1, .. }), "{error}");
        assert_eq!(
            error.to_string(),
            format!("step 1 cannot be saved: tensor `{name}` is not valid: {why}")
        );
        assert_eq!(names(dir.path()), [""; 0]);
    };
    refused(&|ids| ids.bytes.truncate(15), "ids", "U64 of shape [2] in 15 bytes");
    refused(&|ids| ids.shape = vec![2; 9], "ids", "it has rank 9, expected at most 8");
    refused(
        &|ids| ids.shape = vec![usize::MAX, 2],
        "ids",
        &format!("U64 of shape [{}, 2] in 16 bytes", usize::MAX),
    );
    let characters = "a name has 1 to 200 letters, digits, `_`, `-` or `.`";
    for name in ["", "a/b", "a b", "\u{e9}", &"n".repeat(201)] {
        refused(&|_| (), name, characters);
    }
    for name in ["..", ".", "__metadata__"] {
        refused(&|_| (), name, "this name is reserved");
    }

    let mut nested = json!(null);
    (0..200).for_each(|_| nested = json!([nested.take()]));
    let error = store
        .save(&Checkpoint { state: nested, ..small(1) })
        .expect_err("JSON readers have a limit");
    assert!(
        error.to_string().starts_with("step 1 cannot be saved: the manifest is not valid: "),
        "{error}"
    );
    let error = store
        .save(&Checkpoint { state: json!("x".repeat(4 << 20)), ..small(1) })
        .expect_err("it is too long");
    assert!(error.to_string().ends_with("bytes, expected at most 4194304"), "{error}");
    let none = || Tensor { dtype: Dtype::U8, shape: vec![0], bytes: Vec::new() };
    let tensors = |n: usize| (0..n).map(|idx| (format!("tensor.{idx:04}"), none())).collect();
    let error = store
        .save(&Checkpoint { tensors: tensors(4097), ..small(1) })
        .expect_err("there are too many");
    assert!(error.to_string().ends_with("it has 4097 tensors, expected at most 4096"), "{error}");
    let most = Checkpoint { tensors: tensors(4096), ..small(1) };
    store.save(&most).expect("this is allowed");
    assert_eq!(store.load(1).expect("it is good"), most);
}
