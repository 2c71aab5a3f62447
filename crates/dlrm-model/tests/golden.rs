//! Against PyTorch: logits, loss, every gradient, and the weights after ten steps
//! (`scripts/golden_dlrm.py`, `scripts/golden_models.py` and `scripts/golden_adam.py`).

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{Engine, distance};
use dlrm_model::{
    DcnConfig, DcnV2Config, DeepFmConfig, DlrmConfig, Inputs, Model, ModelConfig, ModelOptions,
    NamedTensor, OptimizerKind, StepLoss, StepOutputs, TrainableModel, WideDeepConfig,
};
use serde::Deserialize;

/// PyTorch sums in another order than our engines.
const RELATIVE: f32 = 1e-5;
const ABSOLUTE: f32 = 1e-6;
/// Ten steps of Adam on an H200 differ by 1.5e-5; everything else there is within `RELATIVE`.
const RELATIVE_OF_ADAM_ON_GPU: f32 = 5e-5;
/// Tolerated distance of a list as a share of its length, with operands in bf16: small layers have
/// few errors to average over.
const BF16: f64 = 2e-2;
/// Adagrad divides a gradient by its own size at first, so that a small gradient moves a weight as
/// far as a large one.
const BF16_ADAGRAD: f64 = 1e-1;
/// The cross layers have gradients near zero, whose sign depends on rounding.
const BF16_ADAGRAD_OTHERS: f64 = 3e-1;

#[derive(Deserialize)]
struct Golden {
    steps: usize,
    adagrad_epsilon: f32,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(flatten)]
    shape: Shape,
    learning_rate: f32,
    dense: Vec<f32>,
    rows: Vec<f32>,
    labels: Vec<f32>,
    parameters: Vec<Named>,
    logits: Vec<f32>,
    loss: f32,
    row_grads: Vec<f32>,
    gradients: Vec<Named>,
    sgd: Vec<Named>,
    adagrad: Vec<Named>,
}

/// The sizes of every kind of model, named as in configurations.
#[derive(Deserialize)]
struct Shape {
    kind: String,
    n_dense: usize,
    n_fields: usize,
    dim: usize,
    #[serde(default)]
    bottom: Vec<usize>,
    #[serde(default)]
    top: Vec<usize>,
    #[serde(default)]
    deep: Vec<usize>,
    #[serde(default)]
    n_cross: usize,
    #[serde(default)]
    rank: Option<usize>,
}

impl Shape {
    fn config(&self) -> ModelConfig {
        let Self { n_dense, n_fields, dim, n_cross, rank, .. } = *self;
        let (bottom, top, deep) = (self.bottom.clone(), self.top.clone(), self.deep.clone());
        match &*self.kind {
            "dlrm" => DlrmConfig { n_dense, n_fields, dim, bottom, top }.into(),
            "wdl" => WideDeepConfig { n_dense, n_fields, dim, deep }.into(),
            "dcn" => DcnConfig { n_dense, n_fields, dim, n_cross, deep }.into(),
            "dcnv2" => DcnV2Config { n_dense, n_fields, dim, n_cross, rank, deep }.into(),
            "deepfm" => DeepFmConfig { n_dense, n_fields, dim, deep }.into(),
            other => panic!("a golden of an unknown kind: {other}"),
        }
    }
}

/// Adam on the same cases.
#[derive(Deserialize)]
struct AdamGolden {
    /// For each step a share of the case's learning rate.
    schedule: Vec<f32>,
    runs: Vec<AdamRun>,
}

#[derive(Deserialize)]
struct AdamRun {
    case: String,
    beta1: f64,
    beta2: f64,
    epsilon: f32,
    parameters: Vec<Named>,
    moments: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// What one step writes.
struct Step {
    loss: StepLoss,
    row_grads: Vec<f32>,
    logits: Vec<f32>,
}

impl Case {
    fn model(&self, optimizer: OptimizerKind, engine: Engine) -> Model {
        let options = ModelOptions { optimizer, seed: 0, n_threads: 1, ..ModelOptions::default() };
        let mut model = engine.build(self.shape.config(), options);
        let parameters: Vec<NamedTensor> = self.parameters.iter().map(Named::to_tensor).collect();
        model.load_parameters(&parameters).unwrap();
        model
    }

