//! Small checkpoints, and the number of cases to test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use trainer::checkpoint::{Checkpoint, Dtype, Store, Tensor};

use super::manifest::manifest_json;
use super::memory::Memory;

/// `soak` with `SOAK=1`, otherwise `ordinary`.
pub(crate) fn count(ordinary: u64, soak: u64) -> u64 {
    if std::env::var_os("SOAK").is_some_and(|value| value == "1") { soak } else { ordinary }
}

pub(crate) fn tensor(dtype: Dtype, shape: &[usize], bytes: impl IntoIterator<Item = u8>) -> Tensor {
    let n_bytes = shape.iter().product::<usize>() * dtype.n_bytes();
    let bytes: Vec<u8> = bytes.into_iter().take(n_bytes).collect();
    assert_eq!(bytes.len(), n_bytes, "the shape's bytes");
    Tensor { dtype, shape: shape.to_vec(), bytes }
}

/// A small checkpoint of every type, whose content depends on the step.
pub(crate) fn small(step: u64) -> Checkpoint {
    let bytes = |salt: u8| (0_u8..).map(move |idx| idx.wrapping_mul(37) ^ salt ^ step as u8);
    let tensors = [
        ("weights", tensor(Dtype::F32, &[2, 3], bytes(1))),
        ("half", tensor(Dtype::U16, &[3], bytes(2))),
        ("codes", tensor(Dtype::I8, &[5], bytes(3))),
        ("exponents", tensor(Dtype::U8, &[1, 1, 3], bytes(4))),
        ("indices", tensor(Dtype::U32, &[], bytes(5))),
        ("ids", tensor(Dtype::U64, &[2], bytes(6))),
        ("empty", tensor(Dtype::F32, &[4, 0], [])),
    ];
    let tensors: BTreeMap<_, _> =
        tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
    let state = json!({"rows": step * 128, "loss": 1.0 / (step as f64 + 3.0), "file": "day_0"});
    Checkpoint { step, state, tensors }
}

/// The files of step 1 in parts that a test may change. Checksums, and the lengths of the file and
/// its header, are recomputed, as an attacker would.
pub(crate) struct Crafted {
    pub(crate) version: String,
    pub(crate) manifest: Value,
    /// The JSON of `state.safetensors`.
    pub(crate) header: Vec<u8>,
    pub(crate) data: Vec<u8>,
    /// Applied after lengths and checksums, before the checksum of the manifest.
    pub(crate) last: fn(&mut Value),
}

const DIR: &str = "run/checkpoints";

impl Crafted {
    pub(crate) fn new() -> Self {
        let memory = Memory::default();
        Store::open(memory.clone(), Path::new(DIR))
            .expect("a good disk")
            .save(&small(1))
            .expect("it is saved");
        let manifest = memory.bytes(&path("MANIFEST"));
        let manifest = manifest_json(&manifest);
        let mut header = memory.bytes(&path("state.safetensors"));
        let data =
            header.split_off(manifest["header"]["n_bytes"].as_u64().expect("a number") as usize);
        Self { version: "1".to_owned(), manifest, header: header.split_off(8), data, last: |_| () }
    }

    /// A store in memory with nothing but these.
    pub(crate) fn store(self) -> (Memory, Store<Memory>) {
        let Self { version, mut manifest, header, data, last } = self;
        let part = |bytes: &[u8]| json!({"n_bytes": bytes.len(), "crc32c": crc32c::crc32c(bytes)});
        let header = [&(header.len() as u64).to_le_bytes()[..], &header].concat();
        let file = [&header[..], &data].concat();
        if manifest.is_object() {
            manifest["header"] = part(&header);
            manifest["file"] = part(&file);
        }
        last(&mut manifest);
        let json = serde_json::to_vec(&manifest).expect("it is JSON");
        put(&sign(&version, &json), &file)
    }
}

/// A manifest of this JSON with a valid first line.
pub(crate) fn sign(version: &str, json: &[u8]) -> Vec<u8> {
    let words = format!("cafe-checkpoint {version} {}", json.len());
    let checksum = crc32c::crc32c(&[words.as_bytes(), json].concat());
    [format!("{words} {checksum:08x}\n").as_bytes(), json].concat()
}

/// A store in memory with these files of step 1.
pub(crate) fn put(manifest: &[u8], tensors: &[u8]) -> (Memory, Store<Memory>) {
    let memory = Memory::default();
    let store = Store::open(memory.clone(), Path::new(DIR)).expect("a good disk");
    store.save(&small(1)).expect("it is saved");
    memory.put(&path("MANIFEST"), manifest);
    memory.put(&path("state.safetensors"), tensors);
    (memory.clone(), Store::view(memory, Path::new(DIR)))
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join("step-000000000001").join(name)
}
