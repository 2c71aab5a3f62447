//! Damage to any bit or length of a checkpoint's files is found, and the error names the damaged
//! part.

use std::path::{Path, PathBuf};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use trainer::checkpoint::{Damage, Files as _, LoadError, Section, Store};

use super::manifest::manifest_json;
use super::memory::Memory;
use super::support::{count, small};

const DIR: &str = "run/checkpoints";

/// Steps 1 and 2 in memory, of which the second is going to be damaged.
struct Case {
    memory: Memory,
    store: Store<Memory>,
    /// Where the parts of `state.safetensors` end.
    parts: Vec<(usize, Section)>,
}

impl Case {
    fn new() -> Self {
        let memory = Memory::default();
        let store = Store::open(memory.clone(), Path::new(DIR)).expect("a good disk");
        store.save(&small(1)).expect("it is saved");
        store.save(&small(2)).expect("it is saved");
        let manifest = memory.bytes(&file("MANIFEST"));
        let manifest = manifest_json(&manifest);
        let header =
            (manifest["header"]["n_bytes"].as_u64().expect("a number") as usize, Section::Header);
        let tensors = manifest["tensors"].as_array().expect("an array").iter().map(|tensor| {
            let name = tensor["name"].as_str().expect("a name").to_owned();
            (tensor["end"].as_u64().expect("a number") as usize, Section::Tensor(name))
        });
        let parts = std::iter::once(header).chain(tensors).collect();
        Self { memory, store, parts }
    }

    fn section(&self, name: &str, byte: usize) -> Section {
        if name == "MANIFEST" {
            return Section::Manifest;
        }
        self.parts
            .iter()
            .find(|(end, _)| byte < *end)
            .expect("the last part ends with the file")
            .1
            .clone()
    }

    /// Loads with other bytes in a file, and puts the old ones back.
    fn damage(&self, name: &str, bytes: &[u8]) -> Damage {
        let path = file(name);
        let good = self.memory.bytes(&path);
        self.memory.put(&path, bytes);
        let error = self.store.load(2).expect_err("it is damaged");
        let LoadError::Damaged { path: found, damage } = &error else { panic!("{error}") };
        assert_eq!(*found, path);
        assert!(error.to_string().starts_with(&format!("{}: ", path.display())), "{error}");
        let loaded = self.store.load_newest().expect("the previous one is good");
        assert_eq!(loaded.checkpoint, Some(small(1)));
        assert!(
            matches!(&loaded.passed_over[..], [(2, LoadError::Damaged { .. })]),
            "{:?}",
            loaded.passed_over
        );
        self.memory.put(&path, &good);
        damage.clone()
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(DIR).join("step-000000000002").join(name)
}

fn section(damage: &Damage) -> &Section {
    match damage {
        Damage::Length { section, .. }
        | Damage::Checksum { section, .. }
        | Damage::Invalid { section, .. } => section,
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let case = Case::new();
    let mut n_bits = 0;
    for name in ["MANIFEST", "state.safetensors"] {
        let mut bytes = case.memory.bytes(&file(name));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let damage = case.damage(name, &bytes);
            assert_eq!(
                *section(&damage),
                case.section(name, bit / 8),
                "{name}, bit {bit}: {damage}"
            );
            bytes[bit / 8] ^= 1 << (bit % 8);
            n_bits += 1;
        }
    }
    case.store.load(2).expect("all is back");
    println!(
        "damage: {n_bits} of {n_bits} flipped bits found and named, the previous checkpoint used"
    );
}

#[test]
fn truncation_and_extension_are_found() {
    let case = Case::new();
    let mut n_lengths = 0;
    for name in ["MANIFEST", "state.safetensors"] {
        let bytes = case.memory.bytes(&file(name));
        let is_length = |damage: &Damage| matches!(damage, Damage::Length { .. });
        for length in 0..bytes.len() {
            let damage = case.damage(name, &bytes[..length]);
            let in_first_line = name == "MANIFEST" && !bytes[..length].contains(&b'\n');
            assert!(is_length(&damage) || in_first_line, "{name} cut to {length}: {damage}");
            n_lengths += 1;
        }
        for filler in [b'\0', b' ', b'\n', b'}'] {
            for n_more in 1..=16 {
                let more = [&bytes[..], &vec![filler; n_more]].concat();
                let damage = case.damage(name, &more);
                assert!(is_length(&damage), "{name} with {n_more} bytes more: {damage}");
                n_lengths += 1;
            }
        }
    }
    println!(
        "damage: {n_lengths} of {n_lengths} wrong lengths found, the previous checkpoint used"
    );
}

/// What a disk does to sectors: a stretch of other bytes, of zeros, or of a copy from elsewhere.
#[test]
fn overwritten_ranges_are_found() {
    let case = Case::new();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let n_wanted = count(2_000, 200_000);
    let mut n_found = 0;
    while n_found < n_wanted {
        let name = if random.random() { "MANIFEST" } else { "state.safetensors" };
        let good = case.memory.bytes(&file(name));
        let mut bytes = good.clone();
        let begin = random.random_range(0..bytes.len());
        let end = random.random_range(begin..=bytes.len().min(begin + 64));
        match random.random_range(0..3) {
            0 => bytes[begin..end].fill_with(|| random.random()),
            1 => bytes[begin..end].fill(0),
            _ => bytes.copy_within(begin..end, random.random_range(0..=good.len() - (end - begin))),
        }
        if bytes != good {
            case.damage(name, &bytes);
            n_found += 1;
        }
    }
    println!(
        "damage: {n_found} of {n_wanted} overwritten stretches found, the previous checkpoint used"
    );
}

#[test]
fn missing_and_moved_files_are_found() {
    for name in ["MANIFEST", "state.safetensors"] {
        let case = Case::new();
        case.memory.remove_file(&file(name)).expect("it was there");
        let error = case.store.load(2).expect_err("a file is missing");
        assert!(
            matches!(&error, LoadError::Unreadable { path, .. } if *path == file(name)),
            "{error}"
        );
        let loaded = case.store.load_newest().expect("the previous one is good");
        assert_eq!((loaded.checkpoint, loaded.passed_over.len()), (Some(small(1)), 1));
    }
    let case = Case::new();
    let moved = Path::new(DIR).join("step-000000000007");
    case.memory.rename(&Path::new(DIR).join("step-000000000002"), &moved).expect("it was there");
    let message = case.store.load(7).expect_err("it is of step 2").to_string();
    let why = "the manifest is not valid: it is of step 2, expected 7, that of its directory";
    assert!(message.contains(why), "{message}");
}

#[test]
fn all_damaged_checkpoints_are_named() {
    let case = Case::new();
    for step in 1..=2 {
        let path = Path::new(DIR).join(format!("step-00000000000{step}/state.safetensors"));
        let mut bytes = case.memory.bytes(&path);
        *bytes.last_mut().expect("it has bytes") ^= 1;
        case.memory.put(&path, &bytes);
    }
    let message = case.store.load_newest().expect_err("both are damaged").to_string();
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines.len(), 3, "{message}");
    assert!(lines[0].contains("none of 2 checkpoints can be used"), "{message}");
    for (line, step) in lines[1..].iter().zip([2, 1]) {
        let part = format!(
            "step-00000000000{step}/state.safetensors: tensor `exponents` is damaged: its checksum is "
        );
        assert!(line.starts_with(&format!("  step {step}: ")) && line.contains(&part), "{message}");
    }
}
