//! CAFE in a training loop of one's own: logistic regression on embeddings that are a hundredth of
//! the full table. `cargo run --release --example train_loop`.

use std::io::{self, Write};

use cafe_core::methods::{CafeConfig, CafeEmbedding, CafeSettings};
use cafe_core::{Budget, Embedding, FeatureId, RowFormat, RowOptimizer, Sizing, mix64, unit_f64};

const FEATURES: [u64; 3] = [100_000, 20_000, 1000];
const DIM: usize = 8;
const BATCH: usize = 128;
const N_STEPS: u64 = 2000;

/// Features with skewed frequencies, and a label that depends on them.
fn sample(at: u64) -> (Vec<FeatureId>, f32) {
    let token = |field: usize| {
        let u = unit_f64(mix64(at, field as u64));
        (FEATURES[field] as f64 * u.powi(8)) as u32
    };
    let ids: Vec<_> =
        (0..FEATURES.len()).map(|field| FeatureId::new(field, token(field))).collect();
    let effect = |id: &FeatureId| (mix64(id.raw(), 7) % 5) as f32 - 2.0;
    let label = f32::from(ids.iter().map(effect).sum::<f32>() > 0.0);
    (ids, label)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let budget = Budget::Compression(100.0);
    let format = RowFormat::from(RowOptimizer::row_wise_adagrad(1e-10));
    let sizing = Sizing { features: &FEATURES, dim: DIM, budget, format, seed: 1 };
    let config = CafeConfig::within(&sizing, &CafeSettings::paper(100.0).under_quota())?;
    let mut embedding = CafeEmbedding::new(&config);
    let (mut loss, mut rows, mut grads) = (0.0, Vec::new(), Vec::new());
    for step in 0..N_STEPS {
        let samples = (0..BATCH as u64).map(|k| sample(step * BATCH as u64 + k));
        let (ids, labels): (Vec<_>, Vec<_>) = samples.unzip();
        let ids = ids.concat();
        rows.resize(ids.len() * DIM, 0.0);
        embedding.lookup(&ids, &mut rows);
        // The model: the logit is the sum of all values, so d loss / d value = p - label.
        grads.clear();
        for (values, label) in rows.chunks_exact(FEATURES.len() * DIM).zip(&labels) {
            let p = 1.0 / (1.0 + (-values.iter().sum::<f32>()).exp());
            loss -= if *label > 0.5 { p } else { 1.0 - p }.max(1e-7).ln() / (200 * BATCH) as f32;
            grads.extend(values.iter().map(|_| p - label));
        }
        let stats = embedding.update(&ids, &grads, 0.05);
        if (step + 1) % 200 == 0 {
            let hot = stats.hot_rows;
            writeln!(io::stdout(), "step {:4}: loss {loss:.4}, {hot} hot rows", step + 1)?;
            loss = 0.0;
        }
    }
    Ok(())
}
