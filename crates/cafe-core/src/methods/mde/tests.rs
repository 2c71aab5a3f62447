use super::*;

const DIM: usize = 11;

/// Fields with rows of full length, of a few values and of one.
fn config() -> MdeConfig {
    MdeConfig {
        dim: DIM,
        features: vec![4, 30, 200],
        dims: vec![DIM, 5, 1],
        alpha: 0.5,
        format: RowFormat::default(),
        seed: 9,
    }
}

fn batch() -> (Vec<FeatureId>, Vec<f32>) {
    let ids: Vec<_> = (0..60).map(|at| FeatureId::new(at % 3, (at * at % 17) as u32)).collect();
    let targets = (0..ids.len() * DIM).map(|k| ((k * 7 % 13) as f32 - 6.0) / 6.0).collect();
    (ids, targets)
}

fn lookup(embedding: &MdeEmbedding, ids: &[FeatureId]) -> Vec<f32> {
    let mut out = vec![f32::NAN; ids.len() * DIM];
    embedding.lookup(ids, &mut out);
    out
}

/// Half the squared distance to the targets, and the gradient of the vectors.
fn loss(embedding: &MdeEmbedding) -> (f64, Vec<f32>) {
    let (ids, targets) = batch();
    let errors: Vec<f32> = lookup(embedding, &ids)
        .iter()
        .zip(&targets)
        .map(|(value, target)| value - target)
        .collect();
    (errors.iter().map(|&error| f64::from(error).powi(2)).sum::<f64>() / 2.0, errors)
}

/// The gradient of the loss when one value of a table moves, by a step that keeps rounding out of
/// sight: the loss is a square in every value, so the difference has no other error.
fn gradient(
    embedding: &MdeEmbedding,
    table: fn(&mut MdeEmbedding) -> &mut RowTable,
    row_idx: u32,
    column: usize,
) -> f64 {
    let moved = |by: f32| {
        let mut moved = embedding.clone();
        let table = table(&mut moved);
        let mut row = vec![0.0; table.dim()];
        table.read(row_idx, &mut row);
        row[column] += by;
        table.write(row_idx, &row);
        loss(&moved).0
    };
    (moved(0.25) - moved(-0.25)) / 0.5
}

/// What plain steps took off each value, against the gradients.
fn check_gradient(table: fn(&mut MdeEmbedding) -> &mut RowTable) {
    let before = MdeEmbedding::new(&config());
    let mut after = before.clone();
    after.update(&batch().0, &loss(&before).1, 0.125);
    let mut moved = 0;
    let n_rows = table(&mut before.clone()).n_rows();
    for row_idx in 0..n_rows as u32 {
        let row = |embedding: &MdeEmbedding| {
            let mut embedding = embedding.clone();
            let table = table(&mut embedding);
            let mut row = vec![0.0; table.dim()];
            table.read(row_idx, &mut row);
            row
        };
        for (column, (old, new)) in row(&before).iter().zip(row(&after)).enumerate() {
            let taken = f64::from(old - new) / 0.125;
            let expected = gradient(&before, table, row_idx, column);
            assert!(
                (taken - expected).abs() < 1e-4 * (1.0 + expected.abs()),
                "{row_idx}: {taken}, {expected}"
            );
            moved += usize::from(expected != 0.0);
        }
    }
    assert!(moved > 5, "{moved} values moved");
}

#[test]
fn projections_follow_the_gradient_by_differences() {
    check_gradient(|embedding| &mut embedding.projections);
}

#[test]
fn projected_rows_follow_the_gradient_by_differences() {
    check_gradient(|embedding| &mut embedding.tables[1]);
}

#[test]
fn rows_of_one_value_follow_the_gradient_by_differences() {
    check_gradient(|embedding| &mut embedding.tables[2]);
}

#[test]
fn rows_of_full_length_are_not_projected() {
    let embedding = MdeEmbedding::new(&config());
    assert_eq!(embedding.projections.n_rows(), 5 + 1);
    let id = FeatureId::new(0, 2);
    let mut row = vec![0.0; DIM];
    embedding.tables[0].read(embedding.fields[0].row_idx(id), &mut row);
    assert_eq!(lookup(&embedding, &[id]), row);
}

/// Projections are stepped by the rows' optimizer, with accumulators of their own.
#[test]
fn everything_is_counted() {
    let adagrad = crate::table::rows::RowOptimizer::row_wise_adagrad(1e-10);
    let memory = MdeEmbedding::new(&MdeConfig { format: adagrad.into(), ..config() }).memory();
    assert_eq!(memory.rows_bytes, 4 * (4 * DIM + 30 * 5 + 200 + 6 * DIM) as u64);
    assert_eq!(memory.optimizer_bytes, 4 * (4 + 30 + 200 + 6));
    assert_eq!(memory.embedding_bytes(), config().embedding_bytes());
}

#[test]
fn a_field_without_gradients_keeps_its_projection() {
    let mut embedding = MdeEmbedding::new(&config());
    let before = lookup(&embedding, &[FeatureId::new(2, 8)]);
    embedding.update(&[FeatureId::new(1, 7)], &[1.0; DIM], 0.1);
    assert_eq!(lookup(&embedding, &[FeatureId::new(2, 8)]), before);
}
