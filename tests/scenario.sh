#!/bin/sh
# Run a command of the tests with what they share: the tools, the bed's bundles, a place for the state of their sites.
#
#   tests/scenario.sh molecule test -s default
#   tests/scenario.sh pytest tests/integration/site
set -eu
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
bundle() { python tests/testbed/bed.py bundle "$@" | tail -n 1; }
# A given bundle is also that of the clusters without Flyte, which else have one with less to copy.
FLYTE_ONPREM_CLUSTER_BUNDLE=${FLYTE_ONPREM_CLUSTER_BUNDLE:-${FLYTE_ONPREM_BUNDLE:-$(bundle --cluster)}}
FLYTE_ONPREM_BUNDLE=${FLYTE_ONPREM_BUNDLE:-$(bundle)}
FLYTE_ONPREM_STATE=${FLYTE_ONPREM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flyte-onprem}/state
export PATH FLYTE_ONPREM_BUNDLE FLYTE_ONPREM_CLUSTER_BUNDLE FLYTE_ONPREM_STATE
mkdir -p "$FLYTE_ONPREM_STATE"
exec "$@"
