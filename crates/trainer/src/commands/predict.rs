//! `trainer predict`: a probability for every row.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use criteo_io::BadRows;
use dlrm_model::sigmoid;

use crate::atomic_file;
use crate::commands::model_args::{DeviceArg, Files, ModelArgs};
use crate::text::grouped;
use crate::train::trained::Trained;

/// Arguments of `trainer predict`.
#[derive(Clone, Debug, clap::Args)]
pub struct PredictArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    device: DeviceArg,
    /// Files in the run's format, read as one stream; `-` is standard input
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    /// Output file, one probability per line in the order of the rows; `-` is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The rows have no label column
    #[arg(long)]
    no_label: bool,
    /// Write logits instead of probabilities
    #[arg(long)]
    logits: bool,
}

/// Scores all rows; returns the text to print.
///
/// A probability is the `f64` sigmoid of the model's `f32` logit, in the fewest digits that are
/// read back as the same `f64`; below 1e-5 with an exponent. A logit is written in the fewest
/// digits that are read back as the same `f32`.
///
/// # Errors
/// If there is no such model, a row cannot be read, or the scores cannot be written.
pub fn predict(args: &PredictArgs) -> Result<String> {
    let Trained { config, mut learner, state } = args.model.open_on(args.device)?;
    // Line N is the score of row N, so a malformed row is an error even if the run skips them.
    let files = Files { paths: &args.data, no_label: args.no_label, bad_rows: BadRows::Error };
    let mut rows = files.open(&config)?;
    let (mut n_rows, mut text) = (0, Vec::new());
    atomic_file::write_to(&args.out, |out| {
        while let Some(batch) = rows.next_batch()? {
            let logits =
                learner.predict(&batch).with_context(|| format!("rows from {}", n_rows + 1))?;
            text.clear();
            for &logit in logits {
                if args.logits {
                    writeln!(text, "{logit:?}")?;
                } else {
                    writeln!(text, "{:?}", sigmoid(logit))?;
                }
            }
            out.write_all(&text)?;
            n_rows += batch.len() as u64;
            rows.recycle(batch);
        }
        Ok(())
    })?;
    if args.out.as_os_str() == "-" {
        return Ok(String::new());
    }
    let (name, step, out) = (config.name, grouped(state.counters.step), args.out.display());
    Ok(format!("{} rows scored by {name}, step {step}, to {out}\n", grouped(n_rows)))
}
