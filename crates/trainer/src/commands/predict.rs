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
    /// Where the probabilities go, one a line, in the order of the rows; `-` is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The rows have no label column
    #[arg(long)]
    no_label: bool,
    /// Logits in place of probabilities
    #[arg(long)]
    logits: bool,
}

/// Scores all rows as they come; returns what is to be printed.
///
/// A probability is the `f64` sigmoid of the model's `f32` logit, in the fewest digits that give
/// the same `f64` back; below 1e-5 they have an exponent. A logit is written in the fewest digits
/// that give the same `f32` back.
///
/// # Errors
/// If there is no such model, a row can't be read, or the scores can't be written.
pub fn predict(args: &PredictArgs) -> Result<String> {
    let Trained { config, mut learner, state } = args.model.open_on(args.device)?;
    // Every row has a score at its place, so a malformed one is an error whatever the run does with
    // those.
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
                    writeln!(text, "{logit:?}")?
                } else {
                    writeln!(text, "{:?}", sigmoid(logit))?
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
