//! How well each method, and each lever of CAFE, learns a planted vector for every feature, at equal bytes and in
//! seconds: `cargo run --release -p cafe-core --example levers [-- SAMPLES [SEED]]`.
//!
//! Every field names a feature by a Zipf law. Every feature has a vector of its own and a part that its field has in
//! common; an embedding sees the gradient of the squared distance to it under noise, as it would from a model. The
//! number is the mean squared distance over the same law, without noise, as a share of the vectors' mean square: 1 is
//! what zeros would get, `full` is what a row for each feature gets. "Drift" changes the heads of all fields three
//! times, and measures by the last law. No model, so no AUC: it ranks levers, and says nothing of a data set.
#![allow(clippy::print_stdout, reason = "an example prints what it measures")]

use std::time::Instant;

use cafe_core::{
    Budget, BudgetError, CafeConfig, CafeEmbedding, CafeSettings, Cold, Embedding, FeatureId, FullEmbedding,
    HashedConfig, HashedEmbedding, HotRows, HotRule, Importance, Medium, RowFormat, Sketches, SlotLayout,
    UnifiedConfig, UnifiedEmbedding, UnifiedSettings, VictimPolicy, mix64, unit_f64,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Zipf;

/// Criteo Kaggle's fields, a tenth of the features in each large one.
const FEATURES: [u64; 26] = [
    1460, 583, 1_013_122, 220_260, 305, 24, 12_517, 633, 3, 93_145, 5683, 835_159, 3194, 27, 14_992, 546_130, 10, 5652,
    2173, 4, 704_654, 18, 15, 286_181, 105, 142_572,
];
const DIM: usize = 8;
/// Small, so that a row that many share still converges: it gets the sum of their gradients.
const BATCH: usize = 16;
const SKEW: f64 = 1.05;
const NOISE: f32 = 2.0;
/// Learning rates; the better one counts, since methods with several rows for a feature take larger steps.
const RATES: [f32; 2] = [0.005, 0.02];
/// Ranks of a field that drift makes others of.
const HEAD: u64 = 1000;
const RATIOS: [f64; 2] = [100.0, 1000.0];

/// What an embedding is trained and measured on: tokens by rank, and a vector for each feature.
struct World {
    samples: usize,
    seed: u64,
}

impl World {
    /// The ids of samples; `day` says who the head is.
    fn ids(&self, rng: &mut ChaCha8Rng, zipfs: &[Zipf<f64>], day: u64) -> Vec<FeatureId> {
        let mut ids = Vec::with_capacity(BATCH * zipfs.len());
        for _ in 0..BATCH {
            for (field, zipf) in zipfs.iter().enumerate() {
                let rank = rng.sample(zipf) as u64;
                let rank = if rank < HEAD { rank | day << 40 } else { rank };
                ids.push(FeatureId::new(field, mix64(rank, self.seed ^ field as u64) as u32));
            }
        }
        ids
    }

    fn target(&self, id: FeatureId) -> [f32; DIM] {
        std::array::from_fn(|k| {
            let part = |key: u64| (2.0 * unit_f64(mix64(key, self.seed ^ (k as u64 + 1) << 50)) - 1.0) as f32;
            part(id.raw()) + 0.5 * part(1 << 50 | id.field() as u64)
        })
    }

    /// The share of the vectors that is not learned, and seconds of training.
    fn error(&self, embedding: &mut dyn Embedding, days: u64, rate: f32) -> (f64, f64) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let zipfs = FEATURES.map(|n| Zipf::new(n as f64, SKEW).expect("a valid exponent"));
        let mut rows = vec![0.0; BATCH * FEATURES.len() * DIM];
        let n_batches = self.samples / BATCH;
        let mut seconds = 0.0;
        for batch in 0..n_batches {
            let ids = self.ids(&mut rng, &zipfs, batch as u64 * days / n_batches as u64);
            let start = Instant::now();
            embedding.lookup(&ids, &mut rows);
            seconds += start.elapsed().as_secs_f64();
            for (row, &id) in rows.chunks_exact_mut(DIM).zip(&ids) {
                for (value, target) in row.iter_mut().zip(self.target(id)) {
                    *value += NOISE * rng.random_range(-1.0..1.0) - target;
                }
            }
            let start = Instant::now();
            embedding.update(&ids, &rows, rate);
            seconds += start.elapsed().as_secs_f64();
        }
        let (mut error, mut total) = (0.0, 0.0);
        for _ in 0..1600 {
            let ids = self.ids(&mut rng, &zipfs, days - 1);
            embedding.lookup(&ids, &mut rows);
            for (row, &id) in rows.chunks_exact(DIM).zip(&ids) {
                for (value, target) in row.iter().zip(self.target(id)) {
                    error += f64::from(value - target).powi(2);
                    total += f64::from(target).powi(2);
                }
            }
        }
        (error / total, seconds)
    }
}

