#!/usr/bin/env bash
# Fetches the real servers that tests can use: Kafka (Java 17 and Maven), the DICOM validators, Prometheus
# and PostgreSQL (Debian), and an S3 server (Go).
set -euo pipefail
cd "$(dirname "$0")"
packages=
command -v java >/dev/null || packages="$packages openjdk-17-jre-headless"
command -v mvn >/dev/null || packages="$packages maven"
command -v dciodvfy >/dev/null || packages="$packages dicom3tools"
command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || packages="$packages postgresql"
if [ -n "$packages" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq >/dev/null
    if [ "${packages%postgresql}" != "$packages" ] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
      mkdir -p /etc/postgresql-common
      echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf   # only its programs are wanted
    fi
    # shellcheck disable=SC2086 # a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      -o Dpkg::Options::=--force-confold $packages >/dev/null
  else
    echo "This machine lacks packages. Type:" >&2
    echo "  sudo apt-get install -y$packages" >&2
    exit 8
  fi
fi
bash install_kafka.sh
sh install_prometheus.sh
sh install_versitygw.sh
