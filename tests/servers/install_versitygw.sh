#!/bin/sh
# Builds VersityGW, an S3 server (Apache-2.0), into .cache/versitygw/<version> (about 75 CPU seconds once). Needs Go.
set -eu
cd "$(dirname "$0")/../.."
version=v1.8.0
target=$PWD/.cache/versitygw/$version
[ -x "$target/versitygw" ] && exit 0
command -v go >/dev/null || {
    echo "install_versitygw: go is missing (https://go.dev/dl, or Debian: apt-get install -y golang)" >&2
    exit 1
}
mkdir -p "$target"
GOBIN=$target CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" "github.com/versity/versitygw/cmd/versitygw@$version"
