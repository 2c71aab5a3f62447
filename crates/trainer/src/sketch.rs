//! `trainer sketch`: the theory's bound on HotSketch beside an experiment on a Zipf stream.

use anyhow::Result;
use cafe_core::{FeatureId, HotSketch, SketchConfig, VictimPolicy, mix64, theory};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Zipf;

use crate::report::{bytes, grouped, table};

/// What to try.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct SketchArgs {
    /// Exponent of the Zipf distribution that the stream follows
    #[arg(long, value_name = "Z", value_parser = positive)]
    pub skew: f64,
    /// Slots a bucket
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub slots: u32,
    /// Buckets
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    pub buckets: u32,
    /// Watch the features with more than this share of the stream
    #[arg(long, value_name = "G", value_parser = proper_share)]
    pub share: f64,
    /// Different features
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    pub features: u64,
    /// Length of a stream
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..=u64::from(u32::MAX)))]
    pub observations: u64,
    /// Streams, each with a seed of its own
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
}

/// Measures and computes; returns the table.
///
/// # Errors
/// If the distribution does not exist; arguments from the command line have been checked.
pub fn sketch(args: SketchArgs) -> Result<String> {
    let SketchArgs { skew, slots, buckets, share, features, observations, seeds } = args;
    let (slots, buckets) = (slots as usize, buckets as usize);
    let zipf = Zipf::new(features as f64, skew)?;
    let (mut above, mut held) = (0_u64, 0_u64);
    for seed in 0..seeds {
        let (of_stream, kept) = one_stream(args, zipf, seed);
        above += of_stream;
        held += kept;
    }
    let measured = if above == 0 {
        "no feature has such a share".to_owned()
    } else {
        format!("{:.4} ({} of {} over {seeds} streams)", held as f64 / above as f64, grouped(held), grouped(above))
    };
    let zipf_bound = if skew > 1.0 && buckets >= 6 {
        format!("{:.4}", theory::hold_probability_zipf(share, skew, buckets, slots))
    } else {
        "nothing proven (needs skew > 1 and 6 buckets)".to_owned()
    };
    let best = if skew > 1.0 { format!("{:.1}", theory::best_slots(skew)) } else { "unknown for skew <= 1".to_owned() };
    Ok(table(&[
        (
            "sketch",
            format!(
                "{} buckets of {slots} slots, {}",
                grouped(buckets as u64),
                bytes((buckets * slots * HotSketch::SLOT_BYTES) as u64)
            ),
        ),
        ("stream", format!("Zipf({skew}) over {} features, {} observations", grouped(features), grouped(observations))),
        ("held, measured", measured),
        ("held, at least", format!("{:.4} whatever the distribution", theory::hold_probability(share, buckets, slots))),
        ("  for Zipf", zipf_bound),
        ("best slots", best),
    ]))
}

/// The features above the share in one stream, and how many of them are held at its end.
fn one_stream(args: SketchArgs, zipf: Zipf<f64>, seed: u64) -> (u64, u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (n_buckets, slots) = (args.buckets as usize, args.slots as usize);
    let mut sketch = HotSketch::new(SketchConfig { n_buckets, slots, victim: VictimPolicy::Lightest, seed });
    let id = |rank: u64| FeatureId::from_raw(mix64(rank, seed) >> (u64::BITS - FeatureId::BITS));
    let mut counts = vec![0_u32; args.features as usize + 1];
    for _ in 0..args.observations {
        let rank = rng.sample(zipf) as u64;
        counts[rank as usize] += 1;
        sketch.observe(id(rank), 1.0);
    }
    let least = args.share * args.observations as f64;
    let above = (1..=args.features).filter(|&rank| f64::from(counts[rank as usize]) > least);
    above.fold((0, 0), |(above, held), rank| (above + 1, held + u64::from(sketch.get(id(rank)).is_some())))
}

fn positive(text: &str) -> Result<f64, String> {
    in_range(text, f64::MAX, "a positive number")
}

fn proper_share(text: &str) -> Result<f64, String> {
    in_range(text, 1.0 - f64::EPSILON, "a number between 0 and 1")
}

fn in_range(text: &str, high: f64, expected: &str) -> Result<f64, String> {
    text.parse().ok().filter(|&value: &f64| value > 0.0 && value <= high).ok_or_else(|| format!("expected {expected}"))
}
