//! `trainer synth`: writes generated rows to a file or a pipe.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use criteo_io::{Format, Record, RecordSource, RowWriter, Synth, SynthConfig};

use crate::atomic_file;

/// Arguments of `trainer synth`.
#[derive(Clone, Debug, clap::Args)]
pub struct SynthArgs {
    /// Rows to write
    #[arg(long)]
    pub rows: u64,
    /// Seed of the rows and of the effects planted in them
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Rows per day; each day other values are popular
    #[arg(long, default_value_t = SynthConfig::default().rows_per_day)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub rows_per_day: u64,
    /// Format of the rows: criteo-kaggle, criteo-terabyte, avazu or kdd12
    #[arg(long, default_value_t = Format::CriteoKaggle)]
    pub format: Format,
    /// The file; `.gz` and `.zst` are compressed, `-` is standard output
    #[arg(long)]
    pub out: PathBuf,
}

/// Writes the rows. A file appears under its name only once it is complete.
///
/// # Errors
/// If it cannot be written.
pub fn synth(args: &SynthArgs) -> Result<()> {
    atomic_file::write_to(&args.out, |out| Ok(write_compressed(args, out)?))
}

fn write_compressed(args: &SynthArgs, out: &mut dyn Write) -> io::Result<()> {
    match args.out.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => {
            let mut gzip = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            write_rows(args, &mut gzip)?;
            gzip.finish()?.flush()
        }
        Some("zst") => {
            let mut zstd = zstd::Encoder::new(out, 1)?;
            zstd.include_checksum(true)?;
            write_rows(args, &mut zstd)?;
            zstd.finish()?.flush()
        }
        _ => write_rows(args, out),
    }
}

fn write_rows(args: &SynthArgs, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let config = SynthConfig { seed: args.seed, rows_per_day: args.rows_per_day };
    let mut rows = Synth::new(config, 0..args.rows);
    let (mut record, mut line) = (Record::default(), Vec::new());
    let mut writer = RowWriter::new(args.format, config, 0);
    writer.write_header(&mut line);
    out.write_all(&line)?;
    while rows.read_record(&mut record).map_err(io::Error::other)? {
        line.clear();
        writer.write(&record, &mut line);
        out.write_all(&line)?;
    }
    Ok(())
}
