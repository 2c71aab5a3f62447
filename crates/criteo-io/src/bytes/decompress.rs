//! Opening and decompressing on a separate thread, ahead of the parser. Apart from the reader,
//! because it knows neither lines nor which file comes next.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::bytes::open::{self, Bytes, Opened};
use crate::error::ReadError;

/// Blocks of one file: one being filled, one being read, and two to even out the speed of both.
const N_BLOCKS: usize = 4;
/// Bytes of a block: large against the cost of handing it over, small against the caches of a
/// processor.
const BLOCK_BYTES: usize = 128 << 10;

/// One file, opened and decompressed by a thread.
///
/// ```text
///                  ┌───── full blocks, in order ─────┐
///   open ─► inflate                                read ─► lines
///                  └────── empty blocks, back ◄──────┘
/// ```
///
/// All blocks exist from the start, and neither side allocates when it waits. An error is returned
/// after the blocks that were filled before it. A file that is not compressed is opened by the
/// thread and then handed over: without decompression a second copy would not pay.
///
/// Dropped early, it stops the thread and waits for it, which takes one block at most. A pipe may
/// stay silent for long, and a read cannot be interrupted: there the thread is detached, and ends
/// with that read.
pub(crate) struct DecompressThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Whether it is a regular file, so that a read of the thread ends soon.
    is_regular: bool,
    block: Block,
    n_taken: usize,
    is_done: bool,
}

/// A file once it is open.
pub(crate) enum OpenFile {
    /// Not compressed: the bytes of the file.
    Plain(Bytes),
    /// Decompressed by the thread.
    Compressed(DecompressThread),
}

/// Some bytes at the beginning of a buffer.
#[derive(Default)]
struct Block {
    buffer: Vec<u8>,
    n_bytes: usize,
}

/// The state that both threads share.
struct Shared {
    state: Mutex<State>,
    /// Signals that a block was filled, or that the thread has ended.
    filled: Condvar,
    /// Signals that a block came back, or that no more blocks are wanted.
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    full: VecDeque<Block>,
    empty: Vec<Block>,
    is_open: bool,
    end: Option<End>,
    is_stopped: bool,
}

/// How the thread ended.
enum End {
    /// The file could not be opened.
    Unopened(ReadError),
    /// The file is not compressed; here it is, unread.
    Plain(Bytes),
    /// The file was read completely.
    Complete,
    /// Reading failed after the bytes in the blocks.
    Broken(io::Error),
    /// The error or the file has been taken, or the thread panicked.
    Taken,
}

impl DecompressThread {
    /// Starts opening `path` and, if it is compressed, decompressing it.
    ///
    /// # Panics
    /// If the system refuses a thread.
    pub(crate) fn spawn(path: &Path) -> Self {
        Self::with_block_bytes(path, BLOCK_BYTES)
    }

    fn with_block_bytes(path: &Path, n_bytes: usize) -> Self {
        let empty = (0..N_BLOCKS).map(|_| Block { buffer: vec![0; n_bytes], n_bytes: 0 }).collect();
        let state = State { full: VecDeque::with_capacity(N_BLOCKS), empty, ..State::default() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        });
        let worker = Worker { path: path.to_owned(), shared: Arc::clone(&shared) };
        let thread = thread::Builder::new().name("criteo-inflate".to_owned());
        let thread = thread.spawn(move || worker.run()).expect("the system has a thread to spare");
        let is_regular = matches!(open::is_read_once(path), Ok(false));
        Self {
            shared,
            thread: Some(thread),
            is_regular,
            block: Block::default(),
            n_taken: 0,
            is_done: false,
        }
    }

    /// Waits until the file is open. A file that is not compressed needs no thread any more: its
    /// bytes are handed over, unread.
    ///
    /// # Errors
    /// If the file could not be opened.
    pub(crate) fn opened(mut self) -> Result<OpenFile, ReadError> {
        let mut state = self.shared.lock();
        while !state.is_open && state.end.is_none() {
            state = wait(&self.shared.filled, state);
        }
        let end = match &mut state.end {
            Some(end @ (End::Unopened(_) | End::Plain(_) | End::Taken)) => {
                std::mem::replace(end, End::Taken)
            }
            _ => End::Complete,
        };
        drop(state);
        match end {
            End::Unopened(error) => Err(error),
            End::Plain(bytes) => Ok(OpenFile::Plain(bytes)),
            End::Taken => self.panic(),
            End::Complete | End::Broken(_) => Ok(OpenFile::Compressed(self)),
        }
    }

    /// Whether everything is decompressed and only waits to be read. Known after a read.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Gives the empty block back and takes a full one; `false` at the end.
    fn next_block(&mut self) -> io::Result<bool> {
        let mut state = self.shared.lock();
        let block = std::mem::take(&mut self.block);
        self.n_taken = 0;
        if !block.buffer.is_empty() {
            state.empty.push(block);
            self.shared.emptied.notify_one();
        }
        loop {
            self.is_done = matches!(state.end, Some(End::Complete));
            if let Some(block) = state.full.pop_front() {
                self.block = block;
                return Ok(true);
            }
            match &mut state.end {
                None => state = wait(&self.shared.filled, state),
                Some(End::Complete) => return Ok(false),
                Some(end) => {
                    let end = std::mem::replace(end, End::Taken);
                    drop(state);
                    let End::Broken(error) = end else { self.panic() };
                    return Err(error);
                }
            }
        }
    }

    /// Continues the panic of the thread.
    fn panic(&mut self) -> ! {
        let panic = self.thread.take().and_then(|thread| thread.join().err());
        resume_unwind(panic.unwrap_or_else(|| Box::new("read on after an error")))
    }
}

