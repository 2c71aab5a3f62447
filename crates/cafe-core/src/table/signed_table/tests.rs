use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::batch::Batch;
use crate::batch::coalesce::KeyIndex;
use crate::embedding::Inline;
use crate::table::rows::RowOptimizer;

const N_FIELDS: usize = 3;
/// Beyond 32, so that signs are mixed twice, and no multiple of 8.
const DIM: usize = 37;

fn every_setting() -> impl Strategy<Value = UnifiedSettings> {
    let signs = prop::sample::select(vec![Signs::None, Signs::Row, Signs::Coordinate]);
    let hashes = prop::sample::select(vec![Hashes::One, Hashes::Two]);
    (hashes, signs, any::<bool>()).prop_map(|(hashes, signs, field_rows)| UnifiedSettings {
        hashes,
        signs,
        field_rows,
    })
}

fn table(settings: UnifiedSettings, n_rows: u64) -> SignedTable {
    let sizes = TableSizes { features: &[50; N_FIELDS], n_rows };
    SignedTable::new(settings, sizes, DIM, RowFormat::default(), 5)
}

/// The rows of a feature by number with the signs of their values, that of the field among them: as
/// the definition says it.
fn terms(table: &SignedTable, id: FeatureId) -> Vec<(u32, [f32; DIM])> {
    let SignedHashes { n_hashes, signs, first_hashed, n_hashed, seeds } = table.hashes;
    let hashed = table.rows_of(id);
    let term = |k: usize| {
        let hash = mix64(id.raw(), seeds[k]);
        let row = hashed[k].row;
        if k == 0 {
            assert_eq!(row, first_hashed + (((hash >> 32) * n_hashed as u64) >> 32) as u32);
        }
        let minus = |j: usize| match signs {
            Signs::None => false,
            Signs::Row => hash % 2 == 1,
            Signs::Coordinate if j < 32 => hash >> j & 1 == 1,
            Signs::Coordinate => {
                let mixed = mix64(u64::from(row) << 32 | u64::from(hash as u32), j as u64 / 32);
                mixed >> (j % 32) & 1 == 1
            }
        };
        (row, std::array::from_fn(|j| if minus(j) { -1.0 } else { 1.0 }))
    };
    let mut terms: Vec<_> = (0..n_hashes).map(term).collect();
    if table.field_rows {
        terms.push((id.field() as u32, [1.0; DIM]));
    }
    terms
}

fn row(table: &SignedTable, row_idx: u32) -> [f32; DIM] {
    let mut row = [0.0; DIM];
    table.rows.read(row_idx, &mut row);
    row
}

fn step(table: &mut SignedTable, ids: &[FeatureId], grads: &[f32]) {
    let (mut batch, mut contributions) = (ByField::new(N_FIELDS, DIM), Contributions::default());
    batch.sort(ids);
    let mut rest = contributions.start(table.hashes(), N_FIELDS, DIM, ids.len());
    for mut part in batch.parts() {
        let mut contributions = rest.cut(part.occurrences.len());
        part.coalesce(
            &mut KeyIndex::default(),
            Batch::new(ids, grads, DIM),
            FeatureId::raw,
            |_, _| (),
        );
        for (position, (raw, grad)) in part.iter(DIM).enumerate() {
            contributions.add(position, FeatureId::from_raw(raw), grad);
        }
        contributions.finish();
    }
    table.step(&batch, &contributions, 0.5, &Inline);
}

/// Features of a small field start as far from each other as in a table of their own, however large
/// the shared one is.
#[test]
fn coded_features_start_with_field_variance() {
    let features = [3, 100, 40_000];
    let settings = UnifiedSettings { field_rows: false, ..UnifiedSettings::CODED };
    let sizes = TableSizes { features: &features, n_rows: 100_000 };
    let table = SignedTable::new(settings, sizes, DIM, RowFormat::default(), 5);
    for (field, n_features) in features.into_iter().enumerate() {
        let ids: Vec<_> =
            (0..n_features.min(500) as u32).map(|token| FeatureId::new(field, token)).collect();
        let mut vectors = vec![f32::NAN; ids.len() * DIM];
        table.read(&ids, &mut vectors);
        let moment = vectors.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>()
            / vectors.len() as f64;
        // Of U(±sqrt(1 / f)), and of what the rows start from.
        let expected = (1.0 / n_features as f64 + 1e-5) / 3.0;
        assert!((moment / expected - 1.0).abs() < 0.1, "field {field}: {moment} for {expected}");
        let distinct: std::collections::BTreeSet<Vec<bool>> = vectors
            .chunks_exact(DIM)
            .map(|row| row.iter().map(|value| value.is_sign_negative()).collect())
            .collect();
        assert_eq!(distinct.len(), ids.len(), "field {field}");
    }
}