type Make = Box<dyn Fn(f64) -> Result<Box<dyn Embedding>, BudgetError>>;

fn cafe(settings: impl Fn(f64) -> CafeSettings + 'static) -> Make {
    Box::new(move |ratio| {
        let config = CafeConfig::within(&FEATURES, DIM, Budget::Compression(ratio), &settings(ratio))?;
        Ok(Box::new(CafeEmbedding::new(config)))
    })
}

fn methods() -> Vec<(&'static str, Make)> {
    let mut methods = alone();
    methods.extend(best());
    methods
}

/// Baselines, the paper's CAFE, and each lever by itself.
fn alone() -> Vec<(&'static str, Make)> {
    let bytes = |ratio| Budget::Compression(ratio).bytes(&FEATURES, DIM);
    let format = RowFormat::default();
    let quota = HotRule::Quota { hysteresis: 1.25 };
    let unified = Cold::Unified(UnifiedSettings::default());
    // A threshold for streams as short as these; the paper's are for forty million rows.
    let paper = |ratio| CafeSettings { threshold: 20.0, ..CafeSettings::paper(ratio) };
    vec![
        ("full", Box::new(move |_| Ok(Box::new(FullEmbedding::new(&FEATURES, DIM, format, 1)) as _))),
        (
            "hash",
            Box::new(move |ratio| {
                Ok(Box::new(HashedEmbedding::new(&HashedConfig::within(&FEATURES, DIM, bytes(ratio), format, 1)?)))
            }),
        ),
        (
            "unified",
            Box::new(move |ratio| {
                Ok(Box::new(UnifiedEmbedding::new(&UnifiedConfig::within(&FEATURES, DIM, bytes(ratio), format, 1)?)))
            }),
        ),
        ("cafe, as published", cafe(CafeSettings::paper)),
        ("cafe, K = 20", cafe(paper)),
        ("  last slot", cafe(move |ratio| CafeSettings { victim: VictimPolicy::LastSlot, ..paper(ratio) })),
        ("  by chance", cafe(move |ratio| CafeSettings { victim: VictimPolicy::ByChance, ..paper(ratio) })),
        ("  frequency", cafe(move |ratio| CafeSettings { importance: Importance::Frequency, ..paper(ratio) })),
        ("  a sketch a field", cafe(move |ratio| CafeSettings { sketches: Sketches::PerField, ..paper(ratio) })),
        ("  middle tier", cafe(move |ratio| CafeSettings { medium: Some(Medium::default()), ..paper(ratio) })),
        ("  write-back", cafe(move |ratio| CafeSettings { write_back: Some(0.1), ..paper(ratio) })),
        ("  quota", cafe(move |ratio| CafeSettings { rule: quota, threshold: 2.0, ..paper(ratio) })),
        (
            "  quota, by chance",
            cafe(move |ratio| CafeSettings {
                rule: quota,
                threshold: 2.0,
                victim: VictimPolicy::ByChance,
                ..paper(ratio)
            }),
        ),
        ("  residual", cafe(move |ratio| CafeSettings { hot: HotRows::Residual, ..paper(ratio) })),
        ("  unified cold", cafe(move |ratio| CafeSettings { cold: unified, ..paper(ratio) })),
        (
            "  unified, residual",
            cafe(move |ratio| CafeSettings { cold: unified, hot: HotRows::Residual, ..paper(ratio) }),
        ),
        (
            "  compact",
            cafe(move |ratio| CafeSettings {
                slots: 8,
                layout: SlotLayout::Compact { rows_per_bucket: 2 },
                ..paper(ratio)
            }),
        ),
        (
            "  compact, quota",
            cafe(move |ratio| CafeSettings {
                slots: 8,
                layout: SlotLayout::Compact { rows_per_bucket: 2 },
                rule: quota,
                threshold: 2.0,
                victim: VictimPolicy::ByChance,
                ..paper(ratio)
            }),
        ),
    ]
}