    fn step(&self, model: &mut Model, learning_rate: f32) -> Step {
        let (mut row_grads, mut logits) =
            (vec![f32::NAN; self.rows.len()], vec![f32::NAN; self.labels.len()]);
        let inputs = Inputs { dense: &self.dense, rows: &self.rows, labels: &self.labels };
        let outputs = StepOutputs { row_grads: &mut row_grads, logits: &mut logits };
        let loss = model.train_step(inputs, learning_rate, outputs).unwrap();
        Step { loss, row_grads, logits }
    }
}

impl Named {
    fn to_tensor(&self) -> NamedTensor {
        NamedTensor {
            name: self.name.clone(),
            shape: self.shape.clone(),
            values: self.values.clone(),
        }
    }
}

fn goldens() -> impl Iterator<Item = Golden> {
    let files = [
        include_str!("golden/dlrm.json"),
        include_str!("golden/wdl.json"),
        include_str!("golden/dcn.json"),
        include_str!("golden/dcnv2.json"),
        include_str!("golden/deepfm.json"),
    ];
    files.into_iter().map(|file| serde_json::from_str(file).unwrap())
}

/// Runs a check on every case of every model, with every engine in `f32`.
fn for_each_case(check: impl Fn(&Golden, &Case, Engine)) {
    for_each_case_on(Engine::ALL, check);
}

fn for_each_case_on(engines: &[Engine], check: impl Fn(&Golden, &Case, Engine)) {
    for golden in goldens() {
        for case in &golden.cases {
            for &engine in engines {
                check(&golden, case, engine);
            }
        }
    }
}

fn assert_close(what: &str, ours: &[f32], expected: &[f32]) {
    assert_within(RELATIVE, what, ours, expected);
}

fn assert_within(relative: f32, what: &str, ours: &[f32], expected: &[f32]) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    for (idx, (&ours, &expected)) in ours.iter().zip(expected).enumerate() {
        let tolerance = ABSOLUTE.max(relative * expected.abs());
        assert!((ours - expected).abs() <= tolerance, "{what}[{idx}]: {ours}, expected {expected}");
    }
}

fn assert_all_close(what: &str, ours: &[NamedTensor], expected: &[Named]) {
    assert_all_within(RELATIVE, what, ours, expected);
}

fn assert_all_within(relative: f32, what: &str, ours: &[NamedTensor], expected: &[Named]) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    for (ours, expected) in ours.iter().zip(expected) {
        assert_eq!((&ours.name, &ours.shape), (&expected.name, &expected.shape), "{what}");
        assert_within(relative, &format!("{what} {}", ours.name), &ours.values, &expected.values);
    }
}

#[test]
fn logits_loss_and_row_gradients() {
    for_each_case(|_, case, engine| {
        let mut model = case.model(OptimizerKind::Sgd, engine);
        let mut predicted = vec![f32::NAN; case.labels.len()];
        model
            .predict(Inputs { dense: &case.dense, rows: &case.rows, labels: &[] }, &mut predicted)
            .unwrap();
        let step = case.step(&mut model, 0.0);
        let name = format!("{engine:?}, {} {}", case.shape.kind, case.name);
        assert_eq!(predicted, step.logits, "{name}");
        assert_close(&format!("{name} logits"), &step.logits, &case.logits);
        assert_close(&format!("{name} loss"), &[step.loss.mean() as f32], &[case.loss]);
        assert_close(&format!("{name} row gradients"), &step.row_grads, &case.row_grads);
    });
}

/// A step of SGD moves the weights by `-rate · gradient`; with a large rate, `(before - after) /
/// rate` is the gradient with all its digits.
#[test]
fn parameter_gradients() {
    const RATE: f32 = 1024.0;
    for_each_case(|_, case, engine| {
        let mut model = case.model(OptimizerKind::Sgd, engine);
        case.step(&mut model, RATE);
        let mut gradients = model.parameters().unwrap();
        for (gradient, before) in gradients.iter_mut().zip(&case.parameters) {
            gradient
                .values
                .iter_mut()
                .zip(&before.values)
                .for_each(|(value, before)| *value = (before - *value) / RATE);
        }
        assert_all_close(
            &format!("{engine:?}, {} {} gradient of", case.shape.kind, case.name),
            &gradients,
            &case.gradients,
        );
    });
}

