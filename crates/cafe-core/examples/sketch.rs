//! Finds the heavy hitters of a skewed stream in 12 KiB: `cargo run --example sketch`.

use std::io::{self, Write};

use cafe_core::{FeatureId, HotSketch, SketchConfig, VictimPolicy, mix64, theory, unit_f64};

/// Different keys of the stream.
const N_KEYS: f64 = 1e6;
const N_OBSERVED: u64 = 1_000_000;

/// A key of rank k comes with a probability of about 1 / k.
fn key(at: u64) -> u64 {
    N_KEYS.powf(unit_f64(mix64(at, 1))) as u64
}

fn main() -> io::Result<()> {
    let mut sketch = HotSketch::new(SketchConfig {
        n_buckets: 256,
        slots: 4,
        victim: VictimPolicy::Lightest,
        seed: 1,
    });
    let mut exact = [0_u32; 11];
    for at in 0..N_OBSERVED {
        let key = key(at);
        sketch.observe(FeatureId::from_raw(key), 1.0);
        if let Some(count) = exact.get_mut(key as usize) {
            *count += 1;
        }
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{} bytes for {N_OBSERVED} observations", sketch.bytes())?;
    writeln!(out, "{:>4} {:>8} {:>8}", "key", "exact", "estimate")?;
    for (key, count) in (0_u64..).zip(exact).skip(1) {
        let estimate = sketch.estimate(FeatureId::from_raw(key));
        writeln!(out, "{key:>4} {count:>8} {estimate:>8}")?;
    }
    let held = theory::hold_probability(0.01, 256, 4);
    writeln!(out, "a key with 1 % of the stream is held with a probability of {held:.3} or more")
}
