//! `trainer synth`: generated rows into a file or a pipe.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use criteo_io::{Format, Record, RecordSource, RowWriter, Synth, SynthConfig};

/// What to write, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct SynthArgs {
    /// Rows to write
    #[arg(long)]
    pub rows: u64,
    /// Seed of the rows and of what is planted in them
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Rows from one change of the popular values to the next
    #[arg(long, default_value_t = SynthConfig::default().rows_per_day, value_parser = clap::value_parser!(u64).range(1..))]
    pub rows_per_day: u64,
    /// How the rows are written: criteo-kaggle, criteo-terabyte, avazu or kdd12
    #[arg(long, default_value_t = Format::CriteoKaggle)]
    pub format: Format,
    /// The file; `.gz` and `.zst` are compressed, `-` is standard output
    #[arg(long)]
    pub out: PathBuf,
}

/// Writes the rows. A file appears under its name only when it is whole.
///
/// # Errors
/// If it can't be written.
pub fn synth(args: &SynthArgs) -> Result<()> {
    if args.out.as_os_str() == "-" {
        let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        write_rows(args, &mut out)?;
        return Ok(out.flush()?);
    }
    let partial = PathBuf::from(format!("{}.partial", args.out.display()));
    let write = || {
        let file = BufWriter::with_capacity(1 << 16, File::create(&partial)?);
        write_file(args, &args.out, file)?;
        fs::rename(&partial, &args.out)
    };
    write().with_context(|| format!("{}: can't be written", args.out.display()))
}

fn write_file(args: &SynthArgs, name: &Path, mut file: BufWriter<File>) -> io::Result<()> {
    match name.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => {
            let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            write_rows(args, &mut gzip)?;
            gzip.finish()?.flush()
        }
        Some("zst") => {
            let mut zstd = zstd::Encoder::new(file, 1)?;
            zstd.include_checksum(true)?;
            write_rows(args, &mut zstd)?;
            zstd.finish()?.flush()
        }
        _ => {
            write_rows(args, &mut file)?;
            file.flush()
        }
    }
}

fn write_rows(args: &SynthArgs, out: &mut impl Write) -> io::Result<()> {
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
