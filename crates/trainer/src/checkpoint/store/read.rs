//! Reading of checkpoints, part by part; each part is compared with its checksum.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use super::{Files, Loaded, MANIFEST, Store, TENSORS};
use crate::checkpoint::error::{Damage, LoadError, Section};
use crate::checkpoint::format::{self, Fault, Manifest, Part};
use crate::checkpoint::{Checkpoint, Tensor, VERSION, header};

/// Bytes that are read at once; they stay in the processor's cache until they are checksummed and
/// copied.
const CHUNK_BYTES: usize = 1 << 18;

impl<F: Files> Store<F> {
    /// Reads the checkpoint of a step; it equals the saved one.
    ///
    /// # Errors
    /// If it does not exist, cannot be read, has a newer format, or is damaged; the message names
    /// the damaged part.
    pub fn load(&self, step: u64) -> Result<Checkpoint, LoadError> {
        let (manifest, _) = self.read_manifest(step)?;
        let mut tensors = BTreeMap::new();
        self.read_tensors(step, &manifest, |idx, bytes| {
            let entry = &manifest.tensors[idx];
            let tensor = tensors.entry(entry.name.clone()).or_insert_with(|| Tensor {
                dtype: entry.dtype,
                shape: entry.shape.clone(),
                // Bounded: the file is known to be as long as the sum of these.
                bytes: Vec::with_capacity((entry.end - entry.begin) as usize),
            });
            tensor.bytes.extend_from_slice(bytes);
        })?;
        self.good().insert(step);
        Ok(Checkpoint { step, state: manifest.state, tensors })
    }

    /// Reads the newest good checkpoint.
    ///
    /// # Errors
    /// If the directory cannot be read, if there are checkpoints but no good one, or if the newest
    /// undamaged one has a newer format: to resume from an older one would lose the newer program's
    /// work.
    pub fn load_newest(&self) -> Result<Loaded, LoadError> {
        let steps = self.list_steps().map_err(unreadable(&self.dir))?;
        let mut passed_over = Vec::new();
        for &step in steps.iter().rev() {
            match self.load(step) {
                Ok(checkpoint) => return Ok(Loaded { checkpoint: Some(checkpoint), passed_over }),
                Err(error @ LoadError::Newer { .. }) => return Err(error),
                Err(error) => passed_over.push((step, error)),
            }
        }
        if passed_over.is_empty() {
            return Ok(Loaded { checkpoint: None, passed_over });
        }
        Err(LoadError::NoneGood { dir: self.dir.clone(), passed_over })
    }

    /// Whether a checkpoint is good; it is read unless that is already known.
    pub(super) fn is_good(&self, step: u64) -> bool {
        let is_known = self.good().contains(&step);
        is_known || self.verify(step).is_ok_and(|_| self.good().insert(step))
    }

    /// Whether the checkpoint of a step has this manifest and is good.
    pub(super) fn is_equal(&self, step: u64, manifest: &[u8]) -> bool {
        self.verify(step).is_ok_and(|found| found == manifest)
    }

    /// Reads a complete checkpoint without keeping its tensors; returns the bytes of its manifest.
    fn verify(&self, step: u64) -> Result<Vec<u8>, LoadError> {
        let (manifest, bytes) = self.read_manifest(step)?;
        self.read_tensors(step, &manifest, |_, _| ())?;
        Ok(bytes)
    }

    fn read_manifest(&self, step: u64) -> Result<(Manifest, Vec<u8>), LoadError> {
        let dir = self.place(step, "");
        match self.files.list(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LoadError::Missing { dir });
            }
            Err(error) => return Err(unreadable(&dir)(error)),
            Ok(_) => {}
        }
        let path = &dir.join(MANIFEST);
        let (file, n_bytes) = self.files.open(path).map_err(unreadable(path))?;
        format::check_manifest_length(n_bytes).map_err(damaged(path))?;
        let mut bytes = Vec::with_capacity(n_bytes as usize);
        file.take(n_bytes).read_to_end(&mut bytes).map_err(unreadable(path))?;
        let manifest = Manifest::decode(&bytes).map_err(|fault| match fault {
            Fault::Newer { found } => {
                LoadError::Newer { path: path.clone(), found, supported: VERSION }
            }
            Fault::Damaged(damage) => damaged(path)(damage),
        })?;
        if manifest.step != step {
            let why =
                format!("it is of step {}, expected {step}, that of its directory", manifest.step);
            return Err(damaged(path)(Damage::invalid(Section::Manifest, why)));
        }
        Ok((manifest, bytes))
    }

    /// Passes the bytes of the tensors to `take` in chunks, with the index of the tensor in the
    /// manifest; at least one chunk per tensor, so that empty ones are seen.
    fn read_tensors(
        &self,
        step: u64,
        manifest: &Manifest,
        mut take: impl FnMut(usize, &[u8]),
    ) -> Result<(), LoadError> {
        let path = &self.place(step, "").join(TENSORS);
        let (mut file, got) = self.files.open(path).map_err(unreadable(path))?;
        let (expected, section) = (manifest.file.n_bytes, Section::File);
        if got != expected {
            return Err(damaged(path)(Damage::Length { section, expected, got }));
        }
        let mut bytes = vec![0; manifest.header.n_bytes as usize];
        file.read_exact(&mut bytes).map_err(unreadable(path))?;
        let mut whole = Part { n_bytes: bytes.len() as u64, crc32c: crc32c::crc32c(&bytes) };
        compare(whole.crc32c, manifest.header.crc32c, || Section::Header).map_err(damaged(path))?;
        header::check(&bytes, manifest.places()).map_err(damaged(path))?;
        for (idx, entry) in manifest.tensors.iter().enumerate() {
            let n_bytes = entry.end - entry.begin;
            let crc32c = read_chunks(&mut file, n_bytes, |chunk| take(idx, chunk))
                .map_err(unreadable(path))?;
            compare(crc32c, entry.crc32c, || Section::Tensor(entry.name.clone()))
                .map_err(damaged(path))?;
            whole = whole.followed_by(n_bytes, crc32c);
        }
        compare(whole.crc32c, manifest.file.crc32c, || section).map_err(damaged(path))
    }
}

/// Reads `n_bytes` and returns their checksum; calls `take` with each chunk, at least once.
fn read_chunks(file: &mut impl Read, n_bytes: u64, mut take: impl FnMut(&[u8])) -> io::Result<u32> {
    let mut chunk = vec![0; n_bytes.min(CHUNK_BYTES as u64) as usize];
    let mut left = n_bytes;
    let mut crc32c = 0;
    loop {
        let part = &mut chunk[..left.min(CHUNK_BYTES as u64) as usize];
        file.read_exact(part)?;
        crc32c = crc32c::crc32c_append(crc32c, part);
        take(part);
        left -= part.len() as u64;
        if left == 0 {
            return Ok(crc32c);
        }
    }
}

fn compare(got: u32, expected: u32, section: impl FnOnce() -> Section) -> Result<(), Damage> {
    if got == expected {
        Ok(())
    } else {
        Err(Damage::Checksum { section: section(), expected, got })
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> LoadError {
    let path = path.to_owned();
    move |source| LoadError::Unreadable { path, source }
}

fn damaged(path: &Path) -> impl FnOnce(Damage) -> LoadError {
    let path = path.to_owned();
    move |damage| LoadError::Damaged { path, damage }
}
