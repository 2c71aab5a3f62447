#!/usr/bin/env bash
# Builds and runs the fuzz targets, one after another, and prints a line for each:
#   scripts/fuzz.sh [SECONDS] [TARGET...]
# By default 60 seconds and all targets. Needs a stable Rust and a C++ compiler. Exits with 1 if
# there is a finding, which is kept in fuzz/artifacts/TARGET/. Inputs that reach more than
# fuzz/seeds are kept in fuzz/corpus/TARGET.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
targets=("${@:2}")
light="parse_line described_rows sketch_ops restore"
heavy="config checkpoint_load"
[ ${#targets[@]} -gt 0 ] || read -ra targets <<<"$light $heavy"

# The flags that cargo-fuzz sets. cargo-fuzz itself needs a nightly, but only for its sanitizers.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# With a target named, build scripts and macros are not instrumented.
host=$(rustc -vV | sed -n 's/^host: //p')
directory=${CARGO_TARGET_DIR:-$PWD/fuzz/target}
findings=0

for target in "${targets[@]}"; do
    features=()
    case " $heavy " in *" $target "*) features=(--features trainer) ;; esac
    cargo build --quiet --manifest-path fuzz/Cargo.toml --target-dir "$directory" --release --target "$host" \
        --bin "$target" "${features[@]}"
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    log=$(mktemp)
    seeds=()
    [ ! -d "fuzz/seeds/$target" ] || seeds=("fuzz/seeds/$target")
    dictionary=()
    [ ! -f "fuzz/seeds/$target.dict" ] || dictionary=("-dict=fuzz/seeds/$target.dict")
    if "$directory/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" "${dictionary[@]}" "fuzz/corpus/$target" "${seeds[@]}" >"$log" 2>&1; then
        result="no finding"
    else
        findings=$((findings + 1))
        result="a finding: $(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1), $(grep -m 1 -A 1 'panicked at\|ERROR: libFuzzer' "$log" | tr '\n' ' ')"
    fi
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    echo "$target: ${executions:-0} executions in $seconds s, ${coverage:-0} edges, $result"
    rm -f "$log"
done
[ "$findings" -eq 0 ]
