//! What every [`Embedding`] promises, tested on every one, in every setting that matters.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use cafe_core::frequency::{FrequencyConfig, FrequencyEmbedding};
use cafe_core::methods::{
    AdaConfig, AdaEmbedding, CafeConfig, CafeEmbedding, CafePlusConfig, CafePlusEmbedding,
    CafePlusSettings, CafeSettings, Decay, FeatureCounts, FullConfig, FullEmbedding, HashedConfig,
    HashedEmbedding, Importance, MdeConfig, MdeEmbedding, Middle, OfflineConfig, OfflineEmbedding,
    Promotion, QrConfig, QrEmbedding, Shared, Tier, UnifiedConfig, UnifiedEmbedding,
};
use cafe_core::table::{Hashes, Signs, UnifiedSettings};
use cafe_core::{
    Accumulator, Embedding, FeatureId, HotFeature, RowFormat, RowOptimizer, RowPrecision, Sizing,
    StateError, StateView, UpdateStats, VictimPolicy, mix64,
};

use common::{quota, quota_coded};

const FEATURES: [u64; 4] = [5, 300, 4000, 40];
const DIM: usize = 6;
const BUDGET: u64 = 8000;
/// Mixed dimensions can't do with less.
const MDE_BUDGET: u64 = 30_000;
/// Statistics of every feature alone are 34,760 bytes.
const ADA_BUDGET: u64 = 36_000;
/// Of a sketch of frequencies, beside the budget.
const FREQUENCY_BYTES: u64 = 500;
const ADAGRAD: RowOptimizer = RowOptimizer::row_wise_adagrad(1e-10);

const BYTE_ADAGRAD: RowOptimizer =
    RowOptimizer::RowWiseAdagrad { epsilon: 1e-10, accumulator: Accumulator::Byte };
const ADAM: RowOptimizer = RowOptimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

/// Each precision, each optimizer, and both at once, by name; every method is tested in each.
const FORMATS: [(&str, RowFormat); 8] = [
    ("f16", sgd(RowPrecision::F16)),
    ("bf16", sgd(RowPrecision::Bf16)),
    ("i8", sgd(RowPrecision::I8)),
    (
        "elementwise adagrad",
        RowFormat::new(RowPrecision::F32, RowOptimizer::Adagrad { epsilon: 1e-8 }),
    ),
    ("adam", RowFormat::new(RowPrecision::F32, ADAM)),
    ("i8, adam", RowFormat::new(RowPrecision::I8, ADAM)),
    ("adagrad in a byte", RowFormat::new(RowPrecision::F32, BYTE_ADAGRAD)),
    (
        "i8, adagrad in a byte, counted",
        RowFormat { precision: RowPrecision::I8, optimizer: BYTE_ADAGRAD, count_optimizer: true },
    ),
];

const fn sgd(precision: RowPrecision) -> RowFormat {
    RowFormat::new(precision, RowOptimizer::Sgd)
}

fn sizing(bytes: u64, format: RowFormat) -> Sizing<'static> {
    common::sizing(&FEATURES, DIM, bytes, format)
}

/// Settings under which promotions, demotions and decays all happen within a few steps.
fn lively() -> CafeSettings {
    CafeSettings {
        promotion: Promotion::Threshold(8.0),
        decay: Some(Decay::new(0.9, None).expect("in range")),
        ..CafeSettings::paper(10.0)
    }
}

fn cafe_config(settings: &CafeSettings, format: RowFormat) -> CafeConfig {
    let sizing = Sizing { seed: 0, ..sizing(BUDGET, format) };
    CafeConfig::within(&sizing, settings).expect("fits")
}

fn cafe_in(settings: &CafeSettings, format: RowFormat) -> Box<dyn Embedding> {
    Box::new(CafeEmbedding::new(&cafe_config(settings, format)))
}

fn cafe(settings: &CafeSettings) -> Box<dyn Embedding> {
    cafe_in(settings, RowFormat::default())
}

