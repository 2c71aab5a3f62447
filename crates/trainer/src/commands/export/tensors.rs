//! `model.safetensors`: ids and vectors of features, their frequencies if the model uses them, and
//! the network's parameters by name. Vectors are looked up as they are written, so that they are
//! never all in memory.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::Result;
use cafe_core::{Embedding, FeatureId};
use dlrm_model::{NamedTensor, TrainableModel};
use flate2::Crc;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Serialize;

use crate::train::trained::Trained;

/// The name of the file.
pub(super) const FILE: &str = "model.safetensors";
/// Features that are looked up at once: their vectors fit into the processor's cache.
const CHUNK: usize = 4096;
/// Bytes of the header's length, and its alignment.
const WORD: usize = size_of::<u64>();

/// The tensors to write.
pub(super) struct Tensors<'a> {
    ids: &'a [FeatureId],
    embedding: &'a dyn Embedding,
    /// In the order of `ids`, if the model uses them.
    frequencies: Option<Vec<f32>>,
    network: Vec<NamedTensor>,
}

/// Length and checksum of the file, to detect damage.
#[derive(Serialize)]
pub(super) struct Written {
    name: &'static str,
    pub(super) n_bytes: u64,
    /// CRC-32 as in gzip.
    crc32: u32,
}

/// Bytes per feature: its id, its vector, and its frequency if there is one.
pub(super) fn feature_bytes(dim: usize, has_frequencies: bool) -> u64 {
    (WORD + (dim + usize::from(has_frequencies)) * size_of::<f32>()) as u64
}

impl<'a> Tensors<'a> {
    /// # Errors
    /// If the parameters cannot be read from the device.
    pub(super) fn new(trained: &'a Trained, ids: &'a [FeatureId]) -> Result<Self> {
        let (network, embedding) =
            (trained.learner.model.parameters()?, &*trained.learner.embedding);
        let mut frequencies = vec![0.0; ids.len()];
        let frequencies = embedding.frequencies(ids, &mut frequencies).then_some(frequencies);
        Ok(Self { ids, embedding, frequencies, network })
    }

    pub(super) fn ids(&self) -> &[FeatureId] {
        self.ids
    }

    /// Writes the file and makes it durable.
    pub(super) fn write(&self, path: &Path) -> Result<Written> {
        let mut out = Checked {
            out: BufWriter::with_capacity(1 << 16, File::create(path)?),
            crc: Crc::new(),
            n_bytes: 0,
        };
        out.write_all(&self.header()?)?;
        for id in self.ids {
            out.write_all(&id.raw().to_le_bytes())?;
        }
        let dim = self.embedding.dim();
        let mut rows = vec![0.0; CHUNK * dim];
        for ids in self.ids.chunks(CHUNK) {
            let rows = &mut rows[..ids.len() * dim];
            self.embedding.lookup(ids, rows);
            write_all(&mut out, rows)?;
        }
        write_all(&mut out, self.frequencies.as_deref().unwrap_or_default())?;
        for tensor in &self.network {
            write_all(&mut out, &tensor.values)?;
        }
        let Checked { out, crc, n_bytes } = out;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(Written { name: FILE, n_bytes, crc32: crc.sum() })
    }

    /// The header: its length; type, shape and place of every tensor; spaces for alignment.
    fn header(&self) -> Result<Vec<u8>> {
        let (n_ids, dim) = (self.ids.len(), self.embedding.dim());
        let mut infos = Vec::new();
        let mut begin = 0;
        let mut add = |name: &str, dtype: Dtype, shape: &[usize], element_bytes: usize| {
            let end = begin + shape.iter().product::<usize>() * element_bytes;
            infos.push((
                name.to_owned(),
                TensorInfo { dtype, shape: shape.to_vec(), data_offsets: (begin, end) },
            ));
            begin = end;
        };
        add("features", Dtype::U64, &[n_ids], WORD);
        add("rows", Dtype::F32, &[n_ids, dim], size_of::<f32>());
        if let Some(frequencies) = &self.frequencies {
            add("frequencies", Dtype::F32, &[frequencies.len()], size_of::<f32>());
        }
        for NamedTensor { name, shape, .. } in &self.network {
            add(&format!("network.{name}"), Dtype::F32, shape, size_of::<f32>());
        }
        let json = serde_json::to_vec(&Metadata::new(None, infos)?)?;
        let n_bytes = json.len().next_multiple_of(WORD);
        let mut header = (n_bytes as u64).to_le_bytes().to_vec();
        header.extend(json);
        header.resize(WORD + n_bytes, b' ');
        Ok(header)
    }
}

fn write_all(out: &mut impl Write, values: &[f32]) -> io::Result<()> {
    values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
}

/// A writer that computes length and checksum of what it passes on.
struct Checked<W> {
    out: W,
    crc: Crc,
    n_bytes: u64,
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.crc.update(&bytes[..n]);
        self.n_bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
