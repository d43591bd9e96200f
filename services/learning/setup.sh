#!/usr/bin/env bash
# Makes .venv-learning from constraints-learning.txt: torch for CPUs, about 4 GB. A second run with the same pins does nothing.
# With a GPU, GPU=1 installs torch with all of its CUDA parts instead of the pins.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=.venv-learning pins=constraints-learning.txt
stamp="${GPU:-0} $(cat "$pins" pyproject.toml | sha256sum | cut -d' ' -f1)"
[ "$(cat "$folder/.pins" 2>/dev/null || true)" = "$stamp" ] && exit 0
free_gb=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
if [ "$free_gb" -lt 6 ]; then
  echo "The training environment needs 6 GB of disk; $free_gb GB are free here." >&2
  exit 8
fi
if ! command -v python3.11 >/dev/null; then
  echo "This machine lacks Python 3.11. Type:  sudo apt-get install -y python3 python3-venv" >&2
  exit 8
fi
echo "making $folder"
if [ ! -x "$folder/bin/uv" ]; then
  python3.11 -m venv --clear "$folder"
  "$folder/bin/python" -m pip install -q --disable-pip-version-check "$(grep -E '^uv==' "$pins")"
fi
if [ "${GPU:-0}" = 1 ]; then
  "$folder/bin/uv" pip install -q --python "$folder/bin/python" -e '.[learning]' --group test
else
  "$folder/bin/uv" pip sync -q --python "$folder/bin/python" "$pins"
  "$folder/bin/uv" pip install -q --python "$folder/bin/python" --no-deps -e .
fi
echo "$stamp" >"$folder/.pins"
