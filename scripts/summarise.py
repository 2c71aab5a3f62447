#!/usr/bin/env python3
"""One line for each method and ratio below a directory of runs: mean and range over seeds.

    python3 scripts/summarise.py runs/methods
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean


def main(directory: str) -> None:
    groups = defaultdict(list)
    for path in sorted(Path(directory).glob("*/report.json")):
        report = json.loads(path.read_text())
        ratio = round(report["full_bytes"] / report["budget_bytes"])
        groups[report["method"], ratio].append(report)
    if not groups:
        sys.exit(f"{directory}: no finished runs")
    print("| method | CR | test AUC | lowest to highest | log-loss | embedding bytes | budget | samples/s | runs |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (method, ratio), reports in sorted(groups.items(), key=lambda group: (group[0][1], group[0][0])):
        auc = [report["test_auc"] for report in reports]
        print(
            f"| {method} | {ratio:,} | {mean(auc):.4f} | {min(auc):.4f} to {max(auc):.4f} "
            f"| {mean(report['test_logloss'] for report in reports):.4f} "
            f"| {max(report['embedding_bytes'] for report in reports):,} | {reports[0]['budget_bytes']:,} "
            f"| {mean(report['samples_per_second'] for report in reports):,.0f} | {len(reports)} |"
        )
    best = [report.get("best_possible_auc") for reports in groups.values() for report in reports]
    if None not in best:
        print(f"\nBest possible AUC: {min(best):.4f} to {max(best):.4f} (the rows are generated).")


if __name__ == "__main__":
    main(*sys.argv[1:] or ["runs/methods"])