fn full(format: RowFormat) -> Box<dyn Embedding> {
    let features = FEATURES.to_vec();
    Box::new(FullEmbedding::new(&FullConfig { dim: DIM, features, format, seed: 3 }))
}

fn hashed(format: RowFormat) -> Box<dyn Embedding> {
    let config = HashedConfig::within(&sizing(BUDGET, format)).expect("fits");
    Box::new(HashedEmbedding::new(&config))
}

fn qr(format: RowFormat) -> Box<dyn Embedding> {
    Box::new(QrEmbedding::new(&QrConfig::within(&sizing(BUDGET, format)).expect("fits")))
}

fn mde(format: RowFormat) -> Box<dyn Embedding> {
    Box::new(MdeEmbedding::new(&MdeConfig::within(&sizing(MDE_BUDGET, format)).expect("fits")))
}

fn unified(settings: UnifiedSettings, format: RowFormat) -> Box<dyn Embedding> {
    let config = UnifiedConfig::within(&sizing(BUDGET, format), settings).expect("fits");
    Box::new(UnifiedEmbedding::new(&config))
}

/// A budget that has room for own rows of four values, for most features.
fn own_budget(format: RowFormat) -> u64 {
    FEATURES.iter().sum::<u64>() * (format.row_bytes(4) + 1)
}

fn coded_with_own(format: RowFormat) -> Box<dyn Embedding> {
    let config = UnifiedConfig::coded(&sizing(own_budget(format), format)).expect("fits");
    assert!(config.own_rows.is_some_and(|own| own.width == 4), "{config:?}");
    assert!(config.embedding_bytes() > own_budget(format) * 99 / 100, "{config:?}");
    Box::new(UnifiedEmbedding::new(&config))
}

/// Rows change hands and units change epochs within a few steps.
fn cafe_plus(settings: &CafePlusSettings, format: RowFormat) -> Box<dyn Embedding> {
    let settings = CafePlusSettings { growth: 1.01, check_every: 8, ..settings.clone() };
    let sizing = Sizing { seed: 0, ..sizing(BUDGET, format) };
    let config = CafePlusConfig::within(&sizing, &settings).expect("fits");
    Box::new(CafePlusEmbedding::new(&config))
}

/// New owners and decays within a few steps.
fn ada(format: RowFormat) -> Box<dyn Embedding> {
    let config = AdaConfig::within(&sizing(ADA_BUDGET, format)).expect("fits");
    Box::new(AdaEmbedding::new(&AdaConfig { check_every: 7, decay_every: 9, ..config }))
}

/// Which features are hot is counted in the batches that [`train`] will bring.
fn offline(format: RowFormat) -> Box<dyn Embedding> {
    let config = OfflineConfig::within(&sizing(BUDGET, format), 0.3).expect("fits");
    let mut counts = FeatureCounts::default();
    (0..40).for_each(|step| counts.add_all(&batch(step, 32).0));
    let hot = config.hot_features(&counts);
    assert!(hot.len() > 100 && config.n_own_rows() > 0, "{config:?}");
    Box::new(OfflineEmbedding::new(&config, &hot))
}

/// CAFE's options, alone and together.
fn options() -> Vec<(&'static str, Box<dyn Embedding>)> {
    let shared = Shared::Table(UnifiedSettings::default());
    let coded = Shared::Table(UnifiedSettings::CODED);
    let with_quota = || CafeSettings { promotion: quota(2.0), ..lively() };
    vec![
        ("cafe, by chance", cafe(&CafeSettings { victim: VictimPolicy::ByChance, ..lively() })),
        ("cafe, quota", cafe(&with_quota())),
        ("cafe, quota, multi-level", cafe(&CafeSettings { shared: MULTI_LEVEL, ..with_quota() })),
        ("cafe, unified", cafe(&CafeSettings { shared, ..lively() })),
        ("cafe, unified, adagrad", cafe_in(&CafeSettings { shared, ..lively() }, ADAGRAD.into())),
        ("cafe, quota, unified", cafe(&CafeSettings { shared, ..with_quota() })),
        ("cafe, quota, coded", cafe(&CafeSettings { shared: coded, ..with_quota() })),
        ("cafe, all options", cafe(&CafeSettings { shared_share: 0.3, ..quota_coded(10.0) })),
    ]
}

