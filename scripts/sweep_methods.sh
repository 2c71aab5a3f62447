#!/usr/bin/env bash
# Methods at equal bytes on generated rows: every method x ratio x model x seed that is not there yet.
#   scripts/sweep_methods.sh [ROWS] [DIRECTORY] [--set KEY=VALUE ...]     (values without spaces)
# Lists come from the environment; these are the defaults:
#   SEEDS="11 12 13"  RATIOS="10 100 1000 10000"  MODELS="dlrm"  JOBS=2 (runs at a time, one thread each)
#   TRAINER=path (a program that is built already)
#   METHODS="full hash hash2 qr mde ada offline unified cafe cafe_plus cafe_best"
# A seed draws the rows, what is planted in them, and the initial weights. A method that can't reach a ratio says so in
# NAME.na. Finished runs are kept, so it can be stopped and started again. Prints a table at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
rows=${1:-3000000}
out=${2:-runs/methods}
shift $(($# < 2 ? $# : 2))
[ -n "${TRAINER:-}" ] || cargo build --release -p trainer
mkdir -p "$out"
# Runs that are there already count only if they were made alike.
settings="rows $rows, $*"
if [ -e "$out/settings" ] && [ "$(cat "$out/settings")" != "$settings" ]; then
    echo "$out: holds runs of other settings ($(cat "$out/settings")); give another directory" >&2
    exit 1
fi
echo "$settings" >"$out/settings"
export rows out extra="$*" trainer=${TRAINER:-./target/release/trainer}

one() {
    local seed=$1 model=$2 ratio=$3 method=$4
    local name=$model-$method-$ratio-$seed log
    log=$out/$name.log
    [ -e "$out/$name/report.json" ] || [ -e "$out/$name.na" ] && return 0
    # Cross layers multiply numbers up to 14 by each other: full steps from the first on end in NaN for some seeds.
    case $model in dcn*) set -- --set train.schedule.warmup_steps=500 ;; *) set -- ;; esac
    # shellcheck disable=SC2086 # several words
    if "$trainer" --config configs/quickstart.toml --run-dir "$out/$name" \
        --set name="$name" --set seed="$seed" --set data.synthetic.seed="$seed" --set data.synthetic.rows="$rows" \
        --set model.kind="$model" --set embedding.method="$method" --set embedding.compression="$ratio" \
        --set threads=1 --set train.eval_every=0 "$@" $extra >"$log" 2>&1; then
        echo "done  $name  $(grep -m1 'test AUC' "$log" || true)"
    elif grep -q ': n/a: ' "$log"; then
        mv "$log" "$out/$name.na"
        echo "n/a   $name"
    else
        echo "FAILED $name: $(tail -n 1 "$log")"
        return 1
    fi
}
export -f one

for seed in ${SEEDS:-11 12 13}; do
    for model in ${MODELS:-dlrm}; do
        for method in ${METHODS:-full hash hash2 qr mde ada offline unified cafe cafe_plus cafe_best}; do
            for ratio in $([ "$method" = full ] && echo 1 || echo "${RATIOS:-10 100 1000 10000}"); do
                echo "$seed $model $ratio $method"
            done
        done
    done
done | xargs -P "${JOBS:-2}" -L 1 bash -c 'one $0 $1 $2 $3' || echo "some runs failed; start again to repeat them"
python3 scripts/summarise.py "$out"
