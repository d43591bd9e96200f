#!/usr/bin/env bash
# Makes the root file system of one image without a Docker engine: `rootfs.sh TARGET [FOLDER]`. Needs root and debootstrap.
# A bare Debian 12 is made once (.cache/images/base); install.sh runs in a copy of it, as in the Dockerfile, and the
# entry point is tried as the image's own user. Mirror and certificates are those of this machine, and do not stay inside.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${1:?a target of the Dockerfile}
root=$(realpath -m "${2:-.cache/images/$target}")
base=.cache/images/base
[ "$(id -u)" = 0 ] || { echo "rootfs: needs root for chroot" >&2; exit 8; }
command -v debootstrap >/dev/null || { echo "rootfs: debootstrap is missing (apt-get install -y debootstrap)" >&2; exit 8; }

if [ ! -e "$base/.ready" ]; then
    mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
    rm -rf "$base"
    mkdir -p "$base"
    debootstrap --variant=minbase bookworm "$base" ${mirror:+"$mirror"} >"$base.log"
    rm -rf "$base"/var/cache/apt/archives/*.deb "$base"/var/lib/apt/lists/*
    touch "$base/.ready"
fi

started=$SECONDS
rm -rf --one-file-system "$root"
cp -a "$base" "$root"
before=$(du -sm "$root" | cut -f1)
bundle=/etc/ssl/certs/ca-certificates.crt
host=$(mktemp -d)   # what this machine needs to reach its mirrors
mkdir -p "$host/src"
git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -cf - | tar -xf - -C "$host/src"
[ -e "$bundle" ] && cp -L "$bundle" "$host/ca.pem"
mkdir -p "$root/run/build"
mounts=(proc dev run/build)
finish() {
    for mount in "${mounts[@]}"; do umount -R "$root/$mount" 2>/dev/null || umount -R -l "$root/$mount" 2>/dev/null || true; done
    rm -rf "$host"
}
trap finish EXIT
mount --rbind /proc "$root/proc" && mount --make-rslave "$root/proc"
mount --rbind /dev "$root/dev" && mount --make-rslave "$root/dev"
mount --bind "$host" "$root/run/build"
mount -o remount,bind,ro "$root/run/build"

cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp -L /etc/hosts "$root/etc/hosts"
lent=()
for path in /etc/apt/sources.list.d /etc/apt/apt.conf.d; do
    cp -a "$root$path" "$root$path.own"
    cp -a "$path/." "$root$path/"
    lent+=("$path")
done
inside() { chroot "$@"; }
inside "$root" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    SSL_CERT_FILE=/run/build/ca.pem PIP_CERT=/run/build/ca.pem sh /run/build/src/helm/images/install.sh "$target" \
    >"$root.log" 2>&1 || { tail -30 "$root.log" >&2; exit 1; }
for path in "${lent[@]}"; do rm -rf "$root$path" && mv "$root$path.own" "$root$path"; done
: >"$root/etc/resolv.conf"
: >"$root/etc/hosts"

case $target in
    triton) try="test -x /opt/triton/bin/glioserve-triton && LD_LIBRARY_PATH=\$(echo /opt/triton/lib/python3*/site-packages/nvidia_pytriton.libs) \$(echo /opt/triton/lib/python3*/site-packages/pytriton/tritonserver/bin/tritonserver) --help 2>&1 | grep -q model-repository" ;;
    models) try="/opt/glioserve/bin/python -m services.core.triton.delivery deliver --from /opt/glioserve/triton_models --to /tmp/models" ;;
    *) try="/opt/glioserve/bin/python -c 'import services.$target.bootstrap'" ;;
esac
inside --userspec=10001:10001 "$root" env -i HOME=/tmp LANG=C.UTF-8 PATH=/usr/bin:/bin sh -c "cd /var/lib/glioserve && $try"
rm -rf "$root/tmp/models"
finish
trap - EXIT
rmdir "$root/run/build"
echo "$target: $(du -sm "$root" | cut -f1) MB in all, $before of them the base; $((SECONDS - started)) s; $(grep -c '"purl"' "$root/usr/share/glioserve/sbom.cdx.json") components; $root"
