#!/usr/bin/env bash
# Constant memory: trains on GIGABYTES of generated rows from a pipe, never a file, and samples the
# resident memory every SECONDS. Fails if the median of any tenth of the rows, except the first, is
# more than 2 % from the median of all. Medians, because every 30 s a copy for a checkpoint exists
# for a moment; the highest sample is printed.
#   scripts/soak_rows.sh [GIGABYTES] [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
gigabytes=${1:-10}
seconds=${2:-5}
cargo build --release -p trainer
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trainer=$PWD/target/release/trainer
# A generated row has 243 bytes on average; the actual bytes are counted, too.
rows=$((gigabytes * 1000000000 / 243 + 1))
{
    "$trainer" synth --rows "$rows" --seed 1 --out - | tee >(wc -c >"$work/bytes") |
        "$trainer" --config configs/quickstart.toml --run-dir "$work/run" --set data.path=- --set data.rows="$rows" \
            --set data.train_fraction=0.999 --set model.bottom='[32, 16]' --set model.top='[32, 1]' \
            --set train.batch=1024 --set train.eval_every=0 --set checkpoint.every=30s >"$work/table"
} &
pipeline=$!
while kill -0 "$pipeline" 2>/dev/null; do
    pid=$(pgrep -n -f "run-dir $work/run" || true)
    # The lines of metrics show the progress.
    [ -z "$pid" ] || echo "$(awk '/VmRSS/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)" \
        "$(tail -n 1 "$work/run/metrics.jsonl" 2>/dev/null || true)" >>"$work/samples"
    sleep "$seconds"
done
wait "$pipeline"
cat "$work/table"
python3 - "$work" "$rows" <<'END'
import json, statistics, sys

work, rows = sys.argv[1], int(sys.argv[2])
tenths = {}
for line in open(f"{work}/samples"):
    kib, _, metrics = line.partition(" ")
    tenth = 10 * json.loads(metrics)["rows"] // rows if kib and metrics.strip() else 0
    if tenth > 0:
        tenths.setdefault(tenth, []).append(int(kib) * 1024)
n_bytes = int(open(f"{work}/bytes").read())
everything = [sample for samples in tenths.values() for sample in samples]
middle = statistics.median(everything)
medians = [statistics.median(samples) / middle - 1 for samples in tenths.values()]
print(
    f"{n_bytes / 1e9:.2f} GB in {rows:,} rows through a pipe: resident {middle / 1e6:.1f} MB, medians of tenths "
    f"{min(medians):+.1%} to {max(medians):+.1%}, highest {max(everything) / middle - 1:+.1%}, {len(everything)} samples"
)
raise SystemExit(len(medians) < 8 or min(medians) < -0.02 or max(medians) > 0.02)
END
