#!/usr/bin/env bash
# Runs go test with the given arguments, prints a line a package, and says at the end again which tests failed: what a
# machine keeps of a long run is its end.
set -euo pipefail
usage() {
	cat <<'TEXT'
Usage: scripts/test.sh [--help] ARGUMENTS OF GO TEST...

Prints a line for each package, then the output of each test that failed or was skipped, and in the last lines the
names of those that failed. Each run's events are kept in .cache/test-events.json.
TEXT
}
case ${1:---help} in
-h | --help)
	usage
	exit 0
	;;
esac
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$root/.cache"
events=$root/.cache/test-events.json
status=0
go tool -modfile="$root/tools/go.mod" gotestsum --format pkgname --jsonfile "$events" -- "$@" || status=$?
if ((status != 0)); then
	sed -nE 's/.*"Action":"fail","Package":"([^"]+)"(,"Test":"([^"]+)")?.*/FAIL \1 \3/p' "$events" | sort -u | head -n 40
fi
exit "$status"
