#!/bin/sh
# Starts Triton on CPU with the arguments given. A python-based backend is a folder with model.py and the stub of this
# Python beside it: the server brings the stub, the model repository (MODELS, else /models) brings the code.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
site=$(echo "$root"/lib/python3.*/site-packages)
minor=$(basename "$(dirname "$site")" | sed 's/^python//')
server=$site/pytriton/tritonserver
stub=$server/python_backend_stubs/$minor/triton_python_backend_stub
backends=$(mktemp -d)
cp -r "$server/backends/python" "$backends/python"
cp "$stub" "$backends/python/"
for own in "${MODELS:-/models}"/backends/*/; do
    cp -r "$own" "$backends/"
    cp "$stub" "$backends/$(basename "$own")/"
done
export PATH="$root/bin:/usr/local/bin:/usr/bin:/bin" PYTHONPATH="$site" PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8
export LD_LIBRARY_PATH="$site/nvidia_pytriton.libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$server/bin/tritonserver" "--backend-directory=$backends" "--cache-directory=$server/caches" "$@"
