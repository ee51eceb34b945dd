#!/usr/bin/env bash
# Tests against real servers, which tests/with-services.sh starts.
set -euo pipefail

if [ -e tests/with-services.sh ]; then
    tests/with-services.sh
else
    echo "tests/with-services.sh is not there: no room needs a server yet"
    [ -z "$(ls tests/services* 2>/dev/null)" ] || { echo "but tests/services* are"; exit 1; }
fi
