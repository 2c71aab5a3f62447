//! `trainer sketch`: the theory's bound on HotSketch beside an experiment on a Zipf stream.

use anyhow::{Result, ensure};
use cafe_core::{FeatureId, HotSketch, SketchConfig, VictimPolicy, mix64, theory};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Zipf;

use crate::report::{bytes, grouped, table};

/// What to try.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct SketchArgs {
    /// Exponent of the Zipf distribution that the stream follows
    #[arg(long, value_name = "Z")]
    pub skew: f64,
    /// Slots a bucket
    #[arg(long, value_name = "C")]
    pub slots: usize,
    /// Buckets
    #[arg(long, value_name = "W")]
    pub buckets: usize,
    /// Watch the features with more than this share of the stream
    #[arg(long, value_name = "G")]
    pub share: f64,
    /// Different features
    #[arg(long, default_value_t = 1_000_000)]
    pub features: u64,
    /// Length of a stream
    #[arg(long, default_value_t = 2_000_000)]
    pub observations: u64,
    /// Streams, each with a seed of its own
    #[arg(long, default_value_t = 5)]
    pub seeds: u64,
}

/// Measures and computes; returns the table.
///
/// # Errors
/// If an argument is out of range.
pub fn sketch(args: SketchArgs) -> Result<String> {
    let SketchArgs { skew, slots, buckets, share, features, observations, seeds } = args;
    ensure!(skew > 0.0 && skew.is_finite(), "--skew: expected a positive number, got {skew}");
    ensure!(slots > 0 && buckets > 0, "--slots and --buckets: expected at least 1");
    ensure!(buckets.checked_mul(slots).is_some_and(|n| n <= 1 << 31), "--buckets times --slots: expected at most 2^31");
    ensure!(share > 0.0 && share < 1.0, "--share: expected a number between 0 and 1, got {share}");
    ensure!((1..=1 << 32).contains(&features), "--features: expected 1 to 2^32, got {features}");
    ensure!(observations > 0 && seeds > 0, "--observations and --seeds: expected at least 1");
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
    let (n_buckets, slots) = (args.buckets, args.slots);
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
