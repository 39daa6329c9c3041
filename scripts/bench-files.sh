#!/usr/bin/env bash
# Measures how models come to a node, beside curl and aria2, and prints one line per figure; docs/benchmarks.md explains them.
# `make bench-files` calls it.
#
#   scripts/bench-files.sh [-only capped|uncapped|memory|kill|flip|scan]    NEBULA_BENCH=short: fewer and smaller rounds
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh curl aria2 || echo "bench: without curl and aria2 the figures that compare with them are left out" >&2
args=()
[[ ${NEBULA_BENCH:-} != short ]] || args+=(-short)

# Not by go run, which stands between a signal and the program.
go build -o .cache/files ./test/files
exec .cache/files "${args[@]}" "$@"
