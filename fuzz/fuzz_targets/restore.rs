//! Any damage to a saved state: an embedding takes it over whole or refuses it unchanged, and never
//! panics, neither then nor when it is used afterwards.
#![no_main]

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;

use cafe_core::methods::{
    CafeConfig, CafeEmbedding, CafePlusConfig, CafePlusEmbedding, CafePlusSettings, CafeSettings,
    Decay, Hysteresis, MdeConfig, MdeEmbedding, Middle, Promotion, Shared, UnifiedConfig,
    UnifiedEmbedding,
};
use cafe_core::table::UnifiedSettings;
use cafe_core::{
    Budget, Embedding, FeatureId, RowFormat, RowOptimizer, RowPrecision, Sizing, StateView, mix64,
};
use libfuzzer_sys::fuzz_target;

const FEATURES: [u64; 4] = [5, 300, 4000, 40];
const DIM: usize = 4;
const BUDGET: Budget = Budget::Bytes(8000);
const ADAM: RowOptimizer = RowOptimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
const PRECISIONS: [RowPrecision; 4] =
    [RowPrecision::F32, RowPrecision::F16, RowPrecision::Bf16, RowPrecision::I8];

type State = BTreeMap<&'static str, StateView<'static>>;

thread_local! {
    /// Each embedding as it was built, and a state of it after some training.
    static EMBEDDINGS: RefCell<Vec<(Box<dyn Embedding>, State)>> = RefCell::new(all());
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, edits)) = input.split_first() else { return };
    EMBEDDINGS.with_borrow_mut(|all| {
        let choice = usize::from(choice) % all.len();
        let (embedding, sound) = &mut all[choice];
        let mut state = sound.clone();
        for edit in edits.chunks(8) {
            damage(&mut state, edit);
        }
        let before = saved(&**embedding);
        match embedding.restore(&mut state.clone()) {
            Err(error) => {
                assert!(saved(&**embedding) == before, "refused, but something changed: {error}");
                assert!(error.to_string().len() < 1000, "{error}");
            }
            Ok(()) => {
                let kept = saved(&**embedding);
                for (name, array) in &kept {
                    assert!(
                        state.get(name) == Some(array),
                        "`{name}` of embedding {choice} was taken over otherwise: {array:?} of {:?}",
                        state.get(name)
                    );
                }
                train(&mut **embedding, 100..103);
                embedding.restore(&mut sound.clone()).expect("a sound state");
            }
        }
    });
});

/// One edit of eight bytes: which array, where, what.
fn damage(state: &mut State, edit: &[u8]) {
    let mut bytes = [0; 8];
    bytes[..edit.len()].copy_from_slice(edit);
    let [array, kind, at_low, at_high, value @ ..] = bytes;
    let Some(name) = state.keys().nth(usize::from(array) % state.len().max(1)).copied() else {
        return;
    };
    let at = usize::from(u16::from_le_bytes([at_low, at_high]));
    let value = u32::from_le_bytes(value);
    let view = state.get_mut(name).expect("one of its names");
    match kind % 8 {
        0 => drop(state.remove(name)),
        1 => resize(view, at % (view.len() + 1)),
        2 => resize(view, view.len() + at % 100),
        3 => *view = StateView::U32(Cow::Owned(vec![value; at % 2000])),
        4 => *view = StateView::F32(Cow::Owned(vec![f32::from_bits(value); at % 2000])),
        _ if view.is_empty() => {}
        5 => set(view, at, u64::from(value) << 32),
        _ => set(view, at, u64::from(value)),
    }
}

fn resize(view: &mut StateView<'static>, n: usize) {
    match view {
        StateView::F32(a) => a.to_mut().resize(n, 0.0),
        StateView::U16(a) => a.to_mut().resize(n, 0),
        StateView::I8(a) => a.to_mut().resize(n, 0),
        StateView::U8(a) => a.to_mut().resize(n, 0),
        StateView::U32(a) => a.to_mut().resize(n, 0),
        StateView::U64(a) => a.to_mut().resize(n, 0),
    }
}

