//! `trainer sketch --sweep`: recall and speed of HotSketch by size.

use std::collections::HashSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use cafe_core::{FeatureId, HotSketch, SketchConfig, VictimPolicy, theory};

use super::stream::{Streams, feature_id, top};
use crate::results::sketch_findings::{
    AtEnd, DRIFT_BYTES, Drift, EIGHTHS, Findings, MEMORIES, SLOTS, Speed,
};

/// Points at which recall is measured in each of the [`EIGHTHS`].
const POINTS: usize = 4;
/// The factor of scores after each point, with decay.
const DECAY: f32 = 0.5;
/// Number of most frequent features that are searched for.
const TOP: usize = 512;

/// Size of a sketch.
#[derive(Clone, Copy)]
struct Size {
    /// Slots per bucket.
    slots: usize,
    bytes: usize,
}

/// Features with weights, which are all 1: frequencies are measured.
type Observations = Vec<(FeatureId, f32)>;

/// Measures every size on every stream.
pub(super) fn sweep(streams: &Streams) -> Result<Findings> {
    let sizes: Vec<Size> =
        SLOTS.iter().flat_map(|&slots| MEMORIES.map(|bytes| Size { slots, bytes })).collect();
    let mut times = vec![Times::default(); sizes.len()];
    let (mut recall, mut drift) = (Vec::new(), Vec::new());
    for seed in 0..streams.n_seeds {
        let ranks = streams.ranks(seed)?;
        let stream = Steady::new(streams, &ranks, seed);
        for (&size, times) in sizes.iter().zip(&mut times) {
            recall.push(stream.recall(size, times));
        }
        let parts = drifting(&ranks, seed);
        for slots in SLOTS {
            for decay in [false, true] {
                drift.extend(recall_of_parts(&parts, seed, slots, decay));
            }
        }
    }
    let Streams { skew, features, observations, n_seeds } = *streams;
    let n_observed = (observations * n_seeds) as f64;
    let speed =
        sizes.iter().zip(times).map(|(&size, times)| times.speed(size, n_observed)).collect();
    Ok(Findings {
        format: 1,
        skew,
        features,
        observations,
        seeds: (0..n_seeds).collect(),
        recall,
        drift,
        speed,
    })
}

/// An empty sketch. It always admits a new feature, as the theory assumes; there are no rows whose
/// owners could be spared.
fn sketch(size: Size, seed: u64) -> HotSketch {
    let Size { slots, bytes } = size;
    let n_buckets = bytes / HotSketch::SLOT_BYTES / slots;
    HotSketch::new(SketchConfig { n_buckets, slots, victim: VictimPolicy::Lightest, seed })
}

/// The share of `top` that the sketch holds.
fn held_share(sketch: &HotSketch, top: &[FeatureId]) -> f64 {
    top.iter().filter(|&&id| sketch.get(id).is_some()).count() as f64 / top.len() as f64
}

/// The share of `top` that is among the same number of highest scores: those features would own the
/// rows, if there were that many.
fn heaviest_share(sketch: &HotSketch, top: &[FeatureId]) -> f64 {
    let mut all: Vec<_> = sketch.iter().collect();
    all.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
    let heaviest: HashSet<_> = all.iter().take(top.len()).map(|held| held.id).collect();
    top.iter().filter(|id| heaviest.contains(id)).count() as f64 / top.len() as f64
}

/// Time spent on one size.
#[derive(Clone, Copy, Default)]
struct Times {
    observing: Duration,
    estimating: Duration,
}

impl Times {
    fn speed(self, size: Size, n: f64) -> Speed {
        let Size { slots, bytes } = size;
        // At least 1 ns, the clock's resolution: JSON cannot express an infinite rate.
        let per_second = |time: Duration| n / time.as_secs_f64().max(1e-9);
        let (observe_per_second, estimate_per_second) =
            (per_second(self.observing), per_second(self.estimating));
        Speed { slots, bytes, observe_per_second, estimate_per_second }
    }
}