/// The paper's middle tier.
const MULTI_LEVEL: Shared =
    Shared::PerField { middle: Some(Middle { threshold_ratio: 0.2, second_share: 0.3 }) };

fn all() -> Vec<(&'static str, Box<dyn Embedding>)> {
    let f32 = RowFormat::default();
    let plus = CafePlusSettings::paper(10.0);
    let one_row = UnifiedSettings { hashes: Hashes::One, signs: Signs::None, field_rows: false };
    let two_rows = UnifiedSettings { hashes: Hashes::Two, ..UnifiedSettings::CODED };
    let by_frequency = Importance::Frequency;
    let mut all: Vec<(_, Box<dyn Embedding>)> = vec![
        ("full", full(f32)),
        ("full, adagrad", full(ADAGRAD.into())),
        ("hash", hashed(f32)),
        ("hash, adagrad", hashed(ADAGRAD.into())),
        ("qr", qr(f32)),
        ("qr, adagrad", qr(ADAGRAD.into())),
        ("mde", mde(f32)),
        ("mde, adagrad", mde(ADAGRAD.into())),
        ("unified", unified(UnifiedSettings::default(), f32)),
        ("unified, adagrad", unified(UnifiedSettings::default(), ADAGRAD.into())),
        ("unified, one row", unified(one_row, f32)),
        ("coded", unified(UnifiedSettings::CODED, f32)),
        ("coded, adagrad", unified(UnifiedSettings::CODED, ADAGRAD.into())),
        ("coded, own rows", coded_with_own(f32)),
        ("coded, own rows, adagrad", coded_with_own(ADAGRAD.into())),
        ("coded, two rows", unified(two_rows, ADAGRAD.into())),
        ("offline", offline(f32)),
        ("offline, adagrad", offline(ADAGRAD.into())),
        ("ada", ada(f32)),
        ("ada, adagrad", ada(ADAGRAD.into())),
        ("cafe", cafe(&lively())),
        ("cafe, adagrad", cafe_in(&lively(), ADAGRAD.into())),
        ("cafe, multi-level", cafe(&CafeSettings { shared: MULTI_LEVEL, ..lively() })),
        ("cafe, no row spared", cafe(&CafeSettings { victim: VictimPolicy::Lightest, ..lively() })),
        ("cafe, last slot", cafe(&CafeSettings { victim: VictimPolicy::LastSlot, ..lively() })),
        ("cafe plus", cafe_plus(&plus, f32)),
        ("cafe plus, adagrad", cafe_plus(&plus, ADAGRAD.into())),
        (
            "cafe plus, frequency",
            cafe_plus(&CafePlusSettings { importance: by_frequency, ..plus.clone() }, f32),
        ),
        ("cafe, frequency", cafe(&CafeSettings { importance: by_frequency, ..lively() })),
    ];
    for (name, format) in FORMATS {
        let table = |settings| CafeSettings { shared: Shared::Table(settings), ..lively() };
        let methods: [(&str, Box<dyn Embedding>); 13] = [
            ("full", full(format)),
            ("hash", hashed(format)),
            ("qr", qr(format)),
            ("mde", mde(format)),
            ("unified", unified(UnifiedSettings::default(), format)),
            ("offline", offline(format)),
            ("ada", ada(format)),
            ("cafe", cafe_in(&lively(), format)),
            ("cafe, unified", cafe_in(&table(UnifiedSettings::default()), format)),
            ("cafe, coded", cafe_in(&table(UnifiedSettings::CODED), format)),
            ("coded", unified(UnifiedSettings::CODED, format)),
            ("coded, own rows", coded_with_own(format)),
            ("cafe plus", cafe_plus(&plus, format)),
        ];
        // Names live as long as the tests: each is made once a process and few bytes long.
        all.extend(
            methods.map(|(method, embedding)| (&*format!("{method}, {name}").leak(), embedding)),
        );
    }
    all.extend(options());
    all.extend(with_frequencies());
    all
}

