//! What a trainer relies on, for the models that are not DLRM, which is tested in `model.rs`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Engine, other_models};
use dlrm_model::{
    DlrmConfig, Inputs, Model, ModelConfig, ModelError, ModelOptions, NamedTensor, OptimizerKind,
    ParameterError, StepLoss, StepOutputs, TrainableModel,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ADAGRAD: OptimizerKind = OptimizerKind::Adagrad { epsilon: 1e-10 };

/// With and without dense inputs.
fn configs() -> Vec<ModelConfig> {
    [other_models(5, 6, 8, &[24, 8]), other_models(0, 6, 8, &[24])].concat()
}

/// Each of them on each engine that trains.
fn cases() -> Vec<(ModelConfig, Engine)> {
    let on_engines =
        |config: ModelConfig| Engine::TRAINING.iter().map(move |&engine| (config.clone(), engine));
    configs().into_iter().flat_map(on_engines).collect()
}

fn options(optimizer: OptimizerKind, n_threads: usize) -> ModelOptions {
    ModelOptions { optimizer, seed: 7, n_threads, ..ModelOptions::default() }
}

struct Batch {
    dense: Vec<f32>,
    rows: Vec<f32>,
    labels: Vec<f32>,
    row_grads: Vec<f32>,
    logits: Vec<f32>,
}

impl Batch {
    fn new(config: &ModelConfig, n_samples: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw =
            |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<f32>>();
        let (dense, rows) =
            (draw(n_samples * config.n_dense()), draw(n_samples * config.row_floats()));
        let labels = (0..n_samples)
            .map(|i| f32::from(u8::from(rows[i * config.row_floats()] > 0.2)))
            .collect();
        Self { row_grads: vec![0.0; rows.len()], logits: vec![0.0; n_samples], dense, rows, labels }
    }

    fn train(&mut self, model: &mut Model) -> Result<StepLoss, ModelError> {
        let Self { dense, rows, labels, row_grads, logits } = self;
        model.train_step(Inputs { dense, rows, labels }, 0.05, StepOutputs { row_grads, logits })
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Inputs that a fresh model ignores change no logit until it has trained; the others do from the
/// start.
#[test]
fn ignored_inputs_count_after_training() {
    let dlrm =
        DlrmConfig { n_dense: 5, n_fields: 6, dim: 8, bottom: vec![16, 8], top: vec![16, 1] };
    for config in other_models(5, 6, 8, &[24, 8]).into_iter().chain([dlrm.into()]) {
        for &engine in Engine::TRAINING {
            let mut model = engine.build(config.clone(), options(ADAGRAD, 1));
            model.ignore_last_dense(3).unwrap();
            let mut batch = Batch::new(&config, 90, 1);
            let logits_with = |model: &Model, batch: &Batch, range: std::ops::Range<usize>| {
                let mut dense = batch.dense.clone();
                dense
                    .chunks_exact_mut(5)
                    .for_each(|row| row[range.clone()].iter_mut().for_each(|v| *v *= -2.0));
                let mut logits = vec![0.0; 90];
                model
                    .predict(Inputs { dense: &dense, rows: &batch.rows, labels: &[] }, &mut logits)
                    .unwrap();
                logits
            };
            let fresh = logits_with(&model, &batch, 0..0);
            assert_eq!(
                bits(&logits_with(&model, &batch, 2..5)),
                bits(&fresh),
                "{config:?} {engine:?}"
            );
            assert_ne!(logits_with(&model, &batch, 0..2), fresh, "{config:?} {engine:?}");
            for _ in 0..3 {
                batch.train(&mut model).unwrap();
            }
            let trained = logits_with(&model, &batch, 0..0);
            assert_ne!(logits_with(&model, &batch, 2..5), trained, "{config:?} {engine:?}");
        }
    }
}

#[test]
fn thread_count_does_not_change_bits() {
    for (config, engine) in &cases() {
        let run = |n_threads, n_samples| {
            let mut model = engine.build(config.clone(), options(ADAGRAD, n_threads));
            let mut trace = Vec::new();
            for seed in 0..2 {
                let mut batch = Batch::new(config, n_samples, seed);
                trace.push(vec![batch.train(&mut model).unwrap().loss_sum.to_bits() as u32]);
                trace.extend([bits(&batch.row_grads), bits(&batch.logits)]);
                model
                    .predict(
                        Inputs { dense: &batch.dense, rows: &batch.rows, labels: &[] },
                        &mut batch.logits,
                    )
                    .unwrap();
                trace.push(bits(&batch.logits));
            }
            trace.extend(model.parameters().unwrap().iter().map(|weight| bits(&weight.values)));
            trace.extend(model.optimizer_state().unwrap().iter().map(|state| bits(&state.values)));
            trace
        };
        for n_samples in [1, 129, 700] {
            let one = run(1, n_samples);
            for n_threads in [2, 4] {
                assert!(
                    run(n_threads, n_samples) == one,
                    "{n_threads} threads, {n_samples} samples, {config:?}"
                );
            }
        }
    }
}

#[test]
fn resume_is_bit_identical() {
    for (config, engine) in &cases() {
        let mut original = engine.build(config.clone(), options(ADAGRAD, 2));
        Batch::new(config, 130, 1).train(&mut original).unwrap();
        let mut resumed =
            engine.build(config.clone(), ModelOptions { seed: 8, ..options(ADAGRAD, 1) });
        assert_ne!(original.parameters().unwrap(), resumed.parameters().unwrap());
        resumed.load_parameters(&original.parameters().unwrap()).unwrap();
        resumed.load_optimizer_state(&original.optimizer_state().unwrap()).unwrap();
        for model in [&mut original, &mut resumed] {
            Batch::new(config, 130, 2).train(model).unwrap();
        }
        assert_eq!(original.parameters().unwrap(), resumed.parameters().unwrap());
        assert_eq!(original.optimizer_state().unwrap(), resumed.optimizer_state().unwrap());
    }
}

#[test]
fn training_learns_and_prediction_equals_the_logits_of_the_next_step() {
    for (config, engine) in &cases() {
        let mut model = engine.build(config.clone(), options(OptimizerKind::Sgd, 2));
        let mut batch = Batch::new(config, 64, 3);
        let mut predicted = vec![0.0; 64];
        model
            .predict(Inputs { dense: &batch.dense, rows: &batch.rows, labels: &[] }, &mut predicted)
            .unwrap();
        let first = batch.train(&mut model).unwrap().mean();
        assert_eq!(predicted, batch.logits, "{engine:?}, {config:?}");
        let last = (0..400).map(|_| batch.train(&mut model).unwrap().mean()).last().unwrap();
        assert!(last < 0.5 * first, "{first} to {last}, {engine:?}, {config:?}");
    }
}

/// Names and shapes of all parameters but the deep layers'.
fn except_deep(tensors: &[NamedTensor]) -> Vec<(&str, &[usize])> {
    let named = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()));
    named.filter(|(name, _)| !name.starts_with("deep.")).collect()
}

#[test]
fn parameters_are_named_like_torch_and_sorted() {
    let logit: [(&str, &[usize]); 2] = [("logit.bias", &[1]), ("logit.weight", &[1, 61])];
    let mut cross: [Vec<(&str, &[usize])>; 3] = [
        ["cross.0.bias", "cross.1.bias", "cross.2.bias"]
            .iter()
            .map(|&name| (name, &[53][..]))
            .collect(),
        vec![
            ("cross.0.bias", &[53]),
            ("cross.0.weight", &[53, 53]),
            ("cross.1.bias", &[53]),
            ("cross.1.weight", &[53, 53]),
        ],
        vec![
            ("cross.0.u.bias", &[53]),
            ("cross.0.u.weight", &[53, 2]),
            ("cross.0.v.weight", &[2, 53]),
            ("cross.1.u.bias", &[53]),
            ("cross.1.u.weight", &[53, 2]),
            ("cross.1.v.weight", &[2, 53]),
        ],
    ];
    cross[0].extend(
        ["cross.0.weight", "cross.1.weight", "cross.2.weight"]
            .iter()
            .map(|&name| (name, &[1, 53][..])),
    );
    cross[0].sort_unstable();
    let [dcn, full, low_rank] = cross.map(|cross| [cross, logit.to_vec()].concat());
    let wide: Vec<(&str, &[usize])> = vec![("wide.bias", &[1]), ("wide.weight", &[1, 53])];
    let linear: Vec<(&str, &[usize])> = vec![("linear.bias", &[1]), ("linear.weight", &[1, 53])];
    let expected = [wide, dcn, full, low_rank, linear];
    for &engine in Engine::TRAINING {
        for (config, expected) in other_models(5, 6, 8, &[24, 8]).into_iter().zip(&expected) {
            let model = engine.build(config, options(ADAGRAD, 1));
            let (parameters, state) =
                (model.parameters().unwrap(), model.optimizer_state().unwrap());
            assert!(parameters.is_sorted_by(|a, b| a.name < b.name));
            let deep = parameters.iter().find(|tensor| tensor.name == "deep.0.weight");
            assert_eq!(deep.unwrap().shape, [24, 53]);
            assert_eq!((&except_deep(&parameters), &except_deep(&state)), (expected, expected));
            assert_eq!(
                parameters.iter().map(|tensor| tensor.values.len()).sum::<usize>(),
                model.n_parameters()
            );
        }
    }
}

#[test]
fn non_finite_sample_is_reported_and_changes_nothing() {
    for (config, engine) in &cases() {
        let (mut model, mut batch) =
            (engine.build(config.clone(), options(ADAGRAD, 2)), Batch::new(config, 200, 5));
        let before = model.parameters().unwrap();
        batch.rows[150 * config.row_floats()] = f32::NAN;
        let error = batch.train(&mut model).unwrap_err();
        assert!(
            matches!(error, ModelError::NonFiniteLogit { sample_idx: 150, .. }),
            "{error}, {config:?}"
        );
        assert_eq!(model.parameters().unwrap(), before);
        assert!(
            model
                .optimizer_state()
                .unwrap()
                .iter()
                .all(|state| state.values.iter().all(|&v| v == 0.0))
        );
    }
}

#[test]
fn mismatched_parameters_are_refused_and_change_nothing() {
    for (config, engine) in &cases() {
        let mut model = engine.build(config.clone(), options(OptimizerKind::Sgd, 1));
        let good = model.parameters().unwrap();
        let mut changed = good.clone();
        for tensor in &mut changed {
            tensor.values.fill(0.25);
        }
        let last = changed.pop().unwrap();
        let expected = ParameterError::Missing { name: last.name.clone() };
        let refused = model.load_parameters(&changed);
        assert!(matches!(refused, Err(ModelError::Parameter(error)) if error == expected));
        changed.push(NamedTensor { shape: vec![last.values.len(), 1], ..last });
        let refused = model.load_parameters(&changed);
        assert!(
            matches!(refused, Err(ModelError::Parameter(ParameterError::Shape { .. }))),
            "{config:?}"
        );
        assert_eq!(model.parameters().unwrap(), good);
        assert!(model.load_optimizer_state(&good).is_err(), "SGD has no state");
    }
}