/// A stream without drift.
struct Steady {
    seed: u64,
    pairs: Observations,
    top: Vec<FeatureId>,
    skew: f64,
    /// The probability of the least frequent of `top`.
    last_share: f64,
}

impl Steady {
    fn new(streams: &Streams, ranks: &[u32], seed: u64) -> Self {
        let id = |rank: u32| feature_id(u64::from(rank), seed);
        let pairs = ranks.iter().map(|&rank| (id(rank), 1.0)).collect();
        let top: Vec<_> = top(ranks, TOP).into_iter().map(id).collect();
        let last_share = streams.share(top.len() as u64);
        Self { seed, pairs, top, skew: streams.skew, last_share }
    }

    /// Recall at the end of the stream. Adds to `times` that of the observations, and that of an
    /// estimate for each of them.
    fn recall(&self, size: Size, times: &mut Times) -> AtEnd {
        let Size { slots, bytes } = size;
        let mut sketch = sketch(size, self.seed);
        let started = Instant::now();
        sketch.observe_each(&self.pairs, |_| ());
        times.observing += started.elapsed();
        self.estimate(&sketch, times);
        let bound = self.bound(sketch.config());
        AtEnd {
            slots,
            bytes,
            top: self.top.len(),
            seed: self.seed,
            recall: held_share(&sketch, &self.top),
            bound,
        }
    }

    fn estimate(&self, sketch: &HotSketch, times: &mut Times) {
        // Large enough that reading the clock takes no measurable time.
        const CHUNK: usize = 1 << 14;
        let (mut ids, mut scores) = (Vec::with_capacity(CHUNK), vec![0.0; CHUNK]);
        for pairs in self.pairs.chunks(CHUNK) {
            ids.clear();
            ids.extend(pairs.iter().map(|pair| pair.0));
            let scores = &mut scores[..ids.len()];
            let started = Instant::now();
            sketch.estimate_each(&ids, scores);
            times.estimating += started.elapsed();
            black_box(scores);
        }
    }

    /// The better of the two lower bounds of the probability that the least frequent of `top` is
    /// held; those of the others are higher. `None` if there is no bound.
    fn bound(&self, config: SketchConfig) -> Option<f64> {
        let SketchConfig { n_buckets, slots, .. } = config;
        let (share, skew) = (self.last_share.min(1.0), self.skew);
        if share <= 0.0 {
            return None;
        }
        let of_any = theory::hold_probability(share, n_buckets, slots);
        let has_zipf_bound = skew > 1.0 && n_buckets >= 6;
        let of_zipf = if has_zipf_bound {
            theory::hold_probability_zipf(share, skew, n_buckets, slots)
        } else {
            0.0
        };
        Some(of_any.max(of_zipf)).filter(|&bound| bound > 0.0)
    }
}

/// A part of a stream without drift, and its most frequent features.
struct Part {
    pairs: Observations,
    top: Vec<FeatureId>,
}

/// The parts of a stream in which each rank is another feature in every eighth. Empty parts are
/// left out.
fn drifting(ranks: &[u32], seed: u64) -> Vec<Part> {
    let ends = (0..=EIGHTHS).map(|eighth| ranks.len() * eighth / EIGHTHS).collect::<Vec<_>>();
    let parts = ends.windows(2).zip(0_u64..).map(|(ends, eighth)| {
        let ranks = &ranks[ends[0]..ends[1]];
        let id = |rank: u32| feature_id(u64::from(rank) | (eighth << u32::BITS), seed);
        let pairs = ranks.iter().map(|&rank| (id(rank), 1.0)).collect();
        Part { pairs, top: top(ranks, TOP).into_iter().map(id).collect() }
    });
    parts.filter(|part| !part.pairs.is_empty()).collect()
}