fn set(view: &mut StateView<'static>, at: usize, value: u64) {
    let at = at % view.len();
    match view {
        StateView::F32(a) => a.to_mut()[at] = f32::from_bits(value as u32),
        StateView::U16(a) => a.to_mut()[at] = value as u16,
        StateView::I8(a) => a.to_mut()[at] = value as i8,
        StateView::U8(a) => a.to_mut()[at] = value as u8,
        StateView::U32(a) => a.to_mut()[at] = value as u32,
        StateView::U64(a) => a.to_mut()[at] = value,
    }
}

fn saved(embedding: &dyn Embedding) -> State {
    let owned = |view| match view {
        StateView::F32(a) => StateView::F32(Cow::Owned(a.into_owned())),
        StateView::U16(a) => StateView::U16(Cow::Owned(a.into_owned())),
        StateView::I8(a) => StateView::I8(Cow::Owned(a.into_owned())),
        StateView::U8(a) => StateView::U8(Cow::Owned(a.into_owned())),
        StateView::U32(a) => StateView::U32(Cow::Owned(a.into_owned())),
        StateView::U64(a) => StateView::U64(Cow::Owned(a.into_owned())),
    };
    embedding.state().into_iter().map(|(name, view)| (name, owned(view))).collect()
}

/// Looks up and learns, with rows that change hands.
fn train(embedding: &mut dyn Embedding, steps: std::ops::Range<u64>) {
    for step in steps {
        let ids: Vec<_> = (0..48_u64)
            .map(|idx| {
                let hash = mix64(idx, step);
                let field = (hash % 4) as usize;
                FeatureId::new(
                    field,
                    ((hash >> 8) % FEATURES[field] * ((hash >> 40) % 4) / 3) as u32,
                )
            })
            .collect();
        let mut rows = vec![0.0; ids.len() * DIM];
        embedding.lookup(&ids, &mut rows);
        let grads: Vec<_> =
            (0..rows.len()).map(|idx| (mix64(idx as u64, !step) as i32) as f32 * 1e-10).collect();
        embedding.update(&ids, &grads, 0.1);
    }
}

fn all() -> Vec<(Box<dyn Embedding>, State)> {
    let mut all: Vec<Box<dyn Embedding>> = Vec::new();
    for (precision, optimizer) in PRECISIONS.map(|it| (it, RowOptimizer::Sgd)).into_iter().chain([
        (RowPrecision::F32, RowOptimizer::row_wise_adagrad(1e-10)),
        (RowPrecision::F32, ADAM),
        (RowPrecision::I8, ADAM),
    ]) {
        let format = RowFormat::new(precision, optimizer);
        let sizing = |budget| Sizing { features: &FEATURES, dim: DIM, budget, format, seed: 3 };
        let lively = || CafeSettings {
            promotion: Promotion::Threshold(4.0),
            decay: Some(Decay::new(0.9, None).expect("in range")),
            shared_share: 0.3,
            ..CafeSettings::paper(10.0)
        };
        let cafe = |settings: &CafeSettings| {
            let config = CafeConfig::within(&sizing(BUDGET), settings).expect("it fits");
            Box::new(CafeEmbedding::new(&config)) as Box<dyn Embedding>
        };
        let promotion = Promotion::Quota { least: 4.0, hysteresis: Hysteresis::default() };
        let middle = Shared::PerField { middle: Some(Middle::default()) };
        let table = Shared::Table(UnifiedSettings::default());
        all.push(cafe(&lively()));
        all.push(cafe(&CafeSettings { shared: middle, promotion, ..lively() }));
        all.push(cafe(&CafeSettings { shared: table, promotion, ..lively() }));
        let plus =
            CafePlusSettings { growth: 1.01, check_every: 8, ..CafePlusSettings::paper(10.0) };
        let plus = CafePlusConfig::within(&sizing(BUDGET), &plus).expect("it fits");
        all.push(Box::new(CafePlusEmbedding::new(&plus)));
        let unified = UnifiedConfig::within(&sizing(BUDGET), UnifiedSettings::default());
        all.push(Box::new(UnifiedEmbedding::new(&unified.expect("it fits"))));
        let mde = MdeConfig::within(&sizing(Budget::Bytes(30_000))).expect("it fits");
        all.push(Box::new(MdeEmbedding::new(&mde)));
    }
    let trained = all.into_iter().map(|mut embedding| {
        train(&mut *embedding, 0..30);
        let state = saved(&*embedding);
        (embedding, state)
    });
    trained.collect()
}
