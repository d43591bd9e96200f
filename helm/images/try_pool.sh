#!/usr/bin/env bash
# Runs a pool pod without a cluster: the chart's own commands in the root file systems that rootfs.sh made (models, triton,
# fusion_segmentation), as the images' user, roots read-only, without network. Ends well when the canary has inferred.
set -euo pipefail
cd "$(dirname "$0")/../.."
images=$PWD/.cache/images
[ "${1:-}" = inside ] || exec unshare --net --mount --pid --fork --kill-child bash "$0" inside
for image in models triton fusion_segmentation; do
    [ -d "$images/$image/opt" ] || { echo "try_pool: first rootfs.sh $image" >&2; exit 8; }
done
ip link set lo up
work=$(mktemp -d)
mount -t tmpfs tmpfs "$work"   # the pod's volumes; gone with this namespace
mkdir -p "$work/models" "$work/shm" "$work/home"
chown -R 10001:10001 "$work"

.cache/helm/v3.22.0/helm template pool helm/glioserve --kube-version 1.36.0 -f helm/glioserve/ci/timeslice-values.yaml \
    --set gpu.mode=none >"$work/rendered.yaml"
.venv/bin/python - "$work" <<'PY'
import json, sys, yaml
work = sys.argv[1]
objects = [o for o in yaml.safe_load_all(open(f"{work}/rendered.yaml")) if o]
pod = next(o for o in objects if o["kind"] == "Deployment" and o["metadata"]["name"].endswith("-triton"))["spec"]["template"]["spec"]
for container in [*pod["initContainers"], *pod["containers"]]:
    env = {e["name"]: e.get("value", "2") for e in container.get("env", [])}
    words = [*container["command"], *container.get("args", [])]
    json.dump({"argv": words, "env": env}, open(f"{work}/{container['name']}.json", "w"))
PY

run() { # container, image
    local root=$work/root-$1
    mkdir -p "$root"
    mount --bind "$images/$2" "$root" && mount -o remount,bind,ro "$root"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    mkdir -p "$root/tmp/home" && chown 10001:10001 "$root/tmp/home"
    mount --bind "$root/tmp/home" "$root/var/lib/glioserve"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --bind "$work/shm" "$root/dev/shm"
    # A volume makes /models in an image; these roots are read-only, so it lies at /mnt and the words say so.
    mount --bind "$work/models" "$root/mnt"
    .venv/bin/python - "$work/$1.json" "$root" <<'PY'
import json, os, sys
spec, root = json.load(open(sys.argv[1])), sys.argv[2]
swap = lambda word: word.replace("/models", "/mnt") if word.endswith("/models") else word
env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp", "MODELS": "/mnt", **{k: swap(v) for k, v in spec["env"].items()}}
os.chroot(root); os.chdir("/var/lib/glioserve")
os.setgroups([]); os.setgid(10001); os.setuid(10001)
os.execve(spec["argv"][0], [swap(word) for word in spec["argv"]], env)
PY
}
run models models >/dev/null
run triton triton >"$work/triton.log" 2>&1 &
run sentinel fusion_segmentation >"$work/sentinel.log" 2>&1 &
ask() { .venv/bin/python -c "import sys, urllib.request as u; print(u.urlopen('http://127.0.0.1:' + sys.argv[1], timeout=5).read().decode())" "$1" 2>/dev/null; }
end=$((SECONDS + 480))
until ask 9108/ready; do
    [ "$SECONDS" -lt "$end" ] || { ask 8002/metrics | grep '^nv_inference_request_success' >&2; tail -20 "$work"/*.log >&2; exit 1; }
    sleep 2
done
echo "the pod is ready: Triton serves the delivered models and the canary has inferred through it"
