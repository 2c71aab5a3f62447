//! Reads the manifest of a checkpoint, included by several test binaries.

use serde_json::Value;

/// The JSON of a manifest, which follows its first line.
pub(crate) fn manifest_json(manifest: &[u8]) -> Value {
    let line_end = manifest.iter().position(|&byte| byte == b'\n').expect("a first line");
    serde_json::from_slice(&manifest[line_end + 1..]).expect("JSON")
}