/// Buckets fill and features push each other out within a few steps.
fn with_frequencies() -> [(&'static str, Box<dyn Embedding>); 2] {
    let config =
        FrequencyConfig::within(&sizing(FREQUENCY_BYTES, RowFormat::default())).expect("fits");
    let coded = unified(UnifiedSettings::CODED, ADAGRAD.into());
    [("coded, frequencies", coded), ("cafe, frequencies", cafe(&lively()))].map(|(name, inner)| {
        (name, Box::new(FrequencyEmbedding::new(inner, &config)) as Box<dyn Embedding>)
    })
}

/// Only what has been trained before counts, and only where something counts.
#[test]
fn frequencies_are_of_the_steps_before() {
    for (name, mut embedding) in all() {
        let (ids, grads) = batch(3, 32);
        let numbers = |embedding: &dyn Embedding| {
            let mut numbers = vec![f32::NAN; ids.len()];
            embedding.frequencies(&ids, &mut numbers).then_some(numbers)
        };
        let before = numbers(&*embedding);
        assert_eq!(before.is_some(), name.ends_with("frequencies"), "{name}");
        let Some(before) = before else { continue };
        assert!(before.iter().all(|&number| number == 0.0), "{name}");
        assert_eq!(numbers(&*embedding).as_ref(), Some(&before), "{name}");
        embedding.update(&ids, &grads, 0.1);
        let after = numbers(&*embedding).expect("it counts");
        let often = ids
            .iter()
            .position(|&id| ids.iter().filter(|&&other| other == id).count() > 3)
            .expect("skewed");
        let seldom = ids
            .iter()
            .position(|&id| ids.iter().filter(|&&other| other == id).count() == 1)
            .expect("skewed");
        assert!(after[often] > after[seldom], "{name}: {} and {}", after[often], after[seldom]);
    }
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
fn lookup_is_pure() {
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
        let after = lookup(&*embedding, &ids);
        for ((after, before), g) in after.iter().zip(&before).zip(&grads) {
            // A projection turns the gradient, but by less than a right angle.
            assert!(
                name.starts_with("mde")
                    || (before - after) * g >= 0.0 && (*g == 0.0 || after != before),
                "{name}"
            );
        }
        for ((after, before), g) in after.chunks(DIM).zip(before.chunks(DIM)).zip(grads.chunks(DIM))
        {
            let descent = after
                .iter()
                .zip(before)
                .zip(g)
                .map(|((after, before), g)| (before - after) * g)
                .sum::<f32>();
            assert!(descent > 0.0, "{name}: {descent}");
        }
    }
}

#[test]
fn duplicates_step_once_with_summed_gradient() {
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
            // The oracle's answers are counted apart, as in the literature.
            let index_bytes = if name.starts_with("offline") { 0 } else { before.index_bytes };
            let budget = match name {
                _ if name.starts_with("mde") => MDE_BUDGET,
                _ if name.starts_with("ada") => ADA_BUDGET,
                _ if name.ends_with("frequencies") => BUDGET + FREQUENCY_BYTES,
                _ if name.contains("own rows") => own_budget(RowFormat::default()),
                _ => BUDGET,
            };
            assert!(before.embedding_bytes() + index_bytes <= budget, "{name}: {before:?}");
        }
    }
}

#[test]
fn a_restored_embedding_continues_bit_identically() {
    for ((name, mut original), (_, mut restored)) in all().into_iter().zip(all()) {
        train(&mut *original, 0..40);
        train(&mut *restored, 500..510); // something else, to be overwritten
        restored.restore(&mut original.state().into_iter().collect()).expect("own state");
        assert_eq!(restored.state(), original.state(), "{name}");
        let counts = train(&mut *original, 40..80);
        assert_eq!(train(&mut *restored, 40..80), counts, "{name}");
        assert_eq!(restored.state(), original.state(), "{name}");
    }
}

