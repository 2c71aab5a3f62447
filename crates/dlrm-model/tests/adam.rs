//! Adam on whole models: what is saved and restored, threads, engines, and what is refused.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::Engine;
use dlrm_model::{
    DlrmConfig, Inputs, Model, ModelError, ModelOptions, NamedTensor, OptimizerError,
    OptimizerKind, ParameterError, StepOutputs, TrainableModel,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ADAM: OptimizerKind = OptimizerKind::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
const ENGINES: &[Engine] = if cfg!(feature = "cuda") {
    &[Engine::Native, Engine::NativeBf16, Engine::Fused, Engine::Plain, Engine::Cuda]
} else if cfg!(feature = "candle") {
    &[Engine::Native, Engine::NativeBf16, Engine::Fused, Engine::Plain]
} else {
    &[Engine::Native, Engine::NativeBf16]
};

fn config() -> DlrmConfig {
    DlrmConfig { n_dense: 5, n_fields: 6, dim: 8, bottom: vec![32, 8], top: vec![24, 1] }
}

fn options(optimizer: OptimizerKind, n_threads: usize) -> ModelOptions {
    ModelOptions { optimizer, seed: 7, n_threads, ..ModelOptions::default() }
}

/// A step on a batch drawn from the step's number, at a rate of its own; the bits of its row
/// gradients and logits.
fn step(model: &mut Model, n_samples: usize, step_idx: u16) -> Vec<u32> {
    let (config, mut rng) = (model.config().clone(), ChaCha8Rng::seed_from_u64(step_idx.into()));
    let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<f32>>();
    let (dense, rows) = (draw(n_samples * config.n_dense()), draw(n_samples * config.row_floats()));
    let labels: Vec<f32> =
        draw(n_samples).into_iter().map(|v| f32::from(u8::from(v > 0.0))).collect();
    let (mut row_grads, mut logits) = (vec![f32::NAN; rows.len()], vec![f32::NAN; n_samples]);
    let inputs = Inputs { dense: &dense, rows: &rows, labels: &labels };
    let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
    model.train_step(inputs, 0.01 / (1.0 + f32::from(step_idx)), outputs).unwrap();
    row_grads.iter().chain(&logits).map(|value| value.to_bits()).collect()
}

fn contents(model: &Model) -> [Vec<NamedTensor>; 2] {
    [model.parameters().unwrap(), model.optimizer_state().unwrap()]
}

fn count(model: &Model) -> Vec<f32> {
    let state = model.optimizer_state().unwrap();
    state.into_iter().find(|tensor| tensor.name == "step").unwrap().values
}

#[test]
fn state_is_two_moments_and_the_number_of_steps() {
    for &engine in ENGINES {
        let mut model = engine.build(config(), options(ADAM, 1));
        let [parameters, state] = contents(&model);
        let moments = parameters.iter().flat_map(|parameter| {
            ["first", "second"].map(|order| {
                (format!("{}.{order}_moment", parameter.name), parameter.shape.clone())
            })
        });
        let mut expected: Vec<(String, Vec<usize>)> =
            moments.chain([("step".to_owned(), vec![2])]).collect();
        expected.sort();
        let names = |state: &[NamedTensor]| {
            state.iter().map(|t| (t.name.clone(), t.shape.clone())).collect::<Vec<_>>()
        };
        assert_eq!(names(&state), expected);
        assert!(state.iter().all(|tensor| tensor.values.iter().all(|&value| value == 0.0)));
        (0..3).for_each(|step_idx| drop(step(&mut model, 20, step_idx)));
        assert_eq!(count(&model), [3.0, 0.0]);
        assert!(
            contents(&model)[1]
                .iter()
                .all(|tensor| tensor.values.iter().any(|&value| value != 0.0))
        );
    }
}

#[test]
fn bytes_of_the_state() {
    for &engine in ENGINES {
        for (optimizer, n_bytes) in
            [(OptimizerKind::Sgd, 0), (OptimizerKind::Adagrad { epsilon: 0.0 }, 4), (ADAM, 8)]
        {
            let model = engine.build(config(), options(optimizer, 1));
            assert_eq!(model.n_state_bytes(), n_bytes * model.n_parameters());
            let state = model.optimizer_state().unwrap();
            let n_values: usize =
                state.iter().filter(|t| t.name != "step").map(|t| t.values.len()).sum();
            assert_eq!(model.n_state_bytes(), 4 * n_values);
        }
    }
}

#[test]
fn resume_is_bit_identical() {
    for &engine in ENGINES {
        let mut original = engine.build(config(), options(ADAM, 2));
        (0..3).for_each(|step_idx| drop(step(&mut original, 130, step_idx)));
        let mut restored = engine.build(config(), ModelOptions { seed: 8, ..options(ADAM, 1) });
        step(&mut restored, 130, 9);
        let [parameters, mut state] = contents(&original);
        state.reverse();
        restored.load_parameters(&parameters).unwrap();
        restored.load_optimizer_state(&state).unwrap();
        assert_eq!(contents(&restored), contents(&original));
        for step_idx in 3..6 {
            assert_eq!(
                step(&mut restored, 130, step_idx),
                step(&mut original, 130, step_idx),
                "{engine:?}"
            );
        }
        assert_eq!(contents(&restored), contents(&original), "{engine:?}");
    }
}

#[test]
fn step_count_continues_beyond_24_bits() {
    for &engine in ENGINES {
        let mut model = engine.build(config(), options(ADAM, 1));
        let mut state = model.optimizer_state().unwrap();
        state.iter_mut().find(|tensor| tensor.name == "step").unwrap().values =
            vec![16_777_214.0, 3.0];
        model.load_optimizer_state(&state).unwrap();
        for expected in [[16_777_215.0, 3.0], [0.0, 4.0], [1.0, 4.0]] {
            step(&mut model, 10, 1);
            assert_eq!(count(&model), expected);
        }
    }
}

#[test]
fn thread_count_does_not_change_bits() {
    // The second is large enough for more than one tile a layer.
    let large = DlrmConfig {
        n_dense: 13,
        n_fields: 26,
        dim: 16,
        bottom: vec![64, 16],
        top: vec![300, 64, 1],
    };
    for (config, n_samples) in [(config(), 1), (config(), 700), (large, 200)] {
        for &engine in Engine::TRAINING {
            let run = |n_threads| {
                let mut model = engine.build(config.clone(), options(ADAM, n_threads));
                let outputs: Vec<Vec<u32>> =
                    (0..3).map(|step_idx| step(&mut model, n_samples, step_idx)).collect();
                (outputs, contents(&model))
            };
            let one = run(1);
            for n_threads in [2, 4] {
                assert!(
                    run(n_threads) == one,
                    "{engine:?}, {n_threads} threads, {n_samples} samples"
                );
            }
        }
    }
}

/// With an epsilon that keeps rounding errors of small gradients small.
#[cfg(feature = "candle")]
#[test]
fn engines_agree_and_exchange_their_states() {
    let adam = OptimizerKind::Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-2 };
    let engines = [Engine::Native, Engine::Fused, Engine::Plain];
    for (from, to) in engines.iter().flat_map(|from| engines.iter().map(move |to| (from, to))) {
        let [mut from, mut to] = [from, to].map(|engine| engine.build(config(), options(adam, 1)));
        for step_idx in 0..4 {
            step(&mut from, 129, step_idx);
            step(&mut to, 129, step_idx);
        }
        for (ours, expected) in contents(&to).concat().iter().zip(&contents(&from).concat()) {
            assert_eq!((&ours.name, &ours.shape), (&expected.name, &expected.shape));
            for (ours, expected) in ours.values.iter().zip(&expected.values) {
                assert!(
                    (ours - expected).abs() <= 1e-6 + 1e-5 * expected.abs(),
                    "{ours}, expected {expected}"
                );
            }
        }
        let [parameters, state] = contents(&from);
        to.load_parameters(&parameters).unwrap();
        to.load_optimizer_state(&state).unwrap();
        assert_eq!(contents(&to), [parameters, state]);
    }
}

