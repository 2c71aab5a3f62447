#!/usr/bin/env bash
# Under drift: CAFE whose scores fade against CAFE whose scores stay, and against offline separation that was frozen on
# the first day, on generated rows whose popular values are replaced every day.
#   scripts/sweep_drift.sh [ROWS] [ROWS_PER_DAY] [DIRECTORY]
# Lists come from the environment: SEEDS="11 12 13"  RATIOS="1000 10000"  JOBS=2  TRAINER=path (built already)
set -euo pipefail
cd "$(dirname "$0")/.."
rows=${1:-3000000}
day=${2:-250000}
out=${3:-runs/drift}
[ -n "${TRAINER:-}" ] || cargo build --release -p trainer
mkdir -p "$out"
export rows day out trainer=${TRAINER:-./target/release/trainer}

one() {
    local seed=$1 ratio=$2 name=$3
    shift 3
    local run=$out/$name-$ratio-$seed
    [ -e "$run/report.json" ] && return 0
    if "$trainer" --config configs/quickstart.toml --run-dir "$run" --set name="$name-$ratio-$seed" --set seed="$seed" \
        --set data.synthetic.seed="$seed" --set data.synthetic.rows="$rows" --set data.synthetic.rows_per_day="$day" \
        --set embedding.compression="$ratio" --set threads=1 --set train.eval_every=0 "$@" >"$run.log" 2>&1; then
        echo "done  $name-$ratio-$seed  $(grep -m1 'test AUC' "$run.log" || true)"
    else
        echo "FAILED $name-$ratio-$seed: $(tail -n 1 "$run.log")"
        return 1
    fi
}
export -f one

# An average occurrence brings a score of 1, so that a day of 26 fields brings 26 ROWS_PER_DAY.
mass=$((26 * day)).0
for seed in ${SEEDS:-11 12 13}; do
    for ratio in ${RATIOS:-1000 10000}; do
        echo "$seed $ratio stays --set embedding.cafe.decay_factor=1"
        echo "$seed $ratio paper"
        echo "$seed $ratio fades --set embedding.cafe.decay_factor=0.5 --set embedding.cafe.decay_every=$mass"
        echo "$seed $ratio frozen --set embedding.method=offline --set embedding.offline.rows=$day"
        echo "$seed $ratio oracle --set embedding.method=offline"
    done
done | xargs -P "${JOBS:-2}" -L 1 bash -c 'one "$0" "$@"' || echo "some runs failed; start again to repeat them"
python3 - "$out" <<'P'
import json, sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

groups = defaultdict(list)
for path in Path(sys.argv[1]).glob("*/report.json"):
    name, ratio, _ = path.parent.name.rsplit("-", 2)
    groups[int(ratio), name].append(json.loads(path.read_text())["test_auc"])
print("| CR | | test AUC | lowest to highest | runs |\n|---|---|---|---|---|")
for (ratio, name), auc in sorted(groups.items()):
    print(f"| {ratio:,} | {name} | {mean(auc):.4f} | {min(auc):.4f} to {max(auc):.4f} | {len(auc)} |")
P
