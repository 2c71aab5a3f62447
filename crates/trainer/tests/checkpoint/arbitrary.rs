//! Property tests: arbitrary checkpoints are loaded as saved, and arbitrary manifests do no harm.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use serde_json::{Map, Number, Value};
use trainer::checkpoint::{Checkpoint, Dtype, Store, Tensor};

use super::allocations::largest_of;
use super::manifest::manifest_json;
use super::memory::Memory;
use super::support::{Crafted, count, put, sign, small};

const DIR: &str = "checkpoints";

fn state() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // Every finite number by its bits; JSON has no others.
        any::<u64>().prop_map(
            |bits| Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::from)
        ),
        any::<f32>()
            .prop_map(|value| Number::from_f64(f64::from(value)).map_or(Value::Null, Value::from)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|entries| Value::from(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn tensor() -> impl Strategy<Value = Tensor> {
    let dtypes = vec![Dtype::F32, Dtype::U16, Dtype::I8, Dtype::U8, Dtype::U32, Dtype::U64];
    let shape = prop::collection::vec(0_usize..4, 0..=8)
        .prop_filter("small", |shape| shape.iter().product::<usize>() <= 256);
    (prop::sample::select(dtypes), shape, any::<u64>()).prop_map(|(dtype, shape, seed)| {
        let n_bytes = shape.iter().product::<usize>() * dtype.n_bytes();
        let bytes =
            (0..n_bytes as u64).map(|idx| ((idx + 1).wrapping_mul(seed | 1) >> 56) as u8).collect();
        Tensor { dtype, shape, bytes }
    })
}

fn checkpoint() -> impl Strategy<Value = Checkpoint> {
    let name = "[A-Za-z0-9_-][A-Za-z0-9_.-]{0,30}";
    (any::<u64>(), state(), prop::collection::btree_map(name, tensor(), 0..12)).prop_map(
        |(step, state, tensors): (_, _, BTreeMap<_, _>)| Checkpoint { step, state, tensors },
    )
}

fn runner(n_cases: u64) -> TestRunner {
    TestRunner::new(ProptestConfig {
        cases: n_cases as u32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}

#[test]
fn arbitrary_checkpoint_round_trip() {
    let n_cases = count(500, 50_000);
    let round_trip = |checkpoint: Checkpoint| {
        let store = Store::open(Memory::default(), Path::new(DIR)).expect("a good disk");
        store.save(&checkpoint).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let found =
            store.load(checkpoint.step).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(found, checkpoint);
        Ok(())
    };
    runner(n_cases).run(&checkpoint(), round_trip).unwrap_or_else(|error| panic!("{error}"));
    println!("arbitrary: {n_cases} checkpoints came back as they were");
}

/// The `n`-th value in `value`, in the order of a walk through it.
fn nth<'a>(value: &'a mut Value, n: &mut usize) -> Option<&'a mut Value> {
    if *n == 0 {
        return Some(value);
    }
    *n -= 1;
    match value {
        Value::Array(values) => values.iter_mut().find_map(|value| nth(value, n)),
        Value::Object(values) => values.values_mut().find_map(|value| nth(value, n)),
        _ => None,
    }
}

/// One or two values of a good manifest are replaced, and the checksum is made to fit.
#[test]
fn arbitrary_manifest_values_do_no_harm() {
    let n_cases = count(2_000, 200_000);
    let (memory, _) = Crafted::new().store();
    let path = Path::new("run/checkpoints/step-000000000001");
    let [good, tensors] =
        ["MANIFEST", "state.safetensors"].map(|name| memory.bytes(&path.join(name)));
    let good = manifest_json(&good);
    let number =
        prop_oneof![0_u64..2000, Just(u64::MAX), Just(1 << 63), any::<u64>()].prop_map(Value::from);
    let change = (0_usize..100, prop_oneof![number, state()]);
    let harmless = |changes: Vec<(usize, Value)>| {
        let mut manifest = good.clone();
        for (mut at, value) in changes {
            if let Some(place) = nth(&mut manifest, &mut at) {
                *place = value;
            }
        }
        let json = serde_json::to_vec(&manifest).expect("it is JSON");
        let (_, store) = put(&sign("1", &json), &tensors);
        let (result, largest) = largest_of(|| store.load(1));
        prop_assert!(largest < 8 << 20, "{} bytes at once", largest);
        if let Ok(found) = result {
            // Only the state has no other content to agree with.
            prop_assert_eq!(found, Checkpoint { state: manifest["state"].clone(), ..small(1) });
        }
        Ok(())
    };
    let changes = prop::collection::vec(change, 1..=2);
    runner(n_cases).run(&changes, harmless).unwrap_or_else(|error| panic!("{error}"));
    println!(
        "arbitrary: {n_cases} manifests with other values refused, or right in all but the state"
    );
}
