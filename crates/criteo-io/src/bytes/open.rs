//! From a path to decompressed bytes. The first bytes decide which compression it is, never the
//! name; nothing here seeks, so pipes work as files do.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::mem;
use std::path::Path;

use flate2::bufread::GzDecoder;

use crate::error::{Compression, ReadError, StreamFault};

/// Compressed bytes are read in pieces of this size: large against the cost of a system call.
const INPUT_BYTES: usize = 256 << 10;
/// RFC 1952, section 2.3.1: ID1 and ID2.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// RFC 8878, section 3.1.1: the magic number 0xfd2fb528, little-endian.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// RFC 8878, section 3.1.2: a skippable frame, which some writers put first. Its first byte is 0x50
/// to 0x5f.
const ZSTD_SKIPPABLE_MAGIC: [u8; 3] = [0x2a, 0x4d, 0x18];

/// The path that means standard input.
pub(crate) const STDIN: &str = "-";

/// A stream of bytes.
pub(crate) type Bytes = Box<dyn Read + Send>;

/// What a file holds.
pub(crate) struct Opened {
    /// The bytes, decompressed as they are read.
    pub(crate) bytes: Bytes,
    /// Whether reading them decompresses.
    pub(crate) is_compressed: bool,
}

/// The decompressed bytes of the file at `path`; of standard input for `-`.
///
/// Damage found while reading comes as an [`io::Error`] for [`ReadError::reading`].
pub(crate) fn open(path: &Path) -> Result<Opened, ReadError> {
    let mut raw = open_raw(path)?;
    let head = read_head(&mut raw).map_err(|error| ReadError::reading(path, error))?;
    let compression = compression_of(&head);
    check_name(path, &head, compression)?;
    let whole: Bytes = Box::new(Cursor::new(head).chain(raw));
    let bytes: Bytes = match compression {
        None => whole,
        Some(Compression::Gzip) => Box::new(Gzip::new(whole)),
        Some(Compression::Zstd) => {
            Box::new(Zstd::new(whole).map_err(|error| ReadError::reading(path, error))?)
        }
    };
    Ok(Opened { bytes, is_compressed: compression.is_some() })
}

/// Refuses what cannot be opened, before hours are spent on the files before it. Pipes are not
/// touched: opening one may wait for its writer, and bytes read from it are lost.
pub(crate) fn check(path: &Path) -> Result<(), ReadError> {
    if is_regular(path)? { open(path).map(drop) } else { Ok(()) }
}

/// Whether the input at `path` can be read only once: standard input (`-`), a pipe, a device.
///
/// # Errors
/// If the path does not exist, or is a directory or an empty file.
pub fn is_read_once(path: &Path) -> Result<bool, ReadError> {
    is_regular(path).map(|is_regular| !is_regular)
}

/// Whether the file at `path` can be read more than once.
fn is_regular(path: &Path) -> Result<bool, ReadError> {
    if path == Path::new(STDIN) {
        return Ok(false);
    }
    let metadata = path.metadata().map_err(|error| ReadError::opening(path, error))?;
    if metadata.is_dir() {
        return Err(ReadError::Directory { file: path.to_owned() });
    }
    if metadata.is_file() && metadata.len() == 0 {
        return Err(ReadError::Empty { file: path.to_owned() });
    }
    Ok(metadata.is_file())
}

fn open_raw(path: &Path) -> Result<Bytes, ReadError> {
    if path == Path::new(STDIN) {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path).map_err(|error| ReadError::opening(path, error))?;
    Ok(Box::new(file))
}

