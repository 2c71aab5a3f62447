#!/usr/bin/env python3
"""Training step of the DLRM in Criteo Kaggle shapes in PyTorch: the fastest that we could write.

    python scripts/bench_pytorch.py --batch 128 --mode eager --seconds 5

Needs torch; prints one line of JSON.

One hashed table for all fields, with the rows that a compression ratio of 1,000 leaves of Criteo
Kaggle's 33,762,577 features. The rows of a batch are a leaf of the graph, so autograd never sees
the table; `index_add_` steps it. The dense parameters use fused SGD. `--mode compiled` compiles
forward pass and loss with torch.compile. Batches are prepared in memory: 26 ids per sample, drawn
field by field from a Zipf law of exponent 1.05, hashed beforehand. No importance is kept: this is
the step of plain hashing, with which `just bench-peer` compares CAFE's. `--device cuda` has
everything on the GPU, including table and batches.
"""

import argparse
import json
import resource
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F

N_DENSE, N_FIELDS, DIM = 13, 26, 16
BOTTOM, TOP = [512, 256, 64, DIM], [512, 256, 1]
N_ROWS = 33_762_577 // 1000
LEARNING_RATE = 0.1
N_BATCHES_SAMPLES = 131_072  # samples kept in memory, for any batch size
N_WINDOWS = 5


def mlp(n_input, sizes, relu_at_end):
    layers = []
    for idx, n_output in enumerate(sizes):
        layers.append(torch.nn.Linear(n_input, n_output))
        if relu_at_end or idx + 1 < len(sizes):
            layers.append(torch.nn.ReLU(inplace=True))
        n_input = n_output
    return torch.nn.Sequential(*layers)


class Dlrm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        n_vectors = N_FIELDS + 1
        pairs = torch.tril_indices(n_vectors, n_vectors, offset=-1)
        self.register_buffer("pairs", pairs[0] * n_vectors + pairs[1])
        self.bottom = mlp(N_DENSE, BOTTOM, True)
        self.top = mlp(DIM + pairs.shape[1], TOP, False)

    def forward(self, dense, rows, labels):
        x = self.bottom(dense)
        vectors = torch.cat([x.unsqueeze(1), rows], dim=1)
        products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1)
        features = torch.cat([x, products.index_select(1, self.pairs)], dim=1)
        return F.binary_cross_entropy_with_logits(self.top(features).squeeze(1), labels)


def batches(n_samples, size, device):
    """Dense inputs, hashed ids `[size, 26]` and labels; a field's ids are its own."""
    rng = np.random.default_rng(1)
    ids = np.minimum(rng.zipf(1.05, (n_samples, N_FIELDS)), 2**40).astype(np.uint64)
    ids = (ids * np.uint64(N_FIELDS) + np.arange(N_FIELDS, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    ids = torch.from_numpy(((ids >> np.uint64(20)) % np.uint64(N_ROWS)).astype(np.int64))
    dense = torch.from_numpy(rng.random((n_samples, N_DENSE), dtype=np.float32))
    labels = torch.from_numpy((rng.random(n_samples) < 0.25).astype(np.float32))
    starts = range(0, n_samples - size + 1, size)
    parts = (dense, ids, labels)
    return [tuple(part[start : start + size].to(device, copy=True) for part in parts) for start in starts]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--mode", choices=["eager", "compiled"], default="eager")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)

    model = Dlrm().to(args.device)
    forward = torch.compile(model) if args.mode == "compiled" else model
    table = torch.randn(N_ROWS, DIM, device=args.device) / DIM
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, fused=True)
    data = batches(max(N_BATCHES_SAMPLES, args.batch), args.batch, args.device)
    synchronize = torch.cuda.synchronize if args.device.startswith("cuda") else lambda: None

    def step(dense, ids, labels):
        ids = ids.view(-1)
        rows = table.index_select(0, ids).view(-1, N_FIELDS, DIM).requires_grad_()
        forward(dense, rows, labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        table.index_add_(0, ids, rows.grad.view(-1, DIM), alpha=-LEARNING_RATE)

    for batch in data[:10]:  # compilation and warm-up
        step(*batch)
    rates, idx = [], 0
    synchronize()
    for _ in range(N_WINDOWS):
        n_samples, since = 0, time.perf_counter()
        while time.perf_counter() - since < args.seconds / N_WINDOWS:
            step(*data[idx % len(data)])
            n_samples, idx = n_samples + args.batch, idx + 1
        synchronize()
        rates.append(n_samples / (time.perf_counter() - since))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"train_samples_per_second": statistics.median(rates), "peak_rss_bytes": peak}))


if __name__ == "__main__":
    main()
