#!/bin/sh
# go_install.sh NAME MODULE VERSION: builds a Go program once into .cache/NAME/VERSION/NAME.
set -eu
cd "$(dirname "$0")/../.."
name=$1 module=$2 version=$3
target=$PWD/.cache/$name/$version
[ -x "$target/$name" ] && exit 0
command -v go >/dev/null || {
    echo "install_$name: go is missing (https://go.dev/dl, or Debian: apt-get install -y golang)" >&2
    exit 1
}
mkdir -p "$target"
GOBIN=$target CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" "$module@$version"
