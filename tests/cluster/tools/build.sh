#!/usr/bin/env bash
# Builds the programs of the test cluster from Go modules into .cache/cluster-<hash>: a control plane in one binary,
# KEDA's operator and metrics adapter with the scalers in use (trim_keda.py), their manifests, kwok's stages.
# About 9 minutes of one core once. Needs Go 1.26 and Python. `build.sh --tidy` renews go.mod and go.sum first.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../../.. && pwd)
keda=v2.21.0
keda_sum='h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps='
kubernetes=v1.36.3

command -v go >/dev/null || {
  echo "build: go is missing; the programs need Go 1.26 or later (https://go.dev/dl)" >&2
  exit 1
}
work=$root/.cache/cluster-build
mkdir -p "$work"
exec 9>"$work/lock" # two builds would write the same files
flock 9

source=$(cd "$work" && go mod download -json "github.com/kedacore/keda/v2@$keda") # outside any module: no replacement
read_field() { printf '%s' "$source" | python3 -c "import json,sys; print(json.load(sys.stdin)['$1'])"; }
[ "$(read_field Sum)" = "$keda_sum" ] || { echo "build: KEDA's checksum is not the pinned one" >&2; exit 1; }
rm -rf "$work/src"
mkdir -p "$work/src"
cp -r go.mod go.sum controlplane "$work/src/"
python3 trim_keda.py "$(read_field Dir)" "$work/src/keda"
if [ "${1:-}" = --tidy ]; then
  (cd "$work/src" && go mod tidy)
  cp "$work/src/go.mod" "$work/src/go.sum" .
fi

target=$root/.cache/cluster-$(cat go.mod go.sum build.sh trim_keda.py controlplane/main.go | sha256sum | cut -c1-12)
[ -x "$target/keda-adapter" ] && exit 0
cd "$work/src"
fresh=$target.new
rm -rf "$fresh"
mkdir -p "$fresh"
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -p=1" GOMAXPROCS=2
version=k8s.io/component-base/version
flags="-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=36"
flags="$flags -X k8s.io/client-go/pkg/version.gitVersion=$kubernetes"
go build -trimpath -ldflags "$flags" -o "$fresh/controlplane" ./controlplane
go build -trimpath -ldflags "-s -w" -o "$fresh/keda-operator" github.com/kedacore/keda/v2/cmd/operator
go build -trimpath -ldflags "-s -w" -o "$fresh/keda-adapter" github.com/kedacore/keda/v2/cmd/adapter
cp -r keda/config "$fresh/keda"
kwok=$(go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
for stage in node/fast/node-initialize node/heartbeat-with-lease/node-heartbeat-with-lease \
  pod/fast/pod-ready pod/fast/pod-complete pod/fast/pod-delete; do
  cat "$kwok/$stage.yaml"
  echo ---
done >"$fresh/stages.yaml"
rm -rf "$target" "$work/src"
mv "$fresh" "$target"
echo "$target"