/// Recall of a sketch that observes the parts one after another: of the current part's top, at
/// [`POINTS`] points of each.
fn recall_of_parts(parts: &[Part], seed: u64, slots: usize, decay: bool) -> Vec<Drift> {
    let bytes = DRIFT_BYTES;
    let mut sketch = sketch(Size { slots, bytes }, seed);
    let (mut found, mut observations) = (Vec::with_capacity(parts.len() * POINTS), 0);
    for Part { pairs, top } in parts {
        for point in 1..=POINTS {
            let (start, end) = (pairs.len() * (point - 1) / POINTS, pairs.len() * point / POINTS);
            sketch.observe_each(&pairs[start..end], |_| ());
            observations += end - start;
            let recall = heaviest_share(&sketch, top);
            found.push(Drift { slots, bytes, top: top.len(), seed, observations, recall, decay });
            if decay {
                sketch.decay(DECAY);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
        let numbers: Vec<_> = numbers.collect();
        assert!(!numbers.is_empty());
        numbers.iter().sum::<f64>() / numbers.len() as f64
    }

    #[test]
    fn recall_exceeds_the_proven_bound() {
        let mut proven = 0;
        for skew in [1.1, 1.6] {
            let streams = Streams { skew, features: 20_000, observations: 60_000, n_seeds: 20 };
            let seeds = (0..streams.n_seeds).map(|seed| {
                let ranks = streams.ranks(seed).expect("a distribution");
                Steady::new(&streams, &ranks, seed)
            });
            let seeds: Vec<_> = seeds.collect();
            for slots in SLOTS {
                let of_memory = MEMORIES.map(|bytes| {
                    let found: Vec<_> = seeds
                        .iter()
                        .map(|it| it.recall(Size { slots, bytes }, &mut Times::default()))
                        .collect();
                    let recall = mean(found.iter().map(|it| it.recall));
                    for bound in found.iter().filter_map(|it| it.bound) {
                        assert!(
                            bound <= recall,
                            "{skew}, {slots} slots, {bytes} B: {recall} < {bound}"
                        );
                        proven += 1;
                    }
                    recall
                });
                assert!(
                    of_memory.iter().all(|recall| (0.0..=1.0).contains(recall)),
                    "{of_memory:?}"
                );
                assert!(
                    of_memory.is_sorted(),
                    "more memory holds more: {skew}, {slots} slots: {of_memory:?}"
                );
            }
        }
        assert!(proven > 100, "{proven} bounds");
    }

    #[test]
    fn decay_finds_new_features() {
        let streams = Streams { skew: 1.1, features: 100_000, observations: 400_000, n_seeds: 2 };
        let found = sweep(&streams).expect("a distribution");
        assert_eq!(found.recall.len(), 2 * SLOTS.len() * MEMORIES.len());
        assert_eq!(found.drift.len(), 2 * SLOTS.len() * 2 * EIGHTHS * POINTS);
        for slots in SLOTS {
            let last = |decay: bool| {
                let points = found.drift.iter().filter(|it| (it.slots, it.decay) == (slots, decay));
                mean(points.filter(|it| it.observations > 350_000).map(|it| it.recall))
            };
            assert!(
                last(true) > last(false) + 0.2,
                "{slots} slots: {} with, {} without",
                last(true),
                last(false)
            );
        }
    }

    /// If the sketch has room for all features, scores are exact.
    #[test]
    fn sketch_with_room_ranks_exactly() {
        let streams = Streams { skew: 1.3, features: 1000, observations: 8000, n_seeds: 1 };
        let parts = drifting(&streams.ranks(0).expect("a distribution"), 0);
        let found = recall_of_parts(&parts[..1], 0, 32, false);
        assert_eq!(
            found.iter().map(|it| it.observations).collect::<Vec<_>>(),
            [250, 500, 750, 1000]
        );
        assert_eq!((found[3].recall, found[3].top), (1.0, parts[0].top.len()));
        assert!(found[0].recall < found[3].recall, "not all have come yet: {found:?}");
    }

    #[test]
    fn stream_of_one_observation() {
        let found = sweep(&Streams { skew: 0.9, features: 1, observations: 1, n_seeds: 1 })
            .expect("a distribution");
        assert!(found.recall.iter().all(|it| (it.recall, it.top) == (1.0, 1)), "{found:?}");
        assert_eq!(found.drift.len(), 2 * SLOTS.len() * POINTS);
        assert!(found.text().lines().all(|line| !line.contains("NaN")), "{}", found.text());
    }
}
