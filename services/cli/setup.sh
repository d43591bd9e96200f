#!/usr/bin/env bash
# Makes the environments: .venv (the product, its tests and checks) and .venv-triton (the server's own, numpy < 2).
# A second run with the same pins does nothing. What the machine lacks is installed where this user may; else it is named.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages="python3 python3-venv libpython3.11"
missing() {
  command -v python3.11 >/dev/null && python3.11 -c 'import ensurepip, sysconfig, os, ctypes
try: ctypes.CDLL("libpython3.11.so.1.0")
except OSError: assert os.path.exists(sysconfig.get_config_var("LIBDIR") + "/libpython3.11.so.1.0")' 2>/dev/null && return 1
  return 0
}
if missing; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing $packages"
    apt-get update -qq >/dev/null
    # shellcheck disable=SC2086 # a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
  else
    echo "This machine lacks Python 3.11 with venv and libpython. Type:" >&2
    echo "  sudo apt-get install -y $packages" >&2
    exit 8
  fi
fi
free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
[ -x .venv/bin/glioserve ] || [ "$free" -ge 3 ] || { echo "3 GiB of disk are needed here; $free are free." >&2; exit 8; }
[ "$(uname -m)" = x86_64 ] || { echo "Triton's wheel needs an x86-64 machine; this is $(uname -m)." >&2; exit 8; }

environment() { # folder, pins, then what is installed on top
  local folder=$1 pins=$2 stamp; shift 2
  stamp=$(cat "$pins" pyproject.toml | sha256sum | cut -d' ' -f1)
  [ "$(cat "$folder/.pins" 2>/dev/null || true)" = "$stamp" ] && return
  echo "making $folder"
  if [ ! -x "$folder/bin/uv" ]; then
    python3.11 -m venv --clear "$folder"
    "$folder/bin/python" -m pip install -q --disable-pip-version-check "$(grep -E '^uv==' constraints.txt)"
  fi
  "$folder/bin/uv" pip sync -q --python "$folder/bin/python" "$pins"
  [ $# = 0 ] || "$folder/bin/uv" pip install -q --python "$folder/bin/python" --no-deps "$@"
  echo "$stamp" >"$folder/.pins"
}
# The server's own environment has no uv of its own to keep: pins name it too.
environment .venv constraints.txt -e .
environment .venv-triton constraints-triton.txt
