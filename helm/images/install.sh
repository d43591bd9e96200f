#!/bin/sh
# Makes what one image holds, as root in a bare Debian 12: `install.sh TARGET`. The Dockerfile and rootfs.sh run it alike.
# TARGET: a service of services/, `models` (the model repository and what checks it) or `triton` (the server on CPU).
set -eu
target=$1
source=$(cd "$(dirname "$0")/../.." && pwd)
export DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
uid=10001

packages="python3 ca-certificates"
[ "$target" = triton ] && packages="$packages libpython3.11"
apt-get update -q
# shellcheck disable=SC2086 # a list of packages
apt-get install -y -q --no-install-recommends $packages
apt-mark showmanual >/tmp/kept
apt-get install -y -q --no-install-recommends python3-venv

# The installer stays out of the image: it lives in a folder of its own and goes with it.
python3 -m venv /tmp/build
/tmp/build/bin/pip install -q "$(grep -E '^uv==' "$source/constraints.txt")"
uv="/tmp/build/bin/uv --no-cache --quiet"

if [ "$target" = triton ]; then
    home=/opt/triton
    $uv venv --python /usr/bin/python3 "$home"
    grep -vE '^uv==' "$source/constraints-triton.txt" >/tmp/pins
    $uv pip sync --python "$home/bin/python" /tmp/pins
    install -m 0755 "$source/helm/images/start-triton.sh" "$home/bin/glioserve-triton"
else
    home=/opt/glioserve
    extras="$target,otlp,s3"
    [ "$target" = models ] && extras=
    $uv venv --python /usr/bin/python3 "$home"
    $uv pip install --python "$home/bin/python" --compile-bytecode -c "$source/constraints.txt" \
        "glioserve${extras:+[$extras]} @ file://$source"
    if [ "$target" = models ]; then
        cp -r "$source/triton_models" "$home/triton_models"
        find "$home/triton_models" -name __pycache__ -prune -exec rm -rf {} +
    fi
fi

groupadd --system --gid "$uid" glioserve
useradd --system --uid "$uid" --gid "$uid" --no-create-home --home-dir /var/lib/glioserve --shell /usr/sbin/nologin glioserve
install -d -o "$uid" -g "$uid" -m 0750 /var/lib/glioserve

apt-get purge -y -q --auto-remove python3-venv
apt-mark showmanual | sort >/tmp/now
sort /tmp/kept | comm -13 - /tmp/now | xargs -r apt-get purge -y -q --auto-remove
install -d /usr/share/glioserve
python3 "$source/helm/images/sbom.py" "$target" "$home" >/usr/share/glioserve/sbom.cdx.json
rm -rf /tmp/build /tmp/pins /tmp/kept /tmp/now "${HOME:?}/.cache" /var/lib/apt/lists/* /var/cache/apt/* /var/log/*.log /var/log/apt \
    /usr/share/man /usr/share/locale /usr/share/info
