#!/bin/sh
# Builds VersityGW, an S3 server (Apache-2.0), into .cache/versitygw/<version> (about 75 CPU seconds once). Needs Go.
exec sh "$(dirname "$0")/go_install.sh" versitygw github.com/versity/versitygw/cmd/versitygw v1.8.0
