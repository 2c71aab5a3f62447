//! Arguments shared by the commands that use a trained model: which model, and which rows.
//!
//! ```text
//! run directory ─► trained.rs ─┬─► eval      rows with labels ─► AUC, log-loss, calibration
//!                              ├─► predict   rows ─► a probability for each
//!                              ├─► export    rows ─► network, and a vector per feature in them
//!                              └─► inspect   sizes, hot features
//! ```

use std::path::PathBuf;

use anyhow::Result;
use criteo_io::{BadRows, Prefetch, PrefetchConfig, Reader};
use dlrm_model::DeviceSpec;

use crate::config::{Config, dialect};
use crate::data::{EVAL_BATCH, PREFETCH_DEPTH};
use crate::train::trained::{self, Place, Trained, Which};

/// Selects a model.
#[derive(Clone, Debug, clap::Args)]
pub struct ModelArgs {
    /// The directory of the run that trained it
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// `last`, `best` by test AUC, or the number of a step
    #[arg(long, value_name = "WHICH", default_value = "last")]
    pub checkpoint: Which,
}

/// Selects the device, for the commands that score rows.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct DeviceArg {
    /// `cpu`, or `cuda:0` in a build with `--features cuda`; by default that of training
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceSpec>,
}

impl ModelArgs {
    /// Loads the model onto a device, to score rows with it.
    ///
    /// # Errors
    /// Those of [`trained::open`].
    pub fn open_on(&self, device: DeviceArg) -> Result<Trained> {
        trained::open(&self.run, self.checkpoint, device.device.map_or(Place::AsTrained, Place::On))
    }

    /// Loads the model to inspect it, on any device.
    ///
    /// # Errors
    /// Those of [`trained::open`].
    pub fn open(&self) -> Result<Trained> {
        trained::open(&self.run, self.checkpoint, Place::Anywhere)
    }
}

/// Files in the run's format, other than those that it was trained on.
#[derive(Clone, Debug)]
pub struct Files<'a> {
    /// The files, read in this order as one stream; `-` is standard input.
    pub paths: &'a [PathBuf],
    /// Whether their rows have no label column.
    pub no_label: bool,
    /// Whether malformed rows may be skipped.
    pub bad_rows: BadRows,
}

impl Files<'_> {
    /// Opens the files, to be read ahead on another thread.
    ///
    /// # Errors
    /// If a file cannot be opened.
    pub fn open(&self, config: &Config) -> Result<Prefetch> {
        let dialect = dialect::dialect(config)?;
        let dialect = if self.no_label { dialect.without_label() } else { dialect };
        let reader = Reader::open(self.paths.to_vec(), dialect)?;
        let options = PrefetchConfig {
            bad_rows: self.bad_rows,
            ..PrefetchConfig::new(EVAL_BATCH, PREFETCH_DEPTH)
        };
        Ok(Prefetch::spawn(Box::new(reader), options))
    }
}