impl Read for DecompressThread {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.n_taken == self.block.n_bytes && !self.next_block()? {
            return Ok(0);
        }
        let unread = &self.block.buffer[self.n_taken..self.block.n_bytes];
        let n_read = unread.len().min(buffer.len());
        buffer[..n_read].copy_from_slice(&unread[..n_read]);
        self.n_taken += n_read;
        Ok(n_read)
    }
}

impl Drop for DecompressThread {
    fn drop(&mut self) {
        self.shared.lock().is_stopped = true;
        self.shared.emptied.notify_one();
        if let Some(thread) = self.thread.take().filter(|_| self.is_regular) {
            // Its result is not needed, not even a panic, which has been printed.
            drop(thread.join());
        }
    }
}

impl Shared {
    /// Nothing panics under the lock, so the state is consistent even if it counts as poisoned.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a>(condition: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    condition.wait(state).unwrap_or_else(PoisonError::into_inner)
}

/// The side of the thread.
struct Worker {
    path: PathBuf,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(self) {
        let end = match open::open(&self.path) {
            Err(error) => End::Unopened(error),
            Ok(Opened { bytes, is_compressed: false }) => End::Plain(bytes),
            Ok(Opened { bytes, is_compressed: true }) => self.inflate(bytes),
        };
        self.shared.lock().end = Some(end);
    }

    fn inflate(&self, mut bytes: Bytes) -> End {
        self.shared.lock().is_open = true;
        self.shared.filled.notify_one();
        while let Some(mut block) = self.empty_block() {
            match bytes.read(&mut block.buffer) {
                Ok(0) => return End::Complete,
                Ok(n_bytes) => {
                    block.n_bytes = n_bytes;
                    self.shared.lock().full.push_back(block);
                    self.shared.filled.notify_one();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.shared.lock().empty.push(block);
                }
                Err(error) => return End::Broken(error),
            }
        }
        End::Complete
    }

    /// A block to fill; `None` when no more blocks are wanted.
    fn empty_block(&self) -> Option<Block> {
        let mut state = self.shared.lock();
        while !state.is_stopped {
            if let Some(block) = state.empty.pop() {
                return Some(block);
            }
            state = wait(&self.shared.emptied, state);
        }
        None
    }
}

impl Drop for Worker {
    /// Runs in every case, a panic included: otherwise the other side would wait for ever.
    fn drop(&mut self) {
        self.shared.lock().end.get_or_insert(End::Taken);
        self.shared.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn text() -> Vec<u8> {
        (0..20_000_u32).flat_map(u32::to_le_bytes).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn write(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        fs::write(&path, content).unwrap();
        (directory, path)
    }

    fn inflated(ahead: DecompressThread) -> DecompressThread {
        let OpenFile::Compressed(ahead) = ahead.opened().unwrap() else {
            panic!("it is compressed")
        };
        ahead
    }

    #[test]
    fn blocks_of_every_size_give_the_same_text() {
        let text = text();
        let (_directory, path) = write(&gzip(&text));
        for (n_block, n_read) in [(7, 1000), (1000, 7), (4096, 4096), (BLOCK_BYTES, 1 << 20)] {
            let mut ahead = inflated(DecompressThread::with_block_bytes(&path, n_block));
            let (mut got, mut buffer) = (Vec::new(), vec![0; n_read]);
            loop {
                let n_bytes = ahead.read(&mut buffer).unwrap();
                if n_bytes == 0 {
                    break;
                }
                got.extend_from_slice(&buffer[..n_bytes]);
            }
            assert_eq!(got, text, "blocks of {n_block}, reads of {n_read}");
            assert!(ahead.is_done());
            assert_eq!(ahead.read(&mut buffer).unwrap(), 0);
        }
    }

    #[test]
    fn bytes_before_damage_are_read_first() {
        let text = text();
        let whole = gzip(&text);
        let (_directory, path) = write(&whole[..whole.len() - 1]);
        let mut ahead = inflated(DecompressThread::with_block_bytes(&path, 1000));
        let mut got = Vec::new();
        let error = ahead.read_to_end(&mut got).unwrap_err();
        assert_eq!(ReadError::reading(&path, error).to_string(), {
            format!("{}: the gzip data end too early; download the file again", path.display())
        });
        assert_eq!(got, text);
        assert!(!ahead.is_done());
    }

    #[test]
    fn plain_file_is_handed_over_unread() {
        let (_directory, path) = write(b"0\t1\n");
        let OpenFile::Plain(mut bytes) = DecompressThread::spawn(&path).opened().unwrap() else {
            panic!("it is plain")
        };
        let mut got = Vec::new();
        bytes.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"0\t1\n");
    }

    #[test]
    fn early_drop_ends_the_thread() {
        let (_directory, path) = write(&gzip(&text()));
        for n_read in [0, 1, 5000] {
            let mut ahead = inflated(DecompressThread::with_block_bytes(&path, 100));
            ahead.read_exact(&mut vec![0; n_read]).unwrap();
            let shared = Arc::downgrade(&ahead.shared);
            drop(ahead);
            assert!(shared.upgrade().is_none());
        }
    }

    #[test]
    fn panic_of_the_thread_is_passed_on() {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        });
        let worker = Worker { path: PathBuf::new(), shared: Arc::clone(&shared) };
        let thread = thread::spawn(move || {
            let _worker = worker;
            resume_unwind(Box::new("boom"));
        });
        let (block, n_taken) = (Block::default(), 0);
        let ahead = DecompressThread {
            shared,
            thread: Some(thread),
            is_regular: true,
            block,
            n_taken,
            is_done: false,
        };
        let caught =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(ahead.opened())));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"boom"));
    }
}
