#!/usr/bin/env bash
# Writes protos/gen from the .proto files: messages with .pyi, gRPC stubs with .pyi. CI runs it and compares.
set -euo pipefail
cd "$(dirname "$0")"
bin=${VIRTUAL_ENV:-$PWD/../.venv}/bin
rm -rf gen && mkdir -p gen
mapfile -t files < <(find glioserve -name '*.proto' | sort)
mapfile -t services < <(grep -l '^service ' "${files[@]}")
"$bin/python" -m grpc_tools.protoc -I . --plugin="protoc-gen-mypy=$bin/protoc-gen-mypy" --python_out=gen --mypy_out=quiet:gen "${files[@]}"
"$bin/python" -m grpc_tools.protoc -I . --plugin="protoc-gen-mypy_grpc=$bin/protoc-gen-mypy_grpc" --grpc_python_out=gen --mypy_grpc_out=quiet:gen "${services[@]}"
touch gen/glioserve/py.typed