#[test]
fn tier_summaries_agree_with_update_stats() {
    for ((name, mut embedding), (_, mut restored)) in all().into_iter().zip(all()) {
        let mut stats = UpdateStats::default();
        for step in 0..60 {
            let (ids, grads) = batch(step, 32);
            stats = embedding.update(&ids, &grads, 0.1);
        }
        let features = embedding.hot_features();
        let Some(tiers) = embedding.tiers() else {
            assert_eq!((stats.hot_rows, features.len()), (0, 0), "{name}");
            continue;
        };
        assert_eq!(tiers.hot_rows, stats.hot_rows, "{name}");
        assert!(
            tiers.hot_rows <= tiers.max_hot_rows && tiers.slots_in_use <= tiers.slots,
            "{name}: {tiers:?}"
        );
        assert_eq!(
            features.len() as u64,
            if tiers.knows_features { stats.hot_rows } else { 0 },
            "{name}"
        );
        if !tiers.hot_rows_by_field.is_empty() {
            assert_eq!(tiers.hot_rows_by_field.len(), FEATURES.len(), "{name}");
            assert_eq!(tiers.hot_rows_by_field.iter().sum::<u64>(), stats.hot_rows, "{name}");
        }
        if tiers.knows_features {
            let of_field = |field| {
                features.iter().filter(|feature| feature.id.field() == field).count() as u64
            };
            assert_eq!(
                tiers.hot_rows_by_field,
                (0..FEATURES.len()).map(of_field).collect::<Vec<_>>(),
                "{name}"
            );
        }
        let order = |feature: &HotFeature| (-feature.score.unwrap_or(0.0), feature.id);
        assert!(
            features.windows(2).all(|pair| order(&pair[0]) < order(&pair[1])),
            "{name}: {features:?}"
        );
        restored.restore(&mut embedding.state().into_iter().collect()).expect("own state");
        assert_eq!((restored.hot_features(), restored.tiers()), (features, Some(tiers)), "{name}");
    }
}

#[test]
fn n_hot_counts_lookups_of_owners() {
    for (name, mut embedding) in all() {
        let (ids, _) = batch(77, 16);
        let at_first = embedding.n_hot(&ids);
        assert_eq!(at_first.is_some(), embedding.tiers().is_some(), "{name}");
        // The oracle's answers are there from the start.
        assert!(
            name.starts_with("offline") || at_first.is_none_or(|n_hot| n_hot == 0),
            "{name}: {at_first:?}"
        );
        train(&mut *embedding, 0..60);
        assert_eq!(embedding.n_hot(&[]), at_first.map(|_| 0), "{name}");
        let Some(n_hot) = embedding.n_hot(&ids) else { continue };
        assert!(n_hot > 0 && n_hot <= ids.len() as u64, "{name}: {n_hot}");
        let by_one: Option<u64> = ids.iter().map(|&id| embedding.n_hot(&[id])).sum();
        assert_eq!(by_one, Some(n_hot), "{name}: each occurrence counts");
        if embedding.tiers().is_some_and(|tiers| tiers.knows_features) {
            let owners: BTreeSet<_> =
                embedding.hot_features().into_iter().map(|feature| feature.id).collect();
            assert_eq!(n_hot, ids.iter().filter(|id| owners.contains(id)).count() as u64, "{name}");
        }
    }
}

