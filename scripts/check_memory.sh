#!/usr/bin/env bash
# Memory is independent of the file's size: trains cafe on 100,000 and on 1,000,000 rows of a file
# and fails if the peaks differ by more than 5 %.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -p trainer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trainer=$PWD/target/release/trainer
sed '/^synthetic/d; s/^\[data\]/[data]\npath = "rows.tsv"/; s/^eval_every.*//' configs/quickstart.toml > "$work/files.toml"
"$trainer" synth --rows 1000000 --seed 1 --out "$work/rows.tsv"
cd "$work"
for rows in 100000 1000000; do
    "$trainer" --config files.toml --run-dir "run-$rows" --set data.rows=$rows > /dev/null
done
python3 - <<'END'
import json
small, large = (json.load(open(f"run-{n}/report.json"))["peak_rss_bytes"] for n in (100000, 1000000))
print(f"peak memory: {small:,} B for 100,000 rows, {large:,} B for 1,000,000 rows, {large / small - 1:+.1%}")
raise SystemExit(abs(large / small - 1) > 0.05)
END
