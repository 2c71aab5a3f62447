#!/usr/bin/env bash
# Type-checks the CUDA build and its tests on a machine without CUDA: no GPU, no toolkit, no driver.
#
#   scripts/check-cuda.sh
#
# candle's build scripts only need a compiler that answers: it would compile kernels, which a type
# check never links. So a stand-in for nvcc prints a version and creates empty output files.
# The build uses its own target directory, because the feature changes candle itself.
set -euo pipefail
cd "$(dirname "$0")/.."

stand_in=$(mktemp -d)
trap 'rm -rf "$stand_in"' EXIT
mkdir "$stand_in/bin"
cat >"$stand_in/bin/nvcc" <<'NVCC'
#!/usr/bin/env bash
output='' directory='' sources=()
case " $* " in
*' --version '* | *' -V '*)
    echo 'nvcc: NVIDIA (R) Cuda compiler driver'
    echo 'Cuda compilation tools, release 13.0, V13.0.88'
    exit ;;
esac
while (($#)); do
    case $1 in
    -o | --output-file) output=$2; shift ;;
    -odir | --output-directory) directory=$2; shift ;;
    --output-directory=*) directory=${1#*=} ;;
    *.cu) sources+=("$1") ;;
    esac
    shift
done
if [[ $output == *.a ]]; then
    rm -f "$output" && ar rcs "$output"
elif [[ $output ]]; then
    : >"$output"
elif [[ $directory ]]; then
    for source in "${sources[@]}"; do
        : >"$directory/$(basename "${source%.cu}").ptx"
    done
fi
NVCC
chmod +x "$stand_in/bin/nvcc"

export NVCC=$stand_in/bin/nvcc CUDA_HOME=$stand_in CUDA_PATH=$stand_in
export CUDA_COMPUTE_CAP=90 CUDARC_CUDA_VERSION=13000
cargo check -p dlrm-model -p trainer --all-targets --features cuda --target-dir target/cuda-check