/// Where ids are not known, too.
#[test]
fn n_hot_agrees_with_tiers() {
    let (ids, _) = batch(77, 16);
    let given = |bytes| Sizing { seed: 0, ..sizing(bytes, RowFormat::default()) };
    let mut cafe = CafeEmbedding::new(&cafe_config(&lively(), RowFormat::default()));
    train(&mut cafe, 0..60);
    let is_hot = |id: &&FeatureId| cafe.tier(**id) == Tier::Hot;
    assert_eq!(cafe.n_hot(&ids), Some(ids.iter().filter(is_hot).count() as u64));
    let settings = CafePlusSettings::paper(10.0);
    let config = CafePlusConfig::within(&given(BUDGET), &settings).expect("fits");
    let mut plus = CafePlusEmbedding::new(&config);
    train(&mut plus, 0..60);
    assert_eq!(
        plus.n_hot(&ids),
        Some(ids.iter().filter(|&&id| plus.tier(id) == Tier::Hot).count() as u64)
    );
    let config = AdaConfig::within(&sizing(ADA_BUDGET, RowFormat::default())).expect("fits");
    let mut ada = AdaEmbedding::new(&config);
    train(&mut ada, 0..60);
    assert_eq!(ada.n_hot(&ids), Some(ids.iter().filter(|&&id| ada.owns_row(id)).count() as u64));
}

