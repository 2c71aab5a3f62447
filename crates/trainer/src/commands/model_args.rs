//! The commands that use a trained model: what they share is which model and which rows.
//!
//! ```text
//! run directory ─► trained.rs ─┬─► eval      rows with labels ─► AUC, log-loss, calibration
//!                              ├─► predict   rows ─► a probability for each
//!                              ├─► export    rows ─► network, and a vector for every feature in them
//!                              └─► inspect   sizes, hot features
//! ```

use std::path::PathBuf;

use anyhow::Result;
use criteo_io::{BadRows, Prefetch, PrefetchConfig, Reader};
use dlrm_model::DeviceSpec;

use crate::config::{Config, dialect};
use crate::data::{EVAL_BATCH, PREFETCH_DEPTH};
use crate::train::trained::{self, Place, Trained, Which};

/// Which model.
#[derive(Clone, Debug, clap::Args)]
pub struct ModelArgs {
    /// The directory of the run that trained it
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// `last`, `best` by test AUC, or the number of a step
    #[arg(long, value_name = "WHICH", default_value = "last")]
    pub checkpoint: Which,
}

/// What computes with it, for the commands that score rows.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct DeviceArg {
    /// `cpu`, or `cuda:0` in a build with `--features cuda`; by default where it was trained
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceSpec>,
}

impl ModelArgs {
    /// Reads the model to score rows with it.
    ///
    /// # Errors
    /// As [`trained::open`].
    pub fn open_on(&self, DeviceArg { device }: DeviceArg) -> Result<Trained> {
        trained::open(&self.run, self.checkpoint, device.map_or(Place::AsTrained, Place::On))
    }

    /// Reads the model to look at it: any machine will do.
    ///
    /// # Errors
    /// As [`trained::open`].
    pub fn open(&self) -> Result<Trained> {
        trained::open(&self.run, self.checkpoint, Place::Anywhere)
    }
}

/// Rows of files in the run's format, for whoever has to do with rows that the run has not seen.
#[derive(Clone, Debug)]
pub struct Files<'a> {
    /// One stream, in this order; `-` is standard input.
    pub paths: &'a [PathBuf],
    /// Whether their rows lack the label, because they are to be scored.
    pub no_label: bool,
    /// Whether malformed rows may be left out.
    pub bad_rows: BadRows,
}

impl Files<'_> {
    /// Opens them, to be read ahead.
    ///
    /// # Errors
    /// If one can't be opened.
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
