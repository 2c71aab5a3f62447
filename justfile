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

# the tests of reading Parquet, a feature that CI builds without
test-parquet:
    cargo test -p criteo-io --features parquet

# what CI runs: formatting, lints, documentation, tests
ci:
    .ci/run

# every method at equal bytes on generated rows over three seeds (hours on 2 cores; stop and start it as you like)
sweep-methods rows="3000000" out="runs/methods":
    scripts/sweep_methods.sh {{rows}} {{out}}

# hash and CAFE under the other models
sweep-models rows="3000000" out="runs/models":
    MODELS="wdl dcn dcnv2 deepfm" METHODS="hash cafe" RATIOS="1000 10000" scripts/sweep_methods.sh {{rows}} {{out}}

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
    python3 scripts/golden_adam.py
    python3 scripts/golden_models.py

# fading scores, staying scores and a hot set frozen on the first day, under drift
sweep-drift rows="3000000" day="250000" out="runs/drift":
    scripts/sweep_drift.sh {{rows}} {{day}} {{out}}

# the long proofs, about an hour on 2 cores: 1,000 kills, 100,000 crash images, every bit flip, fuzzing, 10 GB of rows
soak:
    KILLS=1000 cargo test --release -p trainer --test cli -- kills:: --nocapture
    SOAK=1 cargo test --release -p trainer --test checkpoint -- --nocapture
    scripts/fuzz.sh 60
    scripts/soak_rows.sh 10
