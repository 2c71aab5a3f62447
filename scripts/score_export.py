#!/usr/bin/env python3
"""Scores rows of Criteo's formats with an exported model: one probability per line, in order.

    scripts/score_export.py EXPORT ROWS.tsv [--no-label] > scores

ROWS may be `-`. A row with a feature that the export does not have is scored `nan`; missing
features are reported at the end, with exit code 1. It computes in f64, the program in f32:
probabilities agree to 1e-6, those of models with cross layers to 1e-5. Needs NumPy.
"""
import json, sys, zlib
from itertools import islice
import numpy as np

def load(directory):
    """The manifest, and the tensors by name."""
    manifest = json.load(open(f"{directory}/manifest.json"))
    if manifest["format"] != "cafe-export" or manifest["version"] not in (1, 3):
        sys.exit(f"{directory}: not an export of version 1 or 3")
    blob = np.memmap(f"{directory}/model.safetensors", np.uint8, "r")
    if zlib.crc32(blob) != manifest["files"][0]["crc32"]:
        sys.exit(f"{directory}/model.safetensors: damaged, its checksum is another")
    data = 8 + int.from_bytes(blob[:8].tobytes(), "little")
    dtypes = {"U64": "<u8", "F32": "<f4"}
    tensors = {}
    for name, t in json.loads(blob[8:data].tobytes()).items():
        begin, end = t["data_offsets"]
        tensors[name] = blob[data + begin : data + end].view(dtypes[t["dtype"]]).reshape(t["shape"])
    return manifest, tensors

def inputs(lines, n_dense, n_fields, has_label):
    """Dense values [B, n_dense] and feature ids [B, n_fields] of lines of text."""
    rows = [line.rstrip("\r\n").split("\t")[has_label:] for line in lines]
    counts = np.array([[int(x or 0) for x in row[:n_dense]] for row in rows], np.float64)
    tokens = np.array([[int(x, 16) if x else 1 << 32 for x in row[n_dense:]] for row in rows], np.uint64)
    return np.log(np.maximum(counts, 0) + 1).astype(np.float32), tokens | (np.arange(n_fields, dtype=np.uint64) << np.uint64(33))

def layer(net, name, x):
    return x @ net[f"{name}.weight"].T + net[f"{name}.bias"]

def stack(net, name, sizes, x, last_relu):
    for i in range(len(sizes)):
        x = layer(net, f"{name}.{i}", x)
        if last_relu or i + 1 < len(sizes):
            x = np.maximum(x, 0)
    return x

def crosses(net, model, x0):
    x = x0
    for i in range(model["cross_layers"]):
        name = f"cross.{i}"
        if model["kind"] == "dcn":
            x = x0 * (x @ net[f"{name}.weight"].T) + net[f"{name}.bias"] + x
        elif model.get("cross_rank"):
            x = x0 * layer(net, f"{name}.u", x @ net[f"{name}.v.weight"].T) + x
        else:
            x = x0 * layer(net, name, x) + x
    return x

def logits(net, model, dense, rows):
    """Logits of dense values [B, n_dense] and vectors [B, n_fields, dim]."""
    if model["kind"] == "dlrm":
        x = stack(net, "bottom", model["bottom"], dense, True)
        vectors = np.concatenate([x[:, None], rows], 1)
        pairs = (vectors @ vectors.transpose(0, 2, 1))[:, *np.tril_indices(vectors.shape[1], -1)]
        return stack(net, "top", model["top"], np.concatenate([x, pairs], 1), False)[:, 0]
    x = np.concatenate([dense, rows.reshape(len(rows), -1)], 1)
    if model["kind"] in ("dcn", "dcnv2"):
        deep = stack(net, "deep", model["deep"], x, True)
        return layer(net, "logit", np.concatenate([crosses(net, model, x), deep], 1))[:, 0]
    deep = stack(net, "deep", model["deep"] + [1], x, False)[:, 0]
    if model["kind"] == "wdl":
        return deep + layer(net, "wide", x)[:, 0]
    assert model["kind"] == "deepfm", f"this script does not know models of kind `{model['kind']}`"
    return deep + layer(net, "linear", x)[:, 0] + (rows.sum(1) ** 2 - (rows**2).sum(1)).sum(1) / 2

def main(directory, path, has_label):
    manifest, tensors = load(directory)
    if not manifest["data_format"].startswith("criteo"):
        sys.exit(f"this script reads Criteo's formats, the model is of `{manifest['data_format']}`")
    if manifest["precision"] != "f32":
        print(f"scored in f64; the program's products are in {manifest['precision']}", file=sys.stderr)
    net = {name.removeprefix("network."): t.astype(np.float64) for name, t in tensors.items() if name.startswith("network.")}
    features, vectors, missing, n_skipped = tensors["features"], tensors["rows"], set(), 0
    frequencies = tensors.get("frequencies")
    n_numbers = manifest["n_dense"] - manifest.get("n_frequencies", 0)
    lines = sys.stdin if path == "-" else open(path)
    while chunk := list(islice(lines, 2048)):
        dense, ids = inputs(chunk, n_numbers, manifest["n_fields"], has_label)
        places = np.minimum(np.searchsorted(features, ids), len(features) - 1)
        unknown = features[places] != ids
        if frequencies is not None:
            dense = np.concatenate([dense, frequencies[places]], 1)
        x = logits(net, manifest["model"], dense, vectors[places].astype(np.float64))
        x[unknown.any(1)] = np.nan
        print(*map(repr, (1 / (1 + np.exp(-x))).tolist()), sep="\n")
        missing.update(ids[unknown].tolist())
        n_skipped += int(unknown.any(1).sum())
    if missing:
        token = lambda i: "(missing)" if i >> 32 & 1 else f"{i & 0xffffffff:08x}"
        names = [f"{manifest['fields'][i >> 33]['name']}={token(i)}" for i in sorted(missing)[:10]]
        sys.exit(f"{n_skipped} rows not scored: the export lacks {len(missing)} of their features, such as "
                 f"{', '.join(names)}; export again with --data naming these rows")

if __name__ == "__main__":
    args = [arg for arg in sys.argv[1:] if arg != "--no-label"]
    if len(args) != 2:
        sys.exit(__doc__)
    main(*args, "--no-label" not in sys.argv)