#[test]
fn mismatched_state_is_refused_and_changes_nothing() {
    for &engine in ENGINES {
        let mut model = engine.build(config(), options(ADAM, 1));
        step(&mut model, 10, 1);
        let before = contents(&model);
        let refusal = |model: &mut Model, change: &dyn Fn(&mut Vec<NamedTensor>)| {
            let mut state = before[1].clone();
            for tensor in &mut state {
                tensor.values.fill(1.0);
            }
            change(&mut state);
            match model.load_optimizer_state(&state) {
                Err(ModelError::Parameter(error)) => error,
                other => panic!("expected a refusal, got {other:?}"),
            }
        };
        let step_of =
            |state: &[NamedTensor]| state.iter().position(|tensor| tensor.name == "step").unwrap();
        let missing = |name: &str| ParameterError::Missing { name: name.to_owned() };
        let error = refusal(&mut model, &|state| drop(state.remove(step_of(state))));
        assert_eq!(error, missing("step"));
        assert_eq!(
            refusal(&mut model, &|state| drop(state.remove(0))),
            missing("bottom.0.bias.first_moment")
        );
        let error = refusal(&mut model, &|state| {
            let step_idx = step_of(state);
            state[step_idx].values[0] = 1.5;
        });
        assert_eq!(
            error,
            ParameterError::NotACount { name: "step".to_owned(), value_idx: 0, value: 1.5 }
        );
        let of_adagrad = refusal(&mut model, &|state| *state = before[0].clone());
        assert_eq!(of_adagrad, missing("step"));
        assert_eq!(contents(&model), before);

        let mut adagrad =
            engine.build(config(), options(OptimizerKind::Adagrad { epsilon: 0.0 }, 1));
        assert!(matches!(adagrad.load_optimizer_state(&before[1]), Err(ModelError::Parameter(_))));
        let one = OptimizerKind::Adam { beta1: 0.9, beta2: 1.0, epsilon: 1e-8 };
        let refused = engine.try_build(config(), options(one, 1));
        assert!(matches!(
            refused,
            Err(ModelError::Optimizer(OptimizerError::Beta { name: "beta2", .. }))
        ));
    }
}

#[test]
fn failed_step_is_not_counted() {
    for &engine in ENGINES {
        let mut model = engine.build(config(), options(ADAM, 1));
        step(&mut model, 10, 1);
        let before = contents(&model);
        let (mut row_grads, mut logits) = ([0.0; 48], [0.0]);
        let inputs = Inputs { dense: &[f32::NAN; 5], rows: &[0.1; 48], labels: &[1.0] };
        let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
        assert!(matches!(
            model.train_step(inputs, 0.1, outputs),
            Err(ModelError::NonFiniteLogit { .. })
        ));
        assert_eq!(contents(&model), before);
    }
}
