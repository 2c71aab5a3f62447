//! Threads change nothing: with one, two or four, every method returns the same bits and ends in the same state.

use cafe_core::{
    Alone, Budget, CafeConfig, CafeEmbedding, CafeSettings, Embedding, FeatureId, FieldRows, FullEmbedding,
    HashedConfig, HashedEmbedding, Medium, RowOptimizer, StateView, Workers,
};
use proptest::prelude::*;

const FEATURES: [u64; 5] = [4, 300, 4000, 40, 9000];
const DIM: usize = 10;
const BUDGET: u64 = 20_000;

/// `n` threads, started anew for each call.
struct Threads(usize);

impl Workers for Threads {
    fn run(&self, work: &(dyn Fn() + Sync)) {
        std::thread::scope(|scope| {
            for _ in 1..self.0 {
                scope.spawn(work);
            }
            work();
        });
    }
}

fn cafe(medium: Option<Medium>, optimizer: RowOptimizer) -> Box<dyn Embedding> {
    let settings =
        CafeSettings { threshold: 8.0, decay_factor: Some(0.9), medium, optimizer, ..CafeSettings::paper(10.0) };
    let config = CafeConfig::within(&FEATURES, DIM, Budget::Bytes(BUDGET), &settings).expect("fits");
    assert!(config.fields.iter().any(FieldRows::is_own), "a small field is tested, too");
    Box::new(CafeEmbedding::new(config))
}

fn all(optimizer: RowOptimizer) -> Vec<(&'static str, Box<dyn Embedding>)> {
    let hashed = HashedConfig::within(&FEATURES, DIM, BUDGET, optimizer, 3).expect("fits");
    vec![
        ("cafe", cafe(None, optimizer)),
        ("cafe, multi-level", cafe(Some(Medium::default()), optimizer)),
        ("hash", Box::new(HashedEmbedding::new(&hashed))),
        ("full", Box::new(FullEmbedding::new(&FEATURES, DIM, optimizer, 3))),
    ]
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Names and bits: a NaN or a sign of zero would show.
fn state_bits(embedding: &dyn Embedding) -> Vec<(&'static str, Vec<u64>)> {
    let bits = |view: &StateView<'_>| match view {
        StateView::F32(a) => a.iter().map(|v| u64::from(v.to_bits())).collect(),
        StateView::U32(a) => a.iter().map(|&v| u64::from(v)).collect(),
        StateView::U64(a) => a.to_vec(),
    };
    embedding.state().iter().map(|(name, view)| (*name, bits(view))).collect()
}

/// Ids in any order, skewed, and gradients; large enough to be shared between threads.
fn batches() -> impl Strategy<Value = Vec<(Vec<FeatureId>, Vec<f32>)>> {
    let occurrence = (0..FEATURES.len(), 0.0_f64..1.0)
        .prop_map(|(field, u)| FeatureId::new(field, (FEATURES[field] as f64 * 1.2 * u.powi(4)) as u32));
    let batch = (prop::collection::vec(occurrence, 1024..2100), any::<u64>()).prop_map(|(ids, seed)| {
        let grad = |k: usize| cafe_core::mix64(k as u64, seed) as i32 as f32 * 1e-10;
        let grads = (0..ids.len() * DIM).map(grad).collect();
        (ids, grads)
    });
    prop::collection::vec(batch, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_number_of_threads_gives_the_same_bits(
        batches in batches(),
        optimizer in prop_oneof![Just(RowOptimizer::Sgd), Just(RowOptimizer::RowWiseAdagrad { epsilon: 1e-10 })],
    ) {
        let threads: [&dyn Workers; 3] = [&Alone, &Threads(2), &Threads(4)];
        for which in 0..all(optimizer).len() {
            let mut outcomes = Vec::new();
            for &workers in &threads {
                let (name, mut embedding) = all(optimizer).swap_remove(which);
                let (mut read, mut stats) = (Vec::new(), Vec::new());
                for (ids, grads) in &batches {
                    let mut rows = vec![f32::NAN; grads.len()];
                    embedding.lookup_on(ids, &mut rows, workers);
                    read.push(bits(&rows));
                    stats.push(embedding.update_on(ids, grads, 0.1, workers));
                }
                outcomes.push((name, read, stats, state_bits(&*embedding)));
            }
            prop_assert!(outcomes[1] == outcomes[0], "{}: two threads differ from one", outcomes[0].0);
            prop_assert!(outcomes[2] == outcomes[0], "{}: four threads differ from one", outcomes[0].0);
        }
    }
}
