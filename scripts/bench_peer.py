#!/usr/bin/env python3
"""Our training step against PyTorch's, alternating on one machine: a table of medians and ratios.

    cargo build --release -p trainer
    python scripts/bench_peer.py --rounds 5 --seconds 4    # needs torch; about eight minutes

Every round runs each candidate once, in the same order, so that noise from other loads affects all
of them. Ratios are medians of the rounds' own ratios to the faster PyTorch mode of that round. See
`bench_pytorch.py` for the peer, and `trainer bench --help` for ours: batches in memory on both
sides, Criteo Kaggle's shapes, a compression ratio of 1,000.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ["eager", "compiled"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--batches", default="128,2048")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--ours", default="cafe:native:f32,hash:native:f32,cafe:candle:f32",
                        help="METHOD:ENGINE:PRECISION,...; add cafe:native:bf16 on a CPU with AVX512_BF16")
    args = parser.parse_args()
    ours = [tuple(spec.split(":")) for spec in args.ours.split(",")]
    print("| batch | step | samples/s | lowest to highest | ratio to PyTorch | peak MB |")
    print("|---|---|---|---|---|---|")
    for batch in map(int, args.batches.split(",")):
        runs = {}
        for round_idx in range(args.rounds):
            for mode in PEERS:
                runs.setdefault(f"PyTorch, {mode}", []).append(pytorch(batch, mode, args))
            for spec in ours:
                runs.setdefault(f"{spec[0]}, {spec[1]} {spec[2]}", []).append(trainer(batch, spec, args))
            print(f"batch {batch}: round {round_idx + 1} of {args.rounds}", file=sys.stderr)
        best = [max(runs[f"PyTorch, {mode}"][i][0] for mode in PEERS) for i in range(args.rounds)]
        for name, results in runs.items():
            rates = [rate for rate, _ in results]
            ratio = statistics.median(rate / peer for rate, peer in zip(rates, best))
            peak = statistics.median(peak for _, peak in results) / 1e6
            spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
            print(f"| {batch:,} | {name} | {statistics.median(rates):,.0f} | {spread} | {ratio:.2f} | {peak:,.0f} |")


def pytorch(batch, mode, args):
    script = [sys.executable, ROOT / "scripts/bench_pytorch.py", "--batch", batch, "--mode", mode]
    return result([*script, "--seconds", args.seconds, "--threads", args.threads])


def trainer(batch, spec, args):
    method, engine, precision = spec
    settings = {
        "embedding.method": method,
        "embedding.compression": 1000,
        "engine": engine,
        "precision": precision,
        "train.batch": batch,
        "threads": args.threads,
    }
    command = [ROOT / "target/release/trainer", "bench", "--json", "--seconds", args.seconds]
    # The peer's optimizer.
    command += ["--config", ROOT / "configs/quickstart.toml", "--set", "train.optimizer=sgd"]
    return result(command + [part for key, value in settings.items() for part in ("--set", f"{key}={value}")])


def result(command):
    """Samples per second and peak bytes."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(str(part) for part in command)}\n{done.stderr}")
    measured = json.loads(done.stdout.splitlines()[-1])
    return measured["train_samples_per_second"], measured["peak_rss_bytes"]


if __name__ == "__main__":
    main()
