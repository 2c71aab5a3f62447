//! The program on the first GPU: only in a build with `--features cuda`, whose tests need one.

use crate::resume::resumes_alike;
use crate::support::{Bench, models};

const CANDLE: &str = "engine=candle";
const GPU: &str = "device=cuda:0";

/// Rounding differs and training amplifies it, but the quality of the model must not depend on it.
#[test]
fn gpu_learns_like_cpu() {
    let bench = Bench::new();
    for (kind, overrides) in models() {
        let train = |name: &str, more: &[&str]| {
            let all: Vec<&str> =
                overrides.iter().map(String::as_str).chain(more.iter().copied()).collect();
            bench.train(&format!("{kind}-{name}"), &all).0
        };
        let [gpu, cpu] = [train("gpu", &[GPU]), train("cpu", &[CANDLE])];
        assert_eq!(
            (&gpu["device"], &gpu["engine"], &cpu["device"]),
            (&"cuda:0".into(), &"candle".into(), &"cpu".into())
        );
        assert_eq!(
            (&gpu["train_rows"], &gpu["embedding_bytes"]),
            (&cpu["train_rows"], &cpu["embedding_bytes"]),
            "{kind}"
        );
        for (metric, tolerance) in [("test_auc", 5e-3), ("test_logloss", 2e-3)] {
            let [gpu, cpu] = [&gpu, &cpu].map(|report| report[metric].as_f64().expect("a number"));
            assert!(
                (gpu - cpu).abs() < tolerance,
                "{kind}: {metric} {gpu} on the GPU, {cpu} on the CPU"
            );
        }
    }
}

#[test]
fn gpu_run_resumes_bit_identically() {
    let bench = Bench::new();
    for (kind, overrides) in models() {
        for optimizer in ["sgd", "adagrad", "adam"] {
            let overrides =
                [&overrides[..], &[GPU.to_owned(), format!("train.optimizer={optimizer}")]]
                    .concat();
            resumes_alike(&bench, "small.toml", &format!("{kind}-{optimizer}"), &overrides, &[2]);
        }
    }
}

/// A model trained on a GPU is used where there is none, and the other way round.
#[test]
fn models_move_between_gpu_and_cpu() {
    let bench = Bench::new();
    for (name, trained_on, used_on) in [("gpu", GPU, "cpu"), ("cpu", "device=cpu", "cuda:0")] {
        let (report, _) = bench.train(name, &[trained_on]);
        for device in ["cpu", "cuda:0"] {
            let output = bench.trainer(&["eval", "--run", name, "--json", "--device", device]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            for figure in ["test_auc", "test_logloss"] {
                let [found, expected] =
                    [&found, &report].map(|figures| figures[figure].as_f64().expect("a number"));
                // Equal where it was trained; elsewhere a pair of rows may change places.
                let tolerance = if device == used_on { 1e-4 } else { 0.0 };
                assert!(
                    (found - expected).abs() <= tolerance,
                    "{name} on {device}: {figure} {found}, not {expected}"
                );
            }
        }
    }
}

#[test]
fn missing_gpu_is_named() {
    let bench = Bench::new();
    let output = bench.trainer(&["--config", "small.toml", "--set", "device=cuda:99"]);
    let (code, message) = crate::support::failure(&output);
    assert_eq!(code, 78, "{message}");
    assert!(message.contains("`cuda:99`") && message.contains("nvidia-smi"), "{message}");
}
