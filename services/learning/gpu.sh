#!/usr/bin/env bash
# Goes on training on a GPU for at most 9 minutes a call, then evaluates and exports when the schedule is done.
# State lies in LEARNING_STATE (default .cache/learning); BUDGET is the whole schedule in minutes. Untested without a GPU.
set -euo pipefail
cd "$(dirname "$0")/../.."

GPU=1 bash services/learning/setup.sh
state=${LEARNING_STATE:-.cache/learning} budget=${BUDGET:-27} python=.venv-learning/bin/python
workers=$(($(nproc) > 2 ? $(nproc) - 2 : 1))
$python -m services.learning.train --device cuda --out "$state" --budget-minutes "$budget" --this-run-minutes 8 \
  --workers "$workers" --threads 2
$python -m services.learning.export coarse --weights "$state/best.pt"
$python -m services.learning.evaluate synthetic --cases 12 --out "$state/synthetic.json"
