#!/usr/bin/env python3
"""The results of `just bench` as Markdown: rates, and their shares of the limit of the same run.

    cargo bench --workspace && python3 scripts/bench_table.py

Reads criterion's results in target/criterion. A benchmark whose name begins with `limit` is the
machine's limit for its group: memory copied, registers multiplied, bytes scanned. The highest limit
of a group is 100 %.
"""

import json
import os
from collections import defaultdict
from pathlib import Path

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).resolve().parent.parent / "target"))


def main():
    groups = defaultdict(list)
    for path in sorted((TARGET / "criterion").glob("**/new/benchmark.json")):
        benchmark = json.loads(path.read_text())
        nanoseconds = json.loads((path.parent / "estimates.json").read_text())["median"]["point_estimate"]
        (unit, amount), = (benchmark["throughput"] or {"runs": 1}).items()
        name = " ".join(filter(None, [benchmark["function_id"], benchmark["value_str"]]))
        groups[benchmark["group_id"]].append((name, nanoseconds, unit, amount / nanoseconds))
    if not groups:
        raise SystemExit("no results: run `cargo bench --workspace` first")
    print("| benchmark | time | rate | share of the limit |")
    print("|---|---|---|---|")
    for group, results in sorted(groups.items()):
        limits = [rate for name, _, _, rate in results if name.startswith("limit")]
        for name, nanoseconds, unit, rate in sorted(results, key=lambda result: not result[0].startswith("limit")):
            share = f"{rate / max(limits):.0%}" if limits else ""
            print(f"| {group}: {name} | {duration(nanoseconds)} | {rate_text(unit, rate)} | {share} |")


def duration(nanoseconds):
    for unit, size in [("s", 1e9), ("ms", 1e6), ("µs", 1e3)]:
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def rate_text(unit, per_nanosecond):
    names = {"Bytes": "B/s", "Elements": "/s", "runs": " runs/s"}
    for prefix, size in [("G", 1.0), ("M", 1e-3), ("k", 1e-6)]:
        if per_nanosecond >= size:
            return f"{per_nanosecond / size:.3g} {prefix}{names.get(unit, unit)}"
    return f"{per_nanosecond * 1e9:.3g} {names.get(unit, unit)}"


if __name__ == "__main__":
    main()