proptest! {
    #[test]
    fn a_vector_is_the_signed_sum_of_its_rows(
        settings in every_setting(), spare in 0_u64..50,
        tokens in prop::collection::vec(0..N_FIELDS, 0..200),
    ) {
        let table = table(settings, settings.min_rows(N_FIELDS) + spare);
        let ids: Vec<_> = tokens.iter().enumerate()
            .map(|(at, &field)| FeatureId::new(field, at as u32)).collect();
        let mut out = vec![f32::NAN; ids.len() * DIM];
        table.read(&ids, &mut out);
        for (&id, vector) in ids.iter().zip(out.chunks_exact(DIM)) {
            let mut expected = [0.0; DIM];
            for (k, (row_idx, signs)) in terms(&table, id).into_iter().enumerate() {
                let is_code = k == 0 && settings.signs == Signs::Coordinate;
                let weight = if is_code { (1.0_f64 / 50.0).sqrt() as f32 / 3.0_f32
                    .sqrt() } else { 0.0 };
                for ((sum, value), sign) in expected.iter_mut().zip(row(&table, row_idx))
                    .zip(signs) {
                    *sum += sign * (value + weight);
                }
            }
            prop_assert_eq!(vector, expected);
            let mut one = [f32::NAN; DIM];
            table.read(&[id], &mut one);
            prop_assert_eq!(one, expected);
        }
    }

    /// Sums of small integers are exact, so a map of rows has to agree to the bit. Large batches
    /// are sorted by range.
    #[test]
    fn step_is_the_signed_sum_of_contributions(
        settings in every_setting(), spare in 0_u64..300,
        n_ids in prop_oneof![0_usize..40, 1024_usize..1300],
        n_tokens in 1_u32..400,
    ) {
        let mut table = table(settings, settings.min_rows(N_FIELDS) + spare);
        let id = |at: usize| FeatureId::new(at * at % N_FIELDS,
            (mix64(at as u64, 1) % u64::from(n_tokens)) as u32);
        let ids: Vec<_> = (0..n_ids).map(id).collect();
        let grads: Vec<_> = (0..n_ids * DIM).map(|k| (k % 7) as f32 - 3.0).collect();
        let mut sums = BTreeMap::<u32, [f32; DIM]>::new();
        for (&id, grad) in ids.iter().zip(grads.chunks_exact(DIM)) {
            for (row_idx, signs) in terms(&table, id) {
                let sums = sums.entry(row_idx).or_insert([0.0; DIM]);
                for ((sum, g), sign) in sums.iter_mut().zip(grad).zip(signs) {
                    *sum += sign * g;
                }
            }
        }
        let mut expected = table.rows.clone();
        for (&row_idx, sum) in &sums {
            expected.step(row_idx, sum, 0.5);
        }
        step(&mut table, &ids, &grads);
        prop_assert_eq!(table.rows.state(), expected.state());
    }
}

#[test]
fn the_rows_of_a_feature_differ_and_are_spread_evenly() {
    let settings = UnifiedSettings { field_rows: false, ..UnifiedSettings::default() };
    let table = table(settings, 5);
    let (mut pairs, mut n_negative) = (BTreeMap::<_, u32>::new(), 0_u32);
    for token in 0..20_000 {
        let rows = table.rows_of(FeatureId::new(1, token));
        assert_ne!(rows[0].row, rows[1].row);
        *pairs.entry((rows[0].row, rows[1].row)).or_default() += 1;
        assert!(rows.iter().all(|row| [0, u32::MAX].contains(&row.first_signs)));
        n_negative += rows.iter().map(|row| row.first_signs & 1).sum::<u32>();
    }
    // 20 ordered pairs, 1,000 expected of each; four standard deviations are 123. And 20,000 of
    // 40,000 signs; 400.
    assert_eq!(pairs.len(), 20);
    assert!(pairs.values().all(|n| n.abs_diff(1000) < 123), "{pairs:?}");
    assert!(n_negative.abs_diff(20_000) < 400, "{n_negative}");
}

