#!/bin/sh
# Builds Helm into .cache/helm/<version>/helm from its Go module (about 150 CPU seconds once). Needs Go.
set -eu
cd "$(dirname "$0")/../.."
version=v3.22.0
target=$PWD/.cache/helm/$version
[ -x "$target/helm" ] && exit 0
command -v go >/dev/null || {
    echo "install_helm: go is missing (https://go.dev/dl, or Debian: apt-get install -y golang)" >&2
    exit 1
}
mkdir -p "$target"
GOBIN=$target CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" "helm.sh/helm/v3/cmd/helm@$version"
"$target/helm" version --short
