#!/usr/bin/env python3
"""Compares every point of a run's event file, read by TensorBoard, with metrics.jsonl.

    pip install tensorboard
    cargo run --release -p trainer -- --config configs/quickstart.toml --set train.tensorboard=true --run-dir runs/tb
    python3 scripts/check_tensorboard.py runs/tb
"""

import json
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def expected(run):
    """Points by tag, as metrics.jsonl has them; event files hold 32-bit floats."""
    points = {}
    for text in (run / "metrics.jsonl").read_text().splitlines():
        line = json.loads(text)
        for key, value in line.items():
            if key in ("step", "rows", "day", "day_rows") or value is None:
                continue
            group, _, rest = key.partition("_")
            if group in ("train", "test"):
                tag = f"day/{rest}" if "day" in line else f"{group}/{rest}"
            else:
                counts = ("hot_rows", "hot_share", "promoted", "demoted")
                tag = f"day/{key}" if "day" in line else f"embedding/{key}" if key in counts else key
            rounded = struct.unpack("<f", struct.pack("<f", value))[0]
            points.setdefault(tag, []).append((line["step"], rounded))
    return points


def main():
    run = pathlib.Path(sys.argv[1])
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    found = {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    speeds = found.pop("samples_per_second")
    assert all(speed > 0 for _, speed in speeds), speeds
    points = expected(run)
    assert found.keys() == points.keys(), found.keys() ^ points.keys()
    for tag, of_tag in points.items():
        assert found[tag] == of_tag, (tag, found[tag], of_tag)
    print(f"{sum(map(len, points.values()))} points of {len(points)} tags and {len(speeds)} speeds are the same")


if __name__ == "__main__":
    main()
