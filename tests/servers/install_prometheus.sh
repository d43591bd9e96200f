#!/bin/sh
# Takes prometheus and promtool out of Debian's package into .cache/prometheus: the package itself would start a daemon.
set -eu
cd "$(dirname "$0")/../.."
target=$PWD/.cache/prometheus
[ -x "$target/promtool" ] && [ -x "$target/prometheus" ] && exit 0
command -v apt-get >/dev/null || {
    echo "install_prometheus: needs apt-get, or prometheus and promtool in $target" >&2
    exit 8
}
mkdir -p "$target"
work=$(mktemp -d "$target/get.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
download() { apt-get download -qq prometheus >/dev/null 2>&1; }
download || { apt-get update -qq >/dev/null && download; } || {
    echo "install_prometheus: Debian's package prometheus could not be fetched" >&2
    exit 1
}
dpkg -x prometheus_*.deb unpacked
mv unpacked/usr/bin/prometheus unpacked/usr/bin/promtool "$target"
"$target/promtool" --version 2>&1 | head -n 1
