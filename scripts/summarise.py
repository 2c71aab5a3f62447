#!/usr/bin/env python3
"""One line for each model, method and ratio below a directory of runs: mean and range over seeds.

    python3 scripts/summarise.py runs/methods            # a line a setting
    python3 scripts/summarise.py runs/methods --matrix   # methods by ratios: mean test AUC, half the range, runs
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean


def read(directory: str) -> dict:
    groups = defaultdict(list)
    for path in sorted(Path(directory).glob("*/report.json")):
        report = json.loads(path.read_text())
        ratio = round(report["full_bytes"] / report["budget_bytes"])
        groups[report["model"], report["method"], ratio].append(report)
    if not groups:
        sys.exit(f"{directory}: no finished runs")
    return groups


def lines(groups: dict) -> None:
    print("| model | method | CR | test AUC | lowest to highest | log-loss | embedding bytes | budget | samples/s | runs |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (model, method, ratio), reports in sorted(groups.items(), key=lambda group: (group[0][0], group[0][2], group[0][1])):
        auc = [report["test_auc"] for report in reports]
        print(
            f"| {model} | {method} | {ratio:,} | {mean(auc):.4f} | {min(auc):.4f} to {max(auc):.4f} "
            f"| {mean(report['test_logloss'] for report in reports):.4f} "
            f"| {max(report['embedding_bytes'] for report in reports):,} | {reports[0]['budget_bytes']:,} "
            f"| {mean(report['samples_per_second'] for report in reports):,.0f} | {len(reports)} |"
        )
    best = [report.get("best_possible_auc") for reports in groups.values() for report in reports]
    if None not in best:
        print(f"\nBest possible AUC: {min(best):.4f} to {max(best):.4f} (the rows are generated).")


def matrix(directory: str, groups: dict) -> None:
    """A cell is the mean over the seeds and half the distance from the lowest to the highest."""
    na = {tuple(path.stem.split("-")[:3]) for path in Path(directory).glob("*.na")}
    models = sorted({model for model, _, _ in groups})
    for model in models:
        ratios = sorted({ratio for m, _, ratio in groups if m == model})
        methods = {method for m, method, _ in groups if m == model} | {method for m, method, _ in na if m == model}
        print(f"| {model} | " + " | ".join(f"CR {ratio:,}" for ratio in ratios) + " |")
        print("|---" * (len(ratios) + 1) + "|")
        for method in sorted(methods):
            cells = [cell(groups.get((model, method, ratio)), (model, method, str(ratio)) in na) for ratio in ratios]
            print(f"| {method} | " + " | ".join(cells) + " |")
        print()


def cell(reports: list | None, is_na: bool) -> str:
    if not reports:
        return "n/a" if is_na else ""
    auc = [report["test_auc"] for report in reports]
    spread = f" ± {(max(auc) - min(auc)) / 2:.4f}" if len(auc) > 1 else ""
    return f"{mean(auc):.4f}{spread} ({len(auc)})"


def main(directory: str = "runs/methods", *flags: str) -> None:
    groups = read(directory)
    if "--matrix" in flags:
        matrix(directory, groups)
    else:
        lines(groups)


if __name__ == "__main__":
    main(*sys.argv[1:])
