#!/bin/sh
# Fetches the jars of a Kafka broker into .cache/kafka/libs (45 files, 43 MiB). Needs Maven and Java 17.
set -eu
cd "$(dirname "$0")/../.."
libs=.cache/kafka/libs
if [ -n "$(ls "$libs"/kafka_2.13-*.jar 2>/dev/null)" ]; then
    exit 0
fi
for tool in java mvn; do
    command -v "$tool" >/dev/null || {
        echo "install_kafka: $tool is missing (Debian: apt-get install -y openjdk-17-jre-headless maven)" >&2
        exit 1
    }
done
fresh="$libs.new.$$"
trap 'rm -rf "$fresh"' EXIT
mvn -B -q -f tests/servers/pom.xml dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$PWD/$fresh"
rm -rf "$libs"
mv "$fresh" "$libs"
