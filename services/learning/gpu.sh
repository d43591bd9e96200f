#!/usr/bin/env bash
# One step on a GPU, at most 9 minutes a call: goes on training, exports what is best so far, measures it. Call it until the budget is used.
# PYTHON: an interpreter that has torch for the GPU, numpy, scipy and onnx (no network is needed then); without it the environment is made.
# State lies in LEARNING_STATE (default .cache/learning); BUDGET is the whole schedule in cases. Untested without a GPU.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-}
if [ -z "$python" ]; then
  GPU=1 bash services/learning/setup.sh
  python=.venv-learning/bin/python
fi
state=${LEARNING_STATE:-.cache/learning} budget=${BUDGET:-60000}
workers=$(($(nproc) > 2 ? $(nproc) - 2 : 1))
$python -m services.learning.train --device cuda --out "$state" --budget-cases "$budget" --this-run-minutes 7 \
  --start services/learning/checkpoint/coarse.pt --keep "$state/kept" --workers "$workers" --threads 2 --nice 0
$python -m services.learning.export coarse --weights "$state/best.pt" --repository "${REPOSITORY:-triton_models}"
if $python -c 'import openvino, matplotlib, surface_distance' 2>/dev/null; then
  $python -m services.evaluation phantoms --cases 6 --deep 0 --threads 4 --out "$state/evaluation"
fi
