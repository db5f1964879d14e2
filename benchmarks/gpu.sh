#!/usr/bin/env bash
# Everything that is to be shown on a GPU, in one call of a few minutes: the tests marked `gpu`, then timings against the
# loop that people write, and one table.
#
#     bash benchmarks/gpu.sh [DEVICE] [--tiny]        # DEVICE: cuda (the default), mps, or cpu to try the script
#
# It needs a Python with skythaw's packages, pytest, pytest-timeout, hypothesis and beartype; nothing is installed, and no
# network is used. PYTHON names another one.
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda}
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" SKYTHAW_TEST_DEVICE=$device
status=0
"${PYTHON:-python3}" -m pytest -q -m gpu tests/test_gpu.py || status=$?
"${PYTHON:-python3}" benchmarks/gpu.py --device "$device" "${@:2}"
exit $status