/// What the measurements chose, and what each choice brings.
fn best() -> Vec<(&'static str, Make)> {
    vec![
        ("cafe, best", cafe(CafeSettings::small_budget)),
        ("  residual", cafe(|ratio| CafeSettings { hot: HotRows::Residual, ..CafeSettings::small_budget(ratio) })),
        (
            "  always admitted",
            cafe(|ratio| CafeSettings { victim: VictimPolicy::LightestCold, ..CafeSettings::small_budget(ratio) }),
        ),
        ("  cold per field", cafe(|ratio| CafeSettings { cold: Cold::PerField, ..CafeSettings::small_budget(ratio) })),
        (
            "  with decay",
            cafe(|ratio| CafeSettings {
                decay_factor: Some(0.9),
                decay_every: Some(250_000.0),
                ..CafeSettings::small_budget(ratio)
            }),
        ),
        (
            "  full slots",
            cafe(|ratio| CafeSettings { slots: 4, layout: SlotLayout::Full, ..CafeSettings::small_budget(ratio) }),
        ),
        ("  4 rows of 16 slots", cafe(|ratio| compact_best(ratio, 4, 16))),
        ("  2 rows of 8 slots", cafe(|ratio| compact_best(ratio, 2, 8))),
        ("  2 rows of 4 slots", cafe(|ratio| compact_best(ratio, 2, 4))),
        ("  1 row of 4 slots", cafe(|ratio| compact_best(ratio, 1, 4))),
        (
            "  hysteresis 1.05",
            cafe(|ratio| CafeSettings {
                rule: HotRule::Quota { hysteresis: 1.05 },
                ..CafeSettings::small_budget(ratio)
            }),
        ),
        (
            "  hysteresis 2",
            cafe(|ratio| CafeSettings {
                rule: HotRule::Quota { hysteresis: 2.0 },
                ..CafeSettings::small_budget(ratio)
            }),
        ),
        ("  K = 5 at least", cafe(|ratio| CafeSettings { threshold: 5.0, ..CafeSettings::small_budget(ratio) })),
        ("  h = 0.2", cafe(|ratio| CafeSettings { shared_share: 0.2, ..CafeSettings::small_budget(ratio) })),
        ("  h = 0.35", cafe(|ratio| CafeSettings { shared_share: 0.35, ..CafeSettings::small_budget(ratio) })),
        ("  h = 0.5", cafe(|ratio| CafeSettings { shared_share: 0.5, ..CafeSettings::small_budget(ratio) })),
        ("  h = 0.9", cafe(|ratio| CafeSettings { shared_share: 0.9, ..CafeSettings::small_budget(ratio) })),
    ]
}

fn compact_best(ratio: f64, rows_per_bucket: usize, slots: usize) -> CafeSettings {
    CafeSettings { slots, layout: SlotLayout::Compact { rows_per_bucket }, ..CafeSettings::small_budget(ratio) }
}

fn main() {
    let arguments: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let samples = arguments.first().map_or(100_000, |&n| n as usize);
    let world = World { samples, seed: arguments.get(1).copied().unwrap_or(1) };
    println!("{samples} samples; the share of the vectors that was not learned");
    println!("{:24} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "CR 100", "CR 1000", "drift", "hot", "ns an id");
    for (name, make) in methods() {
        print!("{name:24}");
        let (mut hot_rows, mut seconds) = (0, 0.0);
        for (ratio, days) in [(RATIOS[0], 1), (RATIOS[1], 1), (RATIOS[1], 4)] {
            let mut least = f64::INFINITY;
            for rate in RATES {
                let Ok(mut embedding) = make(ratio) else { continue };
                let (error, took) = world.error(&mut *embedding, days, rate);
                (least, seconds) = (least.min(error), seconds + took / RATES.len() as f64);
                if days == 1 {
                    hot_rows = embedding.update(&[], &[], 0.0).hot_rows;
                }
            }
            print!(" {least:9.4}");
        }
        println!(" {hot_rows:9} {:9.0}", seconds * 1e9 / (3 * samples * FEATURES.len()) as f64);
    }
}
