#!/usr/bin/env bash
# Fetches the real servers that tests can use: Kafka (Java 17 and Maven), the DICOM validators and Prometheus (Debian).
set -euo pipefail
cd "$(dirname "$0")"
packages=
command -v java >/dev/null || packages="$packages openjdk-17-jre-headless"
command -v mvn >/dev/null || packages="$packages maven"
command -v dciodvfy >/dev/null || packages="$packages dicom3tools"
if [ -n "$packages" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq >/dev/null
    # shellcheck disable=SC2086 # a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
  else
    echo "This machine lacks packages. Type:" >&2
    echo "  sudo apt-get install -y$packages" >&2
    exit 8
  fi
fi
bash install_kafka.sh
sh install_prometheus.sh
