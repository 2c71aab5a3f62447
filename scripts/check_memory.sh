#!/usr/bin/env bash
# Memory is independent of the file's size: trains the quickstart's method on 100,000 and on
# 1,000,000 rows of a file, alternately, five times each, and fails if the medians of the peaks
# differ by more than 5 %. (Only the scores of the test rows grow, 4 bytes each, here 0.5 MB.)
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -p trainer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trainer=$PWD/target/release/trainer
"$trainer" synth --rows 1000000 --seed 1 --out "$work/rows.tsv"
for repeat in 1 2 3 4 5; do
    for rows in 100000 1000000; do
        "$trainer" --config configs/quickstart.toml --run-dir "$work/run-$rows-$repeat" \
            --set data.path="$work/rows.tsv" --set data.rows=$rows --set train.eval_every=0 > /dev/null
    done
done
python3 - "$work" <<'END'
import json, statistics, sys
peaks = {n: [json.load(open(f"{sys.argv[1]}/run-{n}-{i}/report.json"))["peak_rss_bytes"] for i in range(1, 6)] for n in (100000, 1000000)}
small, large = (statistics.median(peaks[n]) for n in (100000, 1000000))
for n, values in peaks.items():
    print(f"{n:>9,} rows: median {statistics.median(values):,} B, from {min(values):,} to {max(values):,}")
print(f"difference {large / small - 1:+.1%}")
raise SystemExit(abs(large / small - 1) > 0.05)
END
