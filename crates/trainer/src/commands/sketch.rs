//! `trainer sketch`: the theoretical bound for HotSketch and an experiment on a Zipf stream, or a
//! sweep over sizes.

mod stream;
mod sweep;

use std::path::PathBuf;

use anyhow::Result;
use cafe_core::{HotSketch, SketchConfig, VictimPolicy, theory};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Zipf;

use self::stream::{Streams, feature_id};
use crate::atomic_file::write_to;
use crate::text::{bytes, grouped, table};

/// Arguments of `trainer sketch`.
#[derive(Clone, Debug, clap::Args)]
pub struct SketchArgs {
    /// Exponent of the stream's Zipf distribution; in a sweep 1.1 by default
    #[arg(long, value_name = "Z", value_parser = positive, required_unless_present = "sweep")]
    pub skew: Option<f64>,
    /// Slots per bucket
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u32).range(1..=1024))]
    #[arg(required_unless_present = "sweep", conflicts_with = "sweep")]
    pub slots: Option<u32>,
    /// Number of buckets
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    #[arg(required_unless_present = "sweep", conflicts_with = "sweep")]
    pub buckets: Option<u32>,
    /// Observe the features with more than this share of the stream
    #[arg(long, value_name = "G", value_parser = proper_share)]
    #[arg(required_unless_present = "sweep", conflicts_with = "sweep")]
    pub share: Option<f64>,
    /// Number of distinct features
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    pub features: u64,
    /// Length of a stream; a sweep holds it in memory, at about 24 bytes per observation
    #[arg(long, value_name = "N", default_value_t = 2_000_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=u64::from(u32::MAX)))]
    pub observations: u64,
    /// Number of streams, each with its own seed; by default 5, or 3 in a sweep
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,
    /// Measure many sizes: recall, recall while the popular features change, and speed
    #[arg(long)]
    pub sweep: bool,
    /// File for the results of a sweep, as JSON; by default they are printed as tables
    // `requires = "sweep"` would be satisfied by an absent flag, which counts as false. Without a
    // sweep the conflicting arguments are required, so the conflict has the same effect.
    #[arg(long, value_name = "FILE.json", default_value = "-")]
    #[arg(conflicts_with_all = ["slots", "buckets", "share"])]
    pub out: PathBuf,
}

/// Runs the experiment or the sweep; returns the text to print.
///
/// # Errors
/// If the distribution does not exist (not with checked arguments), or a file cannot be written.
pub fn sketch(args: &SketchArgs) -> Result<String> {
    let SketchArgs { skew, slots, buckets, share, features, observations, seeds, .. } = *args;
    if args.sweep {
        let (skew, n_seeds) = (skew.unwrap_or(1.1), seeds.unwrap_or(3));
        return sweep_to(args, &Streams { skew, features, observations, n_seeds });
    }
    let (Some(skew), Some(slots), Some(buckets), Some(share)) = (skew, slots, buckets, share)
    else {
        unreachable!("clap requires all of them without --sweep");
    };
    let streams = Streams { skew, features, observations, n_seeds: seeds.unwrap_or(5) };
    let shape = SketchConfig {
        n_buckets: buckets as usize,
        slots: slots as usize,
        victim: VictimPolicy::Lightest,
        seed: 0,
    };
    compare(&streams, shape, share)
}

/// Runs a sweep, and writes or returns its results.
fn sweep_to(args: &SketchArgs, streams: &Streams) -> Result<String> {
    let figures = sweep::sweep(streams)?;
    if args.out.as_os_str() == "-" {
        return Ok(figures.text());
    }
    write_to(&args.out, |out| {
        serde_json::to_writer(&mut *out, &figures)?;
        Ok(writeln!(out)?)
    })?;
    Ok(table(&[("written", args.out.display().to_string())]))
}

/// Compares the theoretical bounds for a sketch with an experiment: of the features above `share`,
/// the part that the sketch holds. Its seed is that of the stream.
fn compare(streams: &Streams, config: SketchConfig, share: f64) -> Result<String> {
    let SketchConfig { n_buckets: buckets, slots, .. } = config;
    let Streams { skew, features, observations, n_seeds } = *streams;
    let zipf = streams.distribution()?;
    let (mut above, mut held) = (0_u64, 0_u64);
    for seed in 0..n_seeds {
        let found = one_stream(streams, zipf, SketchConfig { seed, ..config }, share);
        above += found.above;
        held += found.held;
    }
    let measured = if above == 0 {
        "no feature has such a share".to_owned()
    } else {
        format!(
            "{:.4} ({} of {} over {n_seeds} streams)",
            held as f64 / above as f64,
            grouped(held),
            grouped(above)
        )
    };
    let zipf_bound = if skew > 1.0 && buckets >= 6 {
        format!("{:.4}", theory::hold_probability_zipf(share, skew, buckets, slots))
    } else {
        "no bound (needs skew > 1 and 6 buckets)".to_owned()
    };
    let best = if skew > 1.0 {
        format!("{:.1}", theory::best_slots(skew))
    } else {
        "unknown for skew <= 1".to_owned()
    };
    Ok(table(&[
        (
            "sketch",
            format!(
                "{} buckets of {slots} slots, {}",
                grouped(buckets as u64),
                bytes((buckets * slots * HotSketch::SLOT_BYTES) as u64)
            ),
        ),
        (
            "stream",
            format!(
                "Zipf({skew}) over {} features, {} observations",
                grouped(features),
                grouped(observations)
            ),
        ),
        ("held, measured", measured),
        (
            "held, at least",
            format!(
                "{:.4} whatever the distribution",
                theory::hold_probability(share, buckets, slots)
            ),
        ),
        ("  for Zipf", zipf_bound),
        ("best slots", best),
    ]))
}

/// Features of a stream.
#[derive(Default)]
struct Found {
    /// Those above the share.
    above: u64,
    /// Those of them that the sketch holds at the end.
    held: u64,
}

/// Runs the experiment on the stream of the sketch's seed.
fn one_stream(streams: &Streams, zipf: Zipf<f64>, config: SketchConfig, share: f64) -> Found {
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    let mut sketch = HotSketch::new(config);
    let mut counts = vec![0_u32; streams.features as usize + 1];
    for _ in 0..streams.observations {
        let rank = rng.sample(zipf) as u64;
        counts[rank as usize] += 1;
        sketch.observe(feature_id(rank, config.seed), 1.0);
    }
    let least = share * streams.observations as f64;
    let above = (1..=streams.features).filter(|&rank| f64::from(counts[rank as usize]) > least);
    above.fold(Found::default(), |found, rank| {
        let is_held = sketch.get(feature_id(rank, config.seed)).is_some();
        Found { above: found.above + 1, held: found.held + u64::from(is_held) }
    })
}

fn positive(text: &str) -> Result<f64, String> {
    in_range(text, f64::MAX, "a positive number")
}

fn proper_share(text: &str) -> Result<f64, String> {
    in_range(text, 1.0 - f64::EPSILON, "a number between 0 and 1")
}

fn in_range(text: &str, high: f64, expected: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|&value: &f64| value > 0.0 && value <= high)
        .ok_or_else(|| format!("expected {expected}"))
}
