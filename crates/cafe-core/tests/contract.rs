//! What every [`Embedding`] promises, tested on every one, in every setting that matters.

use std::collections::BTreeMap;

use cafe_core::{
    Budget, CafeConfig, CafeEmbedding, CafeSettings, Embedding, FeatureId, FullEmbedding, HashedConfig,
    HashedEmbedding, Importance, Medium, RowOptimizer, StateError, StateView, VictimPolicy, mix64,
};

const FEATURES: [u64; 4] = [5, 300, 4000, 40];
const DIM: usize = 6;
const BUDGET: u64 = 8000;
const ADAGRAD: RowOptimizer = RowOptimizer::RowWiseAdagrad { epsilon: 1e-10 };

/// Settings under which promotions, demotions and decays all happen within a few steps.
fn lively() -> CafeSettings {
    CafeSettings { threshold: 8.0, decay_factor: Some(0.9), ..CafeSettings::paper(10.0) }
}

fn cafe(settings: &CafeSettings) -> Box<dyn Embedding> {
    Box::new(CafeEmbedding::new(CafeConfig::within(&FEATURES, DIM, Budget::Bytes(BUDGET), settings).expect("fits")))
}

fn all() -> Vec<(&'static str, Box<dyn Embedding>)> {
    let hashed = |optimizer| {
        Box::new(HashedEmbedding::new(&HashedConfig::within(&FEATURES, DIM, BUDGET, optimizer, 3).expect("fits")))
    };
    vec![
        ("full", Box::new(FullEmbedding::new(&FEATURES, DIM, RowOptimizer::Sgd, 3))),
        ("full, adagrad", Box::new(FullEmbedding::new(&FEATURES, DIM, ADAGRAD, 3))),
        ("hash", hashed(RowOptimizer::Sgd)),
        ("hash, adagrad", hashed(ADAGRAD)),
        ("cafe", cafe(&lively())),
        ("cafe, adagrad", cafe(&CafeSettings { optimizer: ADAGRAD, ..lively() })),
        ("cafe, multi-level", cafe(&CafeSettings { medium: Some(Medium::default()), ..lively() })),
        ("cafe, no row spared", cafe(&CafeSettings { victim: VictimPolicy::Lightest, ..lively() })),
        ("cafe, last slot", cafe(&CafeSettings { victim: VictimPolicy::LastSlot, ..lively() })),
        ("cafe, frequency", cafe(&CafeSettings { importance: Importance::Frequency, ..lively() })),
    ]
}

/// A skewed batch with duplicates and missing values, and gradients; a function of `step`.
fn batch(step: u64, n_samples: usize) -> (Vec<FeatureId>, Vec<f32>) {
    let mut ids = Vec::new();
    for sample in 0..n_samples as u64 {
        for (field, &n) in FEATURES.iter().enumerate() {
            let hash = mix64(sample * 131 + field as u64, step);
            let skewed = (hash % n) * (hash >> 40) % n;
            ids.push(match hash >> 60 {
                0 => FeatureId::missing(field),
                1..8 => FeatureId::new(field, skewed as u32 % 7),
                _ => FeatureId::new(field, skewed as u32),
            });
        }
    }
    let grads = (0..ids.len() * DIM).map(|i| (mix64(i as u64, !step) as i32) as f32 * 1e-10);
    let grads = grads.collect();
    (ids, grads)
}

fn lookup(embedding: &dyn Embedding, ids: &[FeatureId]) -> Vec<f32> {
    let mut out = vec![f32::NAN; ids.len() * embedding.dim()];
    embedding.lookup(ids, &mut out);
    out
}

fn train(embedding: &mut dyn Embedding, steps: std::ops::Range<u64>) -> (u64, u64) {
    let (mut promoted, mut demoted) = (0, 0);
    for step in steps {
        let (ids, grads) = batch(step, 32);
        let stats = embedding.update(&ids, &grads, 0.1);
        promoted += stats.promoted;
        demoted += stats.demoted;
    }
    (promoted, demoted)
}

