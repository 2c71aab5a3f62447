#!/usr/bin/env bash
# Checks that two builds of the program compute the same digits: metrics.jsonl, and report.json
# except for times and memory, byte for byte. Covers the quickstart, every method, model, optimizer,
# row precision and engine, and a run that is interrupted and resumed, also by the other build.
# Takes some fifteen minutes on 2 cores.
#   scripts/same_digits.sh OLD NEW [ROWS]      two trainer binaries; 100000 rows by default
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,6p "$0" >&2; exit 2; }
old=$(realpath "$1") new=$(realpath "$2") rows=${3:-100000}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

# All parts of a report that do not depend on the machine's speed.
digits() {
    python3 - "$1" <<'END'
import json, sys
timing = {"samples_per_second", "phase_seconds", "wall_seconds", "evaluation_seconds", "peak_rss_bytes"}
report = json.load(open(sys.argv[1] + "/report.json"), parse_float=str)
# Settings of CAFE that 0.2 removed; the value that was left is what is computed now.
removed = {"slot_layout": "full", "sketches": "one", "hot": "exclusive", "write_back": "0.0"}
if "cafe" in report:
    report["cafe"] = {key: value for key, value in report["cafe"].items() if removed.get(key) != value}
print(json.dumps({key: value for key, value in report.items() if key not in timing}, indent=1))
END
}

# compare NAME: the runs old-NAME and new-NAME.
compare() {
    local name=$1
    if cmp "$work/old-$name/metrics.jsonl" "$work/new-$name/metrics.jsonl" &&
        diff <(digits "$work/old-$name") <(digits "$work/new-$name"); then
        echo "same  $name"
    else
        echo "OTHER $name"
        failures=$((failures + 1))
    fi
    # Checkpoints of a hundred runs would fill the disk.
    rm -rf "$work/old-$name" "$work/new-$name"
}

# both NAME KEY=VALUE...: runs both builds; what is not applicable must be refused by both.
both() {
    local name=$1 sets=() codes=()
    shift
    for set in "$@"; do sets+=(--set "$set"); done
    for build in old new; do
        local code=0
        "${!build}" --config configs/quickstart.toml --run-dir "$work/$build-$name" --set name="$name" \
            --set data.synthetic.rows="$rows" --set train.eval_every=200 "${sets[@]}" \
            > "$work/$build.out" 2> "$work/$build.err" || code=$?
        codes+=("$code")
    done
    if [ "${codes[0]}" = 0 ] && [ "${codes[1]}" = 0 ]; then
        compare "$name"
    elif [ "${codes[0]}" = "${codes[1]}" ]; then
        echo "same  $name is refused with exit code ${codes[0]}: $(tail -1 "$work/new.err")"
    else
        echo "OTHER $name: exit codes ${codes[*]}: $(tail -1 "$work/new.err")"
        failures=$((failures + 1))
    fi
}

for method in coded cafe cafe_plus offline unified hash qr mde ada; do
    both "method-$method" embedding.method=$method embedding.compression=100
done
both method-full embedding.method=full embedding.compression=1
both method-mde-6 embedding.method=mde embedding.compression=6
both method-ada-4 embedding.method=ada embedding.compression=4
both cafe-multi-level embedding.method=cafe embedding.cafe.multi_level=true
both cafe-paper-sizes embedding.method=cafe embedding.cafe.sizing=paper
both cafe-quota embedding.method=cafe embedding.cafe.rule=quota
both cafe-coded embedding.method=cafe embedding.cafe.cold=coded embedding.precision=i8
both cafe-unified embedding.method=cafe embedding.cafe.cold=unified embedding.cafe.victim=by-chance
both cafe-frequency embedding.method=cafe embedding.cafe.importance=frequency embedding.cafe.decay_factor=0.5 \
    embedding.cafe.decay_every=50000 embedding.cafe.victim=lightest
both coded-10 embedding.compression=10
both coded-frequencies embedding.frequency_inputs=true
for model in wdl dcn dcnv2 deepfm; do both "model-$model" model.kind=$model; done
for optimizer in sgd adam; do both "network-$optimizer" train.optimizer=$optimizer; done
for optimizer in sgd adagrad adam; do
    both "rows-$optimizer" train.embedding_optimizer=$optimizer embedding.method=cafe
done
for precision in f16 bf16 i8; do both "precision-$precision" embedding.method=hash embedding.precision=$precision; done
both byte-sums embedding.method=cafe embedding.accumulator=u8 embedding.count_optimizer=true
both network-bf16 precision=bf16-emulated
for method in coded cafe; do both "candle-$method" engine=candle embedding.method=$method; done
for model in wdl dcn dcnv2 deepfm; do both "candle-$model" engine=candle model.kind=$model; done

# Two epochs without interruption, and interrupted after each of several times.
for method in coded cafe cafe_plus ada; do
    sets=(--set embedding.method=$method --set data.synthetic.rows="$rows" --set train.epochs=2
        --set embedding.compression=4 --set checkpoint.every=50)
    run() { "$1" --config configs/quickstart.toml --run-dir "$2" --set name=resumed "${sets[@]}" "${@:3}" > /dev/null 2>&1; }
    run "$old" "$work/old-resumed-$method"
    dir=$work/new-resumed-$method
    timeout -s TERM 1 "$old" --config configs/quickstart.toml --run-dir "$dir" --set name=resumed "${sets[@]}" \
        > /dev/null 2>&1 || true
    for span in 1 2; do
        timeout -s TERM $span "$new" --config configs/quickstart.toml --run-dir "$dir" --set name=resumed "${sets[@]}" \
            --resume=auto > /dev/null 2>&1 || true
    done
    [ -e "$dir/report.json" ] || run "$new" "$dir" --resume=auto
    compare "resumed-$method"
done

for build in old new; do
    "${!build}" --config configs/quickstart.toml --run-dir "$work/$build-quickstart" > /dev/null 2>&1
done
compare quickstart
echo "$failures differences"
[ "$failures" = 0 ]
