//! Crafted checkpoints with valid checksums are refused without a panic and without much memory.

use serde_json::{Value, json};
use trainer::checkpoint::{Damage, LoadError, Section};

use super::allocations::largest_of;
use super::support::{Crafted, put, sign, small};

/// More than a manifest's longest JSON needs, less than any length that is lied about here.
const MAX_AT_ONCE: usize = 64 << 20;

/// The error of loading step 1.
fn refusal(crafted: Crafted) -> Damage {
    let (_, store) = crafted.store();
    let (result, largest) = largest_of(|| store.load(1));
    assert!(largest < MAX_AT_ONCE, "{largest} bytes at once");
    match result {
        Err(LoadError::Damaged { damage, .. }) => damage,
        other => panic!("{other:?}"),
    }
}

/// The index of a tensor in the manifest.
fn idx(manifest: &Value, name: &str) -> usize {
    let tensors = manifest["tensors"].as_array().expect("an array");
    tensors.iter().position(|tensor| tensor["name"] == name).expect("it is there")
}

/// An entry of the manifest.
fn entry<'a>(manifest: &'a mut Value, name: &str) -> &'a mut Value {
    let idx = idx(manifest, name);
    &mut manifest["tensors"][idx]
}

fn add(number: &mut Value, more: i64) {
    *number = json!(number.as_i64().expect("a number") + more);
}

type Case = (&'static str, fn(&mut Value), &'static str);

const MANIFESTS: &[Case] = &[
    (
        "huge file",
        |m| m["file"]["n_bytes"] = json!(u64::MAX),
        "the file of tensors is not valid: the tensors end at",
    ),
    (
        "huge header",
        |m| m["header"]["n_bytes"] = json!(1_u64 << 40),
        "the header is not valid: it has 1099511627776",
    ),
    ("no header", |m| m["header"]["n_bytes"] = json!(0), "tensor `ids` is not valid: it lies at"),
    (
        "huge tensor",
        |m| {
            let more = 3_i64 << 40;
            add(&mut m["file"]["n_bytes"], more);
            add(&mut entry(m, "exponents")["end"], more);
            entry(m, "exponents")["shape"] = json!([more + 3]);
        },
        "the file of tensors is damaged: it has",
    ),
    (
        "overflow",
        |m| entry(m, "weights")["shape"] = json!([1_u64 << 63, 2]),
        "tensor `weights` is not valid: F32 of",
    ),
    (
        "overlap",
        |m| add(&mut entry(m, "weights")["begin"], -8),
        "tensor `weights` is not valid: it lies at",
    ),
    (
        "gap",
        |m| add(&mut entry(m, "weights")["begin"], 1),
        "tensor `weights` is not valid: it lies at",
    ),
    ("backwards", |m| entry(m, "ids")["end"] = json!(0), "tensor `ids` is not valid: it lies at"),
    (
        "twice",
        |m| {
            let mut empty = entry(m, "empty").clone();
            empty["begin"] = m["file"]["n_bytes"].clone();
            empty["end"] = m["file"]["n_bytes"].clone();
            m["tensors"].as_array_mut().expect("an array").push(empty);
        },
        "tensor `empty` is not valid: it comes twice",
    ),
    (
        "one less",
        |m| drop(m["tensors"].as_array_mut().expect("an array").pop()),
        "the file of tensors is not valid",
    ),
    (
        "4097 tensors",
        |m| m["tensors"] = json!(vec![entry(m, "empty").clone(); 4097]),
        "the manifest is not valid: it has 4097 tensors",
    ),
    (
        "rank 9",
        |m| entry(m, "exponents")["shape"] = json!([1, 1, 1, 1, 1, 1, 1, 1, 3]),
        "tensor `exponents` is not valid: it has rank 9, expected at most 8",
    ),
    (
        "path",
        |m| entry(m, "ids")["name"] = json!("../../ids"),
        "tensor `../../ids` is not valid: a name has",
    ),
    ("empty name", |m| entry(m, "ids")["name"] = json!(""), "tensor `` is not valid: a name has"),
    ("NUL", |m| entry(m, "ids")["name"] = json!("i\0"), "tensor `i\\0` is not valid: a name has"),
    ("long name", |m| entry(m, "ids")["name"] = json!("i".repeat(201)), "tensor `iiii"),
    (
        "reserved",
        |m| entry(m, "ids")["name"] = json!(".."),
        "tensor `..` is not valid: this name is reserved",
    ),
    (
        "renamed",
        |m| entry(m, "ids")["name"] = json!("dis"),
        "the header is not valid: tensor `ids` is not in",
    ),
    (
        "unknown type",
        |m| entry(m, "ids")["dtype"] = json!("F64"),
        "the manifest is not valid: unknown variant `F64`",
    ),
    (
        "wrong type",
        |m| entry(m, "ids")["dtype"] = json!("U32"),
        "tensor `ids` is not valid: U32 of shape [2] in 16",
    ),
    (
        "equal size",
        |m| entry(m, "codes")["dtype"] = json!("U8"),
        "the header is not valid: its description of tensor `codes` differs",
    ),
    (
        "shape",
        |m| entry(m, "weights")["shape"] = json!([3, 2]),
        "the header is not valid: its description of tensor",
    ),
    (
        "negative",
        |m| entry(m, "weights")["shape"] = json!([-2, -3]),
        "the manifest is not valid: invalid value",
    ),
    (
        "fraction",
        |m| m["step"] = json!(1.5),
        "the manifest is not valid: invalid type: floating point",
    ),
    (
        "missing",
        |m| drop(m.as_object_mut().expect("an object").remove("state")),
        "the manifest is not valid: missing",
    ),
    ("unknown", |m| m["more"] = json!(1), "the manifest is not valid: unknown field `more`"),
    (
        "other step",
        |m| m["step"] = json!(2),
        "the manifest is not valid: it is of step 2, expected 1",
    ),
    ("other JSON", |m| *m = json!([1, 2]), "the manifest is not valid: invalid"),
    (
        "header checksum",
        |m| m["header"]["crc32c"] = json!(1),
        "the header is damaged: its checksum is",
    ),
    (
        "file checksum",
        |m| m["file"]["crc32c"] = json!(1),
        "the file of tensors is damaged: its checksum is",
    ),
    (
        "long shape",
        |m| entry(m, "ids")["shape"] = json!(vec![1; 1 << 20]),
        "tensor `ids` is not valid: it has rank",
    ),
];

