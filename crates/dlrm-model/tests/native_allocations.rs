//! A step of the native engine allocates nothing of its own once its buffers have seen the largest
//! batch.
//!
//! A binary of its own: the counting allocator is global, and no other test may run at the same
//! time.

#[path = "../../cafe-core/tests/common/counting_allocator.rs"]
mod counting_allocator;

use dlrm_model::{
    DcnConfig, DcnV2Config, DeepFmConfig, DlrmConfig, Inputs, ModelConfig, ModelOptions,
    NativeModel, OptimizerKind, Precision, StepOutputs, TrainableModel, WideDeepConfig,
};

use counting_allocator::allocations;

/// Allocations of a step of `n_samples`, once everything is warm.
fn count(config: &ModelConfig, precision: Precision, n_threads: usize, n_samples: usize) -> usize {
    const STEPS: usize = 16;
    let adagrad = OptimizerKind::Adagrad { epsilon: 1e-10 };
    let options = ModelOptions {
        precision,
        optimizer: adagrad,
        seed: 1,
        n_threads,
        ..ModelOptions::default()
    };
    let mut model = NativeModel::new(config, &options).expect("a model");
    let (dense, rows) =
        (vec![0.5; n_samples * config.n_dense()], vec![0.1; n_samples * config.row_floats()]);
    let (labels, mut logits, mut row_grads) =
        (vec![1.0; n_samples], vec![0.0; n_samples], rows.clone());
    let inputs = Inputs { dense: &dense, rows: &rows, labels: &labels };
    let mut step = || {
        let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
        model.train_step(inputs, 0.01, outputs).expect("a step");
    };
    (0..STEPS).for_each(|_| step());
    let in_steps = allocations(|| (0..STEPS).for_each(|_| step()));
    let in_predictions = allocations(|| {
        (0..STEPS).for_each(|_| model.predict(inputs, &mut logits).expect("a prediction"));
    });
    in_steps.max(in_predictions).div_ceil(STEPS)
}

fn other_models() -> [ModelConfig; 5] {
    let (n_dense, n_fields, dim, deep) = (3, 5, 4, || vec![16]);
    let dcn_v2 = |rank| DcnV2Config { n_dense, n_fields, dim, n_cross: 2, rank, deep: deep() };
    [
        WideDeepConfig { n_dense, n_fields, dim, deep: deep() }.into(),
        DcnConfig { n_dense, n_fields, dim, n_cross: 2, deep: deep() }.into(),
        dcn_v2(None).into(),
        dcn_v2(Some(2)).into(),
        DeepFmConfig { n_dense, n_fields, dim, deep: deep() }.into(),
    ]
}

#[test]
fn steps_do_not_allocate() {
    // Products of vectors: `gemm` needs no scratch space for them, so whatever is counted is ours.
    let vectors =
        DlrmConfig { n_dense: 1, n_fields: 5, dim: 1, bottom: vec![1], top: vec![1] }.into();
    for n_samples in [1, 200, 5000] {
        assert_eq!(count(&vectors, Precision::F32, 1, n_samples), 0, "{n_samples} samples");
    }
    // Rayon boxes one job for each helper and each of two phases, and its queue grows by a block
    // now and then.
    assert!(count(&vectors, Precision::F32, 3, 200) <= 5);

    // `gemm` allocates at most twice a product: scratch space, and a list of what it has packed
    // there. Here a shard of a step has four products forward, three back and, with one tile a
    // layer, four for the weights.
    let matrices =
        DlrmConfig { n_dense: 13, n_fields: 26, dim: 16, bottom: vec![32, 16], top: vec![32, 1] }
            .into();
    let n_shards = 3;
    let allocations = count(&matrices, Precision::F32, 1, n_shards * 64);
    assert!(allocations <= 2 * 11 * n_shards, "{allocations}");

    // Our own kernel allocates nothing; what is left are products with the one column of the last
    // layer, which `gemm` computes without scratch space.
    for n_samples in [1, 200, 2500] {
        assert_eq!(
            count(&matrices, Precision::Bf16Emulated, 1, n_samples),
            0,
            "{n_samples} samples"
        );
    }
    for config in other_models() {
        assert_eq!(count(&config, Precision::Bf16Emulated, 1, 130), 0, "{config:?}");
    }
}