#[test]
fn a_token_has_other_rows_in_another_field() {
    let table = table(UnifiedSettings::default(), 1000);
    let same = (0..1000).filter(|&token| {
        let [one, other] = [0, 1].map(|field| table.rows_of(FeatureId::new(field, token)));
        one[0].row == other[0].row
    });
    assert!(same.count() < 10);
}

#[test]
fn a_field_without_gradients_keeps_its_row() {
    let format = RowFormat::from(RowOptimizer::row_wise_adagrad(1e-10));
    let mut table = SignedTable::new(
        UnifiedSettings::default(),
        TableSizes { features: &[50; N_FIELDS], n_rows: 50 },
        DIM,
        format,
        5,
    );
    let before = [0, 1, 2].map(|field| row(&table, field));
    step(&mut table, &[FeatureId::new(1, 7)], &[1.0; DIM]);
    let after = [0, 1, 2].map(|field| row(&table, field));
    assert_eq!((before[0], before[2]), (after[0], after[2]));
    assert!(before[1].iter().zip(&after[1]).all(|(before, after)| after < before));
}

#[test]
#[should_panic(expected = "fewer than the fields and hashes need")]
fn too_few_rows_are_refused() {
    let _ = table(UnifiedSettings::default(), 4);
}

/// What strangers in its row add to a feature's vector, seen along a direction: mean zero, and the
/// variance that the module's documentation gives, for strangers who all learned the very vector
/// that the feature is read along.
#[test]
fn strangers_add_noise_of_the_variance_predicted() {
    const N_STRANGERS: usize = 5;
    let direction: [f32; DIM] = std::array::from_fn(|j| 1.0 + (j % 3) as f32);
    let norm: f32 = direction.iter().map(|v| v * v).sum();
    let fourth: f32 = direction.iter().map(|v| v.powi(4)).sum();
    let variance = |signs: Signs| {
        // One shared row, so that all collide in it; small integers, so that sums are exact.
        let settings = UnifiedSettings { hashes: Hashes::One, signs, field_rows: false };
        let mut moments = [0.0_f64; 2];
        let n = 4000_u32;
        for run in 0..n {
            let mut table = table(settings, 1);
            let read = |table: &SignedTable| {
                let mut out = [0.0; DIM];
                table.read(&[FeatureId::new(0, 1_000_000 * run)], &mut out);
                out
            };
            let before = read(&table);
            let strangers: Vec<_> =
                (0..N_STRANGERS as u32).map(|k| FeatureId::new(1, 1_000_000 * run + k)).collect();
            step(&mut table, &strangers, &direction.repeat(N_STRANGERS));
            let seen: f32 =
                read(&table).iter().zip(before).zip(direction).map(|((a, b), v)| (a - b) * v).sum();
            moments[0] += f64::from(seen) / f64::from(n);
            moments[1] += f64::from(seen).powi(2) / f64::from(n);
        }
        // Half of each gradient is taken: the rate of `step`.
        assert!(
            moments[0].abs() < 5.0 * (moments[1] / f64::from(n)).sqrt(),
            "{signs:?}: mean {}",
            moments[0]
        );
        4.0 * moments[1] / N_STRANGERS as f64
    };
    let (by_row, by_coordinate) = (variance(Signs::Row), variance(Signs::Coordinate));
    // The sample variance of 4,000 has a standard error of about 2 to 3 %.
    let is_near = |found: f64, predicted: f32| (found / f64::from(predicted) - 1.0).abs() < 0.12;
    assert!(is_near(by_row, norm * norm), "{by_row}, predicted {}", norm * norm);
    assert!(is_near(by_coordinate, fourth), "{by_coordinate}, predicted {fourth}");
}
