#!/usr/bin/env bash
# Each service's extra, installed alone, carries all that its bootstrap imports, and none of it brings torch.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for service in gateway preprocessing fusion_segmentation molecular_subtyping monitoring reporting navigation cli; do
  module=services.$service.bootstrap
  [ "$service" = cli ] && module=services.cli.__main__
  .venv/bin/uv venv -q --python .venv/bin/python "$folder/$service"
  .venv/bin/uv pip install -q --python "$folder/$service/bin/python" -c constraints.txt -e ".[$service]"
  "$folder/$service/bin/python" -c "import $module, importlib.util as u; assert u.find_spec('torch') is None"
  echo "$service: $(du -sm "$folder/$service" | cut -f1) MB"
done
