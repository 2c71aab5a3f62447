use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::coalesce::Positions;
use crate::{Alone, RowOptimizer};

const N_FIELDS: usize = 3;
const DIM: usize = 9;

fn every_setting() -> impl Strategy<Value = UnifiedSettings> {
    (1..=MAX_HASHES, any::<bool>(), any::<bool>()).prop_map(|(n_hashes, signed, field_rows)| UnifiedSettings {
        n_hashes,
        signed,
        field_rows,
    })
}

fn table(settings: &UnifiedSettings, n_rows: u64) -> SignedTable {
    SignedTable::new(settings, &[50; N_FIELDS], (n_rows, DIM), RowFormat::default(), 5)
}

/// The rows of a feature by number with their signs, that of the field among them.
fn terms(table: &SignedTable, id: FeatureId) -> Vec<(u32, f32)> {
    let signed = |row: &SignedRow| (row.row(), if row.sign() == 0 { 1.0 } else { -1.0 });
    let mut terms: Vec<_> = table.rows_of(id)[..table.hashes.n_hashes].iter().map(signed).collect();
    if table.field_rows {
        terms.push((id.field() as u32, 1.0));
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
    let mut rest = contributions.start(table.hashes(), (N_FIELDS, DIM), ids.len());
    for mut part in batch.parts() {
        let mut contributions = rest.take(part.occurrences.len());
        part.coalesce(&mut Positions::default(), (ids, grads, DIM), FeatureId::raw, |_, _| ());
        for (position, (raw, grad)) in part.iter(DIM).enumerate() {
            contributions.add(position, FeatureId::from_raw(raw), grad);
        }
        contributions.finish();
    }
    table.step(&batch, &contributions, 0.5, &Alone);
}

proptest! {
    #[test]
    fn a_vector_is_the_signed_sum_of_its_rows(
        settings in every_setting(), spare in 0_u64..50, tokens in prop::collection::vec(0..N_FIELDS, 0..200),
    ) {
        let table = table(&settings, settings.min_rows(N_FIELDS) + spare);
        let ids: Vec<_> = tokens.iter().enumerate().map(|(at, &field)| FeatureId::new(field, at as u32)).collect();
        let mut out = vec![f32::NAN; ids.len() * DIM];
        table.read(&ids, &mut out);
        for (&id, vector) in ids.iter().zip(out.chunks_exact(DIM)) {
            let mut expected = [0.0; DIM];
            for (row_idx, sign) in terms(&table, id) {
                for (sum, value) in expected.iter_mut().zip(row(&table, row_idx)) {
                    *sum += sign * value;
                }
            }
            prop_assert_eq!(vector, expected);
            let mut one = [f32::NAN; DIM];
            table.read(&[id], &mut one);
            prop_assert_eq!(one, expected);
        }
    }

    /// Sums of small integers are exact, so a map of rows has to agree to the bit. Large batches are sorted by range.
    #[test]
    fn a_step_follows_the_signed_sum_of_what_hit_the_row(
        settings in every_setting(), spare in 0_u64..300, n_ids in prop_oneof![0_usize..40, 1024_usize..1300],
        n_tokens in 1_u32..400,
    ) {
        let mut table = table(&settings, settings.min_rows(N_FIELDS) + spare);
        let id = |at: usize| FeatureId::new(at * at % N_FIELDS, (mix64(at as u64, 1) % u64::from(n_tokens)) as u32);
        let ids: Vec<_> = (0..n_ids).map(id).collect();
        let grads: Vec<_> = (0..n_ids * DIM).map(|k| (k % 7) as f32 - 3.0).collect();
        let mut sums = BTreeMap::<u32, [f32; DIM]>::new();
        for (&id, grad) in ids.iter().zip(grads.chunks_exact(DIM)) {
            for (row_idx, sign) in terms(&table, id) {
                for (sum, g) in sums.entry(row_idx).or_default().iter_mut().zip(grad) {
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
    let table = table(&settings, 5);
    let (mut pairs, mut n_negative) = (BTreeMap::<_, u32>::new(), 0_u32);
    for token in 0..20_000 {
        let rows = table.rows_of(FeatureId::new(1, token));
        assert_ne!(rows[0].row(), rows[1].row());
        *pairs.entry((rows[0].row(), rows[1].row())).or_default() += 1;
        n_negative += rows.iter().map(|row| u32::from(row.sign() != 0)).sum::<u32>();
    }
    // 20 ordered pairs, 1,000 expected of each; four standard deviations are 123. And 20,000 of 40,000 signs; 400.
    assert_eq!(pairs.len(), 20);
    assert!(pairs.values().all(|n| n.abs_diff(1000) < 123), "{pairs:?}");
    assert!(n_negative.abs_diff(20_000) < 400, "{n_negative}");
}

#[test]
fn a_token_has_other_rows_in_another_field() {
    let table = table(&UnifiedSettings::default(), 1000);
    let same = (0..1000).filter(|&token| {
        let [one, other] = [0, 1].map(|field| table.rows_of(FeatureId::new(field, token)));
        one[0].row() == other[0].row()
    });
    assert!(same.count() < 10);
}

#[test]
fn a_field_without_gradients_keeps_its_row() {
    let format = RowFormat::from(RowOptimizer::RowWiseAdagrad { epsilon: 1e-10 });
    let mut table = SignedTable::new(&UnifiedSettings::default(), &[50; N_FIELDS], (50, DIM), format, 5);
    let before = [0, 1, 2].map(|field| row(&table, field));
    step(&mut table, &[FeatureId::new(1, 7)], &[1.0; DIM]);
    let after = [0, 1, 2].map(|field| row(&table, field));
    assert_eq!((before[0], before[2]), (after[0], after[2]));
    assert!(before[1].iter().zip(&after[1]).all(|(before, after)| after < before));
}

#[test]
#[should_panic(expected = "fewer than the fields and hashes need")]
fn too_few_rows_are_refused() {
    let _ = table(&UnifiedSettings::default(), 4);
}
