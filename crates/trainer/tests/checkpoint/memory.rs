//! A file system in memory with two images: what programs see, and what a loss of power leaves.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::{Rng, RngExt as _};
use trainer::checkpoint::{Files, SyncWrite};

/// A handle; clones share the file system.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    image: Image,
    /// With [`Memory::record`]: the image after every operation that changed it.
    history: Option<Vec<Image>>,
}

/// All files and directories. Node 0 is the root.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
enum Node {
    File {
        live: Vec<u8>,
        durable: Vec<u8>,
    },
    Dir {
        live: Names,
        durable: Names,
        /// What made `live` of `durable`, in order.
        unsynced: Vec<Change>,
    },
}

type Names = BTreeMap<String, usize>;

/// One of these happens or does not; a rename is never half done, as file systems with a journal
/// promise. Each is about a node and not about whatever has its name where an earlier change did
/// not happen.
#[derive(Clone, Debug)]
struct Change {
    node: usize,
    from: Option<String>,
    to: Option<String>,
}

impl Default for Image {
    fn default() -> Self {
        Self { nodes: vec![Node::empty_dir()] }
    }
}

impl Node {
    fn empty_dir() -> Self {
        Self::Dir { live: Names::new(), durable: Names::new(), unsynced: Vec::new() }
    }
}

impl Change {
    fn apply(&self, names: &mut Names) {
        let Self { node, from, to } = self;
        if let Some(from) = from.as_ref().filter(|&from| names.get(from) == Some(node)) {
            names.remove(from);
        }
        if let Some(to) = to {
            names.insert(to.clone(), *node);
        }
    }
}

impl Image {
    /// A state after a loss of power: all that was synced, and what `power_loss` keeps of the rest.
    pub(crate) fn after_power_loss(&self, power_loss: &mut PowerLoss<impl Rng>) -> Self {
        let nodes = self.nodes.iter().map(|node| match node {
            Node::File { live, durable } => {
                let content = if live == durable {
                    durable.clone()
                } else {
                    power_loss.content(live, durable)
                };
                Node::File { live: content.clone(), durable: content }
            }
            Node::Dir { durable, unsynced, .. } => {
                let mut names = durable.clone();
                unsynced
                    .iter()
                    .filter(|_| power_loss.is_kept())
                    .for_each(|change| change.apply(&mut names));
                Node::Dir { live: names.clone(), durable: names, unsynced: Vec::new() }
            }
        });
        Self { nodes: nodes.collect() }
    }

    fn dir(&self, node: usize) -> io::Result<&Names> {
        match &self.nodes[node] {
            Node::Dir { live, .. } => Ok(live),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let names = path.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_str().expect("tests use Unicode")),
            _ => None,
        });
        let mut node = 0;
        for name in names {
            node = *self.dir(node)?.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// Changes names in the directory in which these paths are.
    fn change(&mut self, node: usize, from: Option<&Path>, to: Option<&Path>) -> io::Result<()> {
        let change = Change { node, from: from.map(name), to: to.map(name) };
        let dir = self.find(parent(from.or(to).expect("one of them")))?;
        self.dir(dir)?;
        if let Node::Dir { live, unsynced, .. } = &mut self.nodes[dir] {
            change.apply(live);
            unsynced.push(change);
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        match self.find(path) {
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.nodes.push(node);
        let idx = self.nodes.len() - 1;
        self.change(idx, None, Some(path))?;
        Ok(idx)
    }
}

/// What a loss of power does to data that were not synced.
pub(crate) enum PowerLoss<R> {
    Kept,
    Dropped,
    Random(R),
}

impl<R: Rng> PowerLoss<R> {
    fn is_kept(&mut self) -> bool {
        match self {
            Self::Kept => true,
            Self::Dropped => false,
            Self::Random(random) => random.random(),
        }
    }

    fn content(&mut self, live: &[u8], durable: &[u8]) -> Vec<u8> {
        let random = match self {
            Self::Kept => return live.to_vec(),
            Self::Dropped => return durable.to_vec(),
            Self::Random(random) => random,
        };
        let mut content = live.to_vec();
        match random.random_range(0..5) {
            0 => return durable.to_vec(),
            1 => {}
            2 => content.truncate(random.random_range(0..=live.len())),
            // The length was written, and only the beginning of the content.
            3 => content[random.random_range(0..=live.len())..].fill(0),
            // Blocks were written in any order.
            _ => content.chunks_mut(64).filter(|_| random.random()).for_each(|block| block.fill(0)),
        }
        content
    }
}

impl Memory {
    /// A file system that holds an image, all of it durable.
    pub(crate) fn of(image: Image) -> Self {
        Self(Arc::new(Mutex::new(State { image, history: None })))
    }

    /// Keeps the image after every operation from now on.
    pub(crate) fn record(&self) {
        self.state().history = Some(Vec::new());
    }

    /// The images since the last call.
    pub(crate) fn recorded(&self) -> Vec<Image> {
        self.state().history.as_mut().map(std::mem::take).expect("it records")
    }

    pub(crate) fn image(&self) -> Image {
        self.state().image.clone()
    }

    /// The content of a file.
    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        let (reader, _) = self.open(path).expect("the file is there");
        reader.into_inner()
    }

    /// Puts a file there, or other content into one; all of it durable.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) {
        let _ = self.remove_file(path);
        let mut file = self.create(path).expect("its directory is there");
        file.write_all(bytes).expect("memory takes it");
        file.sync().expect("memory takes it");
        self.sync_dir(parent(path)).expect("it is there");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics in here")
    }

    fn change<T>(&self, change: impl FnOnce(&mut Image) -> io::Result<T>) -> io::Result<T> {
        let state = &mut *self.state();
        let done = change(&mut state.image)?;
        if let Some(history) = &mut state.history {
            history.push(state.image.clone());
        }
        Ok(done)
    }
}

