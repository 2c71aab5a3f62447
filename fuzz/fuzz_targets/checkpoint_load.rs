//! Any bytes as the files of a checkpoint: loaded or refused, and never a panic; damage that no
//! checksum was made for is always noticed; what loads can be saved and loads again the same.
#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use trainer::checkpoint::{Checkpoint, Dtype, Files, Store, SyncWrite, Tensor};

const DIR: &str = "/checkpoints";
const STEP: u64 = 7;

fuzz_target!(|input: &[u8]| {
    let Some((&mode, input)) = input.split_first() else { return };
    let (files, store, sound) = saved();
    let [manifest_path, tensors_path] = ["MANIFEST", "state.safetensors"]
        .map(|name| PathBuf::from(format!("{DIR}/step-{STEP:012}")).join(name));
    let manifest = files.read(&manifest_path);
    let json_start = 1 + manifest.iter().position(|&byte| byte == b'\n').expect("a first line");
    match mode % 4 {
        // A manifest of any JSON with the right checksum, then the tensors.
        0 => {
            let end = input.iter().position(|&byte| byte == 0).unwrap_or(input.len());
            files.write(&manifest_path, signed(&input[..end]));
            files.write(&tensors_path, input.get(end + 1..).unwrap_or_default().to_vec());
        }
        // The manifest with slips in its JSON, signed again.
        1 => {
            let mut json = manifest[json_start..].to_vec();
            edit(&mut json, input);
            files.write(&manifest_path, signed(&json));
        }
        // Damage.
        2 => files.edit(&manifest_path, input),
        _ => files.edit(&tensors_path, input),
    }
    let is_damage = mode % 4 >= 2;
    match store.load(STEP) {
        Ok(loaded) if is_damage => assert!(loaded == sound, "damage went unnoticed"),
        Ok(loaded) => {
            let again = Store::open(Memory::default(), Path::new(DIR)).expect("it opens");
            again.save(&loaded).expect("what loads can be saved");
            assert!(again.load(STEP).expect("it loads") == loaded, "saved otherwise");
        }
        Err(error) => assert!(error.to_string().len() < 2000, "{error}"),
    }
    let _ = store.load_newest();
});

/// A small checkpoint in files of its own.
fn saved() -> (Memory, Store<Memory>, Checkpoint) {
    let tensor =
        |dtype, shape: &[usize], bytes: Vec<u8>| Tensor { dtype, shape: shape.to_vec(), bytes };
    let tensors = BTreeMap::from([
        ("rows".to_owned(), tensor(Dtype::F32, &[2, 3], (0..24).collect())),
        ("slots".to_owned(), tensor(Dtype::U64, &[1], vec![9; 8])),
        ("none".to_owned(), tensor(Dtype::U8, &[0], Vec::new())),
    ]);
    let state = serde_json::json!({ "position": [0, 12], "loss": 0.1 });
    let checkpoint = Checkpoint { step: STEP, state, tensors };
    let files = Memory::default();
    let store = Store::open(files.clone(), Path::new(DIR)).expect("it opens");
    store.save(&checkpoint).expect("it is saved");
    (files, store, checkpoint)
}

/// A manifest with this JSON.
fn signed(json: &[u8]) -> Vec<u8> {
    let words = format!("cafe-checkpoint 1 {}", json.len());
    let crc32c = crc32c::crc32c_append(crc32c::crc32c(words.as_bytes()), json);
    [format!("{words} {crc32c:08x}\n").as_bytes(), json].concat()
}

/// Edits of four bytes: where, what, with which byte.
fn edit(bytes: &mut Vec<u8>, edits: &[u8]) {
    for edit in edits.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % (bytes.len() + 1);
        match edit[2] % 4 {
            0 => bytes.insert(at, edit[3]),
            1 => bytes.truncate(at),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] = edit[3],
            _ => bytes.push(edit[3]),
        }
    }
}

/// Files in memory. Directories are the beginnings of their names.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<BTreeMap<PathBuf, Vec<u8>>>>);

impl Memory {
    fn read(&self, path: &Path) -> Vec<u8> {
        self.0.borrow()[path].clone()
    }

    fn write(&self, path: &Path, bytes: Vec<u8>) {
        self.0.borrow_mut().insert(path.to_owned(), bytes);
    }

    fn edit(&self, path: &Path, edits: &[u8]) {
        edit(self.0.borrow_mut().get_mut(path).expect("it was saved"), edits);
    }
}

struct Writer(Memory, PathBuf, Vec<u8>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.2.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SyncWrite for Writer {
    fn sync(self) -> io::Result<()> {
        self.0.write(&self.1, self.2);
        Ok(())
    }
}

impl Files for Memory {
    type Writer = Writer;
    type Reader = Cursor<Vec<u8>>;

    fn create(&self, path: &Path) -> io::Result<Writer> {
        Ok(Writer(self.clone(), path.to_owned(), Vec::new()))
    }

    fn open(&self, path: &Path) -> io::Result<(Self::Reader, u64)> {
        let bytes = self.0.borrow().get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        let n_bytes = bytes.len() as u64;
        Ok((Cursor::new(bytes), n_bytes))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.0.borrow_mut();
        let all = std::mem::take(&mut *files);
        *files = all.into_iter().map(|(path, bytes)| (moved(&path, from, to), bytes)).collect();
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.borrow_mut().remove(path);
        Ok(())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.0.borrow();
        let below =
            files.keys().filter_map(|path| path.strip_prefix(dir).ok()?.components().next());
        let mut names: Vec<_> =
            below.map(|name| name.as_os_str().to_string_lossy().into_owned()).collect();
        names.dedup();
        if names.is_empty() && dir != Path::new(DIR) {
            Err(io::ErrorKind::NotFound.into())
        } else {
            Ok(names)
        }
    }
}

fn moved(path: &Path, from: &Path, to: &Path) -> PathBuf {
    path.strip_prefix(from).map_or_else(|_| path.to_owned(), |rest| to.join(rest))
}
