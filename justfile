# `just` lists these. Everything also works as the plain cargo command that stands in the recipe.

default:
    @just --list

# trains and evaluates an experiment: just run configs/quickstart.toml --set embedding.method=hash
run config="configs/quickstart.toml" *args:
    cargo run --release -p trainer -- --config {{config}} {{args}}

# sizes and bytes of an experiment, without data
plan config *args:
    cargo run --release -p trainer -- plan --config {{config}} {{args}}

# all tests
test:
    cargo test --workspace

# what CI runs: formatting, lints, documentation, tests
ci:
    .ci/run

# CAFE, hash and full on generated rows over three seeds: the README's table (about a quarter of an hour on 2 cores)
sweep-methods rows="2000000" out="runs/methods":
    scripts/sweep_methods.sh {{rows}} {{out}}

# peak memory of training on 100,000 and on 1,000,000 rows of a file
check-memory:
    scripts/check_memory.sh

# benchmarks of all crates, then their table with shares of the limits
bench:
    RAYON_NUM_THREADS=1 cargo bench --workspace --benches
    python3 scripts/bench_table.py

# our step against PyTorch's, alternating (needs torch)
bench-peer *args:
    cargo build --release -p trainer
    python3 scripts/bench_peer.py {{args}}

# type check of the CUDA build; needs neither a GPU nor a CUDA toolkit
check-cuda:
    scripts/check-cuda.sh

# computes the PyTorch values that the golden tests compare with (needs torch)
golden:
    python3 scripts/golden_dlrm.py
