#!/usr/bin/env bash
# Measures how models come to a node, beside curl and aria2, and to four nodes at once, and prints one line per figure; docs/benchmarks.md
# explains them. `make bench-files` calls it.
#
#   scripts/bench-files.sh [PART,...]      capped, uncapped, memory, kill, flip, scan (test/files), fleet (test/fleet -only files)
#
# NEBULA_BENCH=short: fewer and smaller rounds. The nodes of fleet are hosts of their own when it runs as root.
set -euo pipefail
cd "$(dirname "$0")/.."

parts=,${1:-capped,uncapped,memory,kill,flip,scan,fleet},
short=()
[[ ${NEBULA_BENCH:-} != short ]] || short+=(-short)
failed=0

# Not by go run, which stands between a signal and the program.
mkdir -p .cache
go build -o .cache/ ./test/files ./test/fleet
own=${parts/,fleet,/,}
if [[ $own != , ]]; then
	scripts/setup.sh curl aria2 || echo "bench: without curl and aria2 the figures that compare with them are left out" >&2
	own=${own#,}
	.cache/files "${short[@]}" -only "${own%,}" || failed=1
fi
if [[ $parts == *,fleet,* ]]; then
	if [[ -z ${NEBULA_BIN:-} ]]; then
		make build
		NEBULA_BIN=bin/nebula
	fi
	.cache/fleet -nebula "$NEBULA_BIN" -llama-server "${NEBULA_LLAMA_SERVER:-$(scripts/llama-server.sh)}" "${short[@]}" -only files || failed=1
fi
exit $failed
