//! Files of earlier versions keep loading; those of later ones are refused.

use std::fs;
use std::path::{Path, PathBuf};

use trainer::checkpoint::{Disk, LoadError, Store};

use super::support::{Crafted, small};

const STEP: u64 = 42;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoint-v1")
}

/// With `WRITE_GOLDEN=1` the files are made: once for every version of the format, and never again.
#[test]
fn version_1_round_trip() {
    if std::env::var_os("WRITE_GOLDEN").is_some_and(|value| value == "1") {
        Store::open(Disk, &golden())
            .expect("it is made")
            .save(&small(STEP))
            .expect("it is written");
    }
    let store = Store::view(Disk, &golden());
    assert_eq!(store.load(STEP).expect("version 1 keeps loading"), small(STEP));
    assert_eq!(store.steps().expect("a directory"), [STEP]);

    let dir = tempfile::tempdir().expect("a directory");
    Store::open(Disk, dir.path()).expect("a store").save(&small(STEP)).expect("it is saved");
    for name in ["MANIFEST", "state.safetensors"] {
        let path = Path::new("step-000000000042").join(name);
        let [then, now] =
            [golden(), dir.path().to_owned()].map(|dir| fs::read(dir.join(&path)).expect("a file"));
        assert!(then == now, "{name}: other bytes need another version of the format");
    }
}

/// A newer version is refused, and no older checkpoint is used in its place.
#[test]
fn newer_version_is_refused() {
    let mut crafted = Crafted::new();
    crafted.version = "2".to_owned();
    let (_, store) = crafted.store();
    store.save(&small(0)).expect("an older one of this version");
    for error in
        [store.load(1).expect_err("it is newer"), store.load_newest().expect_err("it is newer")]
    {
        assert!(matches!(error, LoadError::Newer { found: 2, supported: 1, .. }), "{error}");
        let why = "MANIFEST: written by a newer version; it has format 2 and this program reads formats up to 1: \
                   use the program that wrote it";
        assert!(error.to_string().ends_with(why), "{error}");
    }
}
