#!/usr/bin/env bash
# Tests against real servers, which tests/with-services.sh starts.
set -euo pipefail

if [ -e tests/with-services.sh ]; then
    tests/with-services.sh
else
    echo "tests/with-services.sh is not there: no room needs a server yet"
    if grep -rl with-services tests; then
        echo "but these tests speak of it"
        exit 1
    fi
fi