#[test]
fn inconsistent_manifests_are_refused() {
    for (what, lie, expected) in MANIFESTS {
        let mut crafted = Crafted::new();
        crafted.last = *lie;
        let message = refusal(crafted).to_string();
        assert!(message.starts_with(expected), "{what}: {message}");
    }
    println!("hostile: {} of {} manifests refused", MANIFESTS.len(), MANIFESTS.len());
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn inconsistent_headers_are_refused() {
    let good = String::from_utf8(Crafted::new().header).expect("JSON");
    let codes = r#""codes":{"dtype":"I8","shape":[5],"data_offsets":["#;
    let begin = good.find(codes).expect("it is there");
    let end = begin + good[begin..].find('}').expect("it ends") + 1;
    let twice = format!("{{{},{}", &good[begin..end], &good[1..]);
    let cases = [
        ("twice", twice, "tensor `codes` comes twice"),
        (
            "one more",
            good.replacen('{', r#"{"more":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"#, 1),
            "it has 8",
        ),
        (
            "one less",
            good.replacen(&format!("{},", &good[begin..end]), "", 1),
            "it has 6 tensors, the manifest has 7",
        ),
        (
            "a remark",
            good.replacen('{', r#"{"__metadata__":{"a":"b"},"#, 1),
            "missing field `dtype`",
        ),
        (
            "another name",
            good.replacen("codes", "coded", 1),
            "tensor `coded` is not in the manifest",
        ),
        (
            "another type",
            good.replacen("\"I8\"", "\"U8\"", 1),
            "its description of tensor `codes` differs",
        ),
        (
            "another shape",
            good.replacen("[2,3]", "[3,2]", 1),
            "its description of tensor `weights` differs",
        ),
        (
            "another place",
            good.replacen("[0,16]", "[8,24]", 1),
            "its description of tensor `ids` differs",
        ),
        (
            "far away",
            good.replacen("[0,16]", &format!("[{0},{0}]", usize::MAX), 1),
            "its description of tensor `ids` differs",
        ),
        ("too large", good.replacen("[0,16]", "[0,99999999999999999999]", 1), "invalid type"),
        ("not JSON", "x".to_owned(), "expected value"),
        ("nothing", String::new(), "EOF"),
        (
            "a list",
            "[]".to_owned(),
            "invalid type: sequence, expected an object with a tensor for every name",
        ),
        ("half", good[..good.len() / 2].to_owned(), "EOF"),
    ];
    for (what, header, expected) in &cases {
        assert_ne!(*header, good, "{what}");
        let mut crafted = Crafted::new();
        // The tensors lie where they lay, so that only the header is at fault.
        let longer = header.len() as i64 - crafted.header.len() as i64;
        for entry in crafted.manifest["tensors"].as_array_mut().expect("an array") {
            add(&mut entry["begin"], longer);
            add(&mut entry["end"], longer);
        }
        crafted.header = header.clone().into_bytes();
        let damage = refusal(crafted);
        let is_header = matches!(&damage, Damage::Invalid { section: Section::Header, why } if why.contains(expected));
        assert!(is_header, "{what}: {damage}");
    }
    println!("hostile: {} of {} headers refused", cases.len(), cases.len());
}

#[test]
fn inconsistent_first_lines_are_refused() {
    let (memory, _) = Crafted::new().store();
    let dir = std::path::Path::new("run/checkpoints/step-000000000001");
    let [manifest, tensors] =
        ["MANIFEST", "state.safetensors"].map(|name| memory.bytes(&dir.join(name)));
    let line_end = manifest.iter().position(|&byte| byte == b'\n').expect("a first line");
    let json = &manifest[line_end + 1..];
    let with_line = |line: &str| [line.as_bytes(), b"\n", json].concat();
    let deep = sign("1", format!(r#"{{"state":{}"#, "[".repeat(100_000)).as_bytes());
    let cases = [
        ("empty", Vec::new(), "it has no first line"),
        ("a long line", vec![b'x'; 1000], "it has no first line"),
        ("no text", b"\xff\xfe\n".to_vec(), "it has no first line"),
        ("another magic", with_line("another-checkpoint 1 5 00000000"), "its first line is not"),
        (
            "huge length",
            with_line("cafe-checkpoint 1 18446744073709551615 00000000"),
            "expected 18446744073709551615",
        ),
        (
            "larger length",
            with_line("cafe-checkpoint 1 18446744073709551616 00000000"),
            "its first line is not",
        ),
        ("version 0", sign("0", json), "there is no version 0"),
        ("version 01", sign("01", json), "its first line is not"),
        ("version +1", sign("+1", json), "its first line is not"),
        ("huge version", sign("4294967296", json), "its first line is not"),
        ("too long", sign("1", &vec![b' '; 4 << 20]), "expected at most 4194304"),
        ("spaces only", sign("1", &vec![b' '; 1 << 20]), "EOF"),
        ("deep", deep, "recursion limit"),
        ("text after it", sign("1", &[json, b"x"].concat()), "trailing characters"),
    ];
    for (what, manifest, expected) in &cases {
        let (_, store) = put(manifest, &tensors);
        let (result, largest) = largest_of(|| store.load(1));
        let error = result.expect_err(what);
        assert!(
            matches!(error, LoadError::Damaged { .. }) && error.to_string().contains(expected),
            "{what}: {error}"
        );
        assert!(largest < MAX_AT_ONCE, "{what}: {largest} bytes at once");
    }
    let (_, store) = put(&manifest, &tensors);
    assert_eq!(store.load(1).expect("what was crafted without a lie loads"), small(1));
    println!("hostile: {} of {} first lines refused", cases.len(), cases.len());
}
