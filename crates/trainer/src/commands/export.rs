//! `trainer export`: writes what a serving system needs to score rows without this program.

mod manifest;
mod tensors;

use std::fs;
use std::path::{Path, PathBuf};

use ahash::AHashSet;
use anyhow::{Context, Result, ensure};
use cafe_core::FeatureId;
use criteo_io::{Prefetch, StreamPosition};
use dlrm_model::TrainableModel;

use self::manifest::Manifest;
use self::tensors::Tensors;
use crate::atomic_file::{partial, sync_parent};
use crate::commands::model_args::{Files, ModelArgs};
use crate::config::{ByteSize, Config};
use crate::data::{DataSet, EVAL_BATCH};
use crate::text::{bytes, grouped};
use crate::train::trained::Trained;

/// Arguments of `trainer export`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The directory to create
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Files in the run's format, the features of which are exported; `-` is standard input. By
    /// default all rows of the run
    #[arg(long, value_name = "FILE", num_args = 1..)]
    data: Vec<PathBuf>,
    /// The rows of `--data` have no label column
    #[arg(long, requires = "data")]
    no_label: bool,
    /// Maximum size of the table of features
    #[arg(long, value_name = "SIZE", default_value = "4 GiB")]
    max_bytes: ByteSize,
}

/// The table of features is too large.
#[derive(Debug, thiserror::Error)]
#[error(
    "--max-bytes: the first {n_rows} rows have {n_features} different features, whose table takes \
     {needed} B at {feature_bytes} B each, and {limit} B are allowed; allow more, or give --data \
     with fewer rows"
)]
pub struct TooLarge {
    n_rows: u64,
    n_features: u64,
    feature_bytes: u64,
    needed: u64,
    limit: u64,
}

/// Writes the directory; returns the text to print.
///
/// It contains the network's parameters and the vector of every distinct feature in the given rows.
/// The compressed state would be smaller and have a vector for any feature, but a reader would have
/// to implement the hashes, sketches and number formats of every method; a table takes one line in
/// any language. Features that do not occur in the given rows are missing.
///
/// # Errors
/// If there is no such model, the directory exists, a row cannot be read, or the table would be too
/// large.
pub fn export(args: &ExportArgs) -> Result<String> {
    let out = &args.out;
    ensure!(
        fs::symlink_metadata(out).is_err(),
        "{}: exists already; give a new directory",
        out.display()
    );
    let trained = args.model.open()?;
    let mut features = Features::new(&trained, args.max_bytes.0);
    if args.data.is_empty() {
        features.add_run(&trained.config)?;
    } else {
        let bad_rows = trained.config.data.bad_rows();
        let files = Files { paths: &args.data, no_label: args.no_label, bad_rows };
        features.add(&mut files.open(&trained.config)?)?;
    }
    let (n_rows, ids) = (features.n_rows, features.sorted());
    let tensors = Tensors::new(&trained, &ids)?;
    let n_bytes = write(out, &trained, &tensors, n_rows)
        .with_context(|| format!("{}: the export was not written", out.display()))?;
    Ok(format!(
        "{} features of {} rows, and a network of {} parameters: {} in {}\n",
        grouped(ids.len() as u64),
        grouped(n_rows),
        grouped(trained.learner.model.n_parameters() as u64),
        bytes(n_bytes),
        out.display()
    ))
}

/// Writes the directory under another name and renames it once it is complete and durable; returns
/// its size in bytes.
fn write(out: &Path, trained: &Trained, tensors: &Tensors<'_>, n_rows: u64) -> Result<u64> {
    let partial = partial(out);
    fs::create_dir_all(&partial)?;
    let file = tensors.write(&partial.join(tensors::FILE))?;
    let n_bytes = file.n_bytes;
    let manifest =
        serde_json::to_string_pretty(&Manifest::new(trained, tensors.ids(), n_rows, file)?)? + "\n";
    let path = partial.join(manifest::FILE);
    fs::write(&path, &manifest)?;
    fs::File::open(&path)?.sync_all()?;
    sync_parent(&path)?;
    fs::rename(&partial, out)?;
    sync_parent(out)?;
    Ok(n_bytes + manifest.len() as u64)
}

/// The distinct features of some rows.
struct Features {
    seen: AHashSet<FeatureId>,
    n_rows: u64,
    feature_bytes: u64,
    limit: u64,
}

impl Features {
    fn new(trained: &Trained, limit: u64) -> Self {
        let dim = trained.learner.embedding.dim();
        let feature_bytes = tensors::feature_bytes(dim, trained.config.embedding.frequency_inputs);
        Self { seen: AHashSet::default(), n_rows: 0, feature_bytes, limit }
    }

    /// Adds all rows of the run, for training and test.
    fn add_run(&mut self, config: &Config) -> Result<()> {
        let data = DataSet::open(config)?;
        let mut train = data.train(EVAL_BATCH, StreamPosition::default())?;
        self.add(&mut train)?;
        self.add(&mut data.test(EVAL_BATCH, Some(train.finish()?))?)
    }

    fn add(&mut self, rows: &mut Prefetch) -> Result<()> {
        while let Some(batch) = rows.next_batch()? {
            self.n_rows += batch.len() as u64;
            self.seen.extend(&batch.ids);
            rows.recycle(batch);
            let (n_features, feature_bytes, limit) =
                (self.seen.len() as u64, self.feature_bytes, self.limit);
            let needed = n_features * feature_bytes;
            if needed > limit {
                return Err(TooLarge {
                    n_rows: self.n_rows,
                    n_features,
                    feature_bytes,
                    needed,
                    limit,
                }
                .into());
            }
        }
        Ok(())
    }

    fn sorted(self) -> Vec<FeatureId> {
        let mut ids: Vec<_> = self.seen.into_iter().collect();
        ids.sort_unstable();
        ids
    }
}
