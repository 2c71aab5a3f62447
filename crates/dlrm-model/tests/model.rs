//! What a trainer relies on: the same bits for any number of threads, exact resumption, and errors
//! that name the place.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::Engine;
use dlrm_model::{
    DeviceError, DeviceSpec, DlrmConfig, EngineKind, Inputs, Kernel, Model, ModelError,
    ModelOptions, NamedTensor, OptimizerKind, ParameterError, Precision, PrecisionError, StepLoss,
    StepOutputs, TrainableModel,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ADAGRAD: OptimizerKind = OptimizerKind::Adagrad { epsilon: 1e-10 };

fn config() -> DlrmConfig {
    DlrmConfig { n_dense: 5, n_fields: 6, dim: 8, bottom: vec![32, 8], top: vec![24, 1] }
}

fn options(optimizer: OptimizerKind, n_threads: usize) -> ModelOptions {
    ModelOptions { optimizer, seed: 7, n_threads, ..ModelOptions::default() }
}

fn model(engine: Engine, optimizer: OptimizerKind, n_threads: usize) -> Model {
    engine.build(config(), options(optimizer, n_threads))
}

struct Batch {
    dense: Vec<f32>,
    rows: Vec<f32>,
    labels: Vec<f32>,
    row_grads: Vec<f32>,
    logits: Vec<f32>,
}

impl Batch {
    fn new(n_samples: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw =
            |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0f32)).collect::<Vec<f32>>();
        let (dense, rows) = (draw(n_samples * 5), draw(n_samples * 6 * 8));
        let labels = (0..n_samples).map(|i| f32::from(u8::from(dense[i * 5] > 0.2))).collect();
        Self { row_grads: vec![0.0; rows.len()], logits: vec![0.0; n_samples], dense, rows, labels }
    }

    fn train(&mut self, model: &mut Model) -> Result<StepLoss, ModelError> {
        let Self { dense, rows, labels, row_grads, logits } = self;
        model.train_step(Inputs { dense, rows, labels }, 0.05, StepOutputs { row_grads, logits })
    }

    fn predict(&mut self, model: &Model) -> Result<(), ModelError> {
        model
            .predict(Inputs { dense: &self.dense, rows: &self.rows, labels: &[] }, &mut self.logits)
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn thread_count_does_not_change_bits() {
    for &engine in Engine::TRAINING {
        let run = |optimizer, n_threads, n_samples| {
            let mut model = model(engine, optimizer, n_threads);
            let mut trace = Vec::new();
            for seed in 0..3 {
                let mut batch = Batch::new(n_samples, seed);
                let loss = batch.train(&mut model).unwrap();
                trace.push((loss.loss_sum.to_bits(), bits(&batch.row_grads), bits(&batch.logits)));
                batch.predict(&model).unwrap();
                trace.push((0, vec![], bits(&batch.logits)));
            }
            let weights = model.parameters().unwrap();
            (trace, weights.iter().map(|weight| bits(&weight.values)).collect::<Vec<_>>())
        };
        for optimizer in [OptimizerKind::Sgd, ADAGRAD] {
            for n_samples in [1, 129, 700, 2100] {
                let one = run(optimizer, 1, n_samples);
                for n_threads in [2, 3, 4] {
                    assert!(
                        run(optimizer, n_threads, n_samples) == one,
                        "{n_threads} threads, {n_samples} samples"
                    );
                }
            }
        }
    }
}

#[test]
fn resume_is_bit_identical() {
    for &engine in Engine::TRAINING {
        for optimizer in [OptimizerKind::Sgd, ADAGRAD] {
            let mut original = model(engine, optimizer, 2);
            Batch::new(130, 1).train(&mut original).unwrap();
            let other_seed = ModelOptions { seed: 8, ..options(optimizer, 1) };
            let mut resumed = engine.build(config(), other_seed);
            resumed.load_parameters(&original.parameters().unwrap()).unwrap();
            resumed.load_optimizer_state(&original.optimizer_state().unwrap()).unwrap();
            for model in [&mut original, &mut resumed] {
                Batch::new(130, 2).train(model).unwrap();
            }
            assert_eq!(original.parameters().unwrap(), resumed.parameters().unwrap());
            assert_eq!(original.optimizer_state().unwrap(), resumed.optimizer_state().unwrap());
        }
    }
}

#[test]
fn training_learns_and_repeats() {
    for &engine in Engine::TRAINING {
        let mut losses = Vec::new();
        for _ in 0..2 {
            let mut model = model(engine, OptimizerKind::Sgd, 2);
            let mut batch = Batch::new(128, 3);
            losses.push(
                (0..400).map(|_| batch.train(&mut model).unwrap().mean()).collect::<Vec<_>>(),
            );
        }
        assert_eq!(losses[0], losses[1]);
        assert!(losses[0][399] < 0.5 * losses[0][0], "{} to {}", losses[0][0], losses[0][399]);
    }
}

#[test]
fn prediction_equals_the_logits_of_the_next_step() {
    for &engine in Engine::TRAINING {
        let (mut model, mut batch) = (model(engine, OptimizerKind::Sgd, 2), Batch::new(300, 4));
        batch.predict(&model).unwrap();
        let predicted = batch.logits.clone();
        batch.train(&mut model).unwrap();
        assert_eq!(predicted, batch.logits);
        assert!(model.predict(Inputs { dense: &[], rows: &[], labels: &[] }, &mut []).is_ok());
    }
}

#[test]
fn parameters_are_named_like_torch_and_sorted() {
    for &engine in Engine::TRAINING {
        let model = model(engine, ADAGRAD, 1);
        let parameters = model.parameters().unwrap();
        let names_and_shapes = |tensors: &[NamedTensor]| {
            tensors
                .iter()
                .map(|tensor| (tensor.name.clone(), tensor.shape.clone()))
                .collect::<Vec<_>>()
        };
        let expected = [
            ("bottom.0.bias", vec![32]),
            ("bottom.0.weight", vec![32, 5]),
            ("bottom.1.bias", vec![8]),
            ("bottom.1.weight", vec![8, 32]),
            ("top.0.bias", vec![24]),
            ("top.0.weight", vec![24, 29]),
            ("top.1.bias", vec![1]),
            ("top.1.weight", vec![1, 24]),
        ];
        let expected: Vec<_> = expected.map(|(name, shape)| (name.to_owned(), shape)).into();
        assert_eq!(names_and_shapes(&parameters), expected);
        assert_eq!(names_and_shapes(&model.optimizer_state().unwrap()), expected);
        assert_eq!(parameters.iter().map(|p| p.values.len()).sum::<usize>(), model.n_parameters());
    }
}

#[test]
fn non_finite_sample_is_reported_and_changes_nothing() {
    for &engine in Engine::TRAINING {
        let (mut model, mut batch) = (model(engine, ADAGRAD, 2), Batch::new(200, 5));
        let before = model.parameters().unwrap();
        for (bad, dense_idx) in [(f32::NAN, 150 * 5), (f32::INFINITY, 70 * 5 + 1)] {
            batch.dense[dense_idx] = bad;
            let sample = format!("sample {} of the batch", dense_idx / 5);
            for error in [batch.train(&mut model).unwrap_err(), batch.predict(&model).unwrap_err()]
            {
                assert!(matches!(error, ModelError::NonFiniteLogit { .. }));
                assert!(error.to_string().starts_with(&sample), "{error}");
            }
        }
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

/// One weight `w`: the logit is `w · row_0 · row_1`, 0 here, and its gradient with respect to
/// `row_1` is `w · row_0`, beyond `f32`.
#[test]
fn non_finite_row_gradient_is_reported() {
    for &engine in Engine::TRAINING {
        let config = DlrmConfig { n_dense: 0, n_fields: 2, dim: 1, bottom: vec![], top: vec![1] };
        let mut model = engine.build(config, options(OptimizerKind::Sgd, 1));
        let mut parameters = model.parameters().unwrap();
        parameters[1].values.fill(1e30);
        model.load_parameters(&parameters).unwrap();
        let (mut row_grads, mut logits) = ([0.0; 4], [0.0; 2]);
        let inputs = Inputs { dense: &[], rows: &[0.0, 1.0, 1e20, 0.0], labels: &[0.0, 0.0] };
        let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
        let error = model.train_step(inputs, 0.1, outputs).unwrap_err();
        assert!(
            matches!(error, ModelError::NonFiniteGradient { sample_idx: 1, value_idx: 1, .. }),
            "{error}"
        );
        assert_eq!(model.parameters().unwrap(), parameters);
    }
}

#[test]
fn mismatched_parameters_are_refused_and_change_nothing() {
    for &engine in Engine::TRAINING {
        let mut model = model(engine, OptimizerKind::Sgd, 1);
        let good = model.parameters().unwrap();
        let refusal = |model: &mut Model, change: &dyn Fn(&mut Vec<NamedTensor>)| {
            let mut tensors = good.clone();
            for tensor in &mut tensors {
                tensor.values.fill(0.25);
            }
            change(&mut tensors);
            match model.load_parameters(&tensors) {
                Err(ModelError::Parameter(error)) => error,
                other => panic!("expected a refusal, got {other:?}"),
            }
        };
        let name = "bottom.0.bias".to_owned();
        assert_eq!(
            refusal(&mut model, &|t| drop(t.remove(0))),
            ParameterError::Missing { name: name.clone() }
        );
        assert_eq!(
            refusal(&mut model, &|t| t.push(t[0].clone())),
            ParameterError::Duplicate { name: name.clone() }
        );
        let mut extra = good[0].clone();
        extra.name = "top.9.bias".to_owned();
        assert_eq!(
            refusal(&mut model, &|t| t.push(extra.clone())),
            ParameterError::Unknown { name: extra.name.clone() }
        );
        let shape =
            ParameterError::Shape { name: name.clone(), expected: vec![32], got: vec![4, 8] };
        assert_eq!(refusal(&mut model, &|t| t[0].shape = vec![4, 8]), shape);
        let length = ParameterError::Length { name: name.clone(), expected: 32, got: 31 };
        assert_eq!(refusal(&mut model, &|t| t[0].values.truncate(31)), length);
        let message = refusal(&mut model, &|t| t[0].values[3] = f32::INFINITY).to_string();
        assert!(message.contains("`bottom.0.bias` holds inf at position 3"), "{message}");
        assert_eq!(model.parameters().unwrap(), good);
        assert!(model.load_optimizer_state(&good).is_err(), "SGD has no state");
    }
}

#[test]
fn invalid_models_are_refused() {
    for &engine in Engine::TRAINING {
        let broken = DlrmConfig { top: vec![2], ..config() };
        assert!(matches!(
            engine.try_build(broken, options(ADAGRAD, 1)),
            Err(ModelError::Config(_))
        ));
    }
    let on_gpu = ModelOptions { device: DeviceSpec::Cuda(0), ..options(ADAGRAD, 1) };
    if cfg!(feature = "candle") && !cfg!(feature = "cuda") {
        let refused = Engine::Fused.try_build(config(), on_gpu);
        assert!(matches!(
            refused,
            Err(ModelError::Device(DeviceError::CudaNotBuilt { ordinal: 0 }))
        ));
    }
    let refused = Engine::Native.try_build(config(), on_gpu).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "device `cuda:0` needs the engine `candle`: the engine `native` runs on `cpu` alone; \
         change one of the two"
    );
}

#[test]
fn precision_has_its_kernel_or_is_refused() {
    let build = |engine, precision| {
        let options = ModelOptions { engine, precision, ..options(ADAGRAD, 1) };
        Model::new(&config().into(), &options)
    };
    let describe = |model: Model| (model.precision(), model.kernel(), model.kernel().to_string());
    let emulated = build(EngineKind::Native, Precision::Bf16Emulated).unwrap();
    let expected = (Precision::Bf16Emulated, Kernel::EmulatedBf16, "emulated bf16".to_owned());
    assert_eq!(describe(emulated), expected);
    let (_, kernel, name) = describe(build(EngineKind::Native, Precision::F32).unwrap());
    assert!(
        matches!(kernel, Kernel::Gemm | Kernel::Avx512F) && ["gemm", "avx512f"].contains(&&*name)
    );
    match build(EngineKind::Native, Precision::Bf16) {
        Ok(model) => {
            assert_eq!(
                describe(model),
                (Precision::Bf16, Kernel::Avx512Bf16, "avx512_bf16".to_owned())
            );
        }
        Err(error) => {
            assert!(matches!(error, ModelError::Precision(PrecisionError::NoBf16)));
            let message = error.to_string();
            for part in ["`bf16` needs a CPU with AVX512_BF16", "use `f32`", "`bf16-emulated`"] {
                assert!(message.contains(part), "{message:?} should say {part:?}");
            }
        }
    }
}

#[cfg(feature = "candle")]
#[test]
fn candle_computes_in_f32_alone() {
    let model = model(Engine::Fused, ADAGRAD, 1);
    assert_eq!((model.precision(), model.kernel()), (Precision::F32, Kernel::Candle));
    assert_eq!(model.kernel().to_string(), "candle");
    for precision in [Precision::Bf16, Precision::Bf16Emulated] {
        let engine = EngineKind::Candle;
        let options = ModelOptions { engine, precision, ..options(ADAGRAD, 1) };
        let refused = Model::new(&config().into(), &options).unwrap_err();
        let expected = format!(
            "precision `{precision}` needs the engine `native`: the engine `candle` computes in \
             `f32` alone; change one of the two"
        );
        assert_eq!(refused.to_string(), expected);
    }
}

#[test]
#[should_panic(expected = "length of `rows`")]
fn native_panics_on_a_slice_of_another_length() {
    let (mut model, mut batch) = (model(Engine::Native, ADAGRAD, 1), Batch::new(4, 6));
    batch.rows.pop();
    let _ = batch.train(&mut model);
}

#[cfg(feature = "candle")]
#[test]
#[should_panic(expected = "length of `rows`")]
fn candle_panics_on_a_slice_of_another_length() {
    let (mut model, mut batch) = (model(Engine::Fused, ADAGRAD, 1), Batch::new(4, 6));
    batch.rows.pop();
    let _ = batch.train(&mut model);
}

/// One batch whose row gradients are finite, but after which the weights or the optimizer's state
/// are not.
#[test]
fn overflowed_weights_are_reported() {
    let config = DlrmConfig { n_dense: 1, n_fields: 2, dim: 2, bottom: vec![2], top: vec![1] };
    let (dense, rows, labels) = ([1e25, 1e25, -1e25, -1e25], [1e-3; 16], [0.0, 1.0, 0.0, 1.0]);
    let inputs = Inputs { dense: &dense, rows: &rows, labels: &labels };
    for &engine in Engine::ALL {
        for (optimizer, learning_rate) in
            [(OptimizerKind::Sgd, 1e25), (OptimizerKind::Adagrad { epsilon: 1e-8 }, 0.1)]
        {
            let options =
                ModelOptions { optimizer, seed: 1, n_threads: 1, ..ModelOptions::default() };
            let mut model = engine.build(config.clone(), options);
            assert_eq!(model.first_not_finite().unwrap(), None);
            let (mut row_grads, mut logits) = ([0.0; 16], [0.0; 4]);
            let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
            model.train_step(inputs, learning_rate, outputs).unwrap();
            let found = model.first_not_finite().unwrap();
            assert!(found.is_some(), "{engine:?}, {optimizer:?}");
            let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
            let next = model.train_step(inputs, learning_rate, outputs);
            match optimizer {
                OptimizerKind::Sgd => {
                    assert!(
                        matches!(next, Err(ModelError::NonFiniteLogit { .. })),
                        "{engine:?}: {next:?}"
                    );
                }
                // An infinite sum of squares stops its weight for good, and no logit shows it.
                _ => assert!(
                    next.is_ok() && model.first_not_finite().unwrap() == found,
                    "{engine:?}: {next:?}"
                ),
            }
        }
    }
}
