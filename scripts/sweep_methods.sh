#!/usr/bin/env bash
# CAFE and hash at equal bytes, and the full table, on generated rows over three seeds:
#   scripts/sweep_methods.sh [ROWS] [DIRECTORY]
# A seed draws the rows, what is planted in them, and the initial weights. Finished runs are kept,
# so it can be stopped and started again. Prints a table at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
rows=${1:-2000000}
out=${2:-runs/methods}
cargo build --release -p trainer
for seed in 11 12 13; do
    for setting in "full 1" "hash 1000" "cafe 1000" "hash 10000" "cafe 10000"; do
        read -r method ratio <<< "$setting"
        run=$out/$method-$ratio-$seed
        [ -e "$run/report.json" ] || ./target/release/trainer --config configs/quickstart.toml --run-dir "$run" \
            --set name="$method-$ratio-$seed" --set seed=$seed --set data.synthetic.seed=$seed \
            --set data.synthetic.rows="$rows" --set embedding.method="$method" --set embedding.compression="$ratio" \
            --set train.eval_every=0
    done
done
python3 scripts/summarise.py "$out"
