#!/bin/sh
# Builds Helm into .cache/helm/<version>/helm from its Go module (about 150 CPU seconds once). Needs Go.
exec sh "$(dirname "$0")/go_install.sh" helm helm.sh/helm/v3/cmd/helm v3.22.0