/// A file of a [`Memory`] that is being written.
pub(crate) struct MemoryFile {
    memory: Memory,
    node: usize,
}

impl Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.memory.change(|image| {
            if let Node::File { live, .. } = &mut image.nodes[self.node] {
                live.extend(bytes);
            }
            Ok(bytes.len())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SyncWrite for MemoryFile {
    fn sync(self) -> io::Result<()> {
        self.memory.change(|image| {
            if let Node::File { live, durable } = &mut image.nodes[self.node] {
                durable.clone_from(live);
            }
            Ok(())
        })
    }
}

impl Files for Memory {
    type Writer = MemoryFile;
    type Reader = Cursor<Vec<u8>>;

    fn create(&self, path: &Path) -> io::Result<MemoryFile> {
        let node = self.change(|image| {
            image.add(path, Node::File { live: Vec::new(), durable: Vec::new() })
        })?;
        Ok(MemoryFile { memory: self.clone(), node })
    }

    fn open(&self, path: &Path) -> io::Result<(Cursor<Vec<u8>>, u64)> {
        let state = self.state();
        match &state.image.nodes[state.image.find(path)?] {
            Node::File { live, .. } => Ok((Cursor::new(live.clone()), live.len() as u64)),
            Node::Dir { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert_eq!(parent(from), parent(to), "renamed in its directory");
        self.change(|image| {
            let node = image.find(from)?;
            match image.find(to) {
                Ok(_) => Err(io::ErrorKind::DirectoryNotEmpty.into()),
                Err(_) => image.change(node, Some(from), Some(to)),
            }
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|image| {
            let node = image.find(dir)?;
            image.dir(node)?;
            if let Node::Dir { live, durable, unsynced } = &mut image.nodes[node] {
                durable.clone_from(live);
                unsynced.clear();
            }
            Ok(())
        })
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let above: Vec<_> = dir.ancestors().filter(|dir| !dir.as_os_str().is_empty()).collect();
        for dir in above.into_iter().rev() {
            let is_there = self.state().image.find(dir).is_ok();
            if !is_there {
                self.change(|image| image.add(dir, Node::empty_dir()))?;
            }
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.open(path)?;
        self.change(|image| image.change(image.find(path)?, Some(path), None))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        if !self.list(dir)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.change(|image| image.change(image.find(dir)?, Some(dir), None))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        Ok(state.image.dir(state.image.find(dir)?)?.keys().cloned().collect())
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().expect("a path below the root")
}

fn name(path: &Path) -> String {
    path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned()
}