/// The first bytes, as many as a magic number has; fewer where the file is shorter.
fn read_head(raw: &mut Bytes) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(ZSTD_MAGIC.len());
    raw.take(ZSTD_MAGIC.len() as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn compression_of(head: &[u8]) -> Option<Compression> {
    let skippable =
        |head: &[u8]| matches!(head, [0x50..=0x5f, rest @ ..] if *rest == ZSTD_SKIPPABLE_MAGIC);
    if head.starts_with(&GZIP_MAGIC) {
        Some(Compression::Gzip)
    } else if head.starts_with(&ZSTD_MAGIC) || skippable(head) {
        Some(Compression::Zstd)
    } else {
        None
    }
}

/// A `.gz` that is not gzip is a failed download (a page of HTML, say) or a wrong name: parsing it
/// would only give a puzzling first row.
fn check_name(path: &Path, head: &[u8], found: Option<Compression>) -> Result<(), ReadError> {
    let extension = path.extension().map(|it| it.to_string_lossy().into_owned());
    let Some(extension) = extension else { return Ok(()) };
    let compression = match extension.to_ascii_lowercase().as_str() {
        "gz" | "gzip" => Compression::Gzip,
        "zst" | "zstd" => Compression::Zstd,
        _ => return Ok(()),
    };
    if found == Some(compression) || head.is_empty() {
        return Ok(());
    }
    Err(ReadError::Misnamed { file: path.to_owned(), extension, compression })
}

/// All members of a gzip file, one after another.
///
/// `flate2` has a decoder of several members, but that does not distinguish a damaged header from
/// bytes that never were gzip.
struct Gzip {
    member: GzDecoder<BufReader<Bytes>>,
    done: bool,
}

impl Gzip {
    fn new(whole: Bytes) -> Self {
        let member = GzDecoder::new(BufReader::with_capacity(INPUT_BYTES, whole));
        Self { member, done: false }
    }

    /// Moves to the next member; `false` at the end of the input.
    fn next_member(&mut self) -> io::Result<bool> {
        let input = self.member.get_mut();
        let ahead = input.fill_buf()?;
        if ahead.is_empty() {
            return Ok(false);
        }
        // The buffer may hold a single byte: then the decoder checks the second one.
        let n_known = ahead.len().min(GZIP_MAGIC.len());
        if ahead[..n_known] != GZIP_MAGIC[..n_known] {
            return Err(StreamFault::TrailingGarbage(Compression::Gzip).into());
        }
        let nothing = BufReader::with_capacity(0, Box::new(io::empty()) as Bytes);
        let input = mem::replace(input, nothing);
        self.member.reset(input);
        Ok(true)
    }
}

impl Read for Gzip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.done && !buffer.is_empty() {
            let n_read =
                self.member.read(buffer).map_err(|e| fault_or_error(Compression::Gzip, e))?;
            if n_read > 0 {
                return Ok(n_read);
            }
            self.done = !self.next_member()?;
        }
        Ok(0)
    }
}

/// All frames of a zstd file. The library limits the window to 128 MiB, and so the memory.
struct Zstd(zstd::Decoder<'static, BufReader<Bytes>>);

impl Zstd {
    fn new(whole: Bytes) -> io::Result<Self> {
        zstd::Decoder::with_buffer(BufReader::with_capacity(INPUT_BYTES, whole)).map(Self)
    }
}

impl Read for Zstd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|error| fault_or_error(Compression::Zstd, error))
    }
}

/// Damage that the decompressor found becomes a [`StreamFault`]. An error of the file below it,
/// which carries an error number of the system, stays as it is.
fn fault_or_error(compression: Compression, error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return StreamFault::Truncated(compression).into();
    }
    StreamFault::Corrupt(compression, error.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read_all(name: &str, content: &[u8]) -> Result<Vec<u8>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        let mut bytes = Vec::new();
        let mut stream = open(&path).map_err(|e| e.to_string())?.bytes;
        match stream.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(ReadError::reading(Path::new("f"), error).to_string()),
        }
    }

    #[test]
    fn compression_is_found_by_content() {
        let text = b"0\t1\n".repeat(1000);
        let zst = zstd::encode_all(&text[..], 1).unwrap();
        for content in [&text, &gzip(&text), &zst] {
            assert_eq!(read_all("train.txt", content).as_ref(), Ok(&text));
        }
    }

    #[test]
    fn members_and_frames_are_concatenated() {
        let members = [gzip(b"one "), gzip(b""), gzip(b"two "), gzip(b"three")].concat();
        assert_eq!(read_all("a.gz", &members).as_deref(), Ok(&b"one two three"[..]));
        let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7][..]].concat();
        let frame = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
        let frames = [skippable, frame(b"one "), frame(b"two")].concat();
        assert_eq!(read_all("a.zst", &frames).as_deref(), Ok(&b"one two"[..]));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let text = b"0\t1\t2\n".repeat(300);
        let mut checked = zstd::Encoder::new(Vec::new(), 1).unwrap();
        checked.include_checksum(true).unwrap();
        checked.write_all(&text).unwrap();
        for whole in [gzip(&text), checked.finish().unwrap()] {
            for n_bytes in 4..whole.len() {
                let got = read_all("a", &whole[..n_bytes]).unwrap_err();
                assert!(got.ends_with("data end too early; download the file again"), "{got}");
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed_or_harmless() {
        let text = b"0\t1\t2\n".repeat(20);
        let whole = gzip(&text);
        // Bytes 3 to 9 are flags, time, level and system, most of which do not affect the text.
        for bit in 80..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A few bits of deflate have no meaning, such as the padding at its end.
            if let Ok(got) = read_all("a.gz", &flipped) {
                assert_eq!(got, text, "bit {bit}");
            }
        }
    }
}
