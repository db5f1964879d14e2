#!/usr/bin/env bash
# Everything that is to be shown on a GPU, in one call of less than 8 minutes: the tests marked `gpu`, then timings against
# the loop that people write, and one table. What is finished when the time is over is shown.
#
#     bash benchmarks/gpu.sh [DEVICE] [--tiny]        # DEVICE: cuda (the default), mps, or cpu to try the script
#
# It needs a Python with torch, timm, pyarrow and scikit-learn; PYTHON names another one than python3. What that lacks beside
# them is unpacked from benchmarks/wheels, which `make wheels` fills. Nothing is installed, and no network is used.
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda}
python=${PYTHON:-python3}
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
shopt -s nullglob
"$python" benchmarks/unpack_wheels.py "$unpacked" benchmarks/wheels/*.whl
export PYTHONPATH="$PWD/src:$unpacked${PYTHONPATH:+:$PYTHONPATH}" SKYTHAW_TEST_DEVICE=$device
status=0
timeout --kill-after=10 "${TESTS_WITHIN:-180}" "$python" -m pytest -q -m gpu tests/test_gpu.py || status=$?
timeout --kill-after=10 "${TABLE_WITHIN:-270}" "$python" benchmarks/gpu.py --device "$device" "${@:2}" || status=$?
exit "$status"