#[test]
fn lookup_is_a_function_of_the_id_and_changes_nothing() {
    for (name, mut embedding) in all() {
        train(&mut *embedding, 0..20);
        let (ids, _) = batch(77, 16);
        let together = lookup(&*embedding, &ids);
        assert!(together.iter().all(|v| v.is_finite()), "{name}");
        for (&id, expected) in ids.iter().zip(together.chunks_exact(DIM)) {
            assert_eq!(lookup(&*embedding, &[id]), expected, "{name}: {id}");
        }
        assert!(lookup(&*embedding, &[]).is_empty());
    }
}

#[test]
fn a_first_step_moves_a_row_against_its_gradient() {
    for (name, mut embedding) in all() {
        let ids = [FeatureId::new(2, 1234), FeatureId::missing(0)];
        let before = lookup(&*embedding, &ids);
        let grads: Vec<f32> = (0..2 * DIM).map(|k| k as f32 - 4.0).collect();
        embedding.update(&ids, &grads, 0.01);
        for ((after, before), g) in lookup(&*embedding, &ids).iter().zip(&before).zip(&grads) {
            assert!((before - after) * g >= 0.0 && (*g == 0.0 || after != before), "{name}");
        }
    }
}

#[test]
fn duplicates_are_one_step_with_the_summed_gradient() {
    let [a, b] = [FeatureId::new(1, 5), FeatureId::new(2, 6)];
    let g = |scale: f32| (0..DIM).map(|k| scale * (k as f32 + 1.0)).collect::<Vec<_>>();
    for ((name, mut twice), (_, mut once)) in all().into_iter().zip(all()) {
        twice.update(&[a, b, a], &[g(1.0), g(3.0), g(2.0)].concat(), 0.1);
        once.update(&[a, b], &[g(3.0), g(3.0)].concat(), 0.1);
        assert_eq!(lookup(&*twice, &[a, b]), lookup(&*once, &[a, b]), "{name}");
    }
}

#[test]
fn equal_calls_give_equal_states() {
    for ((name, mut one), (_, mut other)) in all().into_iter().zip(all()) {
        train(&mut *one, 0..60);
        train(&mut *other, 0..60);
        assert_eq!(one.state(), other.state(), "{name}");
    }
}

#[test]
fn memory_stays_within_the_budget_and_fixed() {
    for (name, mut embedding) in all() {
        let before = embedding.memory();
        train(&mut *embedding, 0..60);
        if !name.starts_with("full") {
            assert_eq!(embedding.memory(), before, "{name}");
            assert!(before.embedding_bytes() + before.index_bytes <= BUDGET, "{name}: {before:?}");
        }
    }
}

