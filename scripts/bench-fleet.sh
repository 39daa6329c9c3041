#!/usr/bin/env bash
# Measures a fleet on this machine and prints one line per figure; docs/benchmarks.md explains them. `make bench-fleet` calls it. First a server
# with hollow nodes (test/sim), then what faults do to real servers, nodes and gateways (test/fleet).
#
#   scripts/bench-fleet.sh [sim|faults]    NEBULA_BENCH=short: a small fleet, and two of the faults' parts
set -euo pipefail
cd "$(dirname "$0")/.."

which=${1:-all}
[[ $which == all || $which == sim || $which == faults ]] || { echo "usage: scripts/bench-fleet.sh [sim|faults]" >&2; exit 2; }

sim=(--nodes 1000 --models 10000)
faults=()
if [[ ${NEBULA_BENCH:-} == short ]]; then
	sim=(--nodes 100 --models 1000 --changes 50 --hold 5s)
	faults=(-short -only agents,outage)
fi
if [[ -z ${NEBULA_BIN:-} ]]; then
	make build
	NEBULA_BIN=bin/nebula
fi

# Not by go run, which stands between a signal and the program.
go build -o .cache/ ./test/sim ./test/fleet
failed=0
if [[ $which != faults ]]; then
	.cache/sim --nebula "$NEBULA_BIN" "${sim[@]}" || failed=1
fi
if [[ $which != sim ]]; then
	.cache/fleet -nebula "$NEBULA_BIN" -llama-server "${NEBULA_LLAMA_SERVER:-$(scripts/llama-server.sh)}" "${faults[@]}" || failed=1
fi
exit $failed
