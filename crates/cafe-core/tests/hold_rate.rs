//! The theory of HotSketch against streams: what should be held is held, at least as often as
//! proven.

use cafe_core::{FeatureId, HotSketch, SketchConfig, VictimPolicy, mix64, theory};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Zipf;

const N_FEATURES: u64 = 100_000;
const N_OBSERVED: usize = 400_000;
const SEEDS: u64 = 8;

/// The share of the features above `gamma` of a Zipf stream that a sketch holds at its end, over
/// several hash seeds.
fn hold_rate(z: f64, w: usize, c: usize, gamma: f64) -> f64 {
    let zipf = Zipf::new(N_FEATURES as f64, z).expect("a valid exponent");
    let (mut held, mut all) = (0_u32, 0_u32);
    for seed in 0..SEEDS {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut counts = vec![0_u32; N_FEATURES as usize + 1];
        let mut sketch = HotSketch::new(SketchConfig {
            n_buckets: w,
            slots: c,
            victim: VictimPolicy::Lightest,
            seed,
        });
        for _ in 0..N_OBSERVED {
            let rank = rng.sample(zipf) as usize;
            counts[rank] += 1;
            sketch.observe(id(rank), 1.0);
        }
        for (rank, &count) in counts.iter().enumerate() {
            if f64::from(count) > gamma * N_OBSERVED as f64 {
                all += 1;
                held += u32::from(sketch.get(id(rank)).is_some());
            }
        }
    }
    assert!(all > 10, "too few features above {gamma} to say anything");
    f64::from(held) / f64::from(all)
}

fn id(rank: usize) -> FeatureId {
    FeatureId::from_raw(mix64(rank as u64, 0) >> (64 - FeatureId::BITS))
}

#[test]
fn hold_rate_is_at_least_what_is_proven() {
    for z in [1.1, 1.5, 2.0] {
        for (w, c) in [(200, 4), (100, 8)] {
            for gamma in [1e-3, 5e-3] {
                let proven = theory::hold_probability_zipf(gamma, z, w, c)
                    .max(theory::hold_probability(gamma, w, c));
                let measured = hold_rate(z, w, c, gamma);
                assert!(
                    measured >= proven,
                    "z = {z}, w = {w}, c = {c}, gamma = {gamma}: {measured} < {proven}"
                );
            }
        }
    }
}