#[test]
fn a_restored_embedding_goes_on_as_if_never_interrupted() {
    for ((name, mut original), (_, mut restored)) in all().into_iter().zip(all()) {
        train(&mut *original, 0..40);
        train(&mut *restored, 500..510); // something else, to be overwritten
        restored.restore(&original.state().into_iter().collect()).expect("own state");
        assert_eq!(restored.state(), original.state(), "{name}");
        let counts = train(&mut *original, 40..80);
        assert_eq!(train(&mut *restored, 40..80), counts, "{name}");
        assert_eq!(restored.state(), original.state(), "{name}");
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused_whole() {
    for (name, mut embedding) in all() {
        train(&mut *embedding, 0..10);
        let sound: BTreeMap<_, _> = embedding.state().into_iter().collect();
        for missing in sound.keys() {
            let (_, mut other) = all().into_iter().find(|(n, _)| *n == name).expect("the same");
            let before: Vec<_> = other.state().into_iter().map(|(n, v)| (n, format!("{v:?}"))).collect();
            let mut partial = sound.clone();
            partial.remove(missing);
            assert!(matches!(other.restore(&partial), Err(StateError::Missing { .. })), "{name}: {missing}");
            let after: Vec<_> = other.state().into_iter().map(|(n, v)| (n, format!("{v:?}"))).collect();
            assert_eq!(before, after, "{name}: {missing}");
        }
    }
}

#[test]
fn a_damaged_state_is_refused_whole() {
    for (name, mut embedding) in all() {
        train(&mut *embedding, 0..40);
        let sound: BTreeMap<_, _> = embedding.state().into_iter().map(|(n, view)| (n, owned(&view))).collect();
        for (array, view) in &sound {
            for damaged in damages(array, view) {
                let mut state = sound.clone();
                state.insert(array, damaged);
                let refused = embedding.restore(&state);
                assert!(refused.is_err(), "{name}: {array} {:?}", state[array]);
                let now: BTreeMap<_, _> = embedding.state().into_iter().map(|(n, view)| (n, owned(&view))).collect();
                assert_eq!(now, sound, "{name}: {array} was refused, but something changed");
            }
        }
    }
}

fn owned(view: &StateView<'_>) -> StateView<'static> {
    match view {
        StateView::F32(a) => StateView::F32(a.to_vec().into()),
        StateView::U32(a) => StateView::U32(a.to_vec().into()),
        StateView::U64(a) => StateView::U64(a.to_vec().into()),
    }
}

/// What no run can have written: another kind, another length, and values out of range.
fn damages(array: &str, view: &StateView<'static>) -> Vec<StateView<'static>> {
    let nan = f64::NAN.to_bits();
    match view {
        StateView::F32(a) if a.is_empty() => vec![StateView::F32(vec![0.0].into())],
        StateView::F32(a) => {
            let mut with_nan = a.to_vec();
            with_nan[a.len() / 2] = f32::NAN;
            vec![
                StateView::F32(with_nan.into()),
                StateView::F32(a[1..].to_vec().into()),
                StateView::U32(vec![1].into()),
            ]
        }
        StateView::U64(_) if array == "own_ids" => {
            vec![StateView::U64(vec![u64::MAX].into()), StateView::F32(vec![].into())]
        }
        StateView::U64(_) => vec![StateView::U64(vec![nan].into()), StateView::U64(vec![].into())],
        StateView::U32(a) if a.is_empty() => vec![StateView::U32(vec![7].into())],
        StateView::U32(a) => {
            // Two owners of a row, or two slots of an id: the first entry twice. And a row that isn't there.
            let width = if array == "sketch_slots" { 3 } else { 1 };
            let used = a.chunks(width).position(|slot| width == 1 || slot[2] != 0).expect("an entry in use") * width;
            let (mut twice, mut beyond) = (a.to_vec(), a.to_vec());
            let other = if used >= width { used - width } else { used + width };
            twice.copy_within(used..used + width, other);
            beyond[used + width / 2] = if width == 3 { beyond[used + 1] & !0xff_ffff | 0xff_fff0 } else { 1 << 30 };
            if a.len() == width {
                vec![StateView::U32(beyond.into())]
            } else {
                vec![StateView::U32(twice.into()), StateView::U32(beyond.into())]
            }
        }
    }
}

#[test]
fn cafe_settings_make_promotions_demotions_and_decays_happen() {
    for (name, mut embedding) in all() {
        let (promoted, demoted) = train(&mut *embedding, 0..200);
        if name.starts_with("cafe") {
            assert!(promoted > 10 && demoted > 5, "{name}: {promoted} promoted, {demoted} demoted");
        } else {
            assert_eq!((promoted, demoted), (0, 0), "{name}");
        }
    }
}

#[test]
fn every_method_learns_a_target_per_feature() {
    let target = |id: FeatureId| (mix64(id.raw(), 99) % 5) as f32 - 2.0;
    for (name, mut embedding) in all() {
        let ids: Vec<_> = (0..4).map(|token| FeatureId::new(1, token)).collect();
        let loss = |rows: &[f32]| -> f32 {
            let errors = rows.iter().enumerate().map(|(i, v)| (v - target(ids[i / DIM])).powi(2));
            errors.sum::<f32>() / rows.len() as f32
        };
        let mut rows = lookup(&*embedding, &ids);
        let before = loss(&rows);
        for _ in 0..400 {
            let grads: Vec<f32> = rows.iter().enumerate().map(|(i, v)| v - target(ids[i / DIM])).collect();
            embedding.update(&ids, &grads, 0.2);
            rows = lookup(&*embedding, &ids);
        }
        // Hashing alone may merge two of the four for good.
        let bound = if name.starts_with("hash") { before } else { 0.05 };
        assert!(loss(&rows) <= bound, "{name}: {before} -> {}", loss(&rows));
    }
}
