# `just` lists these. Each recipe is a plain command that also works alone.

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

# methods at four ratios on generated rows with a small network, and the report: minutes on 2 cores
sweep-quick out="runs/quick":
    cargo run --release -p trainer -- sweep configs/sweeps/quick.toml --out {{out}}
    cargo run --release -p trainer -- sketch --sweep --out {{out}}/sketch.json
    cargo run --release -p trainer -- report {{out}} --out {{out}}/report.html

# one setting of CAFE at a time, on generated rows, and the report: some twelve minutes on 2 cores
sweep-sensitivity out="runs/sensitivity": (sweep "sensitivity" out)

# every method at equal bytes on generated rows over three seeds (hours on 2 cores; resumable)
sweep-methods out="runs/methods": (sweep "methods" out)

# coded, hash and CAFE with the other models
sweep-models out="runs/models": (sweep "models" out)

# CAFE with and without decay, and a hot set fixed on the first day, under drift
sweep-drift out="runs/drift": (sweep "drift" out)

# methods at equal bytes on Criteo Kaggle (scripts/get_kaggle.sh; days on 2 cores)
sweep-kaggle out="runs/sweep-kaggle": (sweep "kaggle" out)

# every method, and other programs, on your real sets (data/README.md): hours on 2 cores
battery *args:
    cargo build --release -p trainer
    python3 scripts/battery.py {{args}}; code=$?; [ $code -eq 2 ] || target/release/trainer report runs/battery --out runs/battery/report.html; exit $code

# any sweep of configs/sweeps, and its report
sweep name out:
    cargo build --release -p trainer
    target/release/trainer sweep configs/sweeps/{{name}}.toml --out {{out}}; code=$?; target/release/trainer report {{out}} --out {{out}}/report.html; exit $code

# peak memory of training on 100,000 and on 1,000,000 rows of a file
check-memory:
    scripts/check_memory.sh

# benchmarks of all crates, then a table of them with shares of the limits
bench:
    RAYON_NUM_THREADS=1 cargo bench --workspace --benches --features dlrm-model/bench
    python3 scripts/bench_table.py

# our step against PyTorch's, alternating (needs torch)
bench-peer *args:
    cargo build --release -p trainer
    python3 scripts/bench_peer.py {{args}}

# tests of the network and the program, also on the first GPU; needs a GPU and a CUDA toolkit
test-cuda:
    cargo test --release -p dlrm-model -p trainer --features cuda

# type check of the CUDA build and its tests; needs neither a GPU nor a CUDA toolkit
check-cuda:
    scripts/check-cuda.sh

# computes the PyTorch values that the golden tests compare with (needs torch)
golden:
    python3 scripts/golden_dlrm.py
    python3 scripts/golden_adam.py
    python3 scripts/golden_models.py
    python3 scripts/golden_rows.py

# long tests, half an hour on 2 cores: 1,000 kills, 100,000 crash images, bit flips, fuzzing, 10 GB
soak:
    KILLS=1000 cargo test -p trainer --test cli -- kills:: --nocapture
    SOAK=1 cargo test -p trainer --test checkpoint -- --nocapture
    scripts/fuzz.sh 60
    scripts/soak_rows.sh 10