#[test]
fn ten_steps_of_sgd() {
    for_each_case(|golden, case, engine| {
        let mut model = case.model(OptimizerKind::Sgd, engine);
        for _ in 0..golden.steps {
            case.step(&mut model, case.learning_rate);
        }
        assert_all_close(
            &format!("{engine:?}, {} {} sgd", case.shape.kind, case.name),
            &model.parameters().unwrap(),
            &case.sgd,
        );
    });
}

#[test]
fn ten_steps_adagrad_tolerance() {
    for_each_case(|golden, case, engine| {
        let mut model =
            case.model(OptimizerKind::Adagrad { epsilon: golden.adagrad_epsilon }, engine);
        for _ in 0..golden.steps {
            case.step(&mut model, case.learning_rate);
        }
        assert_all_close(
            &format!("{engine:?}, {} {} adagrad", case.shape.kind, case.name),
            &model.parameters().unwrap(),
            &case.adagrad,
        );
    });
}

#[test]
fn ten_steps_of_adam_at_changing_rates() {
    let adam: AdamGolden = serde_json::from_str(include_str!("golden/adam.json")).unwrap();
    for_each_case(|_, case, engine| {
        // The optimizer does not depend on the model; one is enough.
        if case.shape.kind != "dlrm" {
            return;
        }
        let relative = if engine == Engine::Cuda { RELATIVE_OF_ADAM_ON_GPU } else { RELATIVE };
        let runs = adam.runs.iter().filter(|run| run.case == case.name);
        assert_eq!(runs.clone().count(), 2);
        for AdamRun { beta1, beta2, epsilon, parameters, moments, .. } in runs {
            let optimizer = OptimizerKind::Adam { beta1: *beta1, beta2: *beta2, epsilon: *epsilon };
            let mut model = case.model(optimizer, engine);
            for share in &adam.schedule {
                case.step(&mut model, share * case.learning_rate);
            }
            let what = format!("{engine:?}, {} {optimizer:?}", case.name);
            assert_all_within(relative, &what, &model.parameters().unwrap(), parameters);
            let mut state = model.optimizer_state().unwrap();
            state.retain(|tensor| tensor.name != "step");
            assert_all_within(relative, &what, &state, moments);
        }
    });
}

/// With operands in bf16 the same goldens, each list as a whole.
#[test]
fn bf16_stays_near() {
    for_each_case_on(&[Engine::NativeBf16], |golden, case, engine| {
        let check = |what: &str, ours: &[f32], expected: &[f32], tolerance: f64| {
            let distance = distance(ours, expected);
            assert!(distance < tolerance, "{} {}, {what}: {distance}", case.shape.kind, case.name);
        };
        let mut model = case.model(OptimizerKind::Sgd, engine);
        let step = case.step(&mut model, 0.0);
        check("logits", &step.logits, &case.logits, BF16);
        check("row gradients", &step.row_grads, &case.row_grads, BF16);
        let adagrad = OptimizerKind::Adagrad { epsilon: golden.adagrad_epsilon };
        let adagrad_tolerance =
            if case.shape.kind == "dlrm" { BF16_ADAGRAD } else { BF16_ADAGRAD_OTHERS };
        for (optimizer, expected, tolerance) in
            [(OptimizerKind::Sgd, &case.sgd, BF16), (adagrad, &case.adagrad, adagrad_tolerance)]
        {
            let mut model = case.model(optimizer, engine);
            (0..golden.steps).for_each(|_| drop(case.step(&mut model, case.learning_rate)));
            for (ours, expected) in model.parameters().unwrap().iter().zip(expected) {
                check(
                    &format!("{} after {optimizer:?}", ours.name),
                    &ours.values,
                    &expected.values,
                    tolerance,
                );
            }
        }
    });
}