#[test]
fn score_counts_are_of_slots_in_use() {
    for (name, mut embedding) in all() {
        let Some(before) = embedding.tiers() else { continue };
        assert_eq!(before.score_counts, [], "{name}: no feature has a score yet");
        train(&mut *embedding, 0..60);
        let tiers = embedding.tiers().expect("it has tiers");
        let (counts, total) =
            (&tiers.score_counts, tiers.score_counts.iter().map(|pair| pair.1).sum::<u64>());
        assert!(
            counts.windows(2).all(|pair| pair[0].0 < pair[1].0)
                && counts.iter().all(|pair| pair.1 > 0),
            "{name}"
        );
        assert!(
            total <= tiers.slots_in_use && (total > 0) == (tiers.slots > 0),
            "{name}: {tiers:?}"
        );
        let scores = embedding.hot_features().into_iter().filter_map(|feature| feature.score);
        for exponent in
            scores.filter(|&score| score > 0.0).map(|score| f64::from(score).log2().floor() as i32)
        {
            assert!(
                counts.iter().any(|pair| pair.0 == exponent),
                "{name}: 2^{exponent} in {counts:?}"
            );
        }
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused_whole() {
    for (name, mut embedding) in all() {
        train(&mut *embedding, 0..10);
        let sound: BTreeMap<_, _> = embedding.state().into_iter().collect();
        for missing in sound.keys() {
            let (_, mut other) = all().into_iter().find(|(n, _)| *n == name).expect("the same");
            let before: Vec<_> =
                other.state().into_iter().map(|(n, v)| (n, format!("{v:?}"))).collect();
            let mut partial = sound.clone();
            partial.remove(missing);
            assert!(
                matches!(other.restore(&mut partial.clone()), Err(StateError::Missing { .. })),
                "{name}: {missing}"
            );
            let after: Vec<_> =
                other.state().into_iter().map(|(n, v)| (n, format!("{v:?}"))).collect();
            assert_eq!(before, after, "{name}: {missing}");
        }
    }
}

#[test]
fn a_damaged_state_is_refused_whole() {
    for (name, mut embedding) in all() {
        train(&mut *embedding, 0..40);
        let sound: BTreeMap<_, _> =
            embedding.state().into_iter().map(|(n, view)| (n, owned(&view))).collect();
        for (array, view) in &sound {
            for damaged in damages(array, view) {
                let mut state = sound.clone();
                state.insert(array, damaged);
                let refused = embedding.restore(&mut state.clone());
                assert!(refused.is_err(), "{name}: {array} {:?}", state[array]);
                let now: BTreeMap<_, _> =
                    embedding.state().into_iter().map(|(n, view)| (n, owned(&view))).collect();
                assert_eq!(now, sound, "{name}: {array} was refused, but something changed");
            }
        }
    }
}

fn owned(view: &StateView<'_>) -> StateView<'static> {
    match view {
        StateView::F32(a) => StateView::F32(a.to_vec().into()),
        StateView::U16(a) => StateView::U16(a.to_vec().into()),
        StateView::I8(a) => StateView::I8(a.to_vec().into()),
        StateView::U8(a) => StateView::U8(a.to_vec().into()),
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
        StateView::U16(a) => {
            let not_a_number = [&a[1..], &[0x7fff]].concat();
            vec![
                StateView::U16(not_a_number.into()),
                StateView::U16(a[1..].to_vec().into()),
                StateView::F32(vec![0.0; a.len()].into()),
            ]
        }
        StateView::I8(a) => {
            let no_code = [&a[1..], &[i8::MIN]].concat();
            vec![
                StateView::I8(no_code.into()),
                StateView::I8(a[1..].to_vec().into()),
                StateView::U8(vec![0; a.len()].into()),
            ]
        }
        StateView::U8(a) => {
            let infinite = [&a[1..], &[u8::MAX]].concat();
            vec![
                StateView::U8(infinite.into()),
                StateView::U8(a[1..].to_vec().into()),
                StateView::I8(vec![0; a.len()].into()),
            ]
        }
        // Any count is possible.
        StateView::U32(a) if array.ends_with("_counts") => {
            vec![StateView::U32(a[1..].to_vec().into()), StateView::F32(vec![1.0; a.len()].into())]
        }
        StateView::U64(_) if array == "own_ids" => {
            vec![StateView::U64(vec![u64::MAX].into()), StateView::F32(vec![].into())]
        }
        StateView::U64(_) => vec![StateView::U64(vec![nan].into()), StateView::U64(vec![].into())],
        StateView::U32(a) if a.is_empty() => vec![StateView::U32(vec![7].into())],
        StateView::U32(a) => {
            // Two owners of a row, or two slots of an id: the first entry twice. And a row that
            // isn't there.
            let width = match array {
                "sketch_slots" => 3,
                "filter_slots" => 4,
                _ => 1,
            };
            let used = a
                .chunks(width)
                .position(|slot| width == 1 || slot[2] != 0)
                .expect("an entry in use")
                * width;
            let (mut twice, mut beyond) = (a.to_vec(), a.to_vec());
            let other = if used >= width { used - width } else { used + width };
            twice.copy_within(used..used + width, other);
            beyond[used + usize::from(width > 1)] =
                if width > 1 { beyond[used + 1] & !0xff_ffff | 0xff_fff0 } else { 1 << 30 };
            if a.len() == width {
                vec![StateView::U32(beyond.into())]
            } else {
                vec![StateView::U32(twice.into()), StateView::U32(beyond.into())]
            }
        }
    }
}

#[test]
fn promotions_and_demotions_happen() {
    for (name, mut embedding) in all() {
        let (promoted, demoted) = train(&mut *embedding, 0..200);
        if name.starts_with("cafe") || name.starts_with("ada") {
            assert!(promoted > 10 && demoted > 2, "{name}: {promoted} promoted, {demoted} demoted");
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
            let grads: Vec<f32> =
                rows.iter().enumerate().map(|(i, v)| v - target(ids[i / DIM])).collect();
            // Rows that are multiplied by a projection grow with it.
            embedding.update(&ids, &grads, if name.starts_with("mde") { 0.02 } else { 0.2 });
            rows = lookup(&*embedding, &ids);
        }
        // Features with the same row can get no nearer to their targets than the mean of these.
        let means = |id: FeatureId| {
            let row = lookup(&*embedding, &[id]);
            let same: Vec<f32> = ids
                .iter()
                .filter(|&&other| lookup(&*embedding, &[other]) == row)
                .map(|&id| target(id))
                .collect();
            same.iter().sum::<f32>() / same.len() as f32
        };
        let best: Vec<f32> = ids.iter().flat_map(|&id| [means(id); DIM]).collect();
        let bound = loss(&best) + 0.05;
        assert!(
            loss(&best) < before && loss(&rows) <= bound,
            "{name}: {before} -> {} > {bound}",
            loss(&rows)
        );
        assert!(
            loss(&best) == 0.0 || name.starts_with("hash"),
            "{name}: two of the features have one row"
        );
    }
}
